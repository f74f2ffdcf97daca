"""Times the methods against their floor and their peers, each pair in the same run.

A figure of time alone says little on another machine; so every row has the ratio to something
measured beside it, in turn, round by round: the median over rounds, with the quartiles.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import scipy.fft
from joblib import Parallel, delayed, parallel_config
from threadpoolctl import threadpool_limits

from melexp.datasets import load_dataset
from melexp.mel import MelTransform
from melexp.methods import make_method
from melexp.metrics import score
from melexp.problem import Problem
from melexp.provenance import provenance
from melexp.runner import Pair, Task, finish_all
from melexp.solve import solve
from melexp.store import Store, write_json, write_text

METHODS = ("admm", "ipalm", "nnls_gla", "nnls_fgla", "nnls_admm_gla")
SR = 22050


class Row(NamedTuple):
    """One measurement: a median with its quartiles, and its ratio to another one."""

    section: str
    name: str
    value: float
    low: float
    high: float
    unit: str
    ratio: float
    against: str


def interleaved(entries: Mapping[str, Callable[[], Any]], *, rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each entry in each round; the entries take turns, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in entries}
    for n in range(rounds + 1):
        for name, run in entries.items():
            began = time.perf_counter()
            run()
            if n:
                times[name].append(time.perf_counter() - began)
    return {name: np.array(values) for name, values in times.items()}


def row(
    section: str, name: str, values: np.ndarray, unit: str, base: np.ndarray, against: str
) -> Row:
    """A row from paired rounds: the ratio is the median of the rounds' ratios."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return Row(section, name, median, low, high, unit, float(np.median(values / base)), against)


def clip(seconds: float) -> np.ndarray:
    """Embedded speech, repeated to a length."""
    speech = np.concatenate([c.load(SR) for c in load_dataset("demo_speech")])
    return np.resize(speech, int(seconds * SR)).astype(np.float32)


def per_iteration(
    name: str, transform: MelTransform, x: np.ndarray, engine: str, n: int
) -> Callable[[], Any]:
    """A function that runs `n` iterations of a method from its start."""
    problem = Problem(transform(x), transform, length=len(x), engine=engine)
    method = make_method(name)
    state = method.init(problem, np.random.default_rng(0))
    return lambda: method.advance(problem, state, n)


def floors(transform: MelTransform, n_frames: int) -> dict[str, Callable[[], Any]]:
    """One real FFT and one inverse FFT of every frame, float32, by the libraries at hand."""
    frames = np.random.default_rng(0).standard_normal((n_frames, transform.n_fft))
    frames = frames.astype(np.float32)
    spectra = scipy.fft.rfft(frames)
    known = {"scipy.fft": lambda: (scipy.fft.rfft(frames), scipy.fft.irfft(spectra))}
    if find_spec("mkl_fft"):
        import mkl_fft

        known["mkl_fft"] = lambda: (mkl_fft.rfft(frames), mkl_fft.irfft(spectra))
    return known


def iterations(rounds: int) -> Iterator[Row]:
    """Milliseconds an iteration, of every method in both engines, against the floor."""
    import librosa

    x = clip(5.14)
    for n_fft in (512, 1024, 2048):
        transform = MelTransform(n_fft=n_fft, hop_length=n_fft // 4)
        section = f"iteration, n_fft {n_fft}, 5.1 s"
        floor = floors(transform, 1 + len(x) // transform.hop_length)
        entries = dict(floor)
        methods = METHODS if n_fft == 1024 else ("admm",)
        counts = {}
        for name in methods:
            for engine, n in (("fast", 50), ("portable", 4)):
                # Twice: once with one iteration, to take off what a call costs in itself.
                for k in (1, n + 1):
                    entries[f"{name}|{engine}|{k}"] = per_iteration(name, transform, x, engine, k)
                counts[name, engine] = n
        if n_fft == 1024:
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


def to_quality(dataset: str, limit: int | None) -> Iterator[Row]:
    """Seconds to the quality that librosa and iPALM end with: SCM, PESQ and ESTOI all as good."""
    transform = MelTransform()
    counts = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500)
    goals = {"librosa": (32, 500), "ipalm": (500,)}
    runs: dict[tuple[str, int], list[list[float]]] = {}
    for one in load_dataset(dataset)[:limit]:
        x = one.load(SR)
        problem = Problem(transform(x), transform, length=len(x))
        for name in ("librosa", "ipalm", "admm", "admm_ramp"):
            method = make_method(name)
            for _ in solve(method, problem, checkpoints=[2]):
                pass  # imports and compilation
            for point in solve(method, problem, checkpoints=goals.get(name, counts)):
                values = [
                    score(metric, x, point.signal, transform=transform).value
                    for metric in ("scm", "pesq", "estoi")
                ]
                runs.setdefault((name, point.iteration), []).append([point.seconds, *values])
    means = {key: np.mean(values, axis=0) for key, values in runs.items()}
    for goal, ends in goals.items():
        for end in ends:
            seconds, scm, pesq, estoi = means[goal, end]
            section = (
                f"time to the quality of {goal}, {end} iterations "
                f"(SCM {scm:.1f} dB, PESQ {pesq:.2f}, ESTOI {estoi:.3f}; {dataset})"
            )
            yield Row(section, goal, seconds, seconds, seconds, "s per clip", 1.0, goal)
            for name in ("admm", "admm_ramp"):
                reached = [
                    n
                    for n in counts
                    if means[name, n][1] <= scm
                    and means[name, n][2] >= pesq
                    and means[name, n][3] >= estoi
                ]
                if reached:
                    value = means[name, reached[0]][0]
                    label = f"{name}, {reached[0]} iterations"
                else:
                    value, label = float("nan"), f"{name}: not reached"
                yield Row(section, label, value, value, value, "s per clip", value / seconds, goal)


def lengths(rounds: int) -> Iterator[Row]:
    """Time of an iteration and peak memory against the length of the clip."""
    transform = MelTransform()
    section = "length of the clip, admm, fast"
    spans = (0.5, 1, 5, 30, 120, 600)
    n = 10
    entries = {}
    for s in spans:
        x = clip(s)
        for k in (1, n + 1):
            entries[f"{s}|{k}"] = per_iteration("admm", transform, x, "fast", k)
    times = interleaved(entries, rounds=max(3, rounds // 4))
    each = {s: (times[f"{s}|{n + 1}"] - times[f"{s}|1"]) / n / s * 1e3 for s in spans}
    for s in spans:
        yield row(section, f"{s:g} s", each[s], "ms per s of audio", each[5], "5 s")
    for s in (5, 60, 300):
        mel = transform(clip(s))
        problem = Problem(mel, transform)
        method = make_method("admm")
        tracemalloc.start()
        for _ in solve(method, problem, checkpoints=[5]):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        spectrogram = problem.stft.n_frames * (transform.n_fft // 2 + 1) * 8
        mb = peak / 1e6
        yield Row(
            "peak memory, admm, fast", f"{s} s", mb, mb, mb, "MB",
            peak / spectrogram, "complex64 spectrograms",
        )  # fmt: skip


def _invert_one(n_iter: int) -> None:
    transform = MelTransform()
    mel = transform(clip(5))
    for _ in solve(make_method("admm"), Problem(mel, transform), checkpoints=[n_iter]):
        pass


def cores() -> Iterator[Row]:
    """Many clips over processes."""
    clips, n_iter = 16, 300
    seconds = {}
    for workers in (1, 2):
        with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
            Parallel()(delayed(_invert_one)(2) for _ in range(2 * workers))  # imports
            began = time.perf_counter()
            Parallel()(delayed(_invert_one)(n_iter) for _ in range(clips))
            seconds[workers] = time.perf_counter() - began
    for workers, value in seconds.items():
        name = f"{clips} clips of 5 s, {n_iter} iterations, {workers} processes"
        yield Row("cores", name, value, value, value, "s", value / seconds[1], "1 process")


@dataclass(frozen=True)
class Nap(Task):
    """A task of a known length; it sleeps, so that what else the machine does counts little."""

    length: float = 0.05

    def compute(self, wanted: list[Pair]) -> Iterator[dict[str, Any]]:
        time.sleep(self.length)
        for iteration, metric in wanted:
            yield {"iteration": iteration, "metric": metric, "value": 0.0, "seconds": self.length}


def runner_overhead(n: int, *, workers: int = 2, length: float = 0.05) -> Iterator[Row]:
    """What claims, storing and handing out cost: tasks of a known length, against a bare pool."""
    one, method = load_dataset("demo_speech")[0], make_method("admm")
    tasks: list[Task] = [
        Nap(one, method, "admm", MelTransform(), k, "float32", length) for k in range(n)
    ]

    def bare() -> None:
        with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
            Parallel()(delayed(time.sleep)(length) for _ in range(n))

    def run() -> None:
        with TemporaryDirectory() as folder:
            finish_all(tasks, [(500, "scm"), (500, "sc")], Store(folder), workers, label="ADMM")

    with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
        Parallel()(delayed(_invert_one)(2) for _ in range(2 * workers))  # imports
    times = {}
    for name, entry in {"joblib alone": bare, "the runner": run}.items():
        began = time.perf_counter()
        entry()
        times[name] = np.array([time.perf_counter() - began])
    section = f"runner, {n} tasks of {length:g} s, {workers} processes"
    least = np.array([n * length / workers])
    for name, seconds in times.items():
        yield row(section, name, seconds, "s", least, "the tasks alone")
    yield row(section, "the runner", times["the runner"], "s", times["joblib alone"], "joblib")


def start_up(rounds: int) -> Iterator[Row]:
    """Import, and the first call of the fast engine in a new process with its cache filled."""
    first = (
        "import time, numpy as np, melexp, librosa.filters\n"
        "t = melexp.MelTransform(); m = t(np.ones(22050, np.float32))\n"
        "b = time.perf_counter(); melexp.invert(m, t, n_iter=1)\n"
        "print(time.perf_counter() - b)"
    )
    programs = {
        "import numpy, scipy.fft, scipy.signal": "import numpy, scipy.fft, scipy.signal",
        "the same and melexp": "import numpy, scipy.fft, scipy.signal, melexp, melexp.solve",
    }
    entries = {
        name: partial(subprocess.run, [sys.executable, "-c", code], check=True)
        for name, code in programs.items()
    }
    times = interleaved(entries, rounds=max(5, rounds // 4))
    base = times["import numpy, scipy.fft, scipy.signal"]
    for name, values in times.items():
        yield row("start-up", name, values, "s", base, "numpy and scipy")
    firsts = []
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", first], check=True, capture_output=True, text=True
        )
        firsts.append(float(done.stdout))
    seconds = np.array(firsts[1:])
    yield row("start-up", "first call of the fast engine, cached", seconds, "s", seconds, "itself")


def bench(folder: Path, *, dataset: str = "demo_speech", quick: bool = False) -> pd.DataFrame:
    """Measure everything on one core (but for those of processes); print and store the table.

    Parameters
    ----------
    folder : Path
        Gets ``bench.csv``, ``bench.md`` and ``bench.provenance.json``.
    dataset : str
        Speech for the time to quality.
    quick : bool
        Fewer rounds and clips.
    """
    rounds = 5 if quick else 21
    with threadpool_limits(1):
        parts = [
            iterations(rounds),
            to_quality(dataset, 4 if quick else None),
            lengths(rounds),
            cores(),
            runner_overhead(200 if quick else 1000),
            start_up(rounds),
        ]
        rows = []
        for part in parts:
            for entry in part:
                print(
                    f"{entry.section}: {entry.name}: {entry.value:.4g} {entry.unit} "
                    f"({entry.low:.4g} to {entry.high:.4g}), {entry.ratio:.3g} x {entry.against}",
                    flush=True,
                )
                rows.append(entry)
    table = pd.DataFrame(rows)
    write_text(folder / "bench.csv", table.to_csv(index=False, float_format="%.6g"))
    write_text(folder / "bench.md", markdown(table))
    write_json(folder / "bench.provenance.json", {"dataset": dataset, **provenance()})
    return table


def markdown(table: pd.DataFrame) -> str:
    """The table for people, a heading per section."""
    lines = []
    for section, group in table.groupby("section", sort=False):
        lines += ["", f"**{section}**", "", "| | median | quartiles | ratio | to |"]
        lines.append("| --- | ---: | ---: | ---: | --- |")
        lines += [
            f"| {r.name_} | {r.value:.3g} {r.unit} | {r.low:.3g} to {r.high:.3g} "
            f"| {r.ratio:.3g} | {r.against} |"
            for r in group.rename(columns={"name": "name_"}).itertuples()
        ]
    return "\n".join(lines[1:]) + "\n"
