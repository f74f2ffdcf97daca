"""Results of before the renames: they are recognised, not computed again."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from melexp.discovery import conf_dir
from melexp.results.store import Store, digest, read_json, write_json
from melexp.results.tables import read_table, table_checksum, write_table
from melexp.runs import runner
from melexp.runs.config import register

ROOT = Path(__file__).resolve().parents[1]
register()


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("migrate", ROOT / "tools/migrate_results.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["migrate"] = module
    spec.loader.exec_module(module)
    return module


def go(results: Path, *overrides: str) -> None:
    quick = ["checkpoints=[1,2]", "metric=[scm]", "limit=2", "workers=1", f"results={results}"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        assert runner.run(compose("config", [*quick, *overrides])) == []


def age(results: Path, tool: ModuleType) -> None:
    """Turn a folder of results into one of before the renames, by the frozen old identity."""
    store = Store(results)
    for path in list(results.glob("jobs/*/*.json")):
        note = read_json(path)
        new = note["config"]
        shas = {(c["dataset"], c["id"]): c["sha256"] for c in note["provenance"]["clips"]}
        for entry in note["tasks"]:
            old, now = tool.task_ids(new, shas[entry["dataset"], entry["clip"]])
            write_json(store.path(old), read_json(store.path(now)) | {"task": old})
            store.path(now).unlink()
            entry["task"] = old
        method = dict(new["method"])
        method["name"] = tool.OLD_NAMES.get(method["name"], method["name"])
        if method["name"] != "librosa":
            method.pop("frame_weights")
        if method["name"] == "admm_ramp":
            method["schedule"] = "geometric"
        config = {k: v for k, v in new.items() if k != "timed"} | {"method": method}
        note |= {"config": config}
        note["method"] = {
            "method": method["name"],
            **{k: v for k, v in method.items() if k != "name"},
        }
        path.unlink()
        write_json(path.with_name(f"{digest(config)}.json"), note)
    write_table(results, "run")


def test_a_folder_of_before_is_recognised(
    tmp_path: Path, tool: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = (["method=gla"], ["method=admm_ramp"], ["method=librosa"], ["method=ipalm_tuned"])
    for job in jobs:
        go(tmp_path, *job)
    write_table(tmp_path, "run")
    expected = read_table(tmp_path, "run")
    age(tmp_path, tool)
    assert "nnls_gla" in set(read_table(tmp_path, "run")["method"])

    counts = tool.migrate(tmp_path)
    assert counts == {"tables": 1, "notes": 4, "tasks": 8, "other": 0}
    assert "nnls_gla" in set(read_table(tmp_path, "run")["method"])  # nothing was written
    tool.migrate(tmp_path, write=True)
    pd.testing.assert_frame_equal(read_table(tmp_path, "run"), expected, check_dtype=False)

    monkeypatch.setattr(runner.Task, "compute", lambda *_: pytest.fail("computed again"))
    for job in jobs:
        go(tmp_path, *job)
    write_table(tmp_path, "run")
    pd.testing.assert_frame_equal(read_table(tmp_path, "run"), expected, check_dtype=False)
    assert len(list(tmp_path.glob("jobs/run/*.json"))) == 4


def test_a_constant_schedule_is_refused(tool: ModuleType) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = OmegaConf.to_container(
            compose("config", ["method=admm_ramp", "results=r"]), resolve=True
        )
    config["method"]["schedule"] = "constant"
    with pytest.raises(ValueError, match="has no present form"):
        tool.new_config(config)


def test_the_committed_tables_are_up_to_date(tool: ModuleType) -> None:
    for path in (ROOT / "results" / "core").glob("*.provenance.json"):
        name = path.name.removesuffix(".provenance.json")
        for job in read_json(path)["jobs"]:
            assert tool.new_config(job["config"]) == job["config"]
        table = ROOT / "results" / "core" / f"{name}.csv"
        assert read_json(path)["table"] == table_checksum(table.read_bytes())
