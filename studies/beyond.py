"""Limits of the quality, and attempts to raise them: makes the tables of docs/beyond.md."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd

from melexp.datasets import load_dataset
from melexp.methods import make_method, unit_phase
from melexp.methods._prox import magnitude_pair
from melexp.methods.admm_ramp import ADMMRamp
from melexp.metrics import score
from melexp.problem import Problem
from melexp.results.statistics import mean_interval
from melexp.start import kl, pghi, start
from melexp.start.magnitude import _convolved, main_lobe
from melexp.transforms.mel import MelTransform

METRICS = ("scm", "sc", "pesq", "estoi")
Run = tuple[str, np.ndarray]


def phasor(angle: np.ndarray) -> np.ndarray:
    return np.exp(1j * angle)


def from_start(p: Problem, n: int, Y: np.ndarray, unit: np.ndarray, name: str = "") -> np.ndarray:
    """Return the waveform of a method after n iterations from a magnitude and a phase factor."""
    method = make_method(name) if name else ADMMRamp(ramp=n)
    X = (Y * unit).astype(np.result_type(p.dtype, np.complex64))
    state = method.begin(p, Y.astype(p.dtype), X)
    return method.signal(p, method.advance(p, state, n))


def named(p: Problem, n: int, name: str, **params: object) -> np.ndarray:
    """Return the waveform of a method after n iterations from its default start."""
    method = make_method(name, **params)
    p = p.weighted(method.frame_weights)
    return method.signal(p, method.advance(p, method.init(p, np.random.default_rng(0)), n))


def limits(p: Problem, x: np.ndarray, n: int) -> Iterator[Run]:
    """Start from parts of the true spectrogram, to separate the errors of magnitude and phase."""
    rng = np.random.default_rng(0)
    X = p.stft.forward((x / p.scale).astype(p.dtype))
    A, true_phase, Y = np.abs(X), unit_phase(X), kl(p)
    guessed = phasor(pghi(A, p, rng))
    yield "admm_ramp, no truth", named(p, n, "admm_ramp", ramp=n)
    yield "admm_ramp from the true magnitude", from_start(p, n, A, guessed)
    yield "admm_ramp from the true phase", from_start(p, n, Y, true_phase)
    yield "admm_ramp from both", from_start(p, n, A, true_phase)
    yield "true magnitude kept, ADMM-GLA from pghi", from_start(p, n, A, guessed, "admm_gla")
    yield "true magnitude kept, fast GLA from pghi", from_start(p, n, A, guessed, "fgla")
    yield "kl magnitude and true phase, no iteration", p.waveform(Y * true_phase)


def starts(p: Problem, x: np.ndarray, n: int) -> Iterator[Run]:
    """Try the new start with every method, and each of its parts alone."""
    for magnitude, phase in (("pinv", "random"), ("pinv", "pghi"), ("nnls", "pghi")):
        params = {"magnitude": magnitude, "phase": phase}
        yield f"admm_ramp, {magnitude} + {phase}", named(p, n, "admm_ramp", ramp=n, **params)
    for phase in ("random", "zero", "spsi"):
        yield f"admm_ramp, kl + {phase}", named(p, n, "admm_ramp", ramp=n, phase=phase)
    both = {"magnitude": "kl", "phase": "pghi"}
    tuned = {"lam": 20000.0, "inertia": 0.99}
    for name, params in (("admm", {}), ("ipalm", {}), ("ipalm", tuned)):
        label = name + (", tuned" if params else "")
        yield f"{label}, its default start", named(p, n, name, **params)
        yield f"{label}, kl + pghi", named(p, n, name, **params, **both)
    for name in ("fgla", "admm_gla"):
        yield f"{name}, its default start", named(p, n, name)
        yield f"{name}, nnls + pghi", named(p, n, name, phase="pghi")
        yield f"{name}, kl + pghi", named(p, n, name, **both)


def faint(p: Problem, x: np.ndarray, n: int) -> Iterator[Run]:
    """Vary the threshold below the largest bin under which PGHI leaves the phase random."""
    Y = kl(p)
    for tol in (1e-6, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2):
        unit = phasor(pghi(Y, p, np.random.default_rng(0), tol=tol))
        yield f"random below {20 * np.log10(tol):.0f} dB", from_start(p, n, Y, unit)


def schedules(p: Problem, x: np.ndarray, n: int) -> Iterator[Run]:
    """Vary the first and the last penalties."""
    yield "0.001, 0.01 to 0.3, 0.3", named(p, n, "admm_ramp", ramp=n)
    for last in ((0.1, 0.3), (1.0, 0.3), (0.3, 0.1), (0.3, 1.0)):
        params = {"rho_x_last": last[0], "rho_y_last": last[1]}
        yield f"to {last[0]}, {last[1]}", named(p, n, "admm_ramp", ramp=n, **params)
    for first in ((0.0003, 0.01), (0.003, 0.01), (0.001, 0.003), (0.001, 0.03)):
        params = {"rho_x": first[0], "rho_y": first[1]}
        yield f"from {first[0]}, {first[1]}", named(p, n, "admm_ramp", ramp=n, **params)
    yield "constant 0.3, 0.3", named(p, n, "admm_ramp", ramp=1)
    for ratio in (5e3, 5e5):
        yield f"ratio {ratio:g}", named(p, n, "admm_ramp", ramp=n, ratio=ratio)


def ideas(p: Problem, x: np.ndarray, n: int) -> Iterator[Run]:
    """Try frame weights, a magnitude smooth in time, a guided phase and several starts."""
    rng = np.random.default_rng(0)
    Y, X = start(p, rng, magnitude="kl", phase="pghi")
    yield "admm_ramp", named(p, n, "admm_ramp", ramp=n)
    for a in (0.125, 0.25, 0.5):
        yield f"frame weights, {a}", named(p, n, "admm_ramp", ramp=n, frame_weights=a)
    for side in (0.1, 0.25, 0.5):
        smooth = smooth_kl(p, side)
        unit = phasor(pghi(smooth, p, rng))
        yield f"kl smooth in time, ({side}, 1, {side})", from_start(p, n, smooth, unit)
    for pull in (0.1, 0.5):
        yield f"phase pulled to its start by {pull}", guided(p, Y, X, n, pull)
    runs = []
    for seed in range(8):
        noise = 0.3 * np.random.default_rng(seed).standard_normal(Y.shape) if seed else 0
        runs.append(from_start(p, n, Y, unit_phase(X) * phasor(noise)))
    yield "8 starts, smallest mel residual", min(runs, key=p.misfit)
    pesq = [score("pesq", x, y, transform=p.transform).value for y in runs]
    yield "8 starts, best PESQ (needs the original)", runs[int(np.argmax(pesq))]


def smooth_kl(p: Problem, side: float, n_iter: int = 30) -> np.ndarray:
    """Compute `kl` with the kernel (side, 1, side) along time in addition to the main lobe."""
    E, M = p.filters, p.mel
    along_f, along_t = main_lobe(p.stft.window).astype(p.dtype), np.array([side, 1, side], p.dtype)

    def spread(a: np.ndarray) -> np.ndarray:
        return _convolved(_convolved(a, along_f).T, along_t).T

    tiny = np.finfo(p.dtype).tiny
    a = np.maximum(E.adjoint(E.solver(1e-9 * E.norm_squared).solve(M)), p.dtype.type(1e-6))
    total = spread(E.adjoint(np.ones_like(M)))
    for _ in range(n_iter):
        ratio = M / np.maximum(E.apply(spread(a)), tiny)
        a = a * spread(E.adjoint(ratio)) / np.maximum(total, tiny)
    return np.where(E.weights.sum(axis=0)[:, None] > 0, spread(a), 0).astype(p.dtype)


def guided(p: Problem, Y: np.ndarray, X: np.ndarray, n: int, pull: float) -> np.ndarray:
    """Pull the phase towards that of the start in the first quarter, with decreasing strength."""
    method, guide = ADMMRamp(ramp=n), unit_phase(X)
    E, solver = p.filters, method.mel_solver(p)
    state = method.begin(p, Y, X)
    for k in range(1, n + 1):
        weight = pull * max(0.0, 1 - (k - 1) / (n // 4))
        if weight == 0:
            state = method.step(p, state)
            continue
        rho_x, rho_y = method.penalties(k)
        P, R = state.P, state.R
        Z = p.stft.project(P)
        d = E.adjoint(solver.solve(p.mel - E.apply(R)))
        zeta = 2 * Z - P
        size, y = magnitude_pair(np.abs(zeta), R + 2 * d, rho_x=rho_x, rho_y=rho_y)
        unit = unit_phase(unit_phase(zeta) + p.dtype.type(weight) * guide)
        state = dataclasses.replace(state, iteration=k, P=P + size * unit - Z, R=y - d)
    return method.signal(p, state)


def power(p: Problem, x: np.ndarray, n: int) -> Iterator[Run]:
    """Vary the weight and the penalties of `admm` and `admm_ramp` for power mels."""
    both = {"magnitude": "kl", "phase": "pghi"}
    yield "admm, its default start", named(p, n, "admm")
    yield "admm, kl + pghi", named(p, n, "admm", **both)
    for lam in (500.0, 50000.0):
        yield f"the same, lam {lam:g}", named(p, n, "admm", lam=lam, **both)
    for rho in (0.02, 0.05, 0.3, 1.0):
        yield f"the same, rho {rho}", named(p, n, "admm", rho=rho, **both)
    yield "admm_ramp", named(p, n, "admm_ramp", ramp=n)
    for last in ((0.1, 0.3), (0.3, 0.1), (0.1, 0.1)):
        params = {"rho_x_last": last[0], "rho_y_last": last[1]}
        yield f"the same, to {last[0]}, {last[1]}", named(p, n, "admm_ramp", ramp=n, **params)
    for first in ((0.01, 0.01), (0.01, 0.03)):
        params = {"rho_x": first[0], "rho_y": first[1]}
        yield f"the same, from {first[0]}, {first[1]}", named(p, n, "admm_ramp", ramp=n, **params)


def layouts(p: Problem, x: np.ndarray, n: int) -> Iterator[Run]:
    """Compare `admm` at 5 n iterations with `admm_ramp` at n and at 5 n."""
    yield f"admm, {5 * n}", named(p, 5 * n, "admm")
    yield f"admm_ramp, {n}", named(p, n, "admm_ramp", ramp=n)
    yield f"admm_ramp, {5 * n}", named(p, 5 * n, "admm_ramp", ramp=5 * n)


#: Layouts of the study `layouts`.
LAYOUTS = {
    "paper": MelTransform.preset("paper"),
    "16k": MelTransform.preset("paper", sr=16000, n_fft=512, hop_length=128, n_mels=64),
    "24k": MelTransform.preset(
        "paper", sr=24000, n_fft=1024, hop_length=256, n_mels=100, fmax=12000
    ),
    "44k": MelTransform.preset(
        "paper", sr=44100, n_fft=2048, hop_length=512, n_mels=128, fmax=16000
    ),
    "overlap": MelTransform.preset("paper", hop_length=128),
    "htk": MelTransform.preset("paper", htk=True),
    "power": MelTransform.preset("paper", power=2.0),
}

STUDIES = {
    "layouts": layouts,
    "limits": limits,
    "starts": starts,
    "faint": faint,
    "schedules": schedules,
    "ideas": ideas,
    "power": power,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--layout", choices=LAYOUTS, default="paper")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--every", type=int, default=2, help="use every n-th clip")
    parser.add_argument(
        "--seconds", type=float, default=6.0, help="use the first seconds of each clip"
    )
    args = parser.parse_args()
    transform, rows = LAYOUTS["power" if args.study == "power" else args.layout], []
    clips = load_dataset("ljspeech")[:: args.every]
    for clip in clips:
        x = clip.load(int(transform.sr))[: int(args.seconds * transform.sr)]
        problem = Problem(transform(x), transform, length=len(x))
        problem.waveform(problem.stft.forward(x))  # build the engine's tables before timing
        runs, began = STUDIES[args.study](problem, x, args.iterations), time.perf_counter()
        for name, y in runs:
            seconds = time.perf_counter() - began
            values = {m: score(m, x, y, transform=transform).value for m in METRICS}
            rows.append({"run": name, "clip": clip.id, **values, "seconds": seconds})
            began = time.perf_counter()
    means = pd.DataFrame(rows).groupby("run", sort=False)[list(METRICS)].mean()
    print(f"{len(clips)} clips, {args.iterations} iterations\n")
    print("| run | SCM dB | SC dB | PESQ | ESTOI |\n| --- | ---: | ---: | ---: | ---: |")
    for row in means.itertuples():
        print(f"| {row.Index} | {row.scm:.1f} | {row.sc:.1f} | {row.pesq:.3f} | {row.estoi:.4f} |")
    if args.study == "layouts":
        print_gains(pd.DataFrame(rows))


def print_gains(table: pd.DataFrame) -> None:
    """Print each run against the first, paired by clip: means with 95 % intervals, and time."""
    runs = list(table["run"].unique())
    wide = table.pivot(index="clip", columns="run")
    for run in runs[1:]:
        shares = wide["seconds"][run] / wide["seconds"][runs[0]]
        print(f"\n{run}, against {runs[0]}: {shares.median():.1%} of the time (median of clips)")
        for metric in METRICS:
            mean, low, high = mean_interval((wide[metric][run] - wide[metric][runs[0]]).to_numpy())
            print(f"{metric}: {mean:+.4f} [{low:+.4f}, {high:+.4f}]")


if __name__ == "__main__":
    main()
