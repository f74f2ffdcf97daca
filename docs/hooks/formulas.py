"""Render LaTeX as MathML, and the roles of reStructuredText in docstrings as Markdown."""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor

import melexp


def mathml(latex: str, *, block: bool = False) -> str:
    r"""Return a formula as MathML; lines with ``&`` or ``\\`` are aligned."""
    latex = " ".join(latex.split())
    latex = re.sub(r"\\[bB]ig[lr]?(?![a-z])", "", latex)  # MathML stretches brackets by itself
    latex = latex.replace(r"\arg", r"\operatorname{arg}")
    if "&" in latex or r"\\" in latex:
        latex = rf"\begin{{align*}}{latex}\end{{align*}}"
    html = convert(latex, display="block" if block else "inline")
    # Bars are brackets here, not relations: no space around them.
    return re.sub(
        r"<mo([^>]*)>(&#x0007C;|&#x02016;)</mo>", r'<mo\1 lspace="0" rspace="0">\2</mo>', html
    )


class InlineMath(InlineProcessor):
    """Replace a formula within a paragraph."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:  # type: ignore[override]
        html = mathml(m[1])
        return self.md.htmlStash.store(html), m.start(0), m.end(0)


class Directives(Preprocessor):
    """Replace ``.. math::`` directives by MathML, and roles by links or code."""

    def run(self, lines: list[str]) -> list[str]:
        """Return the lines without directives and roles."""
        text = "\n".join(lines) + "\n"
        block = re.compile(
            r"^( *)\.\. math::(.*)\n((?:(?:\1   ? ?\S.*| *)\n)*)", flags=re.MULTILINE
        )
        text = block.sub(self._block, text)
        text = re.sub(r"(?m)^melexp\.(\w+) : (?=\S)", r"- :func:`melexp.\1`: ", text)  # See Also
        text = re.sub(r":(?:func|class|meth|attr|mod):`~?([\w.]+)`", self._role, text)
        return text.split("\n")

    def _block(self, m: re.Match[str]) -> str:
        html = f'<div class="formula">{mathml(m[2] + " " + m[3], block=True)}</div>'
        return f"\n{self.md.htmlStash.store(html)}\n\n"

    @staticmethod
    def _role(m: re.Match[str]) -> str:
        package, _, name = m[1].partition(".")
        public = package == "melexp" and name in melexp.__all__
        return f"[`{m[1]}`][{m[1]}]" if public else f"`{m[1]}`"


class MathExtension(Extension):
    r"""Formulas in Markdown: ``$...$``, ``\(...\)``, and the directives and roles of docstrings."""

    def extendMarkdown(self, md: Markdown) -> None:
        """Register the processors; fenced code is out of the way by then."""
        md.preprocessors.register(Directives(md), "melexp_directives", 24)
        md.inlinePatterns.register(InlineMath(r":math:`([^`]+)`"), "melexp_role", 200)
        md.inlinePatterns.register(InlineMath(r"\\\((.+?)\\\)"), "melexp_inline", 199)
        # As GitHub writes them; after code, before escaped signs.
        md.inlinePatterns.register(InlineMath(r"\$([^$`]*\\[^$`]*)\$"), "melexp_dollars", 185)
        for name in ("melexp_role", "melexp_inline", "melexp_dollars"):
            md.inlinePatterns[name].md = md


def on_config(config: Any) -> Any:
    """Add the extension to those of every page and docstring."""
    config.markdown_extensions.append(MathExtension())
    return config
