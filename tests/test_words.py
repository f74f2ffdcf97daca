"""Tests of the prose: words and sentence patterns that do not occur in code, docs and messages."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Expressions that have a plain technical equivalent (given on the right).
KEPT_OUT = {
    r"mend(?:s|ed|ing)?": "fix",
    r"lest": "so that ... not",
    r"anew": "again",
    r"whole or not at all": "atomically",
    r"there and back": "round trip",
    r"of one's own": "custom, separate",
    r"another's": "of another ...",
    r"of ours": "name the owner",
    r"but for": "except for",
    r"is to be": "must be, will be",
    r"at hand": "available",
    r"in any case": "always",
}
#: A space in an expression also matches a line break with its indentation and comment sign.
GAP = r"(?:[ \t]+|[ \t]*\n[ \t]*(?:#:?|//|\*|>)?[ \t]*)"
PATTERN = re.compile(
    r"(?<![\w-])(?:" + "|".join(KEPT_OUT).replace(" ", GAP) + r")(?![\w-])", re.IGNORECASE
)
#: First words that make a function's docstring a noun phrase or a question, not an instruction.
NOT_A_VERB = {
    "a", "an", "the", "this", "that", "these", "those", "what", "where", "who", "whom", "whose",
    "how", "which", "why", "when", "whether",
}  # fmt: skip
#: Suffixes of the text files ("" for the Makefile and scripts).
TEXT = {
    "", ".cff", ".css", ".html", ".ipynb", ".j2", ".js", ".md", ".py", ".pyi", ".sh", ".toml",
    ".txt", ".yaml", ".yml",
}  # fmt: skip
DOCUMENTED = ("melexp", "hydra_plugins", "studies", "tools", "experiments")


def tracked() -> list[Path]:
    """Return the text files of the repository, without results, the licence and this file."""
    run = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        pytest.skip("not a git repository")
    files = [Path(name) for name in run.stdout.split("\0") if name]
    return [
        path
        for path in files
        if path.suffix in TEXT
        and path.parts[0] != "results"
        and path.name not in ("LICENSE", Path(__file__).name)
        and (ROOT / path).is_file()
    ]


def python_files() -> list[Path]:
    """Return the Python files with documented functions."""
    return [p for p in tracked() if p.suffix == ".py" and p.parts[0] in DOCUMENTED]


def found(text: str) -> list[tuple[int, str]]:
    """Return the line numbers and the expressions that are kept out."""
    hits = PATTERN.finditer(text)
    return [(text.count("\n", 0, hit.start()) + 1, " ".join(hit.group().split())) for hit in hits]


def docstrings(text: str) -> list[tuple[int, bool, str]]:
    """Return line number, whether it belongs to a function, and first line of each docstring."""
    found = []
    for node in ast.walk(ast.parse(text)):
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if function or isinstance(node, ast.Module | ast.ClassDef):
            first = (ast.get_docstring(node) or "").split("\n")[0]
            if first and not (function and is_property(node)):
                found.append((node.body[0].lineno, function, first))
    return found


def is_property(node: ast.FunctionDef) -> bool:
    """Check whether a function is a property, whose docstring is a noun phrase."""
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def not_an_instruction(text: str) -> list[tuple[int, str]]:
    """Return the docstrings that begin with "What is" or, of functions, with another non-verb."""
    return [
        (line, first)
        for line, function, first in docstrings(text)
        if (function and words(first)[0] in NOT_A_VERB) or words(first)[:2] == ["what", "is"]
    ]


def words(line: str) -> list[str]:
    """Return the words of a line in lower case; a line without any gives one empty word."""
    return re.findall(r"[^\W\d_]+(?:'\w+)?", line.lower()) or [""]


def test_text_files_are_found() -> None:
    files = {path.as_posix() for path in tracked()}
    assert {
        "README.md",
        "CHANGELOG.md",
        "Makefile",
        "melexp/problem.py",
        "conf/config.yaml",
    } <= files
    assert not any(path.startswith("results/") for path in files)
    assert len(python_files()) > 80


def test_words_kept_out() -> None:
    hits = [
        f"{path}:{line}: {expression}"
        for path in tracked()
        for line, expression in found((ROOT / path).read_text(encoding="utf-8"))
    ]
    assert not hits, "write it in plain English:\n" + "\n".join(hits)


def test_docstrings_of_functions_are_instructions() -> None:
    hits = [
        f"{path}:{line}: {first}"
        for path in python_files()
        for line, first in not_an_instruction((ROOT / path).read_text(encoding="utf-8"))
    ]
    assert not hits, "begin with an imperative verb:\n" + "\n".join(hits)


@pytest.mark.parametrize(
    "expression", ["Mend it", "mended", "is to\n    # be", "but for\nit", "LEST"]
)
def test_expressions_are_found(expression: str) -> None:
    assert found(f"one\ntwo {expression} three")[0][0] == 2


@pytest.mark.parametrize("text", ["recommend", "amended", "celeste", "renewal", "Mendel", "butfor"])
def test_parts_of_words_are_not_found(text: str) -> None:
    assert found(text) == []


def test_docstring_checks_find_noun_phrases() -> None:
    code = '''
"""The module."""
class A:
    """The class."""
    @property
    def p(self):
        """The value of a property."""
    def f(self):
        """The noun phrase."""
    def g(self):
        """Return the noun phrase."""
    def h(self):
        """What is computed."""
class B:
    """What is computed."""
'''
    assert sorted(line for line, _ in not_an_instruction(code)) == [9, 13, 15]
