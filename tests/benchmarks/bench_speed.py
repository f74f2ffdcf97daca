"""The history of the fast engine: `make bench` stores a file of it for each run.

What to look at is the time of a method over that of the FFTs in the same file:
``pytest-benchmark --storage=file://./results/bench/history compare``.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from threadpoolctl import threadpool_limits

from melexp.bench._rows import clip
from melexp.bench.iterations import METHODS, floors, per_iteration
from melexp.transforms.mel import MelTransform


def test_ffts(benchmark: BenchmarkFixture) -> None:
    transform, x = MelTransform.preset("paper"), clip(5.14)
    ffts = floors(transform, 1 + len(x) // transform.hop_length)["scipy.fft"]
    with threadpool_limits(1):
        benchmark(lambda: [ffts() for _ in range(50)])


@pytest.mark.parametrize("name", METHODS)
def test_fifty_iterations(benchmark: BenchmarkFixture, name: str) -> None:
    with threadpool_limits(1):
        benchmark(per_iteration(name, MelTransform.preset("paper"), clip(5.14), "fast", 50))
