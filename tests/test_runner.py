"""Runs of configurations: stored tasks, resumption, refused values, and the table."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from crashing import Forge
from crashing import melexp_text as app
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf
from stores import finished, part

from melexp.commands.reproduce import FROM_TABLES, experiment_configs
from melexp.discovery import conf_dir
from melexp.results import parts
from melexp.results.compare import compare
from melexp.results.records import DamagedFile, read_json, write_json
from melexp.results.statistics import mean_interval, summarise, variants
from melexp.results.store import Store
from melexp.results.tables import read_table, write_table
from melexp.runs.config import register
from melexp.runs.runner import run
from melexp.start import VERSIONS

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("limit=2", "checkpoints=[2,4]", "workers=1", "metric=[scm,sc]")
register()


def go(results: Path, *overrides: str) -> list[str]:
    """Run `melexp run` in this process; return the failures."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", [*QUICK, f"results={results}", *overrides])
    return run(config)


def values(results: Path, experiment: str = "run") -> pd.DataFrame:
    """Return the table without the times."""
    return write_table(results, experiment).drop(columns="seconds").reset_index(drop=True)


def test_a_timed_run_computes_what_another_experiment_has(tmp_path: Path) -> None:
    """The times of a timed experiment come from one run; its values are the same."""
    go(tmp_path)
    before = finished(tmp_path)
    go(tmp_path, "experiment=walltime", "method=admm", *QUICK)
    after = finished(tmp_path)
    assert before.items() <= after.items()
    assert len(after) == 2 * len(before)
    pd.testing.assert_frame_equal(
        values(tmp_path).drop(columns="experiment"),
        values(tmp_path, "walltime").drop(columns="experiment"),
    )
    go(tmp_path, "experiment=walltime", "method=admm", *QUICK)  # which then are there
    assert finished(tmp_path) == after


# --- Tasks and tables -------------------------------------------------------------------------


def test_table_has_a_row_per_clip_checkpoint_and_metric(tmp_path: Path) -> None:
    assert go(tmp_path) == []
    table = write_table(tmp_path, "run")
    assert len(table) == 2 * 2 * 2
    assert set(table["iteration"]) == {2, 4}
    assert set(table["metric"]) == {"scm", "sc"}
    assert (table["method"] == "admm").all()
    assert (table["rho"] == 0.1).all()
    assert table["value"].notna().all()
    assert (table["seconds"] > 0).all()
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "run.csv")[["clip", "value"]],
        table[["clip", "value"]].reset_index(drop=True),
    )
    provenance = read_json(tmp_path / "run.provenance.json")
    (job,) = provenance["jobs"]
    assert job["config"]["method"]["lam"] == 5000.0
    assert set(job["provenance"]) >= {"commit", "dirty", "cpu", "packages", "workers"}
    assert all(len(clip["sha256"]) == 64 for clip in provenance["clips"].values())


def test_a_second_run_computes_nothing(tmp_path: Path) -> None:
    go(tmp_path)
    before = finished(tmp_path)
    go(tmp_path)
    assert finished(tmp_path) == before
    assert len(before) == 2


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    go(tmp_path)
    first, before = values(tmp_path), finished(tmp_path)
    go(tmp_path, "method.rho=0.2")
    assert {p: t for p, t in finished(tmp_path).items() if p in before} == before
    assert len(finished(tmp_path)) == 4
    go(tmp_path, "checkpoints=[2,4,6]")  # a longer curve: the old values stay as they are
    longer = values(tmp_path)
    old = longer[(longer["rho"] == 0.1) & (longer["iteration"] <= 4)].reset_index(drop=True)
    pd.testing.assert_frame_equal(old.drop_duplicates().reset_index(drop=True), first)


@pytest.mark.slow
def test_workers_do_not_change_the_values(tmp_path: Path) -> None:
    go(tmp_path / "1", "limit=3")
    go(tmp_path / "2", "limit=3", "workers=2")
    pd.testing.assert_frame_equal(values(tmp_path / "1"), values(tmp_path / "2"))


def test_seeds_differ_and_methods_share_their_start(tmp_path: Path) -> None:
    go(tmp_path, "checkpoints=[0]")
    go(tmp_path, "checkpoints=[0]", "seed=1")
    go(tmp_path, "checkpoints=[0]", "method=gla", "method.magnitude=pinv")
    table = values(tmp_path)
    wide = table.pivot(index=["clip", "metric"], columns=["label", "seed"], values="value")
    assert (wide["ADMM", 0] != wide["ADMM", 1]).all()
    np.testing.assert_allclose(wide["ADMM", 0], wide["NNLS + GLA", 0], rtol=1e-6)


def test_another_start_is_another_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A task from an older version of the start is computed again."""
    go(tmp_path, "method=admm_ramp")
    before = finished(tmp_path)
    monkeypatch.setitem(VERSIONS, "nnls", 5)  # which it does not begin with
    go(tmp_path, "method=admm_ramp")
    assert finished(tmp_path) == before
    monkeypatch.setitem(VERSIONS, "pghi", VERSIONS["pghi"] + 1)
    go(tmp_path, "method=admm_ramp")
    assert len(finished(tmp_path)) == 2 * len(before)


def test_a_recorded_configuration_is_run(tmp_path: Path) -> None:
    """`melexp regress` runs the configurations in the provenance of committed tables."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", [*QUICK, f"results={tmp_path}"]))
    assert run(OmegaConf.create(config)) == []
    assert len(values(tmp_path)) == 2 * 2 * 2


def test_runs_with_frame_weights_are_told_from_those_without(tmp_path: Path) -> None:
    go(tmp_path / "a")
    go(tmp_path / "b", "method.frame_weights=0.5")
    go(tmp_path / "b")
    for name in "ab":
        write_table(tmp_path / name, "run")
    a, b = (read_table(tmp_path / name, "run") for name in "ab")
    assert set(variants(b)) == {"ADMM (frame_weights=0)", "ADMM (frame_weights=0.5)"}
    for one, other in ((a, b), (b, a)):
        compared = compare(one, other)
        assert len(compared) == 4
        assert (compared["difference"] == 0).all()


def test_foley_has_no_speech_metrics(tmp_path: Path) -> None:
    go(tmp_path, "dataset=demo_foley", "metric=[scm,pesq]", "limit=1")
    assert set(values(tmp_path)["metric"]) == {"scm"}


def test_a_bad_clip_is_named_and_the_others_are_complete(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    (clips / "a").mkdir(parents=True)
    noise = np.random.default_rng(0).standard_normal(8000) / 10
    soundfile.write(clips / "a" / "good.wav", noise, 22050)
    soundfile.write(clips / "a" / "silent.wav", 0 * noise, 22050)
    (clips / "a" / "bad.wav").write_bytes(b"RIFF, or so it says" * 20)
    (line,) = go(
        tmp_path / "r", "dataset=folder", f"dataset.path={clips}", "limit=null", "workers=2"
    )
    assert "bad.wav" in line
    table = values(tmp_path / "r").set_index("clip")
    assert len(table) == 3 * 2 * 2
    bad = table[table.index.str.contains("bad")]
    assert bad["value"].isna().all()
    assert bad["reason"].str.contains("not readable as audio").all()
    assert table[table.index.str.contains("good")]["value"].notna().all()
    silent = table[table.index.str.contains("silent")]
    assert silent["value"].isna().all()
    assert (silent["reason"] == "the reference is silent").all()


def test_a_torn_last_line_is_removed_and_recomputed(tmp_path: Path) -> None:
    """It is what a killed process leaves, so it is no damage."""
    go(tmp_path)
    whole = values(tmp_path)
    victim = part(tmp_path)
    victim.write_bytes(victim.read_bytes()[: victim.stat().st_size // 2])
    go(tmp_path)
    pd.testing.assert_frame_equal(values(tmp_path), whole)
    assert not (tmp_path / "damaged").exists()


def test_damaged_files_are_moved_aside_and_recomputed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go(tmp_path)
    whole = values(tmp_path)
    victim = part(tmp_path)
    victim.write_bytes(victim.read_bytes().replace(b"4", b"5"))
    go(tmp_path)
    pd.testing.assert_frame_equal(values(tmp_path), whole)
    assert (tmp_path / "damaged" / victim.name).exists()
    assert victim.name in capsys.readouterr().err
    assert victim.read_bytes().endswith(b"\n")


@pytest.mark.long
def test_killed_and_started_again_is_as_if_undisturbed(tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "melexp", "run", "-m", "method=admm,ipalm,gla"]
    arguments += ["limit=4", "checkpoints=[5,60]", "workers=2", "metric=[scm,sc]"]

    def start(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*arguments, f"results={folder}"],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    assert start(tmp_path / "undisturbed").wait() == 0
    for wanted in (1, 7):  # kill it when so many of the 12 tasks are done
        process = start(tmp_path / "killed")
        while len(finished(tmp_path / "killed")) < wanted and process.poll() is None:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert len(finished(tmp_path / "killed")) >= wanted
    assert start(tmp_path / "killed").wait() == 0
    pd.testing.assert_frame_equal(values(tmp_path / "killed"), values(tmp_path / "undisturbed"))
    assert len(values(tmp_path / "killed")) == 3 * 4 * 2 * 2


# --- Configuration ----------------------------------------------------------------------------


@pytest.mark.parametrize("typo", ["checkpoint=[5]", "method.rh0=3", "datasett=demo_foley"])
def test_typos_on_the_command_line_are_refused(tmp_path: Path, typo: str) -> None:
    key = typo.partition("=")[0].removeprefix("method.")
    with pytest.raises((ConfigCompositionException, ValueError)) as error:
        go(tmp_path, typo)
    assert key in f"{error.value} {error.value.__cause__}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typo", "key"),
    [
        ("checkpoint: [5]", "checkpoint"),
        ("method: {rh0: 3}", "rh0"),
        ("metric: {scm: {lable: x}}", "lable"),
    ],
)
def test_typos_in_an_experiment_are_refused(tmp_path: Path, typo: str, key: str) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\n{typo}\n")
    done = app("run", f"hydra.searchpath=[file://{tmp_path}]", "experiment=mine", *QUICK,
               f"results={tmp_path}")  # fmt: skip
    assert done.returncode != 0
    assert re.search(rf"\b{key}\b", done.stderr), done.stderr
    assert not (tmp_path / "run.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("mel.hop_length=4096", "hop_length = 4096 is larger than the window"),
        ("method.lam=-1", "lam and rho must be above zero"),
        ("checkpoints=[]", "give at least one metric and checkpoints"),
    ],
)
def test_bad_values_are_refused_before_anything_runs(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        go(tmp_path, override)
    assert not (tmp_path / "tasks").exists()


@pytest.mark.slow
def test_a_sweep_gives_one_table(tmp_path: Path) -> None:
    done = app("run", "-m", *QUICK, f"results={tmp_path}", "method.rho=0.1,0.2,0.3")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "run.csv")
    assert sorted(table["rho"].unique()) == [0.1, 0.2, 0.3]
    assert len(table) == 3 * 8


@pytest.mark.long
def test_every_experiment_and_its_figure(
    tmp_path: Path, forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    for configs in experiment_configs().values():
        for config in configs:
            done = forge.run("run", f"experiment={config}", f"results={tmp_path}", "limit=1",
                             "seed=0", "checkpoints=[2]", log=tmp_path / "log")  # fmt: skip
            assert done.status == 0, (config, done.said)
    monkeypatch.syspath_prepend(ROOT / "experiments")
    for name in [*experiment_configs(), *FROM_TABLES]:
        script = ROOT / "experiments" / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path)])
        runpy.run_path(str(script), run_name="__main__")
        if name != "summary":
            for suffix in ("png", "pdf", "drawn.csv", "txt"):
                assert (tmp_path / f"{name}.{suffix}").stat().st_size > 50
    assert "ADMM" in (tmp_path / "summary.md").read_text()


# --- The command, the store, the summary ------------------------------------------------------


@pytest.mark.slow
def test_commands() -> None:
    assert app("methods").stdout.split()[0] == "admm"
    listed = app("data", "list").stdout
    assert "public domain" in listed
    assert "CC-BY" in listed
    bad = app("reproduce", "fig9")
    assert bad.returncode == 2
    assert bad.stderr.startswith("melexp: there is no experiment fig9; the experiments are ")
    assert app("reproduce", "--profile", "cor").returncode == 2
    assert app("no-such-command").returncode == 2


def test_store_detects_every_changed_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"rows": [1.5, None, "x"], "n": 3})
    assert read_json(path) == {"rows": [1.5, None, "x"], "n": 3}
    whole = path.read_bytes()
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)
        try:
            assert read_json(path) == json.loads(whole) | {}  # white space does not matter
        except (DamagedFile, AssertionError):
            continue
    path.write_bytes(b"")
    with pytest.raises(DamagedFile, match=r"a\.json"):
        read_json(path)


def test_nothing_half_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    row = {"iteration": 1, "metric": "sc", "value": -1.0, "reason": "", "seconds": 1.0}
    body = {"task": "ab12", "clip": "c", "rows": [row]}
    store.save(body)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    monkeypatch.setattr(parts, "FLUSH_EVERY", 0)
    with pytest.raises(OSError, match="No space left"):
        store.save(body | {"task": "cd34"})
    assert store.load("ab12") == {"task": "ab12", "rows": [row]}
    assert list(finished(tmp_path)) == ["ab12"]
    assert part(tmp_path).read_bytes().endswith(b"\n")
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [part(tmp_path)]


def test_mean_interval_by_hand() -> None:
    """Of 1, 2, 3, 4: mean 2.5, sem 0.6455, t(3) 3.1824."""
    assert mean_interval(np.array([1, 2, 3, 4, np.nan])) == pytest.approx(
        (2.5, 0.4457, 4.5543), abs=1e-3
    )
    assert np.isnan(mean_interval(np.array([np.nan]))).all()


def test_summary_by_hand() -> None:
    rows = [
        {
            "dataset": "d",
            "metric": "scm",
            "clip": c,
            "seed": s,
            "label": m,
            "value": v,
            "seconds": 1,
        }
        for m, by_clip in {"A": [(-10, -12), (-20, -22)], "B": [(-11, -8), (-10, -10)]}.items()
        for c, seeds in zip("xy", by_clip, strict=True)
        for s, v in enumerate(seeds)
    ]
    table = summarise(pd.DataFrame(rows), best="A", lower_is_better={"scm": True})
    b = table.set_index("method").loc["B"]
    assert b["mean"] == -9.75
    assert b["win_rate"] == 0.75  # A loses one of the four runs
    assert b["clip_win_rate"] == 1.0
    assert b["clips"] == 2
