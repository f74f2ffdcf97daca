"""The command ``melexp invert``: a mel-spectrogram, or sound on a round trip, to a sound file."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import glob
import io
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from melexp.mel import MelTransform

#: The transform's arguments as options: name, type, help.
_ARGUMENTS: list[tuple[str, Any, str]] = [
    ("sr", float, "sampling rate in Hz"),
    ("n-fft", int, "frame length in samples"),
    ("hop-length", int, "samples between frames"),
    ("win-length", int, "window length in samples"),
    ("window", str, "as scipy.signal.get_window knows it"),
    ("pad-mode", str, "constant, reflect, edge, symmetric or wrap"),
    ("pad", int, "samples added at either end of frames that are not centred"),
    ("n-mels", int, "number of mel bands"),
    ("fmin", float, "lowest frequency in Hz"),
    ("fmax", float, "highest frequency in Hz"),
    ("norm", str, "slaney, none or a number"),
    ("power", float, "1 (magnitude) or 2 (power)"),
]
_FLAGS = [("center", "centred frames"), ("htk", "HTK's mel formula"), ("empty-filters", "allow")]
_COMPRESSION: list[tuple[str, Any, str]] = [
    ("floor", float, "least value before the logarithm (amin, clip_val)"),
    ("epsilon", float, "added before the logarithm"),
    ("ref", str, "what is 0: a number or max"),
    ("range", float, "below the largest value, in the logarithm's unit (top_db)"),
    ("gain", float, "factor after the logarithm"),
    ("offset", float, "added after that"),
]
#: Sound longer than this many segments is inverted in segments.
_MANY = 3


class _Parameters(argparse.Action):
    """Collects ``--set name=value``."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        name, equals, text = values.partition("=")
        if not equals:
            parser.error(f"argument --set: {values!r} is not name=value")
        namespace.set = {**namespace.set, name: _value(text)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments; imports nothing heavy, as every ``--help`` does this."""
    parser.add_argument(
        "input", help="a mel (.npy, .npz, .pt), sound, '-', a folder, or a glob in quotes"
    )
    parser.add_argument("output", help="a sound file, '-', or a folder for many inputs")
    group = parser.add_argument_group("what the mel was made with")
    group.add_argument("--preset", help="a front end: hifigan, whisper, librosa, ...")
    for name, kind, text in _ARGUMENTS:
        group.add_argument(f"--{name}", type=kind, help=text)
    for name, text in _FLAGS:
        group.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=text)
    group.add_argument("--compression", help="none, ln, log10, power_db or amplitude_db")
    for name, kind, text in _COMPRESSION:
        group.add_argument(f"--{name}", type=kind, help=text)
    group.add_argument("--orientation", choices=["auto", "mels-first", "frames-first"])
    group.add_argument("--key", help="name of the array in a file that holds several")
    group.add_argument("--length", type=int, help="length of the sound in samples")
    group = parser.add_argument_group("how it is inverted")
    group.add_argument(
        "--method", default="admm_ramp", help="see: melexp methods (default: admm_ramp)"
    )
    group.add_argument("--iterations", type=int, default=300, help="default: 300")
    group.add_argument("--magnitude", help="where it starts: pinv, nnls or kl (default: its own)")
    group.add_argument("--phase", help="random, zero, spsi or pghi (default: its own)")
    group.add_argument("--seed", type=int, default=0)
    group.add_argument(
        "--set", action=_Parameters, default={}, metavar="NAME=VALUE", help="a method's parameter"
    )
    group.add_argument(
        "--segment", type=float, default=20.0, help="seconds, of long input (default: 20)"
    )
    group.add_argument("--compare", metavar="METHOD", help="also with this one, such as librosa")
    group = parser.add_argument_group("what is written")
    group.add_argument(
        "--peak",
        default="auto",
        help="auto: lowered where it would clip; keep; or the peak wanted, such as 0.9",
    )
    group.add_argument("--subtype", help="of the samples, such as PCM_16 (default), PCM_24, FLOAT")
    group.add_argument("--speech", action="store_true", help="of sound: PESQ and ESTOI too")
    group.add_argument("--format", default="wav", help="of many outputs: wav, flac or ogg")
    group.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes for many inputs")
    group.add_argument("--quiet", action="store_true", help="print errors only")


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
    scores: dict[str, str] = dataclasses.field(default_factory=dict)


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
    import numpy as np

    from melexp.long import long_mel
    from melexp.mel_files import Audio, oriented, read_input

    kind, subtype = _file_format(target, arguments.subtype)
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
        _write(path, samples, round(transform.sr), kind, subtype)
    return _report(results, notes, target, len(results[0].signal) / transform.sr)


def transform_of(arguments: argparse.Namespace, *, required: bool = True) -> MelTransform:
    """The transform that the options describe.

    Raises
    ------
    ValueError
        If they describe none, or, where it is `required`, say nothing.
    """
    from melexp.mel import MelTransform

    names = [name.replace("-", "_") for name, *_ in [*_ARGUMENTS, *_FLAGS]]
    changes = {n: getattr(arguments, n) for n in names if getattr(arguments, n) is not None}
    if "norm" in changes:
        changes["norm"] = _value(changes["norm"])
    details = {n: getattr(arguments, n) for n, *_ in _COMPRESSION}
    details = {n: value for n, value in details.items() if value is not None}
    if "ref" in details:
        details["ref"] = _value(details["ref"])
    if required and not (arguments.preset or changes):
        raise ValueError(
            "say what the mel was made with: --preset "
            f"({', '.join(MelTransform.presets())}) or the options of the transform"
        )
    base = MelTransform.preset(arguments.preset or "paper")
    if arguments.compression == "none":
        changes["compression"] = None
    elif arguments.compression:
        changes["compression"] = {"unit": arguments.compression, **details}
    elif details and base.compression is not None:
        changes["compression"] = dataclasses.asdict(base.compression) | details
    elif details:
        raise ValueError(f"--{next(iter(details))} needs --compression")
    if changes.get("center"):
        changes.setdefault("pad", None)
    return dataclasses.replace(base, **changes)


def _invert(
    name: str,
    mel: np.ndarray,
    transform: MelTransform,
    length: int | None,
    arguments: argparse.Namespace,
    progress: Callable[[int, int], None] | None,
) -> _Result:
    from melexp.long import OVERLAP, invert_long
    from melexp.methods import make_method
    from melexp.problem import Problem
    from melexp.solve import solve

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
    from melexp.long import long_scm
    from melexp.metrics import score

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


def leveled(
    signal: np.ndarray, peak: str, subtype: str, *, lost: bool = False
) -> tuple[np.ndarray, str]:
    """The signal at the level to be written, and what was done to it, if anything.

    Parameters
    ----------
    signal : np.ndarray [shape=(n_samples,)]
    peak : str
        "auto", "keep", or a number above zero.
    subtype : str
        Of the file: integers clip beyond 1.
    lost : bool
        The mel does not know the level: "auto" then makes the peak 0.9.
    """
    import numpy as np

    top = float(np.abs(signal).max(initial=0))
    if not np.isfinite(top):
        raise ValueError("the result is not finite; is the mel what the transform makes?")
    clips = top > 1 and not subtype.startswith(("FLOAT", "DOUBLE"))
    if peak == "keep":
        over = int(np.count_nonzero(np.abs(signal) > 1))
        return signal, f"{over} samples clip (peak {top:.2f}); use --peak auto" if clips else ""
    if peak == "auto":
        wanted = 0.9 if lost else 1.0
        if top == 0 or not (clips or lost):
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
    # Just below full scale: 32767 is the largest of 16 bits.
    factor = wanted / top * (1 - 2**-15)
    return signal * signal.dtype.type(factor), f"level changed by {20 * np.log10(factor):+.1f} dB"


# --- Files ----------------------------------------------------------------------------------


def _file_format(target: Path | None, subtype: str | None) -> tuple[str, str]:
    """Format and subtype of the output, checked before anything is computed."""
    import soundfile

    kind = "WAV" if target is None else target.suffix.lstrip(".").upper()
    if kind not in soundfile.available_formats():
        raise ValueError(f"OUTPUT must end in .wav, .flac or .ogg, or be '-'; got {target}")
    known = soundfile.available_subtypes(kind)
    chosen = (
        subtype or ("PCM_16" if "PCM_16" in known else soundfile.default_subtype(kind))
    ).upper()
    if chosen not in known:
        raise ValueError(f"a {kind} has no subtype {chosen}; it has {', '.join(known)}")
    return kind, chosen


def _write(path: Path | None, samples: np.ndarray, sr: int, kind: str, subtype: str) -> None:
    """Write a sound file as a whole or not at all."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, samples, sr, format=kind, subtype=subtype)
    if path is None:
        sys.stdout.buffer.write(buffer.getbuffer())
        sys.stdout.buffer.flush()
        return
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(buffer.getbuffer())
        os.chmod(aside, 0o666 & ~_umask())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _many(text: str) -> list[tuple[Path, Path]] | None:
    """Inputs of a folder or glob, each with its path below it; None for a single input."""
    from melexp.mel_files import AUDIO_SUFFIXES, MEL_SUFFIXES

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
    _file_format(targets[0], arguments.subtype)
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


def _value(text: str) -> Any:
    """A number, true, false, none, or the text itself."""
    words = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def _line(error: object) -> str:
    return " ".join(str(error).split()) or type(error).__name__
