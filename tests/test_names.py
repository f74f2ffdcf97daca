"""Names of files and folders that are no plain text, from the run to every table."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pandas as pd
import pytest
import soundfile
from hydra import compose, initialize_config_dir
from sounds import sine
from stores import add_job

from melexp.datasets import load_dataset
from melexp.discovery import conf_dir
from melexp.errors import one_line, printable
from melexp.results.columns import to_csv, unmarked
from melexp.results.export import export, latex
from melexp.results.tables import read_table, write_table
from melexp.runs.hydra_app import register
from melexp.runs.runner import run

register()
#: Names of folders, as bytes, and as text in a table.
NAMES = {
    b"caf\xe9": r"caf\udce9",
    b"a\rb": r"a\rb",
    b"a\nb": r"a\nb",
    "a\u2028b\x85c".encode(): r"a\u2028b\x85c",
    b"=1+1": "=1+1",
    b"@sum(a)": "@sum(a)",
    b"-2": "-2",
    b"+3": "+3",
    b"'=quoted": "'=quoted",
    b'a,"b': 'a,"b',
    "日本語".encode(): "日本語",
    b"NA": "NA",
}


def go(results: Path, *overrides: str) -> None:
    quick = ("limit=20", "checkpoints=[1]", "workers=1", "metric=[sc]", "method=gla")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", [*quick, f"results={results}", *overrides])
    assert run(config) == []
    write_table(results, "run")


def test_a_run_keeps_all_names(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/sounds-\xff"
    for name in NAMES:
        os.makedirs(root + b"/" + name)
        path = os.fsdecode(root + b"/" + name + b"/x\xfe.wav")
        soundfile.write(os.open(path, os.O_CREAT | os.O_RDWR), sine(440, 4000), 22050, format="WAV")
    clips = load_dataset("folder", path=os.fsdecode(root))
    assert {clip.category for clip in clips} == set(NAMES.values())
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", ["dataset=folder", "dataset.path=x", "method=gla"])
    config.dataset.path, config.results = os.fsdecode(root), str(tmp_path / "r")
    config.checkpoints, config.workers, config.metric = [1], 1, {"sc": config.metric.sc}
    assert run(config) == []
    write_table(tmp_path / "r", "run")
    table = read_table(tmp_path / "r", "run")
    assert set(table["category"]) == set(NAMES.values())
    assert len((tmp_path / "r" / "run.csv").read_text().splitlines()) == 1 + len(NAMES)


def test_no_cell_is_a_formula_and_every_name_comes_back(tmp_path: Path) -> None:
    names = [*NAMES.values(), "''=x", "-inf", "+", "@", "=", "'", "''", "plain"]
    add_job(tmp_path, {name: (name, -1.0) for name in names}, label="=cmd|' /C calc'!A0")
    add_job(tmp_path, {name: (name, -1.0) for name in names}, label="@a", category="+b")
    write_table(tmp_path, "run")
    table = read_table(tmp_path, "run")
    assert set(table["clip"]) == set(names)
    assert set(table["label"]) == {"=cmd|' /C calc'!A0", "@a"}
    export(table, tmp_path / "out.csv")
    for path in (tmp_path / "run.csv", tmp_path / "out.csv"):
        cells = pd.read_csv(path, dtype=str, keep_default_na=False).drop(columns="value")
        assert not [c for c in cells.to_numpy().ravel() if re.match(r"[=+\-@\t\r]", c)]
    pd.testing.assert_frame_equal(unmarked(pd.read_csv(io.StringIO(to_csv(table)))).drop(
        columns=["clip", "reason"]), table.drop(columns=["clip", "reason"]))  # fmt: skip


def test_tex_of_any_name(tmp_path: Path) -> None:
    label = "a^b~c\\d<e>|f&g%h$i#j_k{l}\nm"
    add_job(tmp_path, {"a": ("a", 1.0)}, label=label, dataset="d\n\\input{evil}")
    write_table(tmp_path, "run")
    text = latex(read_table(tmp_path, "run"))
    assert text.startswith(r"% d\n\input{evil}: mean over 1 clips")
    assert (
        r"a\textasciicircum{}b\textasciitilde{}c\textbackslash{}d\textless{}e\textgreater{}"
        r"\textbar{}f\&g\%h\$i\#j\_k\{l\}\textbackslash{}nm &"
    ) in text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é", "plain é"),
        ("a\tb\x00", r"a\tb\x00"),
        ("\udcff", r"\udcff"),
        ("a\u2029", r"a\u2029"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()
    one_line(OSError(text)).encode()
