"""Power mels: the (X, Y) step, the iteration against plain matrices, and what it is good for."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st
from reference import Reference, best_root

from melexp.inversion.invert import invert
from melexp.inversion.solve import solve
from melexp.methods import make_method
from melexp.methods._prox import power_pair
from melexp.metrics import score
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform


def objective(
    x: np.ndarray, b: np.ndarray, z: float, w: float, rho_x: float, rho_y: float
) -> float:
    return ((x - b) ** 2 + rho_x * (x - z) ** 2 + rho_y * (b**2 - w) ** 2) / 2


# --- The (X, Y) step ------------------------------------------------------------------------

weights = st.floats(1e-3, 1e3)


@given(z=st.floats(0, 100), w=st.floats(-1e3, 1e3), rho_x=weights, rho_y=weights)
def test_the_pair_is_the_best_root(z: float, w: float, rho_x: float, rho_y: float) -> None:
    x, y = power_pair(np.array([z]), np.array([w]), rho_x=rho_x, rho_y=rho_y)
    b = best_root(z, w, rho_x, rho_y)
    found = objective(x[0], np.sqrt(y[0]), z, w, rho_x, rho_y)
    least = objective((b + rho_x * z) / (1 + rho_x), b, z, w, rho_x, rho_y)
    assert found <= least + 1e-9 * (least + rho_y * w * w + rho_x * z * z)
    assert x[0] == pytest.approx((np.sqrt(y[0]) + rho_x * z) / (1 + rho_x))


@pytest.mark.parametrize("rho_x", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("rho_y", [0.01, 0.1, 10.0])
def test_no_search_finds_better(rho_x: float, rho_y: float) -> None:
    rng = np.random.default_rng(0)
    z, w = rng.exponential(size=6), 2 * rng.standard_normal(6)
    x, y = power_pair(z, w, rho_x=rho_x, rho_y=rho_y)
    for k in range(6):
        searched = min(
            scipy.optimize.minimize(
                lambda v, k=k: objective(v[0], v[1], z[k], w[k], rho_x, rho_y),
                begin,
                bounds=[(0, None), (0, None)],
                method="L-BFGS-B",
            ).fun
            for begin in ([0.01, 0.01], [1.0, 1.0], [3.0, 3.0])
        )
        assert objective(x[k], np.sqrt(y[k]), z[k], w[k], rho_x, rho_y) <= searched + 1e-10


def test_where_there_are_several_roots() -> None:
    # With z = 0 the cubic is b (b^2 + p): 0 is a root, and a maximum if w is large enough.
    rho_x, rho_y = 0.1, 0.1
    h = rho_x / (1 + rho_x) / (2 * rho_y)
    w = np.array([h + 1.0, h, h - 0.1, -2.0, 0.0])
    x, y = power_pair(np.zeros(5), w, rho_x=rho_x, rho_y=rho_y)
    np.testing.assert_allclose(y, [1.0, 0, 0, 0, 0], atol=1e-12)
    np.testing.assert_allclose(x, np.sqrt(y) / (1 + rho_x), atol=1e-12)
    # With a small z there are two negative roots more; the positive one is the best.
    _, y = power_pair(np.full(1, 1e-3), np.full(1, 4.0), rho_x=rho_x, rho_y=rho_y)
    assert np.sqrt(y[0]) == pytest.approx(best_root(1e-3, 4.0, rho_x, rho_y), rel=1e-12)


@pytest.mark.parametrize(("dtype", "tol"), [(np.float64, 1e-11), (np.float32, 1e-4)])
def test_it_converges_over_many_decades(dtype: type, tol: float) -> None:
    rng = np.random.default_rng(0)
    n = 20000
    z = (10 ** rng.uniform(-6, 2, n)).astype(dtype)
    w = (rng.choice([-1, 1], n) * 10 ** rng.uniform(-10, 3, n)).astype(dtype)
    rho_y = (10 ** rng.uniform(-4, 8, n)).astype(dtype)
    x, y = power_pair(z, w, rho_x=0.1, rho_y=rho_y)
    assert x.dtype == y.dtype == dtype
    h = dtype(0.1) / (2 * (1 + dtype(0.1))) / rho_y
    b, (p, q) = np.sqrt(y.astype(np.float64)), np.array([h - w, h * z], np.float64)
    # The equation holds in relation to its largest term.
    size = b**3 + np.abs(p) * b + q
    assert np.abs(b**3 + p * b - q).max() < np.inf
    assert (np.abs(b**3 + p * b - q) / size).max() < tol


@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 50))
def test_the_pair_is_equivariant_if_its_penalty_is_relative(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z, w = rng.exponential(size=50), rng.standard_normal(50)
    x, y = power_pair(z, w, rho_x=0.1, rho_y=0.3)
    x_2, y_2 = power_pair(scale * z, scale**2 * w, rho_x=0.1, rho_y=0.3 / scale**2)
    np.testing.assert_allclose(x_2, scale * x, rtol=1e-9, atol=1e-12 * scale)
    np.testing.assert_allclose(y_2, scale**2 * y, rtol=1e-9, atol=1e-12 * scale**2)


# --- The iteration --------------------------------------------------------------------------


def test_six_iterations_are_the_equations() -> None:
    transform = MelTransform.preset(
        "paper", sr=8000, n_fft=128, hop_length=32, n_mels=12, fmax=4000, power=2
    )
    y = np.random.default_rng(0).standard_normal(700)
    p = Problem(transform(y), transform, length=700, dtype=np.float64)
    method = make_method("admm")
    state = method.init(p, np.random.default_rng(0))
    assert np.array_equal(state.R, np.abs(state.P) ** 2) or np.allclose(
        state.R, np.abs(state.P) ** 2
    )
    P = method.advance(p, state, 6).P
    reference = Reference(128, 32, 700, transform.basis)
    expected, _ = reference.admm(p.mel, state.R, state.P, [(0.1, 0.1)] * 6, 0.1 / 5000, p.envelope)
    assert np.linalg.norm(P - expected) < 1e-6 * np.linalg.norm(expected)


def test_a_weighted_solver_is_a_dense_solve(small: MelTransform) -> None:
    rng = np.random.default_rng(0)
    E = small.basis
    S, b = rng.exponential(size=(E.shape[1], 5)), rng.standard_normal((E.shape[0], 5))
    x = small.filters(np.float64).weighted_solver(S, 0.01).solve(b)
    for t in range(5):
        A = E @ np.diag(S[:, t]) @ E.T + 0.01 * np.diag(E @ S[:, t])
        np.testing.assert_allclose(x[:, t], np.linalg.solve(A, b[:, t]), rtol=1e-9)


@pytest.fixture(scope="module")
def power() -> MelTransform:
    return MelTransform.preset("paper", power=2)


@pytest.mark.parametrize("level", [1e-3, 30.0])
def test_it_is_equivariant_to_the_level(
    speech: np.ndarray, power: MelTransform, level: float
) -> None:
    mel = power(speech.astype(np.float64))
    one = invert(mel, power, n_iter=20, length=len(speech), dtype=np.float64)
    other = invert(level**2 * mel, power, n_iter=20, length=len(speech), dtype=np.float64)
    np.testing.assert_allclose(other, level * one, atol=1e-6 * level * np.abs(one).max())


def test_single_precision_is_close(speech: np.ndarray, power: MelTransform) -> None:
    mel = power(speech.astype(np.float64))
    double, single = (
        invert(mel, power, n_iter=10, length=len(speech), dtype=d, magnitude="kl", phase="pghi")
        for d in (np.float64, np.float32)
    )
    assert np.linalg.norm(single - double) < 0.05 * np.linalg.norm(double)


def test_it_beats_librosa(speech: np.ndarray, power: MelTransform) -> None:
    mel = power(speech)
    scores = {}
    for name, start in (("admm", {"magnitude": "kl", "phase": "pghi"}), ("librosa", {})):
        y = invert(mel, power, method=name, n_iter=32, length=len(speech), **start)
        scores[name] = [
            score(metric, speech, y, transform=power).value for metric in ("scm", "sc", "pesq")
        ]
    (scm, sc, pesq), (their_scm, their_sc, their_pesq) = scores["admm"], scores["librosa"]
    assert scm < min(-25, their_scm - 10)
    assert sc < their_sc - 4
    assert pesq > their_pesq + 1


def test_silence_stays_silent(power: MelTransform) -> None:
    y = invert(np.zeros((80, 20), np.float32), power, n_iter=3)
    assert np.isfinite(y).all()
    assert np.abs(y).max() < 1e-3
    half = np.zeros((80, 40), np.float32)
    half[:, :20] = power(np.random.default_rng(0).standard_normal(5000).astype(np.float32))
    assert np.isfinite(invert(half, power, n_iter=20)).all()


def test_it_goes_on_where_it_stopped(speech: np.ndarray, power: MelTransform) -> None:
    p = Problem(power(speech), power, length=len(speech))
    method = make_method("admm")
    (whole,) = solve(method, p, checkpoints=[8])
    (half,) = solve(method, p, checkpoints=[4])
    (rest,) = solve(method, p, checkpoints=[8], state=half.state)
    np.testing.assert_array_equal(rest.signal, whole.signal)


def test_ipalm_says_that_it_cannot(power: MelTransform) -> None:
    with pytest.raises(ValueError, match="power = 1"):
        invert(np.ones((80, 20), np.float32), power, method="ipalm", n_iter=1)


@pytest.mark.parametrize("method", ["gla", "fgla", "admm_gla"])
def test_the_cascades_take_the_root(speech: np.ndarray, power: MelTransform, method: str) -> None:
    y = invert(power(speech), power, method=method, n_iter=30, length=len(speech))
    assert score("scm", speech, y, transform=power).value < -5


# --- Other exponents ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "exponent", [1.5, *(pytest.param(power, marks=pytest.mark.long) for power in (0.5, 4.0))]
)
@pytest.mark.parametrize("method", ["admm", "admm_ramp", "fgla"])
def test_any_exponent(speech: np.ndarray, exponent: float, method: str) -> None:
    """The joint methods are as good as for power 1, and the level is right."""
    transform = MelTransform.preset("paper", power=exponent)
    y = invert(transform(speech), transform, method=method, length=len(speech))
    assert abs(20 * np.log10(np.std(y) / np.std(speech))) < (0.5 if method != "fgla" else 3)
    if method != "fgla":
        assert score("scm", speech, y, transform=transform).value < -20
        assert score("pesq", speech, y, transform=transform).value > 2.5


def test_the_portable_engine_alone_supports_other_exponents(speech: np.ndarray) -> None:
    transform = MelTransform.preset("paper", power=1.5)
    assert Problem(transform(speech), transform).lanes is None
    with pytest.raises(ValueError, match=r"power 1 and 2, not 1\.5"):
        invert(transform(speech), transform, engine="fast", n_iter=1)


def test_any_exponent_in_torch(speech: np.ndarray) -> None:
    pytest.importorskip("torch")
    transform = MelTransform.preset("paper", power=0.5)
    mel = transform(speech.astype(np.float64))
    options = {"n_iter": 5, "length": len(speech), "dtype": np.float64}
    y = invert(mel, transform, device="cpu", **options)
    expected = invert(mel, transform, **options)
    assert np.linalg.norm(y - expected) < 1e-6 * np.linalg.norm(expected)
