"""Generate a page per method from its docstring, its configuration and results/core/fig2.csv."""

from __future__ import annotations

import functools
import inspect
import io
import re
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
import yaml

from melexp.methods import Peer, make_method

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "results" / "core"
COLOURS = {"light": ("#1b1f24", "#9aa3ad", "#3949ab"), "dark": ("#e2e4e9", "#6d7683", "#9fa8ff")}


@functools.cache
def configurations() -> dict[str, list[tuple[str, str, str]]]:
    """Return for every module of melexp/methods its configurations: name, label and text."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for path in sorted((ROOT / "conf" / "method").glob("*.yaml")):
        content = yaml.safe_load(path.read_text())
        entry = (path.stem, content["label"], path.read_text())
        found.setdefault(content["name"], []).append(entry)
    return found


def ordered() -> list[str]:
    """Return the names of the modules: methods first, then peers."""
    peer = {name: isinstance(make_method(of[0][0]), Peer) for name, of in configurations().items()}
    return sorted(peer, key=lambda name: (peer[name], name))


@functools.cache
def curves() -> pd.DataFrame:
    """Return the mean SCM by label and iteration, of speech."""
    table = pd.read_csv(CORE / "fig2.csv", usecols=["label", "iteration", "metric", "value"])
    table = table[table["metric"] == "scm"]
    return table.groupby(["label", "iteration"])["value"].mean().unstack("label")


def pages() -> dict[str, bytes | str]:
    """Return the pages and figures, by path."""
    files: dict[str, bytes | str] = {}
    for module, entries in configurations().items():
        drawn = [label for _, label, _ in entries if label in curves()]
        for theme in COLOURS if drawn else ():
            files[f"methods/{module}-{theme}.svg"] = draw(drawn, theme)
        files[f"methods/{module}.md"] = page(module, entries, drawn)
    return files


def page(module: str, entries: list[tuple[str, str, str]], drawn: list[str]) -> str:
    """Return the page of a method."""
    cls = type(make_method(entries[0][0]))
    parts = [
        f"# {module}\n",
        f"{summary_of(module)}\n",
        f'```python\ny = melexp.invert(mel, transform, method="{entries[0][0]}")\n```\n',
        f"::: {cls.__module__}.{cls.__qualname__}\n    options:\n      members: false\n"
        "      show_signature: false\n      show_root_heading: false\n"
        "      show_root_toc_entry: false\n",
        "## Curve\n",
    ]
    if drawn:
        figure = f"Mean SCM of {' and '.join(drawn)} against iterations; grey: the other methods"
        parts += [f"![{figure}]({module}-{theme}.svg#only-{theme})" for theme in COLOURS]
        parts.append(f"\n*{figure}. Speech, {n_clips()} clips, from `results/core/fig2.csv`.*\n")
    else:
        parts.append(at_checkpoints(entries[0][1]))
    parts.append("## Configuration\n")
    for name, _, text in entries:
        parts.append(f"`melexp run method={name}` reads `conf/method/{name}.yaml`:\n")
        parts.append(f"```yaml\n{text.rstrip()}\n```\n")
    parts.append(f"Source: `melexp/methods/{module}.py`\n")
    return "\n".join(parts)


def summary_of(module: str) -> str:
    """Return the first sentence of the module of a method."""
    cls = type(make_method(configurations()[module][0][0]))
    doc = inspect.getdoc(inspect.getmodule(cls)) or ""
    return doc.split("\n\n")[0].replace("\n", " ")


@functools.cache
def n_clips() -> int:
    """Return the number of clips of Fig. 2."""
    return int(pd.read_csv(CORE / "fig2.csv", usecols=["clip"])["clip"].nunique())


def at_checkpoints(label: str) -> str:
    """Return the means of a method that only Fig. 3 has."""
    table = pd.read_csv(CORE / "fig3.csv", low_memory=False)
    table = table[table["label"] == label]
    if table.empty:
        return "This peer needs an extra. [Peers](../peers.md) compares it.\n"
    means = table.groupby(["iteration", "metric"])["value"].mean().unstack()
    lines = [
        "| iterations | SCM dB | SC dB | PESQ | ESTOI |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {k} | {m.scm:.2f} | {m.sc:.2f} | {m.pesq:.2f} | {m.estoi:.3f} |"
        for k, m in means.iterrows()
    ]
    note = "This peer starts again in each call, so it is not in Fig. 2. Speech, Fig. 3:"
    return note + "\n\n" + "\n".join(lines) + "\n"


def draw(labels: list[str], theme: str) -> bytes:
    """Return the curves of labels among those of all methods, as SVG for a theme of the site."""
    text, others, own = COLOURS[theme]
    style: dict[str, Any] = {
        "text.color": text, "axes.edgecolor": text, "axes.labelcolor": text, "xtick.color": text,
        "ytick.color": text, "svg.fonttype": "none", "font.family": "sans-serif",
        "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "melexp",
    }  # fmt: skip
    means = curves()
    with plt.rc_context(style):
        figure, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
        for label in means:
            if label not in labels:
                ax.plot(means.index, means[label], color=others, lw=0.9)
        for label, line in zip(labels, ("-", "--"), strict=False):
            ax.plot(means.index, means[label], line, color=own, lw=2.2, label=label)
        ax.set_xscale("log")
        ax.set_xlabel("iteration")
        ax.set_ylabel("SCM (dB)")
        ax.legend(frameon=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
        plt.close(figure)
    return buffer.getvalue()


def overview() -> str:
    """Return the table of all methods, with the SCM and PESQ of speech after 500 iterations."""
    rows = pd.read_csv(CORE / "summary.csv")
    rows = rows[rows["dataset"] == "ljspeech"].pivot(
        index="method", columns="metric", values="mean"
    )
    lines = [
        "| name | in tables | kind | SCM dB | PESQ | description |",
        "| --- | --- | --- | ---: | ---: | --- |",
    ]
    for module in ordered():
        for name, label, _ in configurations()[module]:
            joint = re.match("admm$|admm_ramp|ipalm|stream", module)
            kind = "joint" if joint else "trained" if module == "hifigan" else "cascade"
            kind += ", peer" if isinstance(make_method(name), Peer) else ""
            values = ("", "")
            if label in rows.index:
                values = f"{rows.loc[label, 'scm']:.2f}", f"{rows.loc[label, 'pesq']:.2f}"
            about = summary_of(module)
            lines.append(
                f"| [`{name}`]({module}.md) | {label} | {kind} | {values[0]} | {values[1]} "
                f"| {about} |"
            )
    note = "\nSpeech, after 500 iterations, from `results/core/summary.csv`.\n"
    return "\n".join(lines) + "\n" + note
