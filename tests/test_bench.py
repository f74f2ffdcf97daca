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


def test_the_start_is_measured_against_iterations() -> None:
    rows = {row.name: row for row in starts.rows(3)}
    both = rows["kl + pghi"]
    assert both.value == pytest.approx(rows["kl"].value + rows["pghi"].value, rel=0.5)
    assert both.against == "10 iterations of admm"
