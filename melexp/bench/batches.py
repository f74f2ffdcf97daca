"""Time batches in torch against the FFTs of the same batch and a plain Griffin-Lim."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from melexp.batch import BatchProblem
from melexp.bench._rows import Clock, Row, clip, interleaved, row
from melexp.methods import make_method
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform

SECONDS = 5
#: Number of iterations that a time is given for. All take the same time, so fewer are run.
COUNTED = 500


def rows(rounds: int) -> Iterator[Row]:
    """Measure seconds of audio per second of ADMM and of Griffin-Lim, for growing batches."""
    yield from _start(rounds)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield from _on("cpu", "one core", (1, 4, 16), 3, -(-rounds // 4))
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        yield from _on("cuda", torch.cuda.get_device_name(), (1, 4, 16, 64, 256), 100, rounds)
    else:
        print("no rows for cuda: torch finds no CUDA device", flush=True)


def _start(rounds: int) -> Iterator[Row]:
    """Time the start of a clip, which NumPy computes for every device."""
    transform, x = MelTransform.preset("paper"), clip(SECONDS)
    mel, method = transform(x), make_method("admm")

    def run() -> None:
        problem = Problem(mel, transform, length=len(x), engine="portable")
        method.init(problem, np.random.default_rng(0))

    speed = SECONDS / interleaved({"start": run}, rounds=rounds)["start"]
    yield row("torch: start of admm, NumPy", "1 clip", speed, "s of audio per s", speed, "itself")


def _on(device: str, machine: str, sizes: tuple[int, ...], n: int, rounds: int) -> Iterator[Row]:
    section = f"torch on {device} ({machine}), {COUNTED} iterations, {n} of them run"
    transform, x = MelTransform.preset("paper"), clip(SECONDS)
    problem = Problem(transform(x), transform, length=len(x), engine="portable")
    clock: Clock = "wall" if device == "cuda" else "CPU"
    for size in sizes:
        batch = BatchProblem([problem] * size, device=device)
        entries: dict[str, Callable[[], Any]] = {
            "rfft + irfft": _ffts(batch, n),
            "griffin-lim of torch.stft": _griffin_lim(batch, n),
        }
        for name in ("admm", "fgla"):
            method = make_method(name, magnitude="pinv")
            entries[name] = partial(method.advance, batch, batch.start(method, range(size)), n)
        finished = {name: partial(_finish, run, device) for name, run in entries.items()}
        times = interleaved(finished, rounds=rounds)
        for name, seconds in times.items():
            base = times["rfft + irfft"]
            speed = size * SECONDS / (seconds / n * COUNTED)
            # A ratio of times, as in the other sections.
            ratio = row("", "", seconds, "", base, "", clock=clock).ratio
            yield row(
                section, f"{size} clips, {name}", speed, "s of audio per s", base, "rfft + irfft",
                clock=clock,
            )._replace(ratio=ratio)  # fmt: skip
        ours = times["fgla"] / n * 1e3
        theirs = times["griffin-lim of torch.stft"] / n * 1e3
        yield row(
            f"{section}: an iteration", f"{size} clips, fgla", ours, "ms", theirs,
            "griffin-lim of torch.stft", clock=clock,
        )  # fmt: skip


def _finish(run: Callable[[], Any], device: str) -> None:
    run()
    if device == "cuda":
        torch.cuda.synchronize()


def _ffts(batch: BatchProblem, n: int) -> Callable[[], Any]:
    """Return a function that runs a real FFT and its inverse on every frame, n times."""
    size = (len(batch.problems), batch.stft.n_frames, batch.stft.n_fft)
    frames = torch.randn(*size, device=batch.device)
    spectra = torch.fft.rfft(frames)

    def run() -> None:
        for _ in range(n):
            torch.fft.rfft(frames)
            torch.fft.irfft(spectra)

    return run


def _griffin_lim(batch: BatchProblem, n: int, momentum: float = 0.99) -> Callable[[], Any]:
    """Return a function that runs the loop of torchaudio's `griffinlim` for centred frames."""
    t = batch.transform
    window = torch.hann_window(t.n_fft, device=batch.device)
    given = {"n_fft": t.n_fft, "hop_length": t.hop_length, "window": window}
    A = batch.filters.adjoint(batch.mel).contiguous()

    def run() -> None:
        angles = torch.rand_like(torch.complex(A, A))
        before = torch.zeros_like(angles)
        for _ in range(n):
            y = torch.istft(A * angles, length=batch.n_samples, **given)
            rebuilt = torch.stft(y, return_complex=True, **given)
            angles = rebuilt - momentum / (1 + momentum) * before
            angles = angles / (angles.abs() + 1e-16)
            before = rebuilt

    return run
