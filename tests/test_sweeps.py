"""Sweeps: launchers, claims, killed workers, reported failures; the steps of the guide."""

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest

from melexp.results.store import Store
from melexp.results.tables import write_table

ROOT = Path(__file__).resolve().parents[1]
GRID = ("method=toy", "method.weight=1.0,2.0,3.0", "limit=4", "checkpoints=[1]", "metric=[scm,sc]")
PLUGINS = {
    "joblib": "hydra_plugins.hydra_joblib_launcher",
    "submitit": "hydra_plugins.hydra_submitit_launcher",
    "slurm": "hydra_plugins.hydra_submitit_launcher",
    "ray": "ray",
}
#: A method that logs each task that it computes, and may be slow, fail or kill its process.
TOY = """
import hashlib, os, time
from dataclasses import dataclass
import numpy as np
from melexp.methods import Method, State

@dataclass
class ToyState(State):
    X: np.ndarray

@dataclass(frozen=True, kw_only=True)
class Toy(Method[ToyState]):
    weight: float = 1.0

    def begin(self, problem, Y, X):
        if problem.stft.n_frames > 20:  # not the silence that warms up
            time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
            name = hashlib.sha256(problem.mel.tobytes()).hexdigest()[:8]
            with open(os.environ["TOY_LOG"], "a") as log:
                log.write(f"{self.weight} {name} {os.getpid()}\\n")
            if os.environ.get("TOY_FAILS") == str(self.weight):
                raise RuntimeError("the toy is broken")
            if os.environ.get("TOY_DIES") == str(self.weight):
                os.kill(os.getpid(), 9)
        return ToyState(iteration=0, X=X)

    def step(self, problem, state):
        return ToyState(iteration=state.iteration + 1, X=self.weight * state.X)

    def signal(self, problem, state):
        return problem.waveform(state.X)
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of MELEXP_PATH with the toy method."""
    own = tmp_path_factory.mktemp("own")
    (own / "methods").mkdir(parents=True)
    (own / "conf" / "method").mkdir(parents=True)
    (own / "methods" / "toy.py").write_text(TOY)
    (own / "conf" / "method" / "toy.yaml").write_text("name: toy\nlabel: Toy\nweight: 1.0\n")
    return own


@pytest.fixture(scope="module")
def undisturbed(own: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The table of GRID, from the basic launcher."""
    folder = tmp_path_factory.mktemp("undisturbed")
    log = str(folder / "log")
    sweep(folder / "r", "-m", *GRID, "workers=1", MELEXP_PATH=str(own), TOY_LOG=log)
    assert set(computed(folder / "log").values()) == {1}
    table = values(folder / "r")
    assert len(table) == 3 * 4 * 2
    return table


def needs(launcher: str) -> None:
    if launcher in PLUGINS and not installed(PLUGINS[launcher]):
        extra = {"submitit": "slurm"}.get(launcher, launcher)
        pytest.skip(f"needs its plugin: pip install -c constraints.txt -e '.[{extra}]'")


def installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@pytest.fixture
def toy(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of the toy method."""
    monkeypatch.setenv("MELEXP_PATH", str(own))
    monkeypatch.setenv("TOY_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    return tmp_path / "log"


def start(results: Path, *overrides: str, **environment: str) -> subprocess.Popen[str]:
    """Start `melexp run` in a new process group."""
    return subprocess.Popen(
        [sys.executable, "-m", "melexp", "run", *overrides, f"results={results}"],
        cwd=ROOT,
        env=os.environ | environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def sweep(results: Path, *overrides: str, status: int = 0, **environment: str) -> str:
    """Run to the end; return its error output."""
    process = start(results, *overrides, **environment)
    _, said = process.communicate(timeout=300)
    assert process.returncode == status, said
    return said


def values(results: Path, experiment: str = "run") -> pd.DataFrame:
    return write_table(results, experiment).drop(columns="seconds").reset_index(drop=True)


def computed(log: Path) -> Counter[str]:
    """Return how often each task was computed."""
    if not log.exists():
        return Counter()
    return Counter(" ".join(line.split()[:2]) for line in log.read_text().splitlines())


def wait_for(log: Path, lines: int, process: subprocess.Popen[str]) -> list[str]:
    while log.exists() is False or len(log.read_text().splitlines()) < lines:
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    return log.read_text().splitlines()


# --- Launchers --------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize("launcher", ["joblib", "submitit", "ray"])
def test_each_launcher_gives_the_table_of_the_basic_one(
    tmp_path: Path, toy: Path, undisturbed: pd.DataFrame, launcher: str
) -> None:
    needs(launcher)
    more = ["hydra.launcher.init.num_cpus=2"] if launcher == "ray" else []
    pace = {"TOY_SECONDS": "0.3"}
    sweep(tmp_path / launcher, "-m", f"launcher={launcher}", *GRID, *more, **pace)
    workers = {line.split()[2] for line in toy.read_text().splitlines()}
    assert len(workers) >= 2
    assert set(computed(toy).values()) == {1}
    pd.testing.assert_frame_equal(values(tmp_path / launcher), undisturbed)


@pytest.mark.long
def test_two_launchers_at_once_do_each_task_once(tmp_path: Path, toy: Path) -> None:
    needs("joblib")
    pace = {"TOY_SECONDS": "0.2"}
    both = [
        start(tmp_path / "r", "-m", *GRID, "limit=null", "workers=1", **pace),
        start(tmp_path / "r", "-m", *GRID, "limit=null", "launcher=joblib", **pace),
    ]
    for process in both:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    assert set(computed(toy).values()) == {1}
    assert len(computed(toy)) == 3 * 14
    assert len({line.split()[2] for line in toy.read_text().splitlines()}) >= 2
    sweep(tmp_path / "alone", "-m", *GRID, "limit=null")
    pd.testing.assert_frame_equal(values(tmp_path / "r"), values(tmp_path / "alone"))
    assert not list((tmp_path / "r").rglob("*.lock"))


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["basic", "joblib", "ray"])
def test_killing_a_worker_changes_nothing(
    tmp_path: Path, toy: Path, undisturbed: pd.DataFrame, launcher: str
) -> None:
    """Kill -9 of one of two workers; the sweep, or its next start, completes."""
    needs(launcher)
    arguments = ["-m", *GRID, f"launcher={launcher}"]
    if launcher == "basic":
        arguments.append("workers=2")
    if launcher == "ray":
        arguments.append("hydra.launcher.init.num_cpus=2")
    process = start(tmp_path / "r", *arguments, TOY_SECONDS="0.5")
    victim = int(wait_for(toy, 3, process)[-1].split()[2])
    assert victim != process.pid
    os.kill(victim, signal.SIGKILL)
    process.communicate(timeout=300)
    if launcher != "joblib":  # loky's pool ends with its worker, and that sweep with the pool
        assert process.returncode == 0
    sweep(tmp_path / "r", *arguments)
    pd.testing.assert_frame_equal(values(tmp_path / "r"), undisturbed)


def test_slurm_script(tmp_path: Path) -> None:
    """Check the script that a sweep hands to sbatch; a stand-in for sbatch keeps it and fails."""
    needs("slurm")
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("srun", "sbatch"):
        (commands / name).write_text(f'#!/bin/sh\ncp "$1" {tmp_path}/script\nexit 1\n')
        (commands / name).chmod(0o755)
    sweep(
        tmp_path / "r",
        *("-m", "launcher=slurm", "method.lam=1000,5000", "hydra.launcher.partition=cpu"),
        "hydra.launcher.setup=[module load python]",
        status=1,
        PATH=f"{commands}{os.pathsep}{os.environ['PATH']}",
    )
    script = (tmp_path / "script").read_text().splitlines()
    assert {
        "#SBATCH --array=0-1%2",
        "#SBATCH --cpus-per-task=8",
        "#SBATCH --job-name=melexp",
        "#SBATCH --mem=16GB",
        "#SBATCH --partition=cpu",
        "#SBATCH --time=240",
        "module load python",
    } <= set(script)
    assert "submitit.core._submit" in script[-1] or "submitit.core._submit" in script[-2]
    assert f"{tmp_path}/r/.hydra/submitit" in "".join(script)


@pytest.mark.slow
def test_a_launcher_that_is_not_installed_is_named(tmp_path: Path) -> None:
    code = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda n, *a: None if n == 'ray' else find(n, *a)\n"
        "sys.argv = ['melexp run', '-m', 'launcher=ray']\n"
        "from melexp.runs.hydra_app import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "melexp: launcher=ray needs ray, which is not installed; run: pip install 'melexp[ray]'"
    )


# --- Claims and killed workers ----------------------------------------------------------------


def test_a_claim_excludes_others_and_ends_with_its_holder(tmp_path: Path) -> None:
    store = Store(tmp_path)
    code = (
        "import sys, time; from melexp.results.store import Store\n"
        "with Store(sys.argv[1]).claim('ab12', wait=False) as ours:\n"
        "    print(ours, flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    with store.claim("ab12", wait=False) as ours:
        assert not ours
    holder.kill()
    holder.communicate()
    assert (tmp_path / "tasks" / "ab12.lock").exists()  # a leftover, which locks nothing
    with store.claim("ab12", wait=False) as ours:
        assert ours
    assert not list(tmp_path.rglob("*.lock"))


@pytest.mark.long
def test_a_task_that_kills_its_worker_ends_only_itself(tmp_path: Path, toy: Path) -> None:
    arguments = ["-m", *GRID, "limit=2", "workers=2"]
    said = sweep(tmp_path / "r", *arguments, status=1, TOY_DIES="2.0")
    assert "its process died (killed, or out of memory)" in said
    table = values(tmp_path / "r")
    assert table[table["weight"] != 2]["value"].notna().all()
    sweep(tmp_path / "r", *arguments)
    assert values(tmp_path / "r")["value"].notna().all()


# --- Failures ---------------------------------------------------------------------------------


@pytest.mark.long
def test_failures_are_named_and_the_rest_is_kept(tmp_path: Path, toy: Path) -> None:
    arguments = ["-m", *GRID, "limit=2", "workers=1"]
    said = sweep(tmp_path, *arguments, status=1, TOY_FAILS="2.0")
    lost = [line for line in said.splitlines() if line.startswith("no value: ")]
    assert len(lost) == 2
    assert all("Toy (" in line and "weight=2" in line for line in lost)
    assert all("RuntimeError: the toy is broken" in line for line in lost)
    assert "6 tasks in 3 jobs: 0 stored before, 4 done, 2 failed" in said
    assert values(tmp_path)["value"].notna().sum() == 4 * 2
    said = sweep(tmp_path, *arguments)  # repaired: only missing tasks are computed
    assert "6 tasks in 3 jobs: 4 stored before, 2 done, 0 failed" in said
    assert sweep(tmp_path, *arguments, "--quiet") == ""
    assert not list(tmp_path.rglob("progress-*"))


@pytest.mark.slow
def test_a_wrong_configuration_keeps_what_the_others_did(tmp_path: Path, toy: Path) -> None:
    arguments = ["-m", "method=admm", "method.lam=5,-1", *GRID[2:], "limit=1", "workers=1"]
    said = sweep(tmp_path, *arguments, status=1)
    assert "melexp: lam and rho must be above zero; got -1" in said
    assert "Traceback" not in said
    assert len(pd.read_csv(tmp_path / "run.csv")) == 2


# --- The guide --------------------------------------------------------------------------------


@pytest.mark.long
def test_adding_a_method_as_the_guide_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text().split("## A method")[1].split("\n## ")[0]

    def block(language: str) -> str:
        (text,) = re.findall(rf"```{language}\n(.*?)```", guide, flags=re.DOTALL)
        return re.sub(r"(?m)^   ", "", text)

    own, results = tmp_path / "own", tmp_path / "results"
    for name, text in {
        "methods/mine.py": block("python"),
        "conf/method/mine.yaml": block("yaml"),
    }.items():
        (own / name).parent.mkdir(parents=True)
        (own / name).write_text(text)
    monkeypatch.setenv("MELEXP_PATH", str(own))
    run, draw = block("sh").splitlines()
    quick = ("limit=2", "checkpoints=[1,2]", "workers=1", "hydra.sweeper.params.method=admm")
    sweep(results, "experiment=fig2", *quick)
    sweep(results, *run.split("#")[0].split()[2:], *quick[:3])
    script = draw.split("#")[0].split()[1]
    subprocess.run([sys.executable, script, str(results)], cwd=ROOT, check=True)
    drawn = pd.read_csv(results / "fig2.drawn.csv")
    assert set(drawn["label"]) == {"ADMM", "Mine"}
    assert drawn["mean"].notna().all()

    for extra in ("jinja2", "plotly", "pyloudnorm"):
        pytest.importorskip(extra, reason="needs the extra 'report'")
    command = [sys.executable, "-m", "melexp", "report", str(results), "--clips", "1"]
    subprocess.run([*command, "--output", str(tmp_path / "pages")], check=True)
    for page in ("index.html", "listen.html"):
        assert "Mine" in (tmp_path / "pages" / page).read_text()


def test_a_missing_folder_of_melexp_path_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "melexp", "methods"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"MELEXP_PATH": "/no/such/folder"},
    )
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "melexp: MELEXP_PATH: /no/such/folder is not a folder; fix or unset the variable"
    )
