"""The work of ``melexp invert``: read, invert, score, write."""

from __future__ import annotations

import contextlib
import glob
import math
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from melexp import inspection
from melexp.commands.invert_options import InvertOptions
from melexp.errors import one_line
from melexp.files.mels import AUDIO_SUFFIXES, MEL_SUFFIXES, oriented, read_input
from melexp.files.sound import Audio, file_format, write_sound
from melexp.inversion.invert import invert
from melexp.methods import Peer, make_method
from melexp.metrics import score
from melexp.metrics.scm import long_scm
from melexp.results.statistics import metric_facts
from melexp.runs.runner import LONGEST
from melexp.transforms.blocks import long_mel
from melexp.transforms.mel import MelTransform

#: SCM in dB that the default method falls below in 100 iterations if the front end is right.
_POOR = -20.0
#: Input longer than this many segments is inverted in segments.
_MANY = 3

Progress = Callable[[int, int], None]


def run(source: str, output: str, options: InvertOptions) -> int:
    """Invert a file, standard input, or the files of a folder or glob.

    Parameters
    ----------
    source, output : str
        As given on the command line.
    options : InvertOptions

    Returns
    -------
    status : int
        0, or 2 if one of several inputs could not be inverted.

    Raises
    ------
    ValueError, OSError
        If a single input cannot be inverted; no file is written then.
    """
    several = _several(source)
    if several is not None:
        return _run_several(several, output, options)
    if output == "-" and options.compare:
        raise ValueError("--compare writes two files: name an OUTPUT instead of '-'")
    target = None if output == "-" else Path(output)
    if target is not None and not target.parent.is_dir():
        raise ValueError(f"{target.parent} is not a folder; create it first")
    data = sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    with _bar(options) as progress:
        try:
            text = invert_bytes(data, target, options, progress=progress)
        except (ValueError, MemoryError) as error:
            reason = one_line(error) if str(error) else "there is not enough memory"
            raise ValueError(f"{source}: {reason}") from error
    if not options.quiet:
        print(text, file=sys.stderr if target is None else sys.stdout)
    return 0


def invert_bytes(
    data: bytes, target: Path | None, options: InvertOptions, *, progress: Progress | None = None
) -> str:
    """Invert the content of one file, write the sound, and return the report.

    Parameters
    ----------
    data : bytes
    target : Path or None
        The sound file; None for the standard output.
    options : InvertOptions
    progress : callable or None
        Called with the finished and the total amount of work.

    Returns
    -------
    report : str
        The length of the sound, the scores of each method, and notes.

    Raises
    ------
    ValueError
        If the content cannot be inverted; no file is written then.
    """
    kind, subtype = file_format(target, options.subtype)
    given = _read(data, options)
    try:
        results = [_inverted(options.method, given, options, progress)]
        if options.compare:
            results.append(_inverted(options.compare, given, options, None))
    except ValueError as error:  # what the mel looks like instead may be the reason
        raise ValueError("; ".join([str(error), *given.doubts])) from error
    notes = [f"warning: {doubt}" for doubt in given.doubts]
    for place, result in enumerate(results):
        result.scm = long_scm(given.mel, result.signal, given.transform)
        result.scores = _scores(result, given, speech=options.speech)
        samples, note = leveled(
            result.signal, options.peak, subtype, level_unknown=given.level_unknown
        )
        notes += [f"note: {result.method}: {note}"] if note else []
        if given.reference is None and _is_poor(result, given.transform, options.n_iter):
            notes.append(
                f"warning: the SCM is above {_POOR:g} dB: the front end is probably another one; "
                "see melexp inspect"
            )
        path = target
        if place and target is not None:
            path = target.with_name(f"{target.stem}.{result.method}{target.suffix}")
        write_sound(path, samples, round(given.transform.sr), kind, subtype)
    return _report(results, notes, target, len(results[0].signal) / given.transform.sr)


# --- Read -----------------------------------------------------------------------------------


class _Given(NamedTuple):
    """A mel-spectrogram, its front end, and the sound it was computed from, if known."""

    mel: np.ndarray
    transform: MelTransform
    reference: np.ndarray | None
    length: int | None
    doubts: list[str]

    @property
    def level_unknown(self) -> bool:
        """Whether the mel was normalised, so that the level of the sound is lost."""
        compression = self.transform.compression
        return self.reference is None and compression is not None and compression.ref == "max"


def _read(data: bytes, options: InvertOptions) -> _Given:
    """Read a mel-spectrogram, or compute it from sound."""
    given = read_input(data, key=options.key)
    transform = options.front_end(required=not isinstance(given, Audio))
    reference, length = None, options.length
    if isinstance(given, Audio):
        reference = given.at(transform.sr)
        length = len(reference)
        mel = long_mel(reference, transform)
        if transform.compression is not None:
            mel = transform.compression.compress(mel)
    else:
        mel = oriented(given, transform, options.orientation)
    doubts = [] if reference is not None else inspection.doubts(mel, transform)
    usable = np.isfinite(mel).all() and (transform.compression is not None or mel.min() >= 0)
    if not usable:
        reason = "mel has values that are NaN or infinite; compute it again"
        raise ValueError("; ".join(doubts) or reason)
    return _Given(mel, transform, reference, length, doubts)


# --- Invert ---------------------------------------------------------------------------------


@dataclass
class _Result:
    """The sound of one method, its SCM in dB, and its scores as text by metric."""

    method: str
    signal: np.ndarray
    seconds: float
    scm: float = math.nan
    scores: dict[str, str] = field(default_factory=dict)


def _inverted(
    name: str, given: _Given, options: InvertOptions, progress: Progress | None
) -> _Result:
    """Invert with one method; in segments if the input is long."""
    if options.n_iter < 0:
        raise ValueError(f"--n-iter must not be negative; got {options.n_iter}")
    params = options.params if name == options.method else {}
    is_peer = isinstance(make_method(name), Peer)
    if not is_peer:  # a peer has no start to choose
        params = options.start | params
    seconds = given.mel.shape[1] * given.transform.hop_length / given.transform.sr
    in_segments = 0 < _MANY * options.segment < seconds and not is_peer
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", inspection.MelWarning)  # `_read` has noted the doubts
        signal = invert(
            given.mel,
            given.transform,
            method=name,
            n_iter=options.n_iter,
            length=given.length,
            seed=options.seed,
            segment=options.segment if in_segments else None,
            progress=progress,
            **params,
        )
    return _Result(name, signal, time.perf_counter() - began)


# --- Score ----------------------------------------------------------------------------------


def _scores(result: _Result, given: _Given, *, speech: bool) -> dict[str, str]:
    """Return the SCM to the given mel and, for sound, the other metrics."""
    signal, scm = result.signal, result.scm
    scores = {"SCM": "none (the mel is silent)" if math.isnan(scm) else _text("scm", scm)}
    reference = given.reference
    if reference is None or len(reference) > LONGEST * given.transform.sr:
        return scores  # the memory of the other metrics grows with the length
    for metric in ("sc", "pesq", "estoi") if speech else ("sc",):
        value, reason = score(metric, reference, signal, transform=given.transform)
        scores[metric.upper()] = f"none ({reason})" if reason else _text(metric, value)
    return scores


def _is_poor(result: _Result, transform: MelTransform, n_iter: int) -> bool:
    """Return whether the misfit is larger than the right front end would leave.

    Only `admm_ramp` on magnitude mels with four frames per sample is judged. Noise leaves a larger
    misfit elsewhere, also with the right front end.
    """
    win = transform.win_length or transform.n_fft
    judged = transform.power == 1 and 4 * transform.hop_length <= win
    return judged and result.method == "admm_ramp" and n_iter >= 100 and result.scm > _POOR


def _text(metric: str, value: float) -> str:
    """Return a value with the digits and the unit of its metric."""
    facts = metric_facts(metric)
    return f"{facts.text(value)} {facts.unit}".rstrip()


# --- Write ----------------------------------------------------------------------------------


def leveled(
    signal: np.ndarray, peak: str, subtype: str, *, level_unknown: bool = False
) -> tuple[np.ndarray, str]:
    """Scale a signal to the output level; return it with a note on the change, if any.

    Parameters
    ----------
    signal : np.ndarray [shape=(n_samples,)]
    peak : str
        "auto", "keep", or a number above zero.
    subtype : str
        Subtype of the file. Integer subtypes clip beyond 1.
    level_unknown : bool
        Whether the mel lost the level. "auto" then scales the peak to 0.9.

    Raises
    ------
    ValueError
        If the signal is not finite, or `peak` is invalid.
    """
    top = float(np.abs(signal).max(initial=0))
    if not np.isfinite(top):
        raise ValueError(
            "the result is not finite; check that the mel fits --preset and the options of the "
            "transform"
        )
    clips = top > 1 and not subtype.startswith(("FLOAT", "DOUBLE"))
    if peak == "keep":
        over = int(np.count_nonzero(np.abs(signal) > 1))
        return signal, f"{over} samples clip (peak {top:.2f}); use --peak auto" if clips else ""
    if peak == "auto":
        wanted = 0.9 if level_unknown else 1.0
        if top == 0 or not (clips or level_unknown):
            return signal, ""
    else:
        try:
            wanted = float(peak)
        except ValueError:
            wanted = 0.0
        if not 0 < wanted < np.inf:
            raise ValueError(f"--peak must be auto, keep or a number above zero; got {peak!r}")
        if top == 0:
            return signal, ""
    # Just below full scale, because the largest 16-bit sample is 32767.
    factor = wanted / top * (1 - 2**-15)
    return signal * signal.dtype.type(factor), f"level changed by {20 * np.log10(factor):+.1f} dB"


def _report(results: list[_Result], notes: list[str], target: Path | None, length: float) -> str:
    """Return a line for the output, for each method and for each note."""
    lines = [f"{target or 'standard output'}: {length:.2f} s"]
    columns = list(results[0].scores)
    width = max(len(r.method) for r in results)
    for r in results:
        scores = "  ".join(f"{name} {r.scores.get(name, '')}" for name in columns)
        lines.append(f"  {r.method:<{width}}  {scores}  ({r.seconds:.1f} s)")
    return "\n".join(lines + [f"  {note}" for note in notes])


@contextlib.contextmanager
def _bar(options: InvertOptions) -> Iterator[Progress | None]:
    """Show a progress bar on a terminal; yield None without a terminal."""
    if options.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("inverting", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


# --- Several inputs -------------------------------------------------------------------------


def _several(text: str) -> list[tuple[Path, Path]] | None:
    """Return the files of a folder or glob and their relative paths; None for a single input."""
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
        raise ValueError(f"{text}: there is no mel (.npy, .npz, .pt) and no sound file")
    return [(p, p.relative_to(root)) for p in sorted(found)]


def _run_several(inputs: list[tuple[Path, Path]], folder: str, options: InvertOptions) -> int:
    """Invert several files; skip those whose output exists."""
    from joblib import Parallel, delayed, parallel_config

    output = Path(folder)
    if folder == "-" or (output.exists() and not output.is_dir()):
        raise ValueError(f"OUTPUT must be a folder for several inputs; got {folder}")
    targets = [output / below.with_suffix(f".{options.format}") for _, below in inputs]
    twice = {str(t) for t in targets if targets.count(t) > 1}
    if twice:
        raise ValueError(f"two inputs would be written to {min(twice)}; invert them separately")
    file_format(targets[0], options.subtype)
    options.front_end(required=False)
    waiting = [
        (source, target)
        for (source, _), target in zip(inputs, targets, strict=True)
        if not target.exists()
    ]
    failed = 0
    with _bar(options) as progress, parallel_config("loky", inner_max_num_threads=1):
        jobs = max(1, min(options.jobs, len(waiting) or 1))
        work = (delayed(_one_of_several)(s, t, options) for s, t in waiting)
        for done, (error, report) in enumerate(Parallel(jobs, return_as="generator")(work), 1):
            if error:
                failed += 1
                print(f"melexp: {error}", file=sys.stderr)
            elif not options.quiet:
                print(report)
            if progress is not None:
                progress(done, len(waiting))
    if not options.quiet:
        skipped = len(inputs) - len(waiting)
        print(f"{len(waiting) - failed} inverted, {skipped} there already, {failed} refused")
    return 2 if failed else 0


def _one_of_several(source: Path, target: Path, options: InvertOptions) -> tuple[str, str]:
    """Return the error or the report of one of several inputs."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        return "", invert_bytes(source.read_bytes(), target, options)
    except (ValueError, OSError, MemoryError) as error:
        return f"{source}: {one_line(error)}", ""
