"""The options of ``melexp invert``, and the transform that they describe."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from melexp.transforms.mel import MelTransform

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


def transform_of(arguments: argparse.Namespace, *, required: bool = True) -> MelTransform:
    """The transform that the options describe.

    Raises
    ------
    ValueError
        If they describe none, or, where it is `required`, say nothing.
    """
    from melexp.transforms.mel import MelTransform

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


def _value(text: str) -> Any:
    """A number, true, false, none, or the text itself."""
    words = {"none": None, "null": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text
