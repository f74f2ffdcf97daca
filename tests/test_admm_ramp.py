"""ADMM with growing penalties: the equations, the schedules, and that it keeps its promise."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import yaml
from reference import Reference
from reference import ramp as growing

from melexp.inversion.invert import invert
from melexp.inversion.solve import solve
from melexp.methods import make_method
from melexp.methods.admm_ramp import ADMMRamp, geometric
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform

ROOT = Path(__file__).resolve().parents[1]
METHOD = "admm_ramp"


def scm(y: np.ndarray, mel: np.ndarray, transform: MelTransform) -> float:
    error = np.linalg.norm(mel - transform(y.astype(np.float64))) / np.linalg.norm(mel)
    return float(20 * np.log10(error))


@pytest.mark.parametrize("ramp", [20, 12])
def test_twenty_iterations_are_the_equations(speech: np.ndarray, ramp: int) -> None:
    transform = MelTransform.preset("paper")
    mel = transform(speech[:12000].astype(np.float64))
    p = Problem(mel, transform, length=12000, dtype=np.float64)
    method = make_method(METHOD, ramp=ramp)
    state = method.init(p, np.random.default_rng(0))
    start = make_method("admm", magnitude="kl", phase="pghi").init(p, np.random.default_rng(0))
    oracle = Reference(1024, 256, 12000, transform.basis)
    expected, _ = oracle.admm(p.mel, start.R, start.P, growing(20, ramp), 2e-5)
    P = method.advance(p, state, 20).P
    assert np.linalg.norm(P - expected) < 1e-8 * np.linalg.norm(expected)


def test_penalties() -> None:
    assert [geometric(k, 0.001, 1.0, 4) for k in range(1, 7)] == pytest.approx(
        [0.001, 0.01, 0.1, 1, 1, 1]
    )
    assert geometric(1, 0.1, 2.0, 1) == 2.0
    method = ADMMRamp()
    assert method.penalties(1) == pytest.approx((0.001, 0.01))
    assert method.penalties(100) == method.penalties(1000) == pytest.approx((0.3, 0.3))
    assert ADMMRamp(ramp=1).penalties(1) == (0.3, 0.3)


def test_constant_equal_penalties_are_admm(speech: np.ndarray) -> None:
    transform = MelTransform.preset("paper")
    p = Problem(transform(speech[:8000]), transform, length=8000)
    ramp = make_method(METHOD, ramp=1, rho_x_last=0.1, rho_y_last=0.1)
    admm = make_method("admm", lam=5000.0, rho=0.1)
    a = ramp.init(p, np.random.default_rng(0))
    b = admm.begin(p, a.R, a.P)
    np.testing.assert_allclose(
        ramp.advance(p, a, 3).P, admm.advance(p, b, 3).P, rtol=1e-4, atol=1e-6
    )


def test_it_goes_on_exactly_where_it_stopped(speech: np.ndarray) -> None:
    transform = MelTransform.preset("paper")
    p = Problem(transform(speech[:8000]), transform, length=8000)
    method = make_method(METHOD, ramp=8)
    (half,) = solve(method, p, checkpoints=[5])
    (whole,) = solve(method, p, checkpoints=[10])
    (second,) = solve(method, p, checkpoints=[10], state=half.state)
    np.testing.assert_array_equal(whole.signal, second.signal)


def test_quarter_of_the_iterations_and_a_better_end(speech: np.ndarray) -> None:
    transform = MelTransform.preset("paper")
    mel = transform(speech.astype(np.float64))

    def reached(method: str, n_iter: int, **params: object) -> float:
        y = invert(mel, transform, method=method, n_iter=n_iter, length=len(speech), **params)
        return scm(y, mel, transform)

    paper = reached("admm", 200)
    assert reached(METHOD, 50, ramp=50) < paper - 1
    assert reached(METHOD, 200, ramp=200) < paper - 4


@pytest.mark.parametrize("name", ["rho_x", "rho_x_last", "rho_y", "rho_y_last", "ratio", "ramp"])
def test_values_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        make_method(METHOD, **{name: 0})


def test_the_yaml_says_every_parameter_and_its_default() -> None:
    conf = yaml.safe_load((ROOT / "conf" / "method" / f"{METHOD}.yaml").read_text())
    assert conf.pop("name") == METHOD
    assert conf.pop("label")
    assert make_method(METHOD, **conf) == ADMMRamp()
    assert set(conf) == {field.name for field in dataclasses.fields(ADMMRamp)}


def test_a_known_number_of_iterations_is_the_ramp(speech: np.ndarray) -> None:
    transform = MelTransform.preset("paper")
    mel = transform(speech[:12000])

    def last(**params: object) -> np.ndarray:
        return invert(mel, transform, method=METHOD, n_iter=7, **params)

    np.testing.assert_array_equal(last(), last(ramp=7))
    assert not np.array_equal(last(), last(ramp=100))
    assert ADMMRamp().penalties(100) == ADMMRamp(ramp=100).penalties(100)
    assert ADMMRamp().for_budget(0).ramp == 1
