"""Invert the content of one file for ``melexp invert``: read, invert, score, write."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np

from melexp.commands.invert_input import Given, read_given
from melexp.commands.invert_options import InvertOptions
from melexp.files.sound import encode, file_format, write_sound
from melexp.inversion.invert import invert
from melexp.inversion.lengths import nearest_length, with_length
from melexp.methods import Peer, make_method
from melexp.metrics import score
from melexp.metrics.scm import long_scm
from melexp.results.statistics import metric_facts
from melexp.runs.runner import LONGEST
from melexp.transforms.mel import MelTransform

#: Input longer than this many segments is inverted in segments.
_MANY = 3

Progress = Callable[[int, int], None]


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
    encode(np.zeros((1, len(given.sounds()[0]))), sr, kind, subtype)  # before the work
    results = [_inverted(options.method, given, options, progress)]
    if options.compare:
        results.append(_inverted(options.compare, given, options, None))
    notes, written = list(given.notes), []
    for place, result in enumerate(results):
        result.scores = _scores(result.signals, given, speech=options.speech)
        for path, numbers in zip(targets, given.sounds(), strict=True):
            if place and path is not None:
                path = path.with_name(f"{path.stem}.{result.method}{path.suffix}")
            samples, note = leveled(
                np.stack([result.signals[n] for n in numbers], axis=-1),
                options.peak,
                subtype,
                level_unknown=given.level_unknown,
            )
            name = result.method if len(targets) == 1 else f"{result.method}, {path}"
            notes += [f"{name}: {note}"] if note else []
            written.append((path, samples))
    for path, samples in written:  # when all are known
        write_sound(path, samples, sr, kind, subtype)
    return _report(results, notes, targets, given)


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
    """The sound of one method for each mel, and its scores as text by metric."""

    method: str
    signals: list[np.ndarray]
    seconds: float
    scores: list[dict[str, str]] = field(default_factory=list)


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


def _part(progress: Progress | None, place: int, n_mels: int) -> Progress | None:
    """Return the progress of one of several mels."""
    if progress is None:
        return None
    return lambda done, total: progress(place * total + done, n_mels * total)


# --- Score ----------------------------------------------------------------------------------


def _scores(signals: list[np.ndarray], given: Given, *, speech: bool) -> list[dict[str, str]]:
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
) -> dict[str, str]:
    n_samples = nearest_length(len(signal), mel.shape[1], transform)
    scm = long_scm(mel, with_length(signal, n_samples), transform)
    scores = {"SCM": "none (the mel is silent)" if math.isnan(scm) else _text("scm", scm)}
    if reference is None or len(reference) > LONGEST * transform.sr:
        return scores  # the memory of the other metrics grows with the length
    for metric in ("sc", "pesq", "estoi") if speech else ("sc",):
        value, reason = score(metric, reference, signal, transform=transform)
        scores[metric.upper()] = f"none ({reason})" if reason else _text(metric, value)
    return scores


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


def _report(
    results: list[_Result], notes: list[str], targets: list[Path | None], given: Given
) -> str:
    """Return a line for each output, for each method and for each note."""
    lines = []
    columns = list(results[0].scores[0])
    width = max(len(r.method) for r in results)
    for path, numbers in zip(targets, given.sounds(), strict=True):
        length = len(results[0].signals[numbers[0]]) / given.transform.sr
        several = len(numbers) > 1
        channels = f", {len(numbers)} channels" if several else ""
        lines.append(f"{path or 'standard output'}: {length:.2f} s{channels}")
        for r in results:
            for channel, number in enumerate(numbers, 1):
                scores = "  ".join(f"{c} {r.scores[number].get(c, '')}" for c in columns)
                name = f"{r.method:<{width}}" + (f"  channel {channel}" if several else "")
                time = f"  ({r.seconds:.1f} s)" if number == 0 else ""
                lines.append(f"  {name}  {scores}{time}")
    return "\n".join(lines + [f"  note: {note}" for note in notes])
