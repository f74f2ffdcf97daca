"""Capture the help of every command."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def reference() -> str:
    """Return a section per command with its ``--help``."""
    first = help_of()
    names = commands(first)
    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(help_of, names))
        nested = [f"{a} {b}" for a, text in zip(names, texts, strict=True) for b in commands(text)]
        nested_texts = list(pool.map(help_of, nested))
    found = dict(zip([*names, *nested], [*texts, *nested_texts], strict=True))
    parts = [f"## melexp\n\n{code(first)}"]
    for name in sorted(found, key=lambda n: [names.index(n.split()[0]), n]):
        parts.append(f"## melexp {name}\n\n{code(found[name])}")
    return "\n".join(parts)


def code(text: str) -> str:
    """Return a block of code."""
    return f"```text\n{text.rstrip()}\n```\n"


def help_of(command: str = "") -> str:
    """Return the output of ``melexp <command> --help``.

    Raises
    ------
    RuntimeError
        If the command fails.
    """
    plain = {"COLUMNS": "92", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-m", "melexp", *command.split(), "--help"],
        cwd=ROOT,
        env=os.environ | plain,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"melexp {command} --help failed: {done.stderr}")
    return done.stdout


def commands(text: str) -> list[str]:
    """Return the names of the subcommands in a help text, of argparse or of Typer."""
    choices = re.search(r"^ +\{([\w,-]+)\}$", text, flags=re.MULTILINE)
    if choices:
        return choices[1].split(",")
    panels = re.findall(
        r"^╭─ [\w ]*[Cc]ommands[^\n]*\n(.*?)^╰", text, flags=re.DOTALL | re.MULTILINE
    )
    listed = re.search(r"^Commands:\n((?:  .*\n?)+)", text, flags=re.MULTILINE)
    lines = "".join(panels) or (listed[1] if listed else "")
    return re.findall(r"^(?:│|  ?) ?([a-z][\w-]*)(?:  |$)", lines, flags=re.MULTILINE)
