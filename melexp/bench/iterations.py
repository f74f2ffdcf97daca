"""Time of an iteration of every method in both engines, relative to FFTs and to librosa."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import scipy.fft

from melexp.bench._rows import Row, clip, interleaved, row
from melexp.methods import make_method
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform

METHODS = ("admm", "ipalm", "gla", "fgla", "admm_gla")


def per_iteration(
    name: str, transform: MelTransform, x: np.ndarray, engine: str, n: int
) -> Callable[[], Any]:
    """Return a function that runs `n` iterations of a method from its start."""
    problem = Problem(transform(x), transform, length=len(x), engine=engine)
    method = make_method(name)
    state = method.init(problem, np.random.default_rng(0))
    return lambda: method.advance(problem, state, n)


def floors(transform: MelTransform, n_frames: int) -> dict[str, Callable[[], Any]]:
    """Return functions that run a real FFT and its inverse on every frame, by library."""
    frames = np.random.default_rng(0).standard_normal((n_frames, transform.n_fft))
    frames = frames.astype(np.float32)
    spectra = scipy.fft.rfft(frames)
    known = {"scipy.fft": lambda: (scipy.fft.rfft(frames), scipy.fft.irfft(spectra))}
    if find_spec("mkl_fft"):
        import mkl_fft

        known["mkl_fft"] = lambda: (mkl_fft.rfft(frames), mkl_fft.irfft(spectra))
    return known


#: Transforms whose iterations are timed, each with its methods.
LAYOUTS: dict[str, tuple[MelTransform, Sequence[str]]] = {
    "n_fft 512": (MelTransform.preset("paper", n_fft=512, hop_length=128), ("admm",)),
    "n_fft 1024": (MelTransform.preset("paper"), METHODS),
    "n_fft 2048": (MelTransform.preset("paper", n_fft=2048, hop_length=512), ("admm",)),
    "n_fft 1024, power mels": (MelTransform.preset("paper", power=2.0), ("admm",)),
}
#: Number of timed iterations of each engine.
ENGINES = {"fast": 50, "portable": 4}


def rows(
    rounds: int, *, layouts: Sequence[str] = tuple(LAYOUTS), engines: Sequence[str] = tuple(ENGINES)
) -> Iterator[Row]:
    """Measure milliseconds per iteration, of every method in both engines, against the floor."""
    import librosa

    x = clip(5.14)
    for layout in layouts:
        transform, methods = LAYOUTS[layout]
        section = f"iteration, {layout}, 5.1 s"
        floor = floors(transform, 1 + len(x) // transform.hop_length)
        entries = dict(floor)
        counts = {}
        for name in methods:
            for engine in engines:
                n = ENGINES[engine]
                # Twice: a run of one iteration gives the fixed cost of a call, to subtract.
                for k in (1, n + 1):
                    entries[f"{name}|{engine}|{k}"] = per_iteration(name, transform, x, engine, k)
                counts[name, engine] = n
        if methods == METHODS and "portable" in engines:
            A = np.abs(transform.stft(len(x)).forward(x))
            for k in (1, 5):
                entries[f"griffinlim|librosa|{k}"] = partial(
                    librosa.griffinlim,
                    A,
                    n_iter=k,
                    hop_length=transform.hop_length,
                    random_state=0,
                )
            counts["griffinlim", "librosa"] = 4
        times = interleaved(entries, rounds=rounds)
        best = "mkl_fft" if "mkl_fft" in floor else "scipy.fft"
        base = times[best] * 1e3
        for name in floor:
            yield row(section, f"{name} rfft + irfft", times[name] * 1e3, "ms", base, best)
        for (name, engine), n in counts.items():
            each = (times[f"{name}|{engine}|{n + 1}"] - times[f"{name}|{engine}|1"]) / n * 1e3
            yield row(section, f"{name}, {engine}", each, "ms", base, best)
            if engine == "librosa":
                fast = (times["admm|fast|51"] - times["admm|fast|1"]) / 50 * 1e3
                yield row(section, "admm, fast", fast, "ms", each, "librosa.griffinlim")


def preset_rows(rounds: int, *, presets: Sequence[str] | None = None) -> Iterator[Row]:
    """Measure milliseconds per iteration of `admm` on 5 s, for every preset, against the floor."""
    for name in MelTransform.presets() if presets is None else presets:
        transform = MelTransform.preset(name)
        x = clip(5.0, transform.sr)
        floor = floors(transform, transform(x).shape[-1])["scipy.fft"]
        engine = (
            "portable" if Problem(transform(x), transform, length=len(x)).lanes is None else "fast"
        )
        n = ENGINES[engine]
        entries = {str(k): per_iteration("admm", transform, x, engine, k) for k in (1, n + 1)}
        times = interleaved({"floor": floor, **entries}, rounds=rounds)
        each = (times[str(n + 1)] - times["1"]) / n * 1e3
        layout = f"n_fft {transform.n_fft}, hop {transform.hop_length}, power {transform.power:g}"
        yield row(
            "iteration of admm, presets, 5 s",
            f"{name} ({layout}), {engine}",
            each,
            "ms",
            times["floor"] * 1e3,
            "scipy.fft of the same frames",
        )
