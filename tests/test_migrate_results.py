"""Migration of results: stores made before the methods were renamed are recognised again."""

import hashlib
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from stores import older

from melexp.discovery import conf_dir
from melexp.results.records import digest, read_json, write_json
from melexp.results.statistics import metric_facts
from melexp.results.store import Store
from melexp.results.tables import read_table, table_checksum, write_table
from melexp.runs.hydra_app import register
from melexp.runs.runner import run
from melexp.runs.task import Task

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "results" / "core"
pytestmark = pytest.mark.long
register()

spec = importlib.util.spec_from_file_location("migrate", ROOT / "tools" / "migrate_results.py")
assert spec is not None
assert spec.loader is not None
tool = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = tool  # dataclasses look their module up
spec.loader.exec_module(tool)
migrate = tool.migrate

OLD_NAMES = {"gla": "nnls_gla", "fgla": "nnls_fgla", "admm_gla": "nnls_admm_gla"}
#: The runs of the store, by experiment.
RUNS = {
    "run": [
        ["method=gla"],
        ["method=librosa"],
        ["method=admm"],
        ["variant=fgla_new_start"],
        ["method=admm_ramp"],
        ["method=admm", "method.frame_weights=0.5"],
    ],
    "walltime": [["method=admm_gla", "timed=true"]],
}


def configs(results: Path) -> list[Any]:
    quick = ("limit=1", "checkpoints=[1,2]", "workers=1", "metric=[scm,sc]", f"results={results}")
    composed = []
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for experiment, runs in RUNS.items():
            for overrides in runs:
                composed.append(compose("config", [*quick, *overrides]))
                composed[-1].experiment = experiment
    return composed


def tables(results: Path) -> dict[str, str]:
    return {name: (results / f"{name}.csv").read_text(encoding="utf-8") for name in RUNS}


def content(results: Path) -> dict[Path, bytes]:
    return {p.relative_to(results): p.read_bytes() for p in results.rglob("*") if p.is_file()}


# --- The old form, frozen -----------------------------------------------------------------------


def old_parameters(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a method as the old code stored them with its results."""
    values = {k: v for k, v in values.items() if k not in ("name", "method", "label")}
    if values.get("frame_weights") == 0:
        del values["frame_weights"]
    if name == "admm_ramp":
        values["schedule"] = "geometric"
    if name == "librosa":
        values |= {"magnitude": "librosa", "phase": "librosa"}
    return values


def old_id(config: dict[str, Any], sha256: str) -> str:
    """Id of a task as the old code computed it."""
    name, parameters = config["method"]["name"], dict(config["method"])
    parameters = old_parameters(name, parameters)
    starts = {n: 2 for n in (parameters["magnitude"], parameters["phase"]) if n in ("kl", "pghi")}
    identity = {
        "format": 1,
        "clip": sha256,
        "method": OLD_NAMES.get(name, name),
        "version": 2 if name == "admm_ramp" else 1,
        "parameters": parameters,
        "transform": {
            **{"sr": 22050, "n_fft": 1024, "hop_length": 256, "win_length": None},
            **{"window": "hann", "center": True, "pad_mode": "constant", "n_mels": 80},
            **{"fmin": 0.0, "fmax": 8000.0, "htk": False, "norm": "slaney", "power": 1.0},
        },
        "seed": 0,
        "dtype": "float32",
    }
    if starts:
        identity["starts"] = starts
    if config["timed"]:
        identity["scope"] = config["experiment"]
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def old_config(config: dict[str, Any]) -> dict[str, Any]:
    """Configuration of a job as the old code noted it."""
    method = dict(config["method"])
    name = method["name"]
    if name == "admm_ramp":
        method["schedule"] = "geometric"
    method["name"] = OLD_NAMES.get(name, name)
    metric = {
        m: {k: facts[k] for k in ("label", "lower_is_better", "speech_only")}
        for m, facts in config["metric"].items()
    }
    old = config | {"method": method, "metric": metric}
    if not old["timed"]:
        del old["timed"]
    return old


def age(results: Path) -> None:
    """Turn a new store into one of the old form, with the old names."""
    older(results)
    for path in list(results.glob("jobs/*/*.json")):
        note = read_json(path)
        config = note["config"]
        (clip,), (entry,) = note["provenance"]["clips"], note["tasks"]
        old = old_id(config, clip["sha256"])
        new_file, old_file = (results / "tasks" / t[:2] / f"{t}.json" for t in (entry["task"], old))
        task = read_json(new_file)
        new_file.unlink()
        write_json(old_file, task | {"task": old})
        entry["task"] = old
        name, label = config["method"]["name"], config["method"]["label"]
        parameters = old_parameters(name, config["method"])
        note["method"] = {"method": OLD_NAMES.get(name, name), "label": label, **parameters}
        note["config"] = old_config(config)
        path.unlink()
        write_json(path.with_name(f"{digest(note['config'])}.json"), note)
    for experiment in RUNS:
        table = read_table(results, experiment)
        peer = table["method"] == "librosa"
        table["method"] = table["method"].replace(OLD_NAMES)
        for column in ("magnitude", "phase"):
            table.loc[peer, column] = "librosa"
        if "admm_ramp" in set(table["method"]):
            ramp = table["method"] == "admm_ramp"
            table.insert(len(table.columns) - 7, "schedule", ramp.map({True: "geometric"}))
        table.to_csv(results / f"{experiment}.csv", index=False, lineterminator="\n")
        path = results / f"{experiment}.provenance.json"
        body = read_json(path)
        body["jobs"] = [job | {"config": old_config(job["config"])} for job in body["jobs"]]
        body["table"] = table_checksum((results / f"{experiment}.csv").read_bytes())
        write_json(path, body)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the results as computed (``new``) and in the old form (``old``)."""
    root = tmp_path_factory.mktemp("migrate")
    for config in configs(root / "new"):
        assert run(config) == []
    for experiment in RUNS:
        write_table(root / "new", experiment)
    older(Path(shutil.copytree(root / "new", root / "renamed")))
    age(Path(shutil.copytree(root / "new", root / "old")))
    return root


@pytest.fixture
def old(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "old", tmp_path / "results"))


# --- The migration ------------------------------------------------------------------------------


def test_migrated_results_are_recognised(
    made: Path, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = content(old)
    n_tasks = sum(map(len, RUNS.values()))
    counts = {"tables": 2, "notes": n_tasks, "tasks": n_tasks, "tasks of other versions": 0}
    assert migrate(old) == counts
    assert content(old) == before  # a dry run
    assert migrate(old, write=True) == counts
    assert tables(old) == tables(made / "new")
    assert {p for p in content(old) if p.suffix == ".json"} == set(
        p for p in content(made / "renamed") if p.suffix == ".json"
    )

    def compute(*_: object) -> None:
        raise AssertionError("a stored task was computed again")

    monkeypatch.setattr(Task, "compute", compute)
    for config in configs(old):
        assert run(config) == []
    for experiment in RUNS:
        write_table(old, experiment)
    assert tables(old) == tables(made / "new")
    assert len(list(old.glob("jobs/*/*.json"))) == n_tasks  # the notes were replaced

    again = migrate(old, write=True)
    assert (again["tasks"], again["tasks of other versions"]) == (0, 0)
    assert tables(old) == tables(made / "new")


def test_without_the_migration_all_is_computed_again(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed = []
    monkeypatch.setattr(Task, "compute", lambda task, wanted: iter(computed.append(task.id) or ()))
    for config in configs(old):
        run(config)
    assert len(computed) == sum(map(len, RUNS.values()))


def test_rows_of_the_present_code_are_kept(made: Path, old: Path) -> None:
    """A task that was computed in part after the renaming, before the migration."""
    note = read_json(next((made / "new" / "jobs" / "walltime").glob("*.json")))
    (name,) = note["tasks"]
    task = Store(made / "new").load(name)
    assert task is not None
    own = {"iteration": 9, "metric": "scm", "value": -1.0, "reason": "", "seconds": 1.0}
    Store(old).save({"task": name, "clip": "c", "rows": [own]})
    migrate(old, write=True)
    joined = Store(old).load(name)
    assert joined is not None
    assert joined["rows"] == [*task["rows"], own]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("schedule", "constant schedule"),
        ("method", "there is no method 'mine'"),
        ("task", "does not match its checksum"),
        ("table", r"run\.csv does not match its checksum"),
        ("column", "other values than geometric"),
        ("clip", "KeyError"),
    ],
)
def test_results_that_cannot_be_understood_are_refused(old: Path, spoil: str, message: str) -> None:
    notes = {p: read_json(p) for p in old.glob("jobs/run/*.json")}
    path, note = next((p, n) for p, n in notes.items() if n["method"]["method"] == "admm_ramp")
    if spoil in ("schedule", "method", "clip"):
        if spoil == "schedule":
            note["config"]["method"]["schedule"] = "constant"
        elif spoil == "method":
            note["config"]["method"]["name"] = "mine"
        else:
            note["provenance"]["clips"] = []
        path.unlink()
        write_json(path.with_name(f"{digest(note['config'])}.json"), note)
    elif spoil == "task":
        task = note["tasks"][0]["task"]
        file = old / "tasks" / task[:2] / f"{task}.json"
        file.write_text(file.read_text().replace("scm", "sc", 1))
    else:
        file = old / "run.csv"
        file.write_text(file.read_text().replace("geometric", "constant", 1))
    if spoil == "column":
        body = read_json(old / "run.provenance.json")
        body["table"] = table_checksum((old / "run.csv").read_bytes())
        write_json(old / "run.provenance.json", body)
    before = content(old)
    for write in (False, True):
        with pytest.raises(ValueError, match=message) as caught:
            migrate(old, write=write)
        assert "nothing was written" in str(caught.value)
    assert content(old) == before


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no results"):
        migrate(tmp_path)


def test_the_committed_tables_are_migrated(tmp_path: Path) -> None:
    for path in [*CORE.glob("*.csv"), *CORE.glob("*.provenance.json")]:
        if not path.name.startswith("streaming"):  # its methods are younger than the migration
            shutil.copy(path, tmp_path)
    before = content(tmp_path)
    assert migrate(tmp_path, write=True)["tables"] == 7
    assert content(tmp_path) == before
    jobs = [j for p in CORE.glob("*.provenance.json") for j in read_json(p)["jobs"]]
    assert not {job["config"]["method"]["name"] for job in jobs} & set(OLD_NAMES.values())
    for job in jobs:
        for metric, facts in job["config"]["metric"].items():
            assert facts == metric_facts(metric)._asdict()
