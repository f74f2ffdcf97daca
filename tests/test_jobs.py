"""Jobs that are composed together are those that Hydra composes one by one."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from melexp.commands.reproduce import experiment_configs
from melexp.discovery import conf_dir
from melexp.runs import hydra_app
from melexp.runs.jobs import compose_jobs, jobs_of

CONFIGS = [c for name, configs in experiment_configs().items() for c in configs]


def composed(overrides: list[str], pick: slice) -> list[object]:
    """Return some jobs as Hydra composes each of them."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        jobs = jobs_of(compose("config", overrides, return_hydra_config=True))
        assert jobs is not None
        return [OmegaConf.to_container(compose("config", job), resolve=True) for job in jobs[pick]]


@pytest.mark.parametrize(
    "config", [pytest.param(c, marks=[pytest.mark.long] * (c != "fig1_rho")) for c in CONFIGS]
)
def test_they_are_those_of_hydra(config: str) -> None:
    overrides = [f"experiment={config}", "profile=core", "limit=3"]
    jobs = compose_jobs(overrides)
    assert jobs is not None
    step = max(len(jobs) // 3, 1)
    pick = slice(None, None, step)
    found = [OmegaConf.to_container(job, resolve=True) for job in jobs[pick]]
    assert found == composed(overrides, pick)


def test_an_override_replaces_what_an_experiment_sweeps() -> None:
    jobs = compose_jobs(["experiment=fig1_rho", "method.rho=0.7", "++method.frame_weights=0.5"])
    assert jobs is not None
    (job,) = jobs
    assert (job.method.rho, job.method.lam, job.method.frame_weights) == (0.7, 5000, 0.5)


def test_a_single_run_is_a_job_and_an_unknown_name_an_error() -> None:
    jobs = compose_jobs(["checkpoints=[7]"])
    assert jobs is not None
    assert [list(job.checkpoints) for job in jobs] == [[7]]
    with pytest.raises(Exception, match="chekpoints"):
        compose_jobs(["chekpoints=[7]"])


def test_a_sweep_of_the_command_line_is_that_of_hydra() -> None:
    swept = ["method=glob(*gla)", "seed=range(0,2)", "limit=2"]
    jobs = compose_jobs(swept, multirun=True)
    assert jobs is not None
    found = [(job.method.name, job.seed, job.limit) for job in jobs]
    assert found == [(name, s, 2) for name in ("admm_gla", "fgla", "gla") for s in (0, 1)]
    of_experiment = compose_jobs(["experiment=fig2", "method=gla,fgla"])  # which is a sweep
    assert of_experiment is not None
    assert len(of_experiment) == 2
    with pytest.raises(ConfigCompositionException, match="--multirun"):
        compose_jobs([*swept[1:], "method=gla,fgla"])
    with pytest.raises(ConfigCompositionException, match="Error merging override seed=a"):
        compose_jobs(["seed=a,b"], multirun=True)


@pytest.mark.parametrize("more", ["hydra.output_subdir=x", "+hydra.job.env_set.A=b"])
def test_what_only_hydra_does_is_left_to_it(more: str) -> None:
    assert compose_jobs(["seed=1,2", more], multirun=True) is None


def test_another_launcher_runs_elsewhere(tmp_path: Path) -> None:
    asked = ["experiment=fig2", f"results={tmp_path}", "hydra.launcher._target_=other.Launcher"]
    assert compose_jobs(asked) is None
    assert hydra_app.run_here(asked, elsewhere=lambda: 7) == 7
    assert not list(tmp_path.iterdir())


def test_the_exit_code_is_that_of_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 after a success, 1 with a line for a wrong value, 2 without a folder to write to."""

    def run(*overrides: str, results: Path) -> int:
        asked = [*overrides, "limit=1", "workers=1", "metric=[scm]", f"results={results}"]
        return hydra_app.run_here(asked, elsewhere=lambda: 7)

    assert run("checkpoints=[0]", results=tmp_path / "made") == 0
    assert (tmp_path / "made" / "run.csv").exists()
    assert run("checkpoints=[-1]", results=tmp_path / "bad") == 1
    (tmp_path / "file").touch()
    assert run("checkpoints=[0]", results=tmp_path / "file") == 2
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("melexp: ")]
    assert lines[0].startswith("melexp: give at least one metric and checkpoints")
    assert len(lines) == 2
