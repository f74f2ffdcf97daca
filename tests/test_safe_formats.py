"""No file of the user runs code or chooses where files are written."""

import ast
import io
import os
import pickle
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
from crashing import melexp_text
from hydra import compose, initialize_config_dir

from melexp.datasets import load_dataset
from melexp.discovery import conf_dir
from melexp.files.mels import read_input
from melexp.files.torch_files import torch_arrays
from melexp.results.store import Store
from melexp.results.tables import write_table
from melexp.runs.hydra_app import register
from melexp.runs.runner import run
from melexp.runs.search import Range, search

register()
ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("melexp", "experiments", "hydra_plugins", "studies", "tools", "tests/benchmarks")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
#: Modules and functions that create objects or run code from the content of a file.
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "yaml", "xml"}
#: Tasks that Ray carries from the driver to its workers; they are in no file.
CARRIED = {"cluster.py": "pickle"}
UNSAFE_CALLS = {"eval", "exec", "compile", "read_pickle", "unsafe_load", "full_load", "execfile"}


def calls(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]


def called(call: ast.Call) -> str:
    return ast.unparse(call.func)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_a_source_file_has_no_unsafe_reader(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.partition(".")[0] in UNSAFE_MODULES - {CARRIED.get(path.name)}:
                pytest.fail(f"{path} imports {name}")
    for call in calls(path):
        name = called(call)
        harmless = name in ("re.compile", "generator.eval")  # the second is a mode of torch
        assert name.rpartition(".")[2] not in UNSAFE_CALLS or harmless, name
        carried = name == f"{CARRIED.get(path.name)}.loads"
        assert not name.endswith(("joblib.load", "pickle.load", "pickle.loads")) or carried, name
        if name == "torch.load":
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert given["weights_only"] == "True"
        if name in ("np.load", "numpy.load"):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
            assert given["allow_pickle"] == "False"
        if name.startswith("subprocess."):
            assert "shell" not in {keyword.arg for keyword in call.keywords}


class Harmful:
    """An object that creates a file when it is unpickled."""

    def __init__(self, command: object) -> None:
        self.command = command

    def __reduce__(self) -> object:
        return self.command


@pytest.mark.parametrize(
    "command",
    [
        (os.system, ("touch harmed",)),
        (eval, ("open('harmed', 'w')",)),
        (exec, ("open('harmed', 'w')",)),
        (subprocess.call, (["touch", "harmed"],)),
        (__import__, ("os",)),
    ],
    ids=["system", "eval", "exec", "subprocess", "import"],
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_runs_nothing(
    command: object, protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    harmful = {"mel": Harmful(command)}
    content = pickle.dumps(harmful, protocol)
    torch, numpy, objects = io.BytesIO(), io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(torch, "w") as archive:
        archive.writestr("mel/data.pkl", content)
    np.savez(numpy, mel=np.array([harmful], object))
    np.save(objects, np.array([harmful], object))
    for data in (content, torch.getvalue(), numpy.getvalue(), objects.getvalue()):
        with pytest.raises(ValueError, match=r".") as error:
            read_input(data)
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="not a tensor"):
        torch_arrays(torch.getvalue())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_archives_of_arrays_that_are_bombs() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(1001):
            archive.writestr(f"{k}.npy", bytes(10**6))
    with pytest.raises(ValueError, match="decompression bomb"):
        read_input(buffer.getvalue())
    header = io.BytesIO()  # declares 40 TB
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**13,)}
    )
    with pytest.raises(ValueError, match="corrupt or truncated"):
        read_input(header.getvalue() + bytes(100))


# --- Where results are written ------------------------------------------------------------------

NAMES = ["../../x", "/tmp/x", "..", ".", "", "a/b", "a\\b", "C:x", "x\n", ".hidden", "\0", "-rf"]


@pytest.mark.parametrize("name", NAMES)
def test_an_experiment_cannot_lead_out_of_the_results(tmp_path: Path, name: str) -> None:
    results = tmp_path / "deep" / "down" / "results"
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", ["limit=1", "checkpoints=[1]", f"results={results}"])
    config.experiment = name  # as in a configuration file
    with pytest.raises(ValueError, match="experiment is part of file names") as error:
        run(config)
    assert "\n" not in str(error.value)
    store = Store(results)
    for write in (lambda: store.save_job(name, {"config": {}}), lambda: store.forget_jobs(name)):
        with pytest.raises(ValueError, match="experiment is part of file names"):
            write()
    with pytest.raises(ValueError, match="experiment is part of file names"):
        write_table(results, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_study_cannot_lead_out_of_the_results(tmp_path: Path, name: str) -> None:
    ranges = [Range.parse("rho=0.1:1")]
    results = tmp_path / "deep" / "down" / "results"
    with pytest.raises(ValueError, match="experiment is part of file names"):
        search([f"results={results}"], ranges, metric="scm", trials=1, study=name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        ["hydra.run.dir={outside}/run"],
        ["-m", "seed=0,1", "hydra.sweep.subdir=../../../outside"],
        *(
            pytest.param(asked, marks=pytest.mark.long)
            for asked in (
                ["hydra.output_subdir=.hydra"],
                ["-m", "seed=0,1", "hydra.sweep.dir={outside}/sweep"],
                ["-m", "seed=0,1", "hydra.sweep.subdir=${{oc.env:OUTSIDE}}/a"],
                ["-m", "launcher=submitit", "hydra.launcher.submitit_folder={outside}/%j"],
                ["+hydra.job_logging.handlers.f.filename={outside}/log"],
            )
        ),
    ],
)
def test_hydra_writes_into_the_results_alone(tmp_path: Path, asked: list[str]) -> None:
    if "launcher=submitit" in asked:
        pytest.importorskip("submitit", reason="submitit is not installed (melexp[slurm])")
    arguments = [argument.format(outside=tmp_path / "outside") for argument in asked]
    results = tmp_path / "deep" / "results"
    done = melexp_text(
        "run", *arguments, f"results={results}", "limit=1",
        cwd=tmp_path, OUTSIDE=str(tmp_path / "outside"),
    )  # fmt: skip
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "must lie inside results" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("task", ["../../../mine", "/mine", "..", ""])
def test_a_job_file_names_no_other_file(tmp_path: Path, task: str) -> None:
    """Results are passed on: a job file in received results moves no file of the user."""
    mine, store = tmp_path / "mine.json", Store(tmp_path / "r")
    mine.write_text("not of a store")
    task = str(tmp_path / "mine") if task.startswith("/") else task
    method = {"method": "admm", "label": "ADMM"}
    entry = {"task": task, "dataset": "d", "clip": "c", "category": "x"}
    note = {"config": {"experiment": "run"}, "method": method, "seed": 0, "dtype": "float32"}
    note |= {"checkpoints": [1], "metrics": ["scm"], "provenance": {"clips": []}}
    store.save_job("run", note | {"tasks": [entry]})
    assert store.load(task) is None
    (written,) = (tmp_path / "r" / "jobs" / "run").iterdir()
    with pytest.raises(FileNotFoundError, match="has no results"):
        list(store.rows("run"))
    assert store.damaged == [tmp_path / "r" / "damaged" / written.name]
    assert mine.read_text() == "not of a store"


@pytest.mark.parametrize("value", ["../../x", "$(touch harmed)", "!!python/object:os.system {}"])
def test_other_names_in_a_configuration_are_looked_up(value: str) -> None:
    from melexp.commands.reproduce import results_of
    from melexp.methods import make_method
    from melexp.metrics import score
    from melexp.transforms.mel import MelTransform

    for look_up in (load_dataset, make_method, MelTransform.preset, results_of):
        with pytest.raises(ValueError, match=r"no data set|no method|no preset|no profile"):
            look_up(value)
    with pytest.raises(ValueError, match="no metric"):
        score(value, np.ones(9), np.ones(9), transform=MelTransform.preset("paper"))


def test_a_yaml_file_makes_no_object(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    path = tmp_path / "bad.yaml"
    path.write_text("results: !!python/object/apply:os.system ['touch harmed']")
    with pytest.raises(Exception, match="could not determine a constructor"):
        OmegaConf.load(path)


@pytest.mark.slow
def test_a_bad_configuration_is_one_line(tmp_path: Path) -> None:
    for override, word in (
        ("seed=-1", "seed"),
        ("dataset=folder", "dataset.path"),
        ("limit=0", "limit"),
    ):
        done = melexp_text("run", f"results={tmp_path / 'r'}", override, cwd=tmp_path)
        assert done.returncode == 1
        (line,) = (x for x in done.stderr.splitlines() if x.startswith("melexp: "))
        assert word in line
        assert "Traceback" not in done.stderr
    # Hydra makes a folder, which has the marker of results.
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {".melexp-results"}
