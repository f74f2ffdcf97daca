"""The benchmarks run and label their rows correctly; their numbers are in results/bench."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

from melexp.bench import (
    cores,
    denormals,
    iterations,
    lengths,
    line,
    markdown,
    overhead,
    quality,
    start_up,
    starts,
    streams,
)
from melexp.bench._rows import Row, interleaved, row


class Part(NamedTuple):
    """A benchmark, and the expected names of its rows: all of them, in order."""

    rows: Callable[[], Iterable[Row]]
    names: list[str]
    unit: str = "ms"
    clock: str = "CPU"


PARTS = {
    "starts": Part(
        lambda: starts.rows(1),
        [
            *("pinv", "nnls", "kl", "pghi", "kl + pghi"),
            *("admm, 500 iterations", "admm_ramp, 100 iterations"),
        ],
    ),
    "streams": Part(
        lambda: streams.rows(1, settings=[(1, 0, 2), (3, 1, 2)]),
        ["1 streams, 0 ahead, 2 iterations", "3 streams, 1 ahead, 2 iterations"],
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
        lambda: quality.rows("demo_speech", 1, rounds=1),
        [name for goal in ("librosa", "librosa", "ipalm") for name in (goal, "admm", "admm_ramp")],
        "s per clip",
    ),
    "lengths": Part(
        lambda: list(lengths.rows(1, spans=[1, 5], memory=[]))[:2],
        ["1 s", "5 s"],
        "ms per s of audio",
    ),
    "cores": Part(
        lambda: cores.rows(1, clips=2, n_iter=3, seconds=6),
        [
            f"{what}, {n} {kind}"
            for what, kind in (
                ("2 clips of 5 s", "processes"),
                ("2 clips of 5 s", "threads"),
                ("one clip of 6 s", "threads"),
            )
            for n in (1, 2)
        ],
        "s",
        "wall",
    ),
    "overhead": Part(
        lambda: overhead.rows(8, length=0.02),
        ["joblib alone", "the runner", "the runner"],
        "s",
        "wall",
    ),
    "start-up": Part(
        lambda: start_up.rows(1),
        [
            start_up.BASE,
            "the same and melexp",
            "melexp.invert of 5 s, filled cache",
            "melexp.invert of 5 s, empty cache",
        ],
        "s",
    ),
}
#: The row that others are measured against, if it is not named like their `against`.
BASES = {"scipy.fft": "scipy.fft rfft + irfft", "mkl_fft": "mkl_fft rfft + irfft"}

#: Benchmarks that take tens of seconds even when they are cut short.
LONG = ("quality", "start-up", "denormals", "cores", "starts")
#: What rows are measured against that have no row of that name.
ELSEWHERE = {
    *("10 iterations of admm", "scipy.fft of the same frames"),
    *("1", "the tasks alone", "joblib"),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    [
        pytest.param(p, marks=[pytest.mark.long] if n in LONG else [], id=n)
        for n, p in PARTS.items()
    ],
)
def test_a_benchmark_gives_the_named_rows_in_its_unit(part: Part) -> None:
    rows = list(part.rows())
    stems = [r.name.partition(":")[0] for r in rows]
    if part.unit == "s per clip":
        stems = [stem.partition(",")[0] for stem in stems]
    assert stems == part.names
    assert {r.unit for r in rows} == {part.unit}
    assert {r.clock for r in rows} == {part.clock}
    for r in rows:
        if "not reached" in r.name:
            continue
        # Faster than a minute, slower than a nanosecond: a wrong factor of 1000 shows.
        assert 1e-6 < r.value * (1e-3 if part.unit.startswith("ms") else 1) < 60
        bases = [b for b in rows if b.section == r.section]
        bases = [b for b in bases if b.name == BASES.get(r.against, r.against)]
        for base in bases:  # one round: the ratio is that of the values
            assert r.ratio == pytest.approx(r.value / base.value)
        assert bases or r.against in ELSEWHERE


def test_a_row_has_quartiles_and_the_median_of_the_paired_ratios() -> None:
    """Values 2, 6, 10, 15, 16 with ratios 1, 2, 3, 4, 10; the ratio of the medians is 10 / 3."""
    base = np.array([[1.0, 2.0, 3.0, 4.0, 5.0], [2.0] * 5])
    values = base * [[10, 1, 2, 4, 3], [20] * 5]
    made = row("s", "n", values, "ms", base, "b")
    assert made == Row("s", "n", 10.0, 6.0, 15.0, "ms", 3.0, "b", "CPU", 40.0)
    wall = row("s", "n", values, "ms", base, "b", clock="wall")
    assert wall == Row("s", "n", 40.0, 40.0, 40.0, "ms", 20.0, "b", "wall", 40.0)


def test_the_start_is_measured_against_iterations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 51 iterations in 12 ms and one in 2 ms, ten take 2 ms."""
    ms = {"pinv": 1, "nnls": 4, "kl": 1, "pghi": 2, "1": 2, "51": 12}
    ms |= {"admm, 500 iterations": 100, "admm_ramp, 100 iterations": 25}

    def taken(entries: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, np.ndarray]:
        assert entries.keys() == ms.keys()
        return {name: np.full((2, rounds), ms[name] / 1e3) for name in entries}

    monkeypatch.setattr(starts, "interleaved", taken)
    rows = {row.name: row for row in starts.rows(3)}
    assert rows["kl + pghi"].value == pytest.approx(3)
    assert rows["kl + pghi"].ratio == pytest.approx(1.5)
    assert rows["nnls"].ratio == pytest.approx(2)
    assert rows["admm_ramp, 100 iterations"].ratio == pytest.approx(0.25)


def test_sleep_takes_wall_time_only_and_a_sub_process_takes_processor_time() -> None:
    count = "for _ in range(10**6): pass"
    times = interleaved(
        {
            "sleep": lambda: time.sleep(0.05),
            "sub-process": lambda: subprocess.run([sys.executable, "-c", count], check=True),
        },
        rounds=2,
    )
    assert times["sleep"].shape == (2, 2)
    assert (times["sleep"][0] < 0.02).all()
    assert (times["sleep"][1] > 0.05).all()
    assert (times["sub-process"][0] > 0.02).all()


def test_a_line_and_the_table_say_of_which_time_a_ratio_is() -> None:
    timed = Row("start", "pinv", 2.0, 1.0, 3.0, "ms", 0.5, "admm", "CPU", 4.0)
    wall = Row("cores", "2", 2.0, 1.0, 3.0, "s", 0.5, "1", "wall", 2.0)
    size = Row("memory", "5 s", 2.0, 2.0, 2.0, "MB", 0.5, "spectrograms")
    assert line(timed) == (
        "start: pinv: 2 ms of CPU time (1 to 3), 4 ms of wall time; 0.5 x admm of CPU time"
    )
    assert line(wall) == "cores: 2: 2 s of wall time (1 to 3); 0.5 x 1 of wall time"
    assert line(size) == "memory: 5 s: 2 MB (2 to 2); 0.5 x spectrograms"
    text = markdown(pd.DataFrame([timed, wall, size]))
    assert "| pinv | CPU | 2 ms | 1 to 3 | 4 | 0.5 | admm |" in text
    assert "| 5 s |  | 2 MB | 2 to 2 |  | 0.5 | spectrograms |" in text


@pytest.mark.slow
def test_batches_in_torch_are_measured_on_one_core() -> None:
    pytest.importorskip("torch")
    from melexp.bench import batches

    rows = list(batches._on("cpu", "one core", (1, 2), 1, 1))
    assert [r.name.split(",")[0] for r in rows] == ["1 clips"] * 5 + ["2 clips"] * 5
    assert {r.clock for r in rows} == {"CPU"}
    assert all(r.value > 0 for r in rows)
