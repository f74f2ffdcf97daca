"""A table never pairs two sounds, two transforms or two versions under one name."""

from __future__ import annotations

from pathlib import Path

import pytest
from stores import add_job, sha

from melexp.results.compare import compare_sources
from melexp.results.export import latex
from melexp.results.merge import merge
from melexp.results.tables import read_table, write_table


def test_two_contents_under_one_name_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file was replaced between the runs of two methods; the other clip is the same."""
    add_job(tmp_path, {"a": ("old", 1.0), "b": ("same", 2.0)})
    add_job(tmp_path, {"a": ("new", 3.0), "b": ("same", 4.0)}, label="GLA")
    write_table(tmp_path, "run")
    table = read_table(tmp_path, "run")
    old, new = f"a@{sha('old')[:8]}", f"a@{sha('new')[:8]}"
    found = table[["label", "clip", "value"]].itertuples(index=False, name=None)
    assert set(found) == {("ADMM", old, 1), ("ADMM", "b", 2), ("GLA", new, 3), ("GLA", "b", 4)}
    assert "1 clips have several contents under one name (d/a)" in capsys.readouterr().err


def test_machines_with_other_files_are_told_apart_when_merged(tmp_path: Path) -> None:
    a = add_job(tmp_path / "a", {"a": ("one", 1.0)}, limit=1)
    b = add_job(tmp_path / "b", {"a": ("two", 3.0)}, limit=2)
    assert merge(tmp_path / "all", [a, b]) == ["run"]
    table = read_table(tmp_path / "all", "run")
    assert sorted(table["clip"]) == sorted(f"a@{sha(t)[:8]}" for t in ("one", "two"))


@pytest.mark.parametrize("recorded", [(True, True), (False, True), (False, False)])
def test_versions_of_a_method_are_told_apart(
    tmp_path: Path, recorded: tuple[bool, bool], capsys: pytest.CaptureFixture[str]
) -> None:
    """Another `limit` keeps both notes; notes of older versions of melexp record no version."""
    for n, is_recorded in enumerate(recorded, 1):
        clips = {"a": ("s", float(n))}
        add_job(tmp_path, clips, version=f"v1.{n}", is_recorded=is_recorded, limit=n)
    write_table(tmp_path, "run")
    table = read_table(tmp_path, "run")
    assert sorted(table["value"]) == [1.0, 2.0]
    assert table["version"].nunique() == 2
    named = dict(zip(table["value"], table["version"], strict=True))
    assert [named[n] == f"v1.{n}" for n in (1, 2)] == list(recorded)
    assert "several versions of the code" in capsys.readouterr().err
    assert latex(table).count("version=") == 2  # not averaged


def test_another_limit_alone_adds_no_column(tmp_path: Path) -> None:
    add_job(tmp_path, {"a": ("s", 1.0)}, limit=1)
    add_job(tmp_path, {"a": ("s", 1.0), "b": ("t", 2.0)}, limit=2)
    write_table(tmp_path, "run")
    table = read_table(tmp_path, "run")
    assert table["clip"].tolist() == ["a", "b"]
    assert "version" not in table


def test_transforms_are_told_apart_by_their_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_job(tmp_path, {"a": ("s", 1.0)}, mel={"sr": 22050, "n_mels": 80})
    add_job(tmp_path, {"a": ("s", 3.0)}, mel={"sr": 22050, "n_mels": 40})
    write_table(tmp_path, "run")
    table = read_table(tmp_path, "run")
    assert dict(zip(table["mel.n_mels"], table["value"], strict=True)) == {80: 1.0, 40: 3.0}
    assert "mel.sr" not in table
    assert "columns mel.n_mels" in capsys.readouterr().err
    assert latex(table).count("mel.n\\_mels=") == 2


def test_a_setting_that_has_its_default_is_the_same_transform(tmp_path: Path) -> None:
    """Notes of older versions of melexp lack newer settings."""
    add_job(tmp_path, {"a": ("s", 1.0)}, mel={"sr": 22050})
    add_job(tmp_path, {"a": ("s", 1.0)}, mel={"sr": 22050, "pad": None}, label="GLA")
    write_table(tmp_path, "run")
    assert not [c for c in read_table(tmp_path, "run") if c.startswith("mel.")]


def test_compare_refuses_other_sounds_and_transforms(tmp_path: Path) -> None:
    mel = {"sr": 22050}
    folders = {
        "a": add_job(tmp_path / "a", {"a": ("one", 1.0)}, mel=mel),
        "sound": add_job(tmp_path / "sound", {"a": ("two", 1.0)}, mel=mel),
        "mel": add_job(tmp_path / "mel", {"a": ("one", 1.0)}, mel={"sr": 16000}),
        "both": add_job(tmp_path / "both", {"a": ("one", 1.0)}, mel=mel, version="v1.2"),
    }
    add_job(folders["both"], {"a": ("one", 2.0)}, mel=mel, version="v1.3", limit=1)
    for folder in folders.values():
        write_table(folder, "run")
    assert compare_sources(str(folders["a"]), str(folders["a"])) == 0
    for other, message in (
        ("sound", r"1 clips are other sounds in B than in A \(d/a\)"),
        ("mel", "the mel transforms of A and B differ"),
        ("both", "B has rows that the columns of both cannot tell apart"),
    ):
        with pytest.raises(ValueError, match=message):
            compare_sources(str(folders["a"]), str(folders[other]))
