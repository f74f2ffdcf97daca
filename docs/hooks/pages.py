"""Fill the generated parts of the pages, and add a page per method and the files of results.

A page asks for a part with ``<!-- generated: name -->``; its function is registered in `PARTS`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command_line
import method_pages
import reference
import tables
from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parents[2]
LOG = logging.getLogger("mkdocs.hooks.pages")

PARTS: dict[str, Callable[[], str]] = {
    "api": reference.names,
    "bench": tables.bench,
    "claims": tables.claims,
    "cli": command_line.reference,
    "contributing": lambda: contributing(),
    "fig4": lambda: tables.text("fig4"),
    "fig4_all": lambda: tables.text("fig4_all"),
    "imperfect": lambda: tables.text("imperfect"),
    "inspection": tables.inspection,
    "methods": method_pages.overview,
    "peers": lambda: tables.text("peers"),
    "power": tables.power,
    "results-foley": lambda: tables.results("esc10"),
    "results-speech": lambda: tables.results("ljspeech"),
    "summary": tables.summary,
}
#: Targets outside of docs/ that are pages of the site.
TARGETS = {
    "../results/bench/bench.md": "performance.md#measured",
    "../results/core/power.md": "results.md#power-mel-spectrograms",
    "../results/core/summary.md": "results.md#all-methods-with-intervals",
    "../CONTRIBUTING.md": "extend.md",
}
FIGURE = re.compile(r"(!\[[^\]]*\]\()(\.\./results/\S+)\.png\)")
OUTSIDE = re.compile(r"\]\((\.\./(?:results/|CONTRIBUTING)[^)#\s]*)(?:#(?P<scheme>only-\w+))?\)")


def contributing() -> str:
    """Return the section of CONTRIBUTING.md on methods."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    section = text.split("## A method\n")[1].split("\n## ")[0]
    section = re.sub(r"(?m)^   (?=\S| )", "    ", section)  # Markdown indents lists by four
    return f"## Add a method\n{section}"


def in_both_schemes(markdown: str) -> str:
    """Show the figures of results in the scheme of the page."""
    return FIGURE.sub(r"\1\2.png#only-light)\1\2.dark.png#only-dark)", markdown)


def on_config(config: Any) -> Any:
    """Add the pages of the methods to the navigation."""
    methods = next(entry["Methods"] for entry in config.nav if "Methods" in entry)
    methods += [{name: f"methods/{name}.md"} for name in method_pages.ordered()]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the methods, and the files of results that pages link to."""
    for path, content in method_pages.pages().items():
        files.append(File.generated(config, path, content=content))
    linked = set()
    for page in files.documentation_pages():
        linked |= {m[1] for m in OUTSIDE.finditer(in_both_schemes(page.content_string))}
    for target in sorted(linked - set(TARGETS)):
        source = ROOT / target.removeprefix("../")
        if not source.is_file():
            LOG.warning("a page links to %s, which does not exist", target)
            continue
        path = target.removeprefix("../")
        outside = InclusionLevel.NOT_IN_NAV
        files.append(File.generated(config, path, abs_src_path=str(source), inclusion=outside))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Insert the generated parts and point links at the site."""

    def part(m: re.Match[str]) -> str:
        if m[1] not in PARTS:
            LOG.warning("%s asks for an unknown part: %s", page.file.src_uri, m[1])
            return ""
        return PARTS[m[1]]()

    markdown = in_both_schemes(re.sub(r"<!-- generated: ([\w-]+) -->", part, markdown))

    def target(m: re.Match[str]) -> str:
        scheme = f"#{m['scheme']}" if m["scheme"] else ""
        return f"]({TARGETS.get(m[1], m[1].removeprefix('../'))}{scheme})"

    return OUTSIDE.sub(target, markdown)
