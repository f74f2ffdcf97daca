"""Times the methods against their floor and their peers, each pair in the same run.

A figure of time alone says little on another machine; so every row has the ratio to something
measured beside it, in turn, round by round: the median over rounds, with the quartiles.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import metadata
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
from melexp.files import write_text
from melexp.mel import MelTransform
from melexp.methods import make_method
from melexp.metrics import score
from melexp.problem import Problem
from melexp.provenance import provenance
from melexp.runner import Pair, Task, finish_all
from melexp.solve import Checkpoint, invert, solve
from melexp.store import Store, write_json

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


def interleaved(
    entries: Mapping[str, Callable[[], Any]],
    *,
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Seconds of each entry in each round; the entries take turns, after one turn to warm up."""
    times: dict[str, list[float]] = {name: [] for name in entries}
    for n in range(rounds + 1):
        for name, run in entries.items():
            began = clock()
            run()
            if n:
                times[name].append(clock() - began)
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


#: Transforms whose iterations are timed, with the methods and the iterations of each engine.
LAYOUTS: dict[str, tuple[MelTransform, Sequence[str]]] = {
    "n_fft 512": (MelTransform(n_fft=512, hop_length=128), ("admm",)),
    "n_fft 1024": (MelTransform(), METHODS),
    "n_fft 2048": (MelTransform(n_fft=2048, hop_length=512), ("admm",)),
    "n_fft 1024, power mels": (MelTransform(power=2.0), ("admm",)),
}
ENGINES = {"fast": 50, "portable": 4}


def iterations(
    rounds: int, *, layouts: Sequence[str] = tuple(LAYOUTS), engines: Sequence[str] = tuple(ENGINES)
) -> Iterator[Row]:
    """Milliseconds an iteration, of every method in both engines, against the floor."""
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
                # Twice: once with one iteration, to take off what a call costs in itself.
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


#: Transform of `denormals`, and the frames of its 188 that are made hard.
SHORT = MelTransform(sr=16000, n_fft=512, hop_length=128, n_mels=40, fmax=8000)
HARD = slice(40, 120)


def denormals(
    rounds: int, *, methods: Sequence[str] = METHODS, power: float = 1.0
) -> Iterator[Row]:
    """An iteration on mels whose numbers become denormal, against ordinary ones in the same run.

    The iterations that are timed come after 2,000 others: the changes of converged runs are the
    smallest numbers of all. The time is that of the processor, which other work moves less.
    """
    transform = replace(SHORT, power=power)
    x = np.random.default_rng(0).standard_normal(24000).astype(np.float32)
    mel = transform(x).astype(np.float64)
    mels = {"ordinary": mel, "denormal": mel.copy(), "silent": mel.copy(), "spike": 0 * mel}
    mels["denormal"][:, HARD] *= 1e-39
    mels["silent"][:, HARD] = 0
    mels["spike"][3, 50] = 1
    for name in methods:
        method, entries = make_method(name).for_budget(2200), {}
        for kind, given in mels.items():
            problem = Problem(given, transform, length=len(x), engine="fast")
            state = method.init(problem, np.random.default_rng(0))
            state = method.advance(problem, state, 2000)
            entries[kind] = partial(method.advance, problem, state, 200)
        times = interleaved(entries, rounds=rounds, clock=time.process_time)
        section = f"denormal numbers, {name}, power {power:g}"
        for kind, seconds in times.items():
            yield row(
                section, kind, seconds / 200 * 1e3, "ms", times["ordinary"] / 200 * 1e3, "ordinary"
            )


def to_quality(dataset: str, limit: int | None) -> Iterator[Row]:
    """Seconds to the quality that librosa and iPALM end with: SCM, PESQ and ESTOI all as good."""
    transform = MelTransform()
    counts = (0, 1, 2, 3, 5, 8, 15, 30, 50, 75, 100, 150, 200, 300, 500)
    goals = {"librosa": (32, 500), "ipalm": (500,)}
    clips = [c.load(SR) for c in load_dataset(dataset)[:limit]]

    def run(name: str, x: np.ndarray, checkpoints: Sequence[int]) -> Iterator[Checkpoint]:
        # A new problem each time, so that its tables are made anew and counted.
        problem = Problem(transform(x), transform, length=len(x))
        return solve(make_method(name), problem, checkpoints=checkpoints)

    def seconds(name: str, n: int) -> float:
        return float(np.mean([[p.seconds for p in run(name, x, [n])] for x in clips]))

    means = {}
    for name in ("librosa", "ipalm", "admm", "admm_ramp"):
        scores: dict[int, list[list[float]]] = {}
        for x in clips:
            for point in run(name, x, goals.get(name, counts)):
                scores.setdefault(point.iteration, []).append(
                    [
                        score(metric, x, point.signal, transform=transform).value
                        for metric in ("scm", "pesq", "estoi")
                    ]
                )
        means[name] = {n: np.mean(values, axis=0) for n, values in scores.items()}
    for goal, ends in goals.items():
        for end in ends:
            scm, pesq, estoi = means[goal][end]
            section = (
                f"time to the quality of {goal}, {end} iterations "
                f"(SCM {scm:.1f} dB, PESQ {pesq:.2f}, ESTOI {estoi:.3f}; {dataset})"
            )
            base = seconds(goal, end)
            yield Row(section, goal, base, base, base, "s per clip", 1.0, goal)
            for name in ("admm", "admm_ramp"):
                good = [
                    n
                    for n, (s, p, e) in means[name].items()
                    if s <= scm and p >= pesq and e >= estoi
                ]
                value = seconds(name, good[0]) if good else float("nan")
                label = f"{name}, {good[0]} iterations" if good else f"{name}: not reached"
                yield Row(section, label, value, value, value, "s per clip", value / base, goal)


def lengths(rounds: int) -> Iterator[Row]:
    """Time of an iteration and peak memory against the length of the clip."""
    transform = MelTransform()
    section = "length of the clip, admm, fast"
    spans = (0.5, 1, 5, 30, 120, 600)
    counts = {s: round(max(10, 100 / s)) for s in spans}
    entries = {}
    for s, n in counts.items():
        x = clip(s)
        for k in (1, n + 1):
            entries[f"{s}|{k}"] = per_iteration("admm", transform, x, "fast", k)
    times = interleaved(entries, rounds=max(3, rounds // 4))
    each = {s: (times[f"{s}|{n + 1}"] - times[f"{s}|1"]) / n / s * 1e3 for s, n in counts.items()}
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


def cores(rounds: int) -> Iterator[Row]:
    """Many clips over processes and over threads, and one long clip over threads."""
    clips, n_iter = 16, 300
    transform = MelTransform()
    many = np.stack([transform(clip(5))] * clips)
    long = transform(clip(60))

    def processes(workers: int) -> None:
        with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
            Parallel()(delayed(_invert_one)(n_iter) for _ in range(clips))

    def threads(mel: np.ndarray, n: int) -> None:
        invert(mel, transform, n_iter=n_iter, threads=n)

    kinds: dict[str, Callable[[int], Any]] = {
        f"{clips} clips of 5 s, {{}} processes": processes,
        f"{clips} clips of 5 s, {{}} threads": partial(threads, many),
        "one clip of 60 s, {} threads": partial(threads, long),
    }
    for name, kind in kinds.items():
        times = interleaved({str(n): partial(kind, n) for n in (1, 2)}, rounds=max(3, rounds // 5))
        for n, values in times.items():
            yield row(f"cores, {n_iter} iterations", name.format(n), values, "s", times["1"], "1")


def torch_batches(rounds: int) -> Iterator[Row]:
    """Batches in torch, on one core and on a GPU, where torch and a GPU are there."""
    try:
        from melexp.bench_torch import batches  # here, because it needs torch
    except ImportError as error:
        print(f"no rows for torch ({error}): pip install 'melexp[torch]'", flush=True)
        return
    yield from batches(rounds)


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
        Nap(one, method, "admm", MelTransform(), k, "float32", length=length) for k in range(n)
    ]

    def bare() -> None:
        with parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
            Parallel()(delayed(time.sleep)(length) for _ in range(n))

    def run() -> None:
        with TemporaryDirectory() as folder:
            wanted, reasons = [(500, "scm"), (500, "sc")], [""] * n
            finish_all(tasks, wanted, Store(folder), workers, label="ADMM", reasons=reasons)

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
            denormals(rounds),
            to_quality(dataset, 4 if quick else None),
            lengths(rounds),
            cores(rounds),
            runner_overhead(200 if quick else 1000),
            torch_batches(rounds),
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
    torch = metadata.version("torch") if find_spec("torch") else None
    write_json(
        folder / "bench.provenance.json", {"dataset": dataset, "torch": torch, **provenance()}
    )
    return table


#: How much larger a ratio of the fast engine to the FFTs of scipy may become than it was.
MARGIN = 1.3


def worse_ratios(committed: Path) -> list[str]:
    """Fast iterations that cost more, in FFTs of the same frames, than the committed table says.

    Parameters
    ----------
    committed : Path
        A ``bench.csv``.

    Returns
    -------
    lines : list of str
        One for each method whose ratio is larger than it was by more than `MARGIN`.
    """
    new = pd.DataFrame(iterations(11, layouts=("n_fft 1024",), engines=("fast",)))
    was, now = _in_ffts(pd.read_csv(committed)), _in_ffts(new)
    lines = []
    for name in now.index:
        line = f"{name}: {now[name]:.3f} of scipy's FFTs, was {was[name]:.3f}"
        print(line)
        if not now[name] <= MARGIN * was[name]:
            lines.append(line)
    return lines


def _in_ffts(table: pd.DataFrame) -> pd.Series:
    rows = table[table["section"] == "iteration, n_fft 1024, 5.1 s"].set_index("name")["value"]
    rows = rows[~rows.index.duplicated()]
    return rows[[n for n in rows.index if n.endswith(", fast")]] / rows["scipy.fft rfft + irfft"]


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
