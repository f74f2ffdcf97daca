"""Plain technical English: words that stay out of the repository, and how docstrings begin."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: Expression kept out, as a regular expression, and the wording to use.
KEPT_OUT = {
    r"mend(?:s|ed|ing)?": "fix, repair or remedy",
    r"lest": "so that ... not",
    r"anew": "again",
    r"whole or not at all": "atomic",
    r"there and back": "round trip",
    r"of one's own": "your own, or custom",
    r"but for": "except",
    r"is to be": "must be, or the verb itself",
    r"at hand": "available",
    r"in any case": "always",
    r"another's": "the name of the other thing",
    r"of ours": "the name of the thing",
}
#: A phrase may be broken over two lines, also of a comment.
SPACE = r"\s+(?:(?:#:?|//|\*|>)\s*)?"
WORDS = re.compile(
    r"\b(?:" + "|".join(p.replace(" ", SPACE) for p in KEPT_OUT) + r")\b", re.IGNORECASE
)

#: The docstring of a function begins with a verb, so not with any of these words.
NO_VERBS = (
    *("a", "an", "the", "that", "this", "those", "these", "what", "when", "where", "which"),
    *("who", "whom", "whose", "why", "how", "whether"),
)


def words_kept_out(text: str) -> Iterator[tuple[int, str]]:
    for match in WORDS.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, " ".join(match.group().split())


def docstrings_without_a_verb(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if any("property" in ast.unparse(d) for d in node.decorator_list):
                continue  # described like an attribute
            first = (ast.get_docstring(node) or "").partition("\n")[0]
            word = re.match(r"\W*(\w*)", first)
            if word and word[1].lower() in NO_VERBS:
                yield node.lineno, first


def tracked() -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    names = [name for name in listed.stdout.split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_words_kept_out() -> None:
    found, n_files = [], 0
    for path in tracked():
        name = path.relative_to(ROOT).as_posix()
        data = path.read_bytes()
        if name.startswith("results/") or path.suffix == ".csv" or b"\0" in data:
            continue
        if path == Path(__file__).resolve():
            continue
        n_files += 1
        found += [f"{name}:{line}: {word}" for line, word in words_kept_out(data.decode())]
    assert n_files > 100
    assert not found, "words kept out (see KEPT_OUT):\n" + "\n".join(found)


def test_docstrings_of_functions_begin_with_a_verb() -> None:
    found, n_files = [], 0
    for folder in ("melexp", "hydra_plugins", "studies", "tools", "experiments"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            n_files += 1
            for line, first in docstrings_without_a_verb(path.read_text(encoding="utf-8")):
                found.append(f"{path.relative_to(ROOT).as_posix()}:{line}: {first}")
    assert n_files > 80
    assert not found, "docstrings that do not begin with a verb:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mend it", [(1, "mend")]),
        ("a\nIt is Mended.", [(2, "Mended")]),
        ("written whole or\n    # not at all", [(1, "whole or # not at all")]),
        ("all of it, but\nfor the last", [(1, "but for")]),
        ("amended, recommend, janew, foist, best, commend", []),
        ("but format it; this is too beautiful; of oursins", []),
    ],
)
def test_words_are_found(text: str, found: list[tuple[int, str]]) -> None:
    assert list(words_kept_out(text)) == found


@pytest.mark.parametrize(
    ("first", "found"),
    [
        ("Return the sum.", False),
        ("The sum.", True),
        ("What is left.", True),
        ("Whether it is left.", True),
        ("Those that are left.", True),
        ("Append a row.", False),
    ],
)
def test_docstrings_without_a_verb_are_found(first: str, found: bool) -> None:
    source = f'class A:\n    """The class."""\n    def f(self):\n        """{first}"""\n'
    assert bool(list(docstrings_without_a_verb(source))) == found
