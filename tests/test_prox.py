"""The per-bin steps of the joint problem, against numerical minimisers and dense solves."""

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given
from hypothesis import strategies as st

from melexp.methods import unit_phase
from melexp.methods._prox import any_power_pair, magnitude_pair, power_pair
from melexp.transforms.mel import MelTransform

positive = st.floats(1e-3, 1e3)


def constrained_minimiser(z: float, w: float, rho_x: float, rho_y: float) -> np.ndarray:
    """The (x, y) >= 0 that minimises what `magnitude_pair` says, as a least-squares problem."""
    rows = np.array([[1.0, -1.0], [np.sqrt(rho_x), 0.0], [0.0, np.sqrt(rho_y)]])
    return scipy.optimize.nnls(rows, np.array([0.0, np.sqrt(rho_x) * z, np.sqrt(rho_y) * w]))[0]


# --- The (X, Y) step ------------------------------------------------------------------------


@pytest.mark.parametrize("rho_x", [0.01, 0.1, 1.0, 30.0])
@pytest.mark.parametrize("rho_y", [0.01, 0.1, 1.0, 30.0])
def test_the_pair_minimises_on_random_input(rho_x: float, rho_y: float) -> None:
    rng = np.random.default_rng(0)
    # w is spread around where the bound becomes active.
    z, spread = rng.exponential(size=200), rho_x / (1 + rho_x) / rho_y
    w = 2 * spread * rng.standard_normal(200)
    z[:10], w[10:20] = 0, 0
    x, y = magnitude_pair(z, w, rho_x=rho_x, rho_y=rho_y)
    assert (y == 0).sum() > 20  # the bound is active often enough to be tested
    assert (y > 0).sum() > 20
    expected = np.array(
        [constrained_minimiser(*bin_, rho_x, rho_y) for bin_ in zip(z, w, strict=True)]
    )
    np.testing.assert_allclose(np.stack([x, y], axis=1), expected, atol=1e-10)


@given(z=st.floats(0, 1e3), w=st.floats(-1e3, 1e3), rho_x=positive, rho_y=positive)
def test_the_pair_minimises(z: float, w: float, rho_x: float, rho_y: float) -> None:
    x, y = magnitude_pair(np.array([z]), np.array([w]), rho_x=rho_x, rho_y=rho_y)
    expected = constrained_minimiser(z, w, rho_x, rho_y)
    np.testing.assert_allclose([x[0], y[0]], expected, atol=1e-9 * (1 + z + abs(w)))


@pytest.mark.parametrize("w", [-2.0, -0.1, 0.05, 1.5])
@pytest.mark.parametrize("rho", [0.1, 1.0])
def test_no_complex_number_does_better(w: float, rho: float) -> None:
    # The step itself: X is complex and |X| is not convex, so search from all sides.
    zeta = 0.8 * np.exp(2.1j)

    def objective(v: np.ndarray) -> float:
        X, y = v[0] + 1j * v[1], v[2]
        return 0.5 * ((abs(X) - y) ** 2 + rho * abs(X - zeta) ** 2 + rho * (y - w) ** 2)

    x, y = magnitude_pair(np.abs([zeta]), np.array([w]), rho_x=rho, rho_y=rho)
    X = x[0] * unit_phase(np.array([zeta]))[0]
    found = objective(np.array([X.real, X.imag, y[0]]))
    bounds = [(None, None), (None, None), (0, None)]
    searched = [
        scipy.optimize.minimize(objective, begin, bounds=bounds, method="L-BFGS-B").fun
        for begin in np.random.default_rng(0).uniform([-2, -2, 0], 2, (20, 3))
    ]
    assert found <= min(searched) + 1e-9
    assert found == pytest.approx(min(searched), abs=1e-7)


def test_the_papers_formulas() -> None:
    rho, z, w = 0.1, np.array([0.7, 0.3]), np.array([0.4, -5.0])
    x, y = magnitude_pair(z, w, rho_x=rho, rho_y=rho)
    assert y[0] == pytest.approx(((1 + rho) * w[0] + z[0]) / (2 + rho))
    assert x[0] == pytest.approx(((1 + rho) * z[0] + w[0]) / (2 + rho))
    assert y[1] == 0
    assert x[1] == pytest.approx(rho * z[1] / (1 + rho))


@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 100))
def test_the_pair_is_equivariant_to_scale_and_never_negative(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z, w = rng.exponential(size=50), rng.standard_normal(50)
    x, y = magnitude_pair(z, w, rho_x=0.1, rho_y=0.3)
    assert (x >= 0).all()
    assert (y >= 0).all()
    scaled = magnitude_pair(scale * z, scale * w, rho_x=0.1, rho_y=0.3)
    np.testing.assert_allclose(scaled, [scale * x, scale * y], rtol=1e-12)


def test_precision_and_arguments_are_left_as_they_were() -> None:
    z, w = np.float32([1, 2, 3]), np.float32([-9, 0, 9])
    # Also where the penalty is one of numpy's numbers, as from a sweep with np.logspace.
    x, y = magnitude_pair(z, w, rho_x=np.float64(0.1), rho_y=np.float64(0.2))
    assert x.dtype == y.dtype == np.float32
    np.testing.assert_array_equal(np.stack([x, y]), magnitude_pair(z, w, rho_x=0.1, rho_y=0.2))
    np.testing.assert_array_equal(z, [1, 2, 3])
    np.testing.assert_array_equal(w, [-9, 0, 9])


# --- Phase ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_phase_is_the_number_divided_by_its_magnitude(dtype: type) -> None:
    rng = np.random.default_rng(0)
    X = (rng.standard_normal((20, 30)) + 1j * rng.standard_normal((20, 30))).astype(dtype)
    phase = unit_phase(X)
    assert phase.dtype == dtype
    np.testing.assert_allclose(phase, np.exp(1j * np.angle(X)), atol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(unit_phase(X, np.abs(X)), phase)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_phase_of_zero_is_one(dtype: type) -> None:
    X = np.array([0, complex(-0.0, -0.0), 2j, -3], dtype)
    np.testing.assert_array_equal(unit_phase(X), np.array([1, 1, 1j, -1]))
    np.testing.assert_array_equal(unit_phase(np.zeros((2, 3), dtype)), np.ones((2, 3)))


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("direction", [1, -1, 1j, -1j, 0.6 + 0.8j])
def test_phase_has_magnitude_one_from_the_least_number_to_the_largest(
    dtype: type, direction: complex
) -> None:
    limits = np.finfo(dtype)
    least, largest = float(limits.smallest_subnormal), float(limits.max)
    tiny = float(limits.tiny)
    magnitudes = np.array([least, tiny / 2, tiny, 4 * tiny, 1e-20, 1e20, largest / 8, largest / 2])
    with np.errstate(all="raise", under="ignore"):
        phase = unit_phase((direction * magnitudes).astype(dtype))
    np.testing.assert_allclose(np.abs(phase), 1, rtol=1e-5)
    # Numbers too small for a normal one have no phase to speak of; all the others keep theirs.
    np.testing.assert_allclose(phase[3:], direction, rtol=1e-5)


# --- The W step -----------------------------------------------------------------------------


@pytest.mark.parametrize("n_mels", [1, 2, 20, 80])
@pytest.mark.parametrize(("lam", "rho"), [(5000, 0.1), (50, 0.1), (100000, 0.01), (1, 10)])
def test_the_w_step_is_the_dense_solve(n_mels: int, lam: float, rho: float) -> None:
    transform = MelTransform.preset("paper", n_mels=n_mels)
    E, filters = transform.basis, transform.filters(np.float64)
    rng = np.random.default_rng(0)
    M, R = rng.exponential(size=(n_mels, 5)), rng.standard_normal((E.shape[1], 5))
    # argmin lam/2 ||M - E W||^2 + rho/2 ||W - R||^2
    expected = np.linalg.solve(lam * E.T @ E + rho * np.eye(E.shape[1]), lam * E.T @ M + rho * R)
    W = R + filters.adjoint(filters.solver(rho / lam).solve(M - filters.apply(R)))
    np.testing.assert_allclose(W, expected, rtol=1e-7, atol=1e-8)


# --- Any exponent ---------------------------------------------------------------------------


def some_bins(dtype: type = np.float64) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    z, w = rng.exponential(size=2000), 2 * rng.standard_normal(2000)
    z[:10], w[10:20] = 0, 0
    return [z.astype(dtype), w.astype(dtype), np.exp(2 * rng.standard_normal(2000)).astype(dtype)]


@pytest.mark.parametrize("power", [0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("rho", [(0.3, 0.1), (0.01, 1.0)], ids=str)
def test_any_power_has_the_lowest_cost_on_a_grid(power: float, rho: tuple[float, float]) -> None:
    z, w, envelope = some_bins()
    rho_x, rho_y = rho
    x, y = any_power_pair(z, w, envelope, rho_x=rho_x, rho_y=rho_y, power=power)
    np.testing.assert_allclose(x, (y ** (1 / power) + rho_x * z) / (1 + rho_x), atol=1e-12)

    def cost(b: np.ndarray) -> np.ndarray:
        faithful = rho_x / (1 + rho_x) / 2 * (b - z) ** 2
        return np.asarray(faithful + rho_y / envelope / 2 * (b**power - w) ** 2)

    least = np.min([cost(np.full_like(z, b)) for b in np.linspace(0, 8, 2001)], axis=0)
    excess = cost(y ** (1 / power)) - least
    assert np.quantile(excess, 0.99) < 1e-5
    assert excess.max() < 0.01


def test_any_power_has_the_closed_forms_as_special_cases() -> None:
    z, w, envelope = some_bins()
    for power, closed in (
        (1.0, magnitude_pair(z, w, rho_x=0.3, rho_y=0.1)),
        (2.0, power_pair(z, w, rho_x=0.3, rho_y=0.1)),
    ):
        found = any_power_pair(z, w, np.ones_like(z), rho_x=0.3, rho_y=0.1, power=power)
        np.testing.assert_allclose(found, closed, atol=1e-9)
    single = any_power_pair(*some_bins(np.float32), rho_x=0.3, rho_y=0.1, power=1.5)
    double = any_power_pair(z, w, envelope, rho_x=0.3, rho_y=0.1, power=1.5)
    assert single[1].dtype == np.float32
    np.testing.assert_allclose(single, double, atol=2e-4)
