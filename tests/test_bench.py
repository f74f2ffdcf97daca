"""The benchmarks run and label their rows correctly; their numbers are in results/bench."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import pytest

from melexp.bench import denormals, iterations, quality, starts
from melexp.bench._rows import Row, row


class Part(NamedTuple):
    """A benchmark, and the expected names of its rows: all of them, in order."""

    rows: Callable[[], Iterator[Row]]
    names: list[str]
    unit: str = "ms"


PARTS = {
    "starts": Part(
        lambda: starts.rows(1),
        [
            *("pinv", "nnls", "kl", "pghi", "kl + pghi"),
            *("admm, 500 iterations", "admm_ramp, 100 iterations"),
        ],
    ),
    "denormals": Part(
        lambda: denormals.rows(1, methods=["admm"]), ["ordinary", "denormal", "silent", "spike"]
    ),
    "iterations": Part(
        lambda: iterations.rows(1, layouts=["n_fft 512"], engines=["fast"]),
        [
            f"{name} rfft + irfft"
            for name in iterations.floors(iterations.LAYOUTS["n_fft 512"][0], 1)
        ]
        + ["admm, fast"],
    ),
    "presets": Part(
        lambda: iterations.preset_rows(1, presets=["paper", "whisper"]),
        [
            "paper (n_fft 1024, hop 256, power 1), fast",
            "whisper (n_fft 400, hop 160, power 2), fast",
        ],
    ),
    # The names end with the number of iterations, which is measured.
    "quality": Part(
        lambda: quality.rows("demo_speech", 1),
        [name for goal in ("librosa", "librosa", "ipalm") for name in (goal, "admm", "admm_ramp")],
        "s per clip",
    ),
}
#: The row that others are measured against, if it is not named like their `against`.
BASES = {"scipy.fft": "scipy.fft rfft + irfft", "mkl_fft": "mkl_fft rfft + irfft"}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_benchmark_gives_the_named_rows_in_its_unit(part: Part) -> None:
    rows = list(part.rows())
    stems = [r.name.partition(":")[0] for r in rows]
    if part.unit == "s per clip":
        stems = [stem.partition(",")[0] for stem in stems]
    assert stems == part.names
    assert {r.unit for r in rows} == {part.unit}
    for r in rows:
        if "not reached" in r.name:
            continue
        # Faster than a minute, slower than a nanosecond: a wrong factor of 1000 shows.
        assert 1e-6 < r.value * (1e-3 if part.unit == "ms" else 1) < 60
        bases = [b for b in rows if b.section == r.section]
        bases = [b for b in bases if b.name == BASES.get(r.against, r.against)]
        for base in bases:  # one round: the ratio is that of the values
            assert r.ratio == pytest.approx(r.value / base.value)
        assert bases or r.against in ("10 iterations of admm", "scipy.fft of the same frames")


def test_a_row_has_quartiles_and_the_median_of_the_paired_ratios() -> None:
    """Values 2, 6, 10, 15, 16 with ratios 1, 2, 3, 4, 10; the ratio of the medians is 10 / 3."""
    base = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    made = row("s", "n", base * [10, 1, 2, 4, 3], "ms", base, "b")
    assert made == Row("s", "n", 10.0, 6.0, 15.0, "ms", 3.0, "b")


def test_the_start_is_measured_against_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 51 iterations in 12 ms and one in 2 ms, ten take 2 ms."""
    ms = {"pinv": 1, "nnls": 4, "kl": 1, "pghi": 2, "1": 2, "51": 12}
    ms |= {"admm, 500 iterations": 100, "admm_ramp, 100 iterations": 25}

    def taken(entries: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, np.ndarray]:
        assert entries.keys() == ms.keys()
        return {name: np.full(rounds, ms[name] / 1e3) for name in entries}

    monkeypatch.setattr(starts, "interleaved", taken)
    rows = {row.name: row for row in starts.rows(3)}
    assert rows["kl + pghi"].value == pytest.approx(3)
    assert rows["kl + pghi"].ratio == pytest.approx(1.5)
    assert rows["nnls"].ratio == pytest.approx(2)
    assert rows["admm_ramp, 100 iterations"].ratio == pytest.approx(0.25)
