"""Check README.md: its length, Python blocks, commands and numbers; and build the site strictly."""

import contextlib
import io
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from crashing import melexp_text

from melexp import Compression, MelTransform
from melexp.results.tables import read_table

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
#: Name in the table of README.md, metric, digits after the decimal point.
COLUMNS = [("SCM dB", "scm", 2), ("SC dB", "sc", 2), ("PESQ", "pesq", 2), ("ESTOI", "estoi", 3)]


def blocks(language: str, text: str = README) -> list[str]:
    """Return the contents of the code blocks of a text (default: README.md) in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Execute the Python blocks of README.md in a folder that has the embedded clips."""
    here = tmp_path_factory.mktemp("readme")
    demo = Path("melexp/datasets/demo")  # without the package, which would be imported from here
    (here / demo).parent.mkdir(parents=True)
    (here / demo).symlink_to(ROOT / demo)
    names: dict[str, object] = {}
    with working_directory(here):
        for block in blocks("python"):
            exec(compile(block, "README.md", "exec"), names)
    assert names["z"].shape == names["y"].shape
    shape = re.search(r"shape (\(\d+, \d+\))", README)
    assert shape is not None
    assert str(names["mel"].shape) == shape[1]
    return here


@contextlib.contextmanager
def working_directory(path: Path) -> Iterator[None]:
    """Change into a folder; contextlib.chdir needs Python 3.11."""
    before = Path.cwd()
    os.chdir(path)
    try:
        yield
    finally:
        os.chdir(before)


def test_readme_has_at_most_120_lines() -> None:
    assert len(README.splitlines()) <= 120


def test_python_of_readme_is_short(folder: Path) -> None:
    (block,) = blocks("python")
    assert len([line for line in block.splitlines() if line.strip()]) == 8
    assert 'method="admm_ramp"' in block
    assert (folder / "mel.npy").is_file()


def test_files_that_readme_names_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if "://" not in target:
            assert (ROOT / target).exists(), target
    (tree,) = blocks("text")
    for line in tree.splitlines():
        inside = "melexp/" if line.startswith("  ") else ""
        for name in re.findall(r"^ *((?:[\w/]+/ ?)+)", line)[0].split():
            assert (ROOT / inside / name).is_dir(), name


@pytest.mark.slow
def test_commands_of_readme(folder: Path) -> None:
    (block,) = blocks("console")
    commands = re.findall(r"^\$ melexp (.*)\n((?:(?!\$).*\n)*)", block, flags=re.MULTILINE)
    assert len(commands) >= 2
    for command, shown in commands:
        done = melexp_text(*shlex.split(command), cwd=folder)
        assert done.returncode == 0, done.stderr
        assert re.sub(r"\d", "0", done.stdout) == re.sub(r"\d", "0", shown)  # the same lines
        measured, claimed = numbers(done.stdout), numbers(shown)
        assert measured.keys() == claimed.keys()
        for name, value in claimed.items():
            assert measured[name] == pytest.approx(value, rel=0.02, abs=0.02), name


def numbers(text: str) -> dict[str, float]:
    """Return the values of the output of ``melexp invert`` by method and metric, without times."""
    found = {}
    for line in text.splitlines():
        name, *_ = line.split()
        found |= {
            f"{name} {metric}": float(value)
            for metric, value in re.findall(r"(SCM|SC|PESQ|ESTOI) (-?[\d.]+)", line)
        }
    return found


def test_sweeps_of_readme_are_configurations() -> None:
    from hydra import compose, initialize_config_dir

    from melexp.discovery import conf_dir
    from melexp.runs.config import register

    register()

    runs = [line for block in blocks("sh") for line in block.splitlines() if "melexp run" in line]
    assert runs
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for line in runs:
            words = [w for w in shlex.split(line, comments=True)[2:] if w != "-m"]
            compose("config", [word.split(",")[0] for word in words])


def test_table_of_readme_is_the_committed_one() -> None:
    summary = pd.read_csv(ROOT / "results" / "core" / "summary.csv")
    summary = summary[summary["dataset"] == "ljspeech"]
    table = pd.read_csv(
        io.StringIO("\n".join(re.findall(r"^\| .*\|$", README, flags=re.MULTILINE))),
        sep="|",
        skipinitialspace=True,
        dtype=str,
    ).iloc[1:, 1:-1]
    table.columns = table.columns.str.strip()
    table = table.apply(lambda column: column.str.strip()).set_index("method")
    assert list(table.index) == list(summary[summary["metric"] == "scm"]["method"])
    assert list(table.columns) == [name for name, *_ in COLUMNS]
    for name, metric, digits in COLUMNS:
        rows = summary[summary["metric"] == metric].set_index("method")
        for method, text in table[name].items():
            assert text == f"{rows.loc[method, 'mean']:.{digits}f}", (method, name)
    assert f"{rows['clips'].max()} clips" in README


def test_the_spread_over_seeds_in_readme_is_the_committed_one() -> None:
    table = read_table(ROOT / "results" / "core", "fig3")
    table = table[(table["metric"] == "scm") & (table["iteration"] == table["iteration"].max())]
    variances = table.groupby(["label", "clip"])["value"].var().groupby("label").mean()
    joint = np.sqrt(variances[["ADMM", "iPALM", "iPALM (tuned)"]])
    text = " ".join(README.split())
    claim = re.search(r"moves the SCM of a speech clip by (\d) to (\d) dB", text)
    assert claim is not None
    assert (int(claim[1]), int(claim[2])) == (round(joint.min()), round(joint.max()))
    assert f"{table['seed'].nunique()} seeds" in text.replace("three", "3")
    assert f"{table['iteration'].max()} iterations" in text


def test_what_readme_says_of_vocoders_is_what_the_tables_say() -> None:
    """Each number is the mean that its sentence names."""
    (section,) = re.findall(r"^## What it is not for\n(.*?)^## ", README, flags=re.DOTALL | re.M)
    core = ROOT / "results" / "core"
    peers = pd.read_csv(core / "peers.csv")
    peers = peers.set_index(["dataset", "label", "iteration", "metric"]).sort_index()
    blurred = pd.read_csv(core / "imperfect.csv")
    blurred = blurred[(blurred["imperfection"] == "blur_both") & (blurred["metric"] != "scm")]
    blurred = blurred[blurred["dataset"] == "librispeech"].groupby(["label", "metric"])["value"]

    def mean(dataset: str, label: str, metric: str, of: str = "value") -> float:
        iteration = 100 if label == "ADMM, ramped" else 500
        return float(peers.loc[(dataset, label, iteration, metric), of].mean())

    ours, home, other = "ADMM, ramped", "HiFi-GAN (LJSpeech)", "HiFi-GAN"
    values = [
        mean("ljspeech", ours, "pesq"),
        mean("librispeech", ours, "pesq"),
        mean("ljspeech", home, "pesq"),
        mean("librispeech", other, "pesq"),
        mean("librispeech", other, "dnsmos"),
        mean("librispeech", ours, "dnsmos"),
        blurred.mean()[other, "dnsmos"],
        blurred.mean()[ours, "dnsmos"],
        blurred.mean()[other, "pesq"],
        blurred.mean()[ours, "pesq"],
    ]
    assert re.findall(r"\d+\.\d+", section) == [f"{value:.2f}" for value in values]
    times = [
        mean(dataset, label, "pesq", "seconds") / mean(dataset, ours, "pesq", "seconds")
        for dataset, label in (("ljspeech", home), ("librispeech", other))
    ]
    claimed = re.search(r"in (\d+) and (\d+) times the CPU", " ".join(section.split()))
    assert claimed is not None
    assert [int(times_of) for times_of in claimed.groups()] == [round(ratio) for ratio in times]


def test_results_of_the_site_are_the_committed_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "docs" / "hooks")
    import tables

    committed, heading = {}, re.compile(r"\*\*(.+)\*\* on (\w+) \(")
    label = dataset = ""
    for line in (ROOT / "results" / "core" / "summary.md").read_text().splitlines():
        if found := heading.match(line):
            label, dataset = found.groups()
        elif row := re.match(r"\| ([^|]+) \| (-?[\d.]+) \|", line):
            committed[dataset, label, row[1]] = row[2]
    assert len(committed) > 40
    shown = {}
    for name in ("ljspeech", "esc10"):
        lines = [line for line in tables.results(name).splitlines() if line.startswith("|")]
        head, _, *body = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines)
        for method, *values in body:
            for column, value in zip(head[1:-1], values[:-1], strict=True):
                shown[name, column, method] = value
    assert shown == committed


def test_get_started_runs() -> None:
    (block,) = blocks("python", (ROOT / "docs" / "index.md").read_text())
    names: dict[str, object] = {}
    exec(compile(block, "docs/index.md", "exec"), names)
    assert names["mel"].shape == (80, 87)
    assert names["y"].shape == names["tone"].shape


def test_every_preset_has_a_recipe() -> None:
    text = (ROOT / "docs" / "invert.md").read_text()
    calls = re.findall(r"MelTransform\.preset\((.*?)\)", text)
    for call in calls:
        eval(
            f"MelTransform.preset({call})",
            {"MelTransform": MelTransform, "compression": Compression()},
        )
    assert set(MelTransform.presets()) == {
        name for name in re.findall(r"`?\"?(\w+)\"?`?", text) if name in MelTransform.presets()
    }


def test_messages_of_troubleshooting_are_in_the_source() -> None:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    messages = re.findall(r"^\| `([^`]+)`", text, flags=re.MULTILINE)
    assert len(messages) > 10
    source = "".join(path.read_text() for path in sorted((ROOT / "melexp").rglob("*.py")))
    source = re.sub(r'"\s*\n\s*(?:#.*\n\s*)?f?"', "", source)  # adjacent literals are one
    hydra = {"Could not find", "Could not override"}
    for message in messages:
        for part in filter(None, (part.strip() for part in message.split("..."))):
            assert part in source or part in hydra, part
