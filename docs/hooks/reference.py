"""Generate the API reference of the exported names."""

from __future__ import annotations

import logging

import melexp

LOG = logging.getLogger("mkdocs.hooks.reference")

SECTIONS = {
    "Inversion": ["invert", "invert_batch", "MelStream", "mel_to_audio", "mel_to_magnitude"],
    "librosa's functions": ["griffinlim", "mel_to_stft", "mfcc_to_mel", "mfcc_to_audio"],
    "Front end": ["MelTransform", "Compression", "inspect"],
    "Restoration": ["restore_mel", "MelError"],
    "Building blocks": [
        "Problem",
        "make_method",
        "available_methods",
        "solve",
        "Checkpoint",
        "Stop",
    ],
    "Evaluation": ["score"],
}
#: Members of classes that the reference shows; the parameters of a dataclass are in its docstring.
MEMBERS = {
    "MelTransform": ["preset", "presets", "__call__", "invert", "linear", "n_samples", "basis"],
    "Compression": ["compress", "expand"],
    "MelStream": ["push", "flush", "reset", "latency", "concealed", "state"],
    "Problem": ["weighted", "misfit", "waveform"],
}
#: Classes that new methods, metrics and data sets build on.
EXTEND = [
    "melexp.methods.Method",
    "melexp.methods.Binwise",
    "melexp.methods.State",
    "melexp.methods.Peer",
    "melexp.metrics.Score",
    "melexp.datasets.Clip",
]
EXTEND_MEMBERS = ["init", "begin", "step", "signal", "advance", "for_budget", "run", "without"]


def names() -> str:
    """Return a section per group of names; warn about exported names without a place."""
    placed = [name for group in SECTIONS.values() for name in group]
    if missing := set(melexp.__all__) - set(placed):
        LOG.warning("docs/hooks/reference.py has no section for %s", ", ".join(sorted(missing)))
    parts = []
    for title, group in SECTIONS.items():
        parts.append(f"## {title}\n")
        parts += [directive(f"melexp.{n}", MEMBERS.get(n, [])) for n in group if exists(n)]
    parts.append("## To build on\n")
    parts += [directive(name, EXTEND_MEMBERS) for name in EXTEND]
    return "\n".join(parts)


def exists(name: str) -> bool:
    """Return whether an exported name can be imported; a missing optional package is no matter."""
    try:
        getattr(melexp, name)
    except AttributeError:
        LOG.info("melexp.%s is exported but does not exist", name)
        return False
    except ImportError:
        pass
    return True


def directive(path: str, members: list[str]) -> str:
    """Return the directive of mkdocstrings for an object."""
    shown = f"[{', '.join(members)}]" if members else "false"
    options = f"heading_level: 3\n      members: {shown}\n      filters: []"
    return f"::: {path}\n    options:\n      {options}\n"
