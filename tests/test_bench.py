"""That the benchmarks measure, briefly; what they measure is in results/bench."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from melexp.bench import denormals, iterations, quality, starts
from melexp.bench._rows import Row

PARTS = {
    "starts": lambda: starts.rows(1),
    "denormals": lambda: denormals.rows(1, methods=["admm"]),
    "iterations": lambda: iterations.rows(1, layouts=["n_fft 512"], engines=["fast"]),
    "quality": lambda: quality.rows("demo_speech", 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_a_benchmark_gives_times_and_ratios(part: Callable[[], Iterator[Row]]) -> None:
    rows = list(part())
    assert len(rows) > 1
    reached = [row for row in rows if "not reached" not in row.name]
    assert all(row.low <= row.value <= row.high for row in reached)
    assert all(np.isfinite(row.ratio) and row.ratio > 0 for row in reached)
    assert any(row.ratio == 1 for row in rows)  # the one that others are measured against


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
