"""The layout: which folder may import which, and sizes."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: The layers from the bottom to the top; a module imports from its own layer or from lower ones.
LAYERS = [
    {"discovery", "errors"},
    {"transforms"},
    {"inspection"},
    {"fast"},
    {"problem"},
    {"start"},
    {"methods"},
    {"batch"},
    {"inversion"},
    # The suite.
    {"files"},
    {"datasets", "metrics"},
    {"results"},
    {"runs"},
    {"bench", "report"},
    {"commands"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
NUMERIC = {name for names in LAYERS[:9] for name in names}
#: Imports within functions that go upwards, with the reason.
UPWARDS = {
    ("transforms.mel", "inversion.invert"): "transform.invert(mel) is a method of the transform",
    ("methods.stream", "inversion.stream"): "the peer calls what it compares with other methods",
}


def modules(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imports(path: Path) -> list[tuple[str, bool]]:
    """Modules of melexp that a file imports, and whether within a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    package = path.relative_to(ROOT).parent.parts
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    lazy = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            names = [".".join([*base, *filter(None, [node.module])])]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
            if node.module == "melexp":
                names = [f"melexp.{alias.name}" for alias in node.names]
        else:
            continue
        found += [(n[7:], id(node) in lazy) for n in names if n.startswith("melexp.")]
    return found


def test_imports_go_one_way() -> None:
    wrong = []
    for path in modules("melexp"):
        name = ".".join(path.relative_to(ROOT / "melexp").with_suffix("").parts)
        part = name.split(".")[0]
        if part == "__init__":
            continue
        for target, lazy in imports(path):
            top = target.split(".")[0]
            if top not in LEVEL or LEVEL[top] <= LEVEL[part]:
                continue
            if not (lazy and (name, target) in UPWARDS):
                wrong.append(f"{name} imports {target}")
    assert not wrong


def test_the_numeric_half_imports_nothing_of_the_suite() -> None:
    code = (
        "import melexp.inversion.invert, melexp.inversion.librosa_compat, melexp.start, sys;"
        "print(*sorted({m.split('.')[1] for m in sys.modules if m.startswith('melexp.')}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert set(done.stdout.split()) <= NUMERIC


def test_figures_read_stored_tables_only() -> None:
    for path in modules("experiments"):
        tops = {".".join(target.split(".")[:2]) for target, _ in imports(path)}
        stored = {"results.tables", "results.statistics", "files.atomic"}
        assert tops <= {*stored, "report.figures", "report.plots"}, path


def test_a_table_needs_no_matplotlib() -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; sys.path.insert(0, 'experiments');"
        "import melexp.results.statistics, melexp.results.export, melexp.results.compare, summary"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_tree_is_the_table_of_contents() -> None:
    entries = [p for p in (ROOT / "melexp").iterdir() if p.name not in ("__pycache__", "conf")]
    assert len(entries) <= 22
    for init in (ROOT / "melexp").glob("*/__init__.py"):
        first = (ast.get_docstring(ast.parse(init.read_text())) or "").splitlines()[0]
        assert first.endswith("."), init


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        pytest.skip("not a clone: git does not list the files")
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def test_no_python_file_is_long() -> None:
    long = {p.name: n for p in tracked("*.py") if (n := len(p.read_text().splitlines())) > 400}
    assert not long
