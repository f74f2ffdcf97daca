"""The command ``melexp invert``: a mel-spectrogram, or sound on a round trip, to a sound file."""

from __future__ import annotations

import argparse
import contextlib
import glob
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from melexp.commands.invert_options import transform_of
from melexp.files.mels import AUDIO_SUFFIXES, MEL_SUFFIXES, Audio, oriented, read_input
from melexp.files.write_sound import file_format, leveled, write_sound
from melexp.inversion.segments import OVERLAP, invert_long, long_mel, long_scm
from melexp.inversion.solve import solve
from melexp.methods import make_method
from melexp.metrics import score
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform

#: Sound longer than this many segments is inverted in segments.
_MANY = 3


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit code is 2 where an input of several could not be used.

    Raises
    ------
    ValueError, OSError
        In one line, why a single input cannot be inverted; nothing is written then.
    """
    many = _many(arguments.input)
    if many is not None:
        return _run_many(many, arguments)
    if arguments.output == "-" and arguments.compare:
        raise ValueError("--compare writes two files: name an OUTPUT instead of '-'")
    target = None if arguments.output == "-" else Path(arguments.output)
    if target is not None and not target.parent.is_dir():
        raise ValueError(f"{target.parent} is not a folder; make it first")
    source = Path(arguments.input)
    data = sys.stdin.buffer.read() if arguments.input == "-" else source.read_bytes()
    with _bar(arguments) as progress:
        try:
            report = invert_bytes(data, target, arguments, progress=progress)
        except (ValueError, MemoryError) as error:
            reason = error if str(error) else "there is not enough memory"
            raise ValueError(f"{arguments.input}: {_line(reason)}") from error
    if not arguments.quiet:
        print(report, file=sys.stderr if target is None else sys.stdout)
    return 0


# --- One input ------------------------------------------------------------------------------


@dataclass
class _Result:
    method: str
    signal: np.ndarray
    seconds: float
    scores: dict[str, str] = field(default_factory=dict)


def invert_bytes(
    data: bytes,
    target: Path | None,
    arguments: argparse.Namespace,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> str:
    """Invert one file's content, write the sound, and return what there is to say.

    Parameters
    ----------
    data : bytes
    target : Path or None
        The sound file; None writes to the standard output.
    arguments : argparse.Namespace
    progress : callable or None
        Called with what is done and what is to do.

    Raises
    ------
    ValueError
        If it cannot be inverted; nothing is written then.
    """
    kind, subtype = file_format(target, arguments.subtype)
    given = read_input(data, key=arguments.key)
    sound = isinstance(given, Audio)
    transform = transform_of(arguments, required=not sound)
    reference: np.ndarray | None = None
    length = arguments.length
    if isinstance(given, Audio):
        reference = given.at(transform.sr)
        mel = long_mel(reference, transform)
        if transform.compression is not None:
            mel = transform.compression.compress(mel)
        length = len(reference)
    else:
        mel = oriented(given, transform, arguments.orientation or "auto")
    if not np.isfinite(mel).all():
        raise ValueError("mel has values that are NaN or infinite")

    results = [_invert(arguments.method, mel, transform, length, arguments, progress)]
    if arguments.compare:
        results.append(_invert(arguments.compare, mel, transform, length, arguments, None))
    notes = []
    if (
        not sound
        and transform.compression is not None
        and transform.compression.unit in ("ln", "log10")
        and transform.compression.gain == 1
        and mel.min() >= 0
    ):
        notes.append("no value of the mel is negative: is it linear after all?")
    for place, result in enumerate(results):
        result.scores = _scores(result.signal, reference, mel, transform, arguments.speech)
        lost = transform.compression is not None and transform.compression.ref == "max"
        samples, note = leveled(result.signal, arguments.peak, subtype, lost=lost and not sound)
        notes += [f"{result.method}: {note}"] if note else []
        path = target
        if place and target is not None:
            path = target.with_name(f"{target.stem}.{result.method}{target.suffix}")
        write_sound(path, samples, round(transform.sr), kind, subtype)
    return _report(results, notes, target, len(results[0].signal) / transform.sr)


def _invert(
    name: str,
    mel: np.ndarray,
    transform: MelTransform,
    length: int | None,
    arguments: argparse.Namespace,
    progress: Callable[[int, int], None] | None,
) -> _Result:
    n_iter = arguments.iterations
    if n_iter < 0:
        raise ValueError(f"--iterations must not be negative; got {n_iter}")
    params = dict(arguments.set) if name == arguments.method else {}
    if not make_method(name).restarts:
        start = {"magnitude": arguments.magnitude, "phase": arguments.phase}
        params = {k: v for k, v in start.items() if v is not None} | params
    method = make_method(name, **params).for_budget(n_iter)
    began = time.perf_counter()
    seconds = mel.shape[1] * transform.hop_length / transform.sr
    if 0 < _MANY * arguments.segment < seconds and not method.restarts:
        signal = invert_long(
            mel,
            transform,
            method=name,
            n_iter=n_iter,
            length=length,
            seed=arguments.seed,
            segment=arguments.segment,
            overlap=min(OVERLAP, arguments.segment / 4),
            progress=progress,
            **params,
        )
        return _Result(name, signal, time.perf_counter() - began)
    problem = Problem(mel, transform, length=length)
    looks = {n_iter} if method.restarts else {n_iter * k // 20 for k in range(21)}
    for point in solve(method, problem, checkpoints=sorted(looks), seed=arguments.seed):
        if progress is not None:
            progress(point.iteration, n_iter)
    return _Result(name, point.signal, time.perf_counter() - began)


def _scores(
    signal: np.ndarray,
    reference: np.ndarray | None,
    mel: np.ndarray,
    transform: MelTransform,
    speech: bool,
) -> dict[str, str]:
    """SCM to what was given, and for sound the other metrics."""
    scm = long_scm(mel, signal, transform)
    scores = {"SCM": "none (the mel is silent)" if math.isnan(scm) else f"{scm:.1f} dB"}
    if reference is None or len(reference) > 600 * transform.sr:
        return scores  # the others need memory in proportion to the length
    wanted = {"SC": "sc"} | ({"PESQ": "pesq", "ESTOI": "estoi"} if speech else {})
    for label, metric in wanted.items():
        value, reason = score(metric, reference, signal, transform=transform)
        unit = " dB" if metric == "sc" else ""
        digits = {"sc": 1, "pesq": 2, "estoi": 3}[metric]
        scores[label] = f"none ({reason})" if reason else f"{value:.{digits}f}{unit}"
    return scores


# --- Many inputs -----------------------------------------------------------------------------


def _many(text: str) -> list[tuple[Path, Path]] | None:
    """Inputs of a folder or glob, each with its path below it; None for a single input."""
    path = Path(text)
    if path.is_dir():
        found = [p for p in path.rglob("*") if p.suffix.lower() in MEL_SUFFIXES + AUDIO_SUFFIXES]
        root = path
    elif text != "-" and not path.exists() and glob.has_magic(text):
        found = [Path(p) for p in glob.glob(text, recursive=True) if Path(p).is_file()]
        root = Path(os.path.commonpath([p.parent for p in found])) if found else path
    else:
        return None
    if not found:
        raise ValueError(f"{text}: there is no mel (.npy, .npz, .pt) and no sound")
    return [(p, p.relative_to(root)) for p in sorted(found)]


def _run_many(inputs: list[tuple[Path, Path]], arguments: argparse.Namespace) -> int:
    """Invert many files, those of which the output is there already left out."""
    from joblib import Parallel, delayed, parallel_config

    output = Path(arguments.output)
    if arguments.output == "-" or (output.exists() and not output.is_dir()):
        raise ValueError("OUTPUT must be a folder for many inputs")
    targets = [output / below.with_suffix(f".{arguments.format}") for _, below in inputs]
    twice = {str(t) for t in targets if targets.count(t) > 1}
    if twice:
        raise ValueError(f"two inputs would be written to {min(twice)}; invert them apart")
    file_format(targets[0], arguments.subtype)
    transform_of(arguments, required=False)
    waiting = [
        (source, target)
        for (source, _), target in zip(inputs, targets, strict=True)
        if not target.exists()
    ]
    failed = 0
    with _bar(arguments) as progress, parallel_config("loky", inner_max_num_threads=1):
        jobs = max(1, min(arguments.jobs or 1, len(waiting) or 1))
        work = (delayed(_one_of_many)(s, t, arguments) for s, t in waiting)
        for done, (error, report) in enumerate(Parallel(jobs, return_as="generator")(work), 1):
            if error:
                failed += 1
                print(f"melexp: {error}", file=sys.stderr)
            elif not arguments.quiet:
                print(report)
            if progress is not None:
                progress(done, len(waiting))
    if not arguments.quiet:
        there = len(inputs) - len(waiting)
        print(f"{len(waiting) - failed} inverted, {there} there already, {failed} refused")
    return 2 if failed else 0


def _one_of_many(source: Path, target: Path, arguments: argparse.Namespace) -> tuple[str, str]:
    """The error, or else the report, of one of many inputs."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return "", invert_bytes(source.read_bytes(), target, arguments)
    except (ValueError, OSError, MemoryError) as error:
        return f"{source}: {_line(error)}", ""


# --- Words ----------------------------------------------------------------------------------


def _report(results: list[_Result], notes: list[str], target: Path | None, length: float) -> str:
    lines = [f"{target or 'standard output'}: {length:.2f} s"]
    columns = list(results[0].scores)
    width = max(len(r.method) for r in results)
    for r in results:
        scores = "  ".join(f"{name} {r.scores.get(name, '')}" for name in columns)
        lines.append(f"  {r.method:<{width}}  {scores}  ({r.seconds:.1f} s)")
    return "\n".join(lines + [f"  note: {note}" for note in notes])


@contextlib.contextmanager
def _bar(arguments: argparse.Namespace) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on the terminal; none where there is no terminal."""
    if arguments.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("inverting", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
