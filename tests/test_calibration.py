"""The calibration numbers of the method's description, on the recording LJ001-0004.

They are one draw of the random start, which moves a method's SCM by several dB from seed to seed;
so each is compared with the range over eight seeds. The description's NNLS rows are what the
magnitude `pinv` gives: the solver that it used leaves the clipped pseudo-inverse as it is.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from joblib import Parallel, delayed

from melexp.datasets import load_dataset
from melexp.inversion.solve import solve
from melexp.methods import make_method
from melexp.metrics import score
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform

METRICS = ("scm", "sc", "pesq", "estoi")
TOLERANCE = (0.7, 0.7, 0.1, 0.01)
CALIBRATION = [
    ("admm", {}, 500, (-39.8, -13.3, 4.21, 0.983)),
    ("admm", {}, 100, (-33.4, -13.3, 4.10, 0.978)),
    ("ipalm", {}, 500, (-32.2, -13.4, 4.16, 0.982)),
    *(
        pytest.param(name, {"magnitude": "pinv"}, 500, expected, marks=pytest.mark.long)
        for name, expected in {
            "gla": (-20.9, -11.6, 3.21, 0.945),
            "fgla": (-21.1, -11.6, 3.18, 0.949),
            "admm_gla": (-18.0, -11.2, 3.29, 0.936),
        }.items()
    ),
]

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


def measure(
    folder: Path, name: str, params: dict, n_iter: int, seed: int, dtype: str = "float32"
) -> list[float]:
    # In a worker process, whose environment may be older than the fixture.
    os.environ["MELEXP_DATA_MIRROR"] = str(folder)
    transform = MelTransform.preset("paper")
    clip = next(c for c in load_dataset("ljspeech") if c.id == "LJ001-0004")
    x = clip.load(22050)
    problem = Problem(transform(x), transform, length=len(x), dtype=dtype)
    (end,) = solve(make_method(name, **params), problem, checkpoints=[n_iter], seed=seed)
    return [score(metric, x, end.signal, transform=transform).value for metric in METRICS]


@pytest.mark.parametrize(("name", "params", "n_iter", "expected"), CALIBRATION)
def test_calibration(
    real_data: Path, name: str, params: dict, n_iter: int, expected: tuple[float, ...]
) -> None:
    runs = np.array(
        Parallel(n_jobs=2)(
            delayed(measure)(real_data, name, params, n_iter, seed) for seed in range(4)
        )
    )
    low, high = runs.min(axis=0) - TOLERANCE, runs.max(axis=0) + TOLERANCE
    assert (low <= expected).all(), (runs, expected)
    assert (expected <= high).all(), (runs, expected)
    # What the start does not move by several dB lands by itself.
    np.testing.assert_allclose(runs[:, 1].mean(), expected[1], atol=0.7)
    np.testing.assert_allclose(runs[:, 2].mean(), expected[2], atol=0.15)
    np.testing.assert_allclose(runs[:, 3].mean(), expected[3], atol=0.01)


@pytest.mark.long
def test_float32_is_float64(real_data: Path) -> None:
    """SCM after 500 iterations within 0.1 dB, in each engine's mean over starts."""
    pairs = Parallel(n_jobs=2)(
        delayed(measure)(real_data, "admm", {}, 500, seed, dtype)
        for seed in range(3)
        for dtype in ("float32", "float64")
    )
    single, double = np.array(pairs[0::2])[:, 0], np.array(pairs[1::2])[:, 0]
    assert abs(single.mean() - double.mean()) < 0.1
