"""Invert the content of one file for ``melexp invert``: read, invert, score, write."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

import melexp
from melexp.commands.front_end import describe
from melexp.commands.invert_input import Given, read_given
from melexp.commands.invert_options import InvertOptions
from melexp.errors import MelWarning
from melexp.files.sound import encoded, file_format, write_bytes_to
from melexp.inversion.invert import invert
from melexp.inversion.lengths import nearest_length, with_length
from melexp.inversion.stream import MelStream
from melexp.methods import Peer, make_method
from melexp.metrics import score
from melexp.metrics.scm import long_scm
from melexp.results.statistics import metric_facts
from melexp.runs.task import LONGEST
from melexp.transforms.mel import MelTransform

#: SCM in dB that the default method falls below in 100 iterations if the front end is right.
_POOR = -20.0
#: Input longer than this many segments is inverted in segments.
_MANY = 3

Progress = Callable[[int, int], None]


@np.errstate(over="ignore", invalid="ignore")  # a result that is not finite is refused
def invert_bytes(
    data: bytes,
    target: Path | None,
    options: InvertOptions,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> str:
    """Invert the content of one file, write the sound, and return the report.

    Parameters
    ----------
    data : bytes
    target : Path or None
        The sound file; None for the standard output. A batch is written to ``target.000.wav``, ...
    options : InvertOptions
    folder : Path or None
        Folder of the file.
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
    given = read_given(data, options, folder)
    targets, sr = _targets(target, len(given.sounds())), round(given.transform.sr)
    blank = np.zeros((1, len(given.sounds()[0])))
    encoded(blank, sr, kind, subtype, comment="")  # fails before the work, not after it
    results, notes = _all_inverted(given, options, progress)
    written = []
    for place, result in enumerate(results):
        comment = _comment(result.method, given.transform, options)
        for path, numbers in zip(targets, given.sounds(), strict=True):
            if place and path is not None:
                path = path.with_name(f"{path.stem}.{result.method}{path.suffix}")
            sound = leveled(
                np.stack([result.signals[n] for n in numbers], axis=-1),
                options.peak,
                subtype,
                level_unknown=given.level_unknown,
            )
            content, heard = encoded(sound.samples, sr, kind, subtype, comment=comment)
            for n, channel in zip(numbers, heard, strict=True):
                # The samples of the file, at the level of the mel.
                result.signals[n] = with_length(channel / sound.factor, len(result.signals[n]))
            name = result.method if len(targets) == 1 else f"{result.method}, {path}"
            notes += [f"note: {name}: {sound.note}"] if sound.note else []
            written.append((path, content))
        result.scores = _scores(result.signals, given, speech=options.speech)
        if given.references is None and _is_poor(result, given.transform, options.n_iter):
            notes.append(
                f"warning: the SCM is above {_POOR:g} dB: the front end is probably another one; "
                "see melexp inspect"
            )
    for path, content in written:  # when all are known
        write_bytes_to(path, content)
    return _report(results, notes, targets, given)


def _comment(method: str, transform: MelTransform, options: InvertOptions) -> str:
    """Return the comment of a sound file: how it was made."""
    return (
        f"melexp {melexp.__version__}: {method}, {options.n_iter} iterations, seed {options.seed}; "
        f"front end: {describe(transform)}"
    )


def _targets(target: Path | None, n_sounds: int) -> list[Path | None]:
    """Return the file of each sound: the given one, or numbered ones for several."""
    if n_sounds == 1:
        return [target]
    if target is None:
        raise ValueError(f"the input holds {n_sounds} mels: name an OUTPUT instead of '-'")
    return [numbered(target, place) for place in range(n_sounds)]


def numbered(target: Path, place: int) -> Path:
    """Return the file of one sound of a batch."""
    return target.with_name(f"{target.stem}.{place:03}{target.suffix}")


# --- Invert ---------------------------------------------------------------------------------


@dataclass
class _Result:
    """The sound of one method for each mel, and its scores by metric."""

    method: str
    signals: list[np.ndarray]
    seconds: float
    scores: list[_Scores] = field(default_factory=list)


def _all_inverted(
    given: Given, options: InvertOptions, progress: Progress | None
) -> tuple[list[_Result], list[str]]:
    """Invert with each method; return the doubts about the mel as notes, too."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            first = _inverted if options.stream is None else _streamed
            results = [first(options.method, given, options, progress)]
            if options.compare:
                results.append(_inverted(options.compare, given, options, None))
        except ValueError as error:  # what the mel looks like instead may be the reason
            raise ValueError("; ".join([str(error), *_doubts(caught)])) from error
    for other in caught:
        if not issubclass(other.category, MelWarning):
            warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
    doubts = _doubts(caught) if given.references is None else []
    return results, [f"note: {n}" for n in given.notes] + [f"warning: {d}" for d in doubts]


def _doubts(caught: list[warnings.WarningMessage]) -> list[str]:
    """Return the texts of the warnings about the mel, each once."""
    found = [str(w.message) for w in caught if issubclass(w.category, MelWarning)]
    return list(dict.fromkeys(found))


def _inverted(
    name: str, given: Given, options: InvertOptions, progress: Progress | None
) -> _Result:
    """Invert with one method; in segments if the input is long."""
    if options.n_iter < 0:
        raise ValueError(f"--n-iter must not be negative; got {options.n_iter}")
    params = options.params if name == options.method else {}
    is_peer = isinstance(make_method(name), Peer)
    if not is_peer:  # a peer has no start to choose
        params = options.start | params
    seconds = given.mels[0].shape[1] * given.transform.hop_length / given.transform.sr
    in_segments = 0 < _MANY * options.segment < seconds and not is_peer
    began = time.perf_counter()
    signals = [
        invert(
            mel,
            given.transform,
            method=name,
            n_iter=options.n_iter,
            length=given.length,
            seed=options.seed,
            segment=options.segment if in_segments else None,
            progress=_part(progress, place, len(given.mels)),
            **params,
        )
        for place, mel in enumerate(given.mels)
    ]
    return _Result(name, signals, time.perf_counter() - began)


def _streamed(
    name: str, given: Given, options: InvertOptions, progress: Progress | None
) -> _Result:
    """Invert frame by frame; `options.n_iter` iterations for each frame."""
    stream = MelStream(
        given.transform,
        lookahead=options.stream or 0,
        n_iter=options.n_iter,
        method=name,
        seed=options.seed,
        **options.start | options.params,
    )
    began, signals = time.perf_counter(), []
    for place, mel in enumerate(given.mels):
        told, parts = _part(progress, place, len(given.mels)), []
        for k in range(mel.shape[1]):
            parts.append(stream.push(mel[:, k : k + 1]))
            if told is not None:
                told(k + 1, mel.shape[1])
        whole = np.concatenate([*parts, stream.flush()])
        signals.append(with_length(whole, given.length))
    return _Result(f"stream {options.stream}", signals, time.perf_counter() - began)


def _part(progress: Progress | None, place: int, n_mels: int) -> Progress | None:
    """Return the progress of one of several mels."""
    if progress is None:
        return None
    return lambda done, total: progress(place * total + done, n_mels * total)


# --- Score ----------------------------------------------------------------------------------


class _Scores(NamedTuple):
    """The SCM in dB to the given mel, and all scores as text by metric."""

    scm: float
    texts: dict[str, str]


def _scores(signals: list[np.ndarray], given: Given, *, speech: bool) -> list[_Scores]:
    """Return the SCM to each given mel and, for sound, the other metrics."""
    references: Sequence[np.ndarray | None] = given.references or ()
    return [
        _scores_of_one(signal, mel, reference, given.transform, speech=speech)
        for signal, mel, reference in zip_longest(signals, given.mels, references)
    ]


def _scores_of_one(
    signal: np.ndarray,
    mel: np.ndarray,
    reference: np.ndarray | None,
    transform: MelTransform,
    *,
    speech: bool,
) -> _Scores:
    n_samples = nearest_length(len(signal), mel.shape[1], transform)
    scm = long_scm(mel, with_length(signal, n_samples), transform)
    texts = {"SCM": "none (the mel is silent)" if math.isnan(scm) else _text("scm", scm)}
    if reference is None or len(reference) > LONGEST * transform.sr:
        return _Scores(scm, texts)  # the memory of the other metrics grows with the length
    for metric in ("sc", "pesq", "estoi") if speech else ("sc",):
        value, reason = score(metric, reference, signal, transform=transform)
        texts[metric.upper()] = f"none ({reason})" if reason else _text(metric, value)
    return _Scores(scm, texts)


def _is_poor(result: _Result, transform: MelTransform, n_iter: int) -> bool:
    """Return whether the misfit is larger than the right front end would leave.

    Only `admm_ramp` on magnitude mels with four frames per sample is judged. Noise leaves a larger
    misfit elsewhere, also with the right front end.
    """
    win = transform.win_length or transform.n_fft
    judged = transform.power == 1 and 4 * transform.hop_length <= win
    worst = max(one.scm for one in result.scores)
    return judged and result.method == "admm_ramp" and n_iter >= 100 and worst > _POOR


def _text(metric: str, value: float) -> str:
    """Return a value with the digits and the unit of its metric."""
    facts = metric_facts(metric)
    return f"{facts.text(value)} {facts.unit}".rstrip()


# --- Write ----------------------------------------------------------------------------------


class Leveled(NamedTuple):
    """A signal at the level of the output, its factor, and a note on the change, if any."""

    samples: np.ndarray
    factor: float = 1.0
    note: str = ""


def leveled(signal: np.ndarray, peak: str, subtype: str, *, level_unknown: bool = False) -> Leveled:
    """Scale a signal to the output level.

    Parameters
    ----------
    signal : np.ndarray [shape=(n_samples,) or (n_samples, n_channels)]
        Channels keep their relative level.
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
        note = f"{over} samples clip (peak {top:.2f}); use --peak auto" if clips else ""
        return Leveled(signal, note=note)
    if peak == "auto":
        wanted = 0.9 if level_unknown else 1.0
        if top == 0 or not (clips or level_unknown):
            return Leveled(signal)
    else:
        try:
            wanted = float(peak)
        except ValueError:
            wanted = 0.0
        if not 0 < wanted < np.inf:
            raise ValueError(f"--peak must be auto, keep or a number above zero; got {peak!r}")
        if top == 0:
            return Leveled(signal)
    # Just below full scale, because the largest 16-bit sample is 32767.
    factor = wanted / top * (1 - 2**-15)
    note = f"level changed by {20 * np.log10(factor):+.1f} dB"
    return Leveled(signal * signal.dtype.type(factor), factor, note)


def _report(
    results: list[_Result], notes: list[str], targets: list[Path | None], given: Given
) -> str:
    """Return a line for each output, for each method and for each note."""
    lines = []
    columns = list(results[0].scores[0].texts)
    width = max(len(r.method) for r in results)
    for path, numbers in zip(targets, given.sounds(), strict=True):
        length = len(results[0].signals[numbers[0]]) / given.transform.sr
        several = len(numbers) > 1
        channels = f", {len(numbers)} channels" if several else ""
        lines.append(f"{path or 'standard output'}: {length:.2f} s{channels}")
        for r in results:
            for channel, number in enumerate(numbers, 1):
                scores = "  ".join(f"{c} {r.scores[number].texts.get(c, '')}" for c in columns)
                name = f"{r.method:<{width}}" + (f"  channel {channel}" if several else "")
                time = f"  ({r.seconds:.1f} s)" if number == 0 else ""
                lines.append(f"  {name}  {scores}{time}")
    lines.append(f"  front end: {describe(given.transform)}")
    return "\n".join(lines + [f"  {note}" for note in notes])
