"""The options of ``melexp invert``, and the transform that they describe."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

_MADE, _HOW, _WRITTEN = "Front end of the mel", "Inversion", "Output"


def _made(*names: str, help: str, **settings: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_MADE, **settings)


def _how(*names: str, help: str, **settings: Any) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_HOW, **settings)


def _written(*names: str, help: str) -> Any:
    return typer.Option(*names, help=help, rich_help_panel=_WRITTEN)


@dataclass(frozen=True, kw_only=True)
class InvertOptions:
    """The options of one call of ``melexp invert``.

    Attributes
    ----------
    transform : dict
        The given arguments of the transform, and ``preset``.
    compression : dict
        The given arguments of the compression and normalisation: see `front_end`.
    start : dict
        The given ``magnitude`` and ``phase`` of the start, for `method` and `compare`.
    params : dict
        Parameters of `method`.
    """

    transform: dict[str, Any] = field(default_factory=dict)
    compression: dict[str, Any] = field(default_factory=dict)
    orientation: str = "auto"
    key: str | None = None
    length: int | None = None
    method: str = "admm_ramp"
    n_iter: int = 100
    start: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)
    seed: int = 0
    segment: float = 20.0
    stream: int | None = None
    compare: str | None = None
    peak: str = "auto"
    subtype: str | None = None
    speech: bool = False
    format: str = "wav"
    jobs: int = 1
    quiet: bool = False


def invert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="A mel (.npy, .h5, .png, ...), sound, '-', a folder, or a glob in quotes.",
        ),
    ],
    output: Annotated[
        str, typer.Argument(help="A sound file, '-', or a folder for several inputs.")
    ],
    preset: Annotated[str | None, _made(help="A front end: hifigan, whisper, librosa, ...")] = None,
    sr: Annotated[float | None, _made(help="Sampling rate in Hz.")] = None,
    n_fft: Annotated[int | None, _made(help="Frame length in samples.")] = None,
    hop_length: Annotated[int | None, _made(help="Samples between frames.")] = None,
    win_length: Annotated[int | None, _made(help="Window length in samples.")] = None,
    window: Annotated[
        str | None, _made(help="povey, or a window of scipy.signal.get_window [hann].")
    ] = None,
    pad_mode: Annotated[
        str | None, _made(help="constant, reflect, edge, symmetric or wrap.")
    ] = None,
    pad: Annotated[
        int | None, _made(help="Samples added at either end if frames are not centred.")
    ] = None,
    n_mels: Annotated[int | None, _made(help="Number of mel bands.")] = None,
    fmin: Annotated[float | None, _made(help="Lowest frequency in Hz.")] = None,
    fmax: Annotated[str | None, _made(help="Highest frequency in Hz, or none: sr / 2.")] = None,
    norm: Annotated[str | None, _made(help="slaney, none or a number.")] = None,
    power: Annotated[float | None, _made(help="Exponent: 1 (magnitude), 2 (power).")] = None,
    center: Annotated[bool | None, _made(help="Centred frames.")] = None,
    htk: Annotated[bool | None, _made(help="HTK's mel formula.")] = None,
    empty_filters: Annotated[bool | None, _made(help="Allow filters without a bin.")] = None,
    preemphasis: Annotated[float | None, _made(help="Pre-emphasis, such as 0.97.")] = None,
    mel_triangles: Annotated[
        bool | None, _made(help="Filters straight in mel (Kaldi, TensorFlow).")
    ] = None,
    compression: Annotated[
        str | None, _made(help="none, ln, log10, power_db, amplitude_db or power.")
    ] = None,
    exponent: Annotated[float | None, _made(help="Exponent of --compression power.")] = None,
    floor: Annotated[
        float | None, _made(help="Least value before the logarithm (amin, clip_val).")
    ] = None,
    epsilon: Annotated[float | None, _made(help="Added before the logarithm.")] = None,
    ref: Annotated[str | None, _made(help="Value at 0: a number or max.")] = None,
    range_: Annotated[
        float | None,
        _made("--range", help="Range below the largest value, in the logarithm's unit (top_db)."),
    ] = None,
    gain: Annotated[float | None, _made(help="Factor after the logarithm.")] = None,
    offset: Annotated[float | None, _made(help="Added after the gain.")] = None,
    mean: Annotated[float | None, _made(help="Mean that was subtracted at the end.")] = None,
    std: Annotated[float | None, _made(help="Deviation that was divided by at the end.")] = None,
    stats: Annotated[
        str | None, _made(help="File with the mean and deviation of each band.", metavar="FILE")
    ] = None,
    min_level_db: Annotated[float | None, _made(help="Least level (Tacotron) [-100].")] = None,
    ref_level_db: Annotated[float | None, _made(help="Level that is subtracted [20].")] = None,
    max_norm: Annotated[float | None, _made(help="Largest normalised value [4].")] = None,
    symmetric: Annotated[
        bool | None, _made(help="From -max_norm, not from 0, to max_norm [on].")
    ] = None,
    orientation: Annotated[str, _made(help="auto, mels-first or frames-first.")] = "auto",
    key: Annotated[str | None, _made(help="Name of the array in a file with several.")] = None,
    length: Annotated[int | None, _made(help="Length of the sound, in samples.")] = None,
    method: Annotated[str, _how(help="A method of: melexp methods.")] = "admm_ramp",
    n_iter: Annotated[int, _how(help="Number of iterations.")] = 100,
    magnitude: Annotated[
        str | None, _how(help="Initial magnitude: pinv, nnls or kl [the method's own].")
    ] = None,
    phase: Annotated[
        str | None, _how(help="Initial phase: random, zero, spsi or pghi [the method's own].")
    ] = None,
    prior: Annotated[
        str | None, _how(help="A learned prior of the magnitude: shipped or none [none].")
    ] = None,
    seed: Annotated[int, _how(help="Seed of the random start.")] = 0,
    set_: Annotated[
        list[str] | None,
        _how("--set", help="A parameter of the method (repeatable).", metavar="NAME=VALUE"),
    ] = None,
    segment: Annotated[float, _how(help="Seconds of a segment of long input.")] = 20.0,
    stream: Annotated[
        int | None,
        _how(help="Invert as melexp stream does, with this look-ahead.", metavar="FRAMES"),
    ] = None,
    compare: Annotated[
        str | None, _how(help="Invert with this method too, such as librosa.", metavar="METHOD")
    ] = None,
    peak: Annotated[
        str, _written(help="auto (lowered if it would clip), keep, or a peak such as 0.9.")
    ] = "auto",
    subtype: Annotated[
        str | None, _written(help="Sample format: PCM_16 (default), PCM_24, FLOAT.")
    ] = None,
    speech: Annotated[
        bool, _written("--speech", help="For sound: report PESQ and ESTOI too.")
    ] = False,
    format_: Annotated[
        str, _written("--format", help="For several outputs: wav, flac or ogg.")
    ] = "wav",
    jobs: Annotated[int | None, _written(help="Processes for several inputs [all cores].")] = None,
    quiet: Annotated[bool, _written("--quiet", help="Print errors only.")] = False,
) -> int:
    """Invert mel-spectrograms, or test the round trip of sound."""
    given = {name: value for name, value in locals().items() if value is not None}
    transform = {name: given[name] for name in _TRANSFORM if name in given}
    for name, text in (("norm", norm), ("fmax", fmax)):
        if text is not None:
            transform[name] = value_of(text)
    if isinstance(transform.get("fmax"), str):
        raise ValueError(f"--fmax must be a number of Hz or none; got {fmax!r}")
    details = {name.rstrip("_"): given[name] for name in _COMPRESSION if name in given}
    if ref is not None:
        details["ref"] = value_of(ref)
    start: dict[str, Any] = {name: given[name] for name in ("magnitude", "phase") if name in given}
    if orientation not in ("auto", "mels-first", "frames-first"):
        raise ValueError(
            f"--orientation must be auto, mels-first or frames-first; got {orientation!r}"
        )
    params = dict(parameter(text) for text in set_ or [])
    if prior is not None:
        if prior not in ("shipped", "none"):
            raise ValueError(f"--prior must be shipped or none; got {prior!r}")
        params |= {"prior": "shipped"} if prior == "shipped" else {}
    options = InvertOptions(
        transform=transform,
        compression=details,
        orientation=orientation,
        key=key,
        length=length,
        method=method,
        n_iter=n_iter,
        start=start,
        params=params,
        seed=seed,
        segment=segment,
        stream=stream,
        compare=compare,
        peak=peak,
        subtype=subtype,
        speech=speech,
        format=format_,
        jobs=jobs or os.cpu_count() or 1,
        quiet=quiet,
    )
    from melexp.commands.invert_files import run  # here, because it imports the methods

    return run(source, output, options)


_TRANSFORM = (
    "preset", "sr", "n_fft", "hop_length", "win_length", "window", "pad_mode", "pad", "n_mels",
    "fmin", "fmax", "norm", "power", "center", "htk", "empty_filters", "preemphasis",
    "mel_triangles",
)  # fmt: skip
_COMPRESSION = (
    "compression", "floor", "epsilon", "ref", "range_", "gain", "offset", "exponent", "mean", "std",
    "stats", "min_level_db", "ref_level_db", "max_norm", "symmetric",
)  # fmt: skip


def parameter(text: str, option: str = "--set") -> tuple[str, Any]:
    """Return the name and the value of ``name=value``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{option} must look like name=value; got {text!r}")
    return name, value_of(value)


def value_of(text: str) -> Any:
    """Return the number, bool or None that a text stands for, or the text itself."""
    words = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
