"""Execute the scripts of docs/gallery and make a page of each, with its pictures and sounds.

A script is a sequence of cells: ``# %% [markdown]`` begins text, ``# %%`` begins code. The page
shows the code of a cell, its output, its open figures and the sounds that it passes to ``listen``.
"""

from __future__ import annotations

import contextlib
import io
import logging
import re
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import soundfile
from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).resolve().parents[1] / "gallery"
LOG = logging.getLogger("mkdocs.hooks.gallery")


def on_files(files: Files, config: Any) -> Files:
    """Add a page per script, and its files."""
    sys.path.insert(0, str(FOLDER))  # the scripts import `sounds`
    for script in sorted(FOLDER.glob("*.py")):
        if script.stem == "sounds":
            continue
        began = time.perf_counter()
        for path, content in execute(script).items():
            files.append(File.generated(config, f"gallery/{path}", content=content))
        LOG.info("%s executed in %.0f s", script.name, time.perf_counter() - began)
    return files


def cells(text: str) -> list[tuple[str, str]]:
    """Return the cells of a script: the kind ("text" or "code") and the content."""
    found = []
    for part in re.split(r"(?m)^# %%", text)[1:]:
        head, _, body = part.partition("\n")
        if "markdown" in head:
            found.append(("text", re.sub(r"(?m)^# ?", "", body).strip()))
        else:
            found.append(("code", body.strip()))
    return found


def execute(script: Path) -> dict[str, bytes | str]:
    """Return the page of a script and its files, by path below gallery/."""
    import sounds

    files: dict[str, bytes | str] = {}
    lines: list[str] = []
    names: dict[str, Any] = {"__name__": "__main__", "__file__": str(script)}
    plt.close("all")
    for kind, content in cells(script.read_text()):
        if kind == "text":
            lines += [content, ""]
            continue
        sounds.heard.clear()
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(content, str(script), "exec"), names)
        lines += ["```python", content, "```", ""]
        if said.getvalue():
            lines += ["```text", said.getvalue().rstrip(), "```", ""]
        for number in plt.get_fignums():
            name = f"{script.stem}-{len(files)}.png"
            files[name] = picture(plt.figure(number))
            lines += [f"![The figure drawn by the code above]({name})", ""]
        plt.close("all")
        for label, samples, sr in sounds.heard:
            name = f"{script.stem}-{len(files)}.flac"
            files[name] = sound(samples, sr)
            lines += [
                f'<figure class="sound"><figcaption>{label}</figcaption>'
                f'<audio controls preload="none" src="{name}"></audio></figure>',
                "",
            ]
    lines.append(f"*Source: `docs/gallery/{script.name}`, executed when the site was built.*")
    files[f"{script.stem}.md"] = "\n".join(lines) + "\n"
    return files


def picture(figure: Any) -> bytes:
    """Return a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130, metadata={"Software": None})
    return buffer.getvalue()


def sound(samples: Any, sr: float) -> bytes:
    """Return samples as FLAC of 16 bits."""
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, int(sr), format="FLAC", subtype="PCM_16")
    return buffer.getvalue()
