"""Train a small network as a magnitude prior, and try it as a start and as a term of ADMM.

    python studies/prior.py train prior.npz      # needs torch; takes minutes on 2 cores
    python studies/prior.py try prior.npz        # needs only NumPy; the tables of docs/beyond.md

The input of the network is the log mel-spectrogram of a frame and its neighbours. Its output is a
correction of the `kl` magnitude in each bin. The training set has every second clip of LJ Speech
(the others are held out), the embedded clips, and resampled, shifted and filtered copies of both.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.signal
import soxr
from joblib import Parallel, delayed

from melexp.datasets import Clip, load_dataset
from melexp.methods import unit_phase
from melexp.methods._prox import magnitude_pair
from melexp.methods.admm_ramp import ADMMRamp
from melexp.metrics import score
from melexp.problem import Problem
from melexp.start import kl, pghi, start
from melexp.transforms.mel import MelTransform

TRANSFORM = MelTransform.preset("paper")
#: Number of context frames on either side, and of units in each of the two hidden layers.
CONTEXT, HIDDEN = 4, 384
#: Lower limit of magnitudes and mels, relative to the largest.
FLOOR = 1e-5
SPEEDS = (0.85, 1.0, 1.0, 1.15)


def features(mel: np.ndarray) -> np.ndarray:
    """Return the input of the network [shape=(n_frames, (2 CONTEXT + 1) n_mels + 1)].

    It is the logarithm of the mel, whose maximum is 1, minus its mean over the context, and this
    mean.
    """
    log = np.log(np.maximum(mel, FLOOR)).T
    padded = np.pad(log, ((CONTEXT, CONTEXT), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * CONTEXT + 1, axis=0)
    seen = windows.transpose(0, 2, 1).reshape(len(log), -1)
    level = seen.mean(axis=1, keepdims=True)
    return np.hstack([(seen - level) / 2, level / 4 + 1]).astype(np.float32)


def apply(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Return the output of the network, in nepers [shape=(n_bins, n_frames)]."""
    for layer in range(3):
        x = x @ weights[f"{2 * layer}.weight"].T + weights[f"{2 * layer}.bias"]
        if layer < 2:
            x = np.maximum(x, 0)
    return np.clip(x, -3, 3).T


def pairs(clip: Clip, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, `kl` and true magnitudes of a clip and its copies, frames first."""
    rng = np.random.default_rng([seed, int(clip.sha256[:8], 16)])
    out = []
    for speed in SPEEDS:
        y = soxr.resample(clip.load(22050), 22050, 22050 / speed)[rng.integers(256) :]
        if len(out) != 1:  # a broad slope or bump of up to 9 dB
            taps = scipy.signal.firwin2(
                129, np.linspace(0, 1, 6), 10 ** (rng.uniform(-9, 9, 6) / 20)
            )
            y = scipy.signal.fftconvolve(y, taps, mode="same")
        y = y.astype(np.float32)
        p = Problem(TRANSFORM(y), TRANSFORM, length=len(y))
        A = np.abs(p.stft.forward(y / np.float32(p.scale)))
        out.append((features(p.mel), kl(p).T, A.T))
    return tuple(np.concatenate(part).astype(np.float32) for part in zip(*out, strict=True))


def train(path: Path, *, seed: int = 0, epochs: int = 12) -> None:
    """Train the network and store its weights."""
    import torch

    torch.manual_seed(seed)
    clips = load_dataset("ljspeech")[::2] + load_dataset("demo_speech")[:8]
    clips += load_dataset("demo_foley")
    data = Parallel(2)(delayed(pairs)(clip, seed) for clip in clips)
    x, start_, truth = (torch.from_numpy(np.concatenate(part)) for part in zip(*data, strict=True))
    voices = load_dataset("demo_speech")[8:]
    parts = zip(*(pairs(c, 1) for c in voices), strict=True)
    check = [torch.from_numpy(np.concatenate(part)) for part in parts]
    n_bins = truth.shape[1]
    model = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN, HIDDEN),
        torch.nn.ReLU(),
        torch.nn.Linear(HIDDEN, n_bins),
    )
    torch.nn.init.zeros_(model[4].weight)
    torch.nn.init.zeros_(model[4].bias)
    print(f"{len(x)} frames, {sum(p.numel() for p in model.parameters())} parameters")
    covered = (start_.amax(0) > 0).float()

    def loss(x, start_, truth):
        guess = (start_ + FLOOR) * torch.exp(model(x).clamp(-3, 3))
        a, b = guess**0.4, (truth + FLOOR) ** 0.4
        fine = ((a - b).abs() * covered).sum(1) / (b * covered).sum(1)
        coarse = ((guess - truth) ** 2 * covered).sum(1) / (truth**2 * covered).sum(1).clamp_min(
            1e-8
        )
        return fine.mean() + coarse.clamp_max(2).mean()

    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    steps = epochs * (len(x) // 512)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps)
    with torch.no_grad():
        print(f"kl alone: {loss(*check):.4f}")
    for epoch in range(epochs):
        total = 0.0
        order = torch.randperm(len(x))
        for i in range(len(x) // 512):
            batch = order[512 * i : 512 * (i + 1)]
            optimiser.zero_grad()
            noisy = x[batch] + 0.02 * torch.randn(len(batch), x.shape[1])
            value = loss(noisy, start_[batch], truth[batch])
            value.backward()
            optimiser.step()
            schedule.step()
            total += float(value)
        with torch.no_grad():
            print(
                f"epoch {epoch}: {total / (len(x) // 512):.4f}, held {loss(*check):.4f}", flush=True
            )
    np.savez(path, **{k: v.numpy() for k, v in model.state_dict().items()})


def held(p: Problem, Y: np.ndarray, X: np.ndarray, n: int, A: np.ndarray, mu: float) -> np.ndarray:
    """Run admm_ramp with the term mu/2 ||Y - A||^2, which joins the penalty of W = Y."""
    method = ADMMRamp(ramp=n)
    E, solver = p.filters, method.mel_solver(p)
    state = method.begin(p, Y, X)
    for k in range(1, n + 1):  # here, because the update of the method has no such term
        rho_x, rho_y = method.penalties(k)
        Z = p.stft.project(state.P)
        d = E.adjoint(solver.solve(p.mel - E.apply(state.R)))
        zeta = 2 * Z - state.P
        size = np.abs(zeta)
        w = (rho_y * (state.R + 2 * d) + mu * A) / (rho_y + mu)
        x, y = magnitude_pair(size, w.astype(p.dtype), rho_x=rho_x, rho_y=rho_y + mu)
        P = state.P + x * unit_phase(zeta, size) - Z
        state = dataclasses.replace(state, iteration=k, P=P, R=y - d)
    return method.signal(p, state)


def one(clip: Clip, weights: dict[str, np.ndarray], n: int, speech: bool) -> pd.DataFrame:
    """Score the first 6 s of a clip, with and without the network."""
    x = clip.load(22050)[: 6 * 22050]
    p = Problem(TRANSFORM(x), TRANSFORM, length=len(x))
    Y, X = start(p, np.random.default_rng(0), magnitude="kl", phase="pghi")
    A = ((Y + FLOOR) * np.exp(apply(weights, features(p.mel)))).astype(p.dtype)
    A[Y == 0] = 0
    X_A = (A * np.exp(1j * pghi(A, p, np.random.default_rng(0)))).astype(np.complex64)
    runs = {"admm_ramp": held(p, Y, X, n, Y, 0.0), "started there": held(p, A, X_A, n, A, 0.0)}
    for mu in (0.01, 0.03, 0.1):
        runs[f"started there and held, mu {mu}"] = held(p, A, X_A, n, A, mu)
    true = np.abs(p.stft.forward(x / np.float32(p.scale)))
    runs["started there and held, the true magnitude, mu 0.1"] = held(
        p, true, (true * unit_phase(X)).astype(np.complex64), n, true, 0.1
    )

    def off(B: np.ndarray) -> float:
        return 20 * np.log10(np.linalg.norm(true - B) / np.linalg.norm(true))

    metrics = ("scm", "sc", "pesq", "estoi") if speech else ("scm", "sc")
    rows = [
        {"run": run, "clip": clip.id}
        | {m: score(m, x, y, transform=TRANSFORM).value for m in metrics}
        | {"off": off(Y if run == "admm_ramp" else A)}
        for run, y in runs.items()
    ]
    return pd.DataFrame(rows)


def attempt(path: Path, n: int) -> None:
    """Print the means on held-out speech and on foley, and the worst change of PESQ."""
    with np.load(path, allow_pickle=False) as stored:
        weights = dict(stored)
    sets = {"ljspeech": load_dataset("ljspeech")[1::4], "esc10": load_dataset("esc10")[::10]}
    for name, clips in sets.items():
        parts = Parallel(2)(delayed(one)(c, weights, n, name == "ljspeech") for c in clips)
        table = pd.concat(parts)
        means = table.drop(columns="clip").groupby("run", sort=False).mean()
        if name == "ljspeech":
            pesq = table.pivot(index="clip", columns="run", values="pesq")
            means["worst"] = pesq.sub(pesq["admm_ramp"], axis=0).min()
        print(f"{name}, {len(clips)} clips, {n} iterations")
        print(means.round(4).to_string(), flush=True)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=["train", "try"])
    parser.add_argument("weights", type=Path)
    arguments = parser.parse_args()
    if arguments.action == "train":
        train(arguments.weights)
    else:
        attempt(arguments.weights, 100)


if __name__ == "__main__":
    main()
