"""Tests of priors: the interface, the term in every joint method, and the shipped network."""

import re
import runpy
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.signal
from crashing import melexp_text

from melexp import MelTransform, Problem, invert, make_method, solve
from melexp.datasets import load_dataset
from melexp.metrics import score
from melexp.start import Guess, kl, network, pghi
from melexp.start import prior as priors
from melexp.start.harmonics import Combs

ROOT = Path(__file__).resolve().parents[1]
JOINT = ["admm", "admm_ramp", "ipalm", "ipalm_tuned"]


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return load_dataset("demo_speech")[0].load(22050)[:22050]


def problem_of(x: np.ndarray, transform: MelTransform, **options: Any) -> Problem:
    return Problem(transform(x), transform, length=len(x), **options)


def truth(x: np.ndarray) -> Any:
    def prior(magnitude: np.ndarray, problem: Problem) -> np.ndarray:
        return np.abs(problem.stft.forward(x / np.float32(problem.scale)))

    return prior


# Not `admm`: 20 iterations with its constant penalties gain nothing from a better start.
@pytest.mark.parametrize("name", ["admm_ramp", "ipalm", "ipalm_tuned"])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_a_held_truth_improves(name: str, power: float, x: np.ndarray) -> None:
    if power == 2 and "ipalm" in name:
        pytest.skip("ipalm has no power mels")
    transform = MelTransform.preset("paper", power=power)
    mel, found = transform(x), {}
    for weight in (None, 0.0, 0.5):
        params = {} if weight is None else {"prior": truth(x), "prior_weight": weight}
        # A random phase would outweigh the magnitude.
        params |= {"magnitude": "kl", "phase": "pghi"}
        y = invert(mel, transform, method=name, n_iter=20, length=len(x), **params)
        found[weight] = score("sc", x, y, transform=transform).value
    assert max(found[0.5], found[0.0]) < found[None] - 1  # in dB


@pytest.mark.parametrize("name", JOINT)
@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_engines_agree(name: str, power: float, x: np.ndarray) -> None:
    if power != 1 and "ipalm" in name:
        pytest.skip("ipalm has no power mels")
    transform = MelTransform.preset("paper", power=power, n_fft=512, hop_length=128, n_mels=40)

    def prior(magnitude: np.ndarray, problem: Problem) -> Guess:
        return Guess(magnitude * 1.1, np.full(magnitude.shape, 0.7, np.float32))

    options: dict[str, Any] = {"prior": prior, "prior_weight": 0.3, "frame_weights": 0.25}
    method = make_method(name, magnitude="kl", phase="pghi", **options).for_budget(6)
    signals = []
    for settings in ({"engine": "auto"}, {"engine": "portable"}, {"dtype": np.float64}):
        problem = problem_of(x, transform, **settings)
        (last,) = solve(method, problem, checkpoints=[6])
        signals.append(last.signal)
    for other in signals[1:]:
        assert np.linalg.norm(signals[0] - other) < 1e-3 * np.linalg.norm(other)


def test_the_term_is_the_proximal_step_that_it_is_said_to_be() -> None:
    """The pair step with the mean of both targets minimises the sum of the three terms."""
    from melexp.methods._guided import toward
    from melexp.methods._prox import magnitude_pair

    z, w, a, share, rho_x, rho_y = 0.8, 0.5, 1.1, 0.3, 0.2, 0.4
    x, y = magnitude_pair(np.array([z]), np.array([toward(w, a, share)]), rho_x=rho_x, rho_y=rho_y)

    def cost(x: Any, y: Any) -> Any:
        target = (1 - share) * (y - w) ** 2 + share * (y - a) ** 2
        return ((x - y) ** 2 + rho_x * (x - z) ** 2 + rho_y * target) / 2

    grid = np.linspace(0, 2, 401)
    every = cost(grid[:, None], grid[None])
    assert cost(x[0], y[0]) <= every.min()
    i, j = np.unravel_index(every.argmin(), every.shape)
    np.testing.assert_allclose([x[0], y[0]], [grid[i], grid[j]], atol=0.005)


def test_the_weight_falls_to_nothing_and_follows_the_number_of_iterations() -> None:
    method = make_method("admm_ramp", prior="shipped", prior_weight=0.4).for_budget(50)
    shares = [method.share(k) for k in range(1, 52)]
    assert (shares[0], shares[50]) == (0.4, 0)
    assert (np.diff(shares) < 0).all()


@pytest.mark.parametrize("name", JOINT)
def test_without_a_prior_parameters_and_state_are_those_of_old_results(name: str) -> None:
    method = make_method(name)
    assert not [key for key in method.parameters() if key.startswith("prior")]
    transform = MelTransform.preset("paper", n_fft=256, hop_length=64, n_mels=20)
    problem = problem_of(np.ones(4000, np.float32), transform)
    assert not hasattr(method.init(problem, np.random.default_rng(0)), "confidence")
    with_one = make_method(name, prior=kl).parameters()
    assert with_one["prior"] == "melexp.start.magnitude.kl"


def test_the_example_of_contributing_runs(x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    part = text[text.index("## A prior") :]
    code = re.search(r"```python\n(.*?)```", part, re.DOTALL).group(1)
    assert len([line for line in code.splitlines() if line.strip()]) <= 13

    class Tensor(np.ndarray):
        def numpy(self) -> np.ndarray:
            return np.asarray(self)

    stand_in = SimpleNamespace(
        no_grad=nullcontext, exp=np.exp, from_numpy=lambda a: a.view(Tensor), Tensor=Tensor
    )
    monkeypatch.setitem(sys.modules, "torch", stand_in)
    transform = MelTransform.preset("paper")
    names: dict[str, Any] = {
        "mel": transform(x), "transform": transform, "network": lambda log: 0.1 * log,
    }  # fmt: skip
    exec(code, names)
    assert np.isfinite(names["y"]).all()


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        (lambda A, p: A[:-1], "magnitude of shape"),
        (lambda A, p: -A - 1, "negative or not finite"),
        (lambda A, p: A * np.nan, "negative or not finite"),
        (lambda A, p: Guess(A, 1.5), "confidence of 1.5"),
        (lambda A, p: Guess(A, np.ones(3)), "confidence of shape"),
        (lambda A, p: Guess(A, 1.0, A), "corrections of shape"),
        ("nothing", "prior must be 'shipped', a callable or None; got 'nothing'"),
    ],
)
def test_wrong_priors_are_explained(prior: Any, said: str, x: np.ndarray) -> None:
    transform = MelTransform.preset("paper")
    with pytest.raises(ValueError, match=said):
        invert(transform(x), transform, n_iter=1, prior=prior)


@pytest.mark.parametrize(
    "params", [{"prior_weight": 1.5}, {"prior_weight": -0.1}, {"prior_iterations": 0}]
)
def test_parameters_out_of_range(params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(params))):
        make_method("admm", **params)


def test_a_method_without_a_magnitude_step_has_no_prior() -> None:
    with pytest.raises(ValueError, match="no parameter prior"):
        make_method("fgla", prior="shipped")


# --- The shipped prior --------------------------------------------------------------------------


def test_the_network_equals_its_transcription() -> None:
    rng = np.random.default_rng(0)
    weights = dict(priors._weights())
    planes = rng.standard_normal((network.N_PLANES, 30, 9)).astype(np.float32)
    out = network.forward(weights, planes)

    def layer(name: str, h: np.ndarray, dilation: int) -> np.ndarray:
        W, bias = weights[f"{name}.weight"].astype(float), weights[f"{name}.bias"]
        spread = np.zeros((*W.shape[:2], (W.shape[2] - 1) * dilation + 1, W.shape[3]))
        spread[:, :, ::dilation] = W
        sums = [
            sum(scipy.signal.correlate(c, k, mode="same") for c, k in zip(h, kernel, strict=True))
            for kernel in spread
        ]
        return np.stack(sums) + bias[:, None, None]

    padded = np.pad(planes.astype(float), ((0, 0), (0, 2), (0, 0)))
    h = padded.reshape(network.N_PLANES, 8, 4, 9).transpose(0, 2, 1, 3).reshape(-1, 8, 9)
    h = layer("stem", h, 1)
    for n, dilation in enumerate(weights["dilations"]):
        h = h + layer(f"blocks.{n}.out", np.maximum(layer(f"blocks.{n}.conv", h, dilation), 0), 1)
    h = layer("head", h, 1).reshape(network.N_OUT, 4, 8, 9).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(out, h.reshape(network.N_OUT, 32, 9)[:, :30], atol=2e-3)


def comb_of(A: np.ndarray, transform: MelTransform, *, mean: float) -> np.ndarray:
    """Return the comb of a magnitude around a flat mean."""
    return Combs.of(transform).expected(A, np.full_like(A, mean), network.level_of(A))


@pytest.mark.parametrize("pitch", [80.0, 133.3, 421.0])
def test_the_comb_continues_the_harmonics(pitch: float) -> None:
    transform = MelTransform.preset("paper")
    frequency = transform.sr / transform.n_fft * np.arange(transform.n_fft // 2 + 1)[:, None]
    comb = np.cos(2 * np.pi * frequency / pitch)
    A = np.where(frequency < 1500, np.exp(1.5 * comb), 1).astype(np.float32)  # flat above
    found = comb_of(A, transform, mean=1)
    part = ((frequency > 2000) & (frequency < 2500)).ravel()
    assert np.corrcoef(found[part, 0], comb[part, 0])[0, 1] > 0.95
    np.testing.assert_allclose(comb_of(8 * A, transform, mean=8), found, atol=1e-4)


def test_the_comb_is_flat_without_harmonics() -> None:
    transform = MelTransform.preset("paper")
    A = np.ones((transform.n_fft // 2 + 1, 3), np.float32)
    found = comb_of(A, transform, mean=1)
    assert np.abs(found[200:]).max() < 0.1
    assert not np.isnan(comb_of(0 * A, transform, mean=0)).any()


def test_the_shipped_weights_are_small() -> None:
    assert priors.WEIGHTS.stat().st_size < 4e6
    assert sum(w.size for w in priors._weights().values()) < 1e6


@pytest.mark.parametrize("preset", [pytest.param("librosa", marks=pytest.mark.long), "torchaudio"])
def test_the_shipped_prior_is_nearer_to_the_truth(preset: str) -> None:
    transform = MelTransform.preset(preset)
    before, after = [], []
    for clip in load_dataset("demo_speech")[:4]:
        x = clip.load(round(transform.sr))
        problem = problem_of(x, transform)
        A = priors.magnitude_of(kl(problem), transform.power)
        true = truth(x)(A, problem)
        before.append(np.linalg.norm(A - true))
        after.append(np.linalg.norm(priors.of_network(A, problem).magnitude - true))
    assert sum(after) < 0.98 * sum(before)


def test_the_level_does_not_matter(x: np.ndarray) -> None:
    transform = MelTransform.preset("paper", hop_length=512)
    quiet, loud = (
        invert(transform(x) * np.float32(g), transform, n_iter=3, prior="shipped") for g in (1, 8)
    )
    np.testing.assert_allclose(loud, 8 * quiet, rtol=1e-4, atol=1e-4 * np.abs(loud).max())


def test_silence_passes(x: np.ndarray) -> None:
    transform = MelTransform.preset("paper", hop_length=512)
    assert not invert(transform(0 * x), transform, n_iter=2, prior="shipped").any()


def test_corrections_that_do_not_help_are_dropped(x: np.ndarray) -> None:
    transform = MelTransform.preset("paper")
    problem = problem_of(x, transform)
    A = truth(x)(kl(problem), problem)
    wrong = np.random.default_rng(0).uniform(-2, 2, (2, *A.shape)).astype(A.dtype)
    without, inconsistency = priors.with_better_phase(priors.Guess(A, 1.0, wrong), problem)
    assert without.corrections is None
    assert without.magnitude is A
    assert inconsistency < priors.start_errors(A, wrong, problem)[0]
    none = priors.Guess(A, 1.0, 0 * wrong)  # no better than no corrections
    assert priors.with_better_phase(none, problem)[0].corrections is None


def test_the_shipped_prior_is_left_out_where_it_does_not_help(
    x: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    transform = MelTransform.preset("paper")
    problem = problem_of(x, transform)
    A = kl(problem)
    noise = np.random.default_rng(0).uniform(0, 1, A.shape).astype(A.dtype)
    monkeypatch.setattr(priors, "of_network", lambda *_: priors.Guess(noise))
    assert priors.shipped(A, problem).magnitude is A
    plain, guided = (invert(transform(x), transform, n_iter=3, prior=p) for p in (None, "shipped"))
    np.testing.assert_allclose(plain, guided, atol=1e-4 * np.abs(plain).max())


def test_a_refitted_magnitude_fits_the_mel(x: np.ndarray) -> None:
    problem = problem_of(x, MelTransform.preset("librosa"))
    noise = np.random.default_rng(0).uniform(0, 1, (1025, problem.stft.n_frames))

    def misfit(A: np.ndarray) -> float:
        return float(np.linalg.norm(problem.mel - problem.filters.apply(A**2)))

    fitted = priors.refitted(noise.astype(np.float32), problem, n_iter=20)
    assert misfit(fitted) < 0.1 * misfit(noise)


def test_a_guess_that_would_not_help_is_dropped(x: np.ndarray) -> None:
    problem = problem_of(x, MelTransform.preset("paper"))
    A = kl(problem)
    noisy = Guess(A * np.random.default_rng(0).uniform(0, 2, A.shape).astype(np.float32))
    kept = priors.guarded(noisy, A, problem)
    assert kept.magnitude is A
    assert kept.confidence == 0
    right = Guess(truth(x)(A, problem))
    assert priors.guarded(right, A, problem) is right


def test_corrections_of_zero_change_no_phase(x: np.ndarray) -> None:
    problem = problem_of(x, MelTransform.preset("paper"))
    A = kl(problem)
    plain, shifted = (
        pghi(A, problem, np.random.default_rng(0), corrections=c)
        for c in (None, np.zeros((2, *A.shape), np.float32))
    )
    np.testing.assert_allclose(np.exp(1j * plain), np.exp(1j * shifted), atol=1e-4)


def test_the_command_line_takes_it(tmp_path: Path) -> None:
    transform = MelTransform.preset("paper", hop_length=512)
    np.save(tmp_path / "a.npy", transform(load_dataset("demo_speech")[0].load(22050)[:8000]))

    def called(prior: str) -> subprocess.CompletedProcess[str]:
        options = ["--preset", "paper", "--hop-length", "512", "--n-iter", "3", "--prior", prior]
        return melexp_text("invert", "a.npy", f"{prior}.wav", *options, cwd=tmp_path)

    assert called("shipped").returncode == called("none").returncode == 0
    assert (tmp_path / "shipped.wav").read_bytes() != (tmp_path / "none.wav").read_bytes()
    wrong = called("other")
    assert wrong.returncode == 2
    assert "--prior must be shipped or none; got 'other'" in wrong.stderr


def test_the_experiment_pairs_clips_and_leaves_out_levels_that_are_lost() -> None:
    module = runpy.run_path(str(ROOT / "experiments" / "prior.py"))
    ends = {"mel.n_fft": 2048.0, "mel.hop_length": 512.0, "mel.n_mels": 128.0, "mel.power": 2.0}
    values = {"pesq": (3.0, 0.1), "sc": (-10.0, 0.1)}
    rows = [
        ends
        | {"mel.compression": compression, "dataset": "d", "clip": str(n), "seed": 0}
        | {"iteration": 100, "metric": metric, "prior": prior}
        | {"value": mean + n + (step * (n - 1) if prior else 0)}
        for compression in (None, '{"unit": "power_db", "ref": "max"}')
        for metric, (mean, step) in values.items()
        for prior in (None, "shipped")
        for n in range(4)
    ]
    found = module["changes"](pd.DataFrame(rows)).set_index(["front_end", "metric"])
    plain, relative = "2048 / 512, 128 power", "2048 / 512, 128 power, power_db"
    assert set(found.index) == {(plain, "pesq"), (plain, "sc"), (relative, "pesq")}
    for metric, worst, better in (("pesq", -0.1, 0.5), ("sc", 0.2, 0.25)):
        row = found.loc[plain, metric]
        assert row["change"] == pytest.approx(0.05)
        assert row["worst"] == pytest.approx(worst)
        assert row["better"] == better
    text = module["draw"](pd.DataFrame(rows)).texts["prior.md"]
    assert "| 2048 / 512, 128 power | d | 4 | 4.50 | +0.05 [" in text
