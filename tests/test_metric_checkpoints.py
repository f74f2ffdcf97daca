"""Metrics at some checkpoints only: rows, values, and what is computed again."""

from pathlib import Path

import pandas as pd
import pytest
from hydra import compose, initialize_config_dir
from stores import finished

from melexp.discovery import conf_dir
from melexp.results.records import read_json
from melexp.results.tables import write_table
from melexp.runs.config import register
from melexp.runs.runner import run

QUICK = ("limit=2", "workers=1", "metric=[scm,sc]")
register()


def go(results: Path, *overrides: str) -> list[str]:
    """Run `melexp run` in this process; return the failures."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", [*QUICK, f"results={results}", *overrides])
    return run(config)


def values(results: Path, experiment: str = "run") -> pd.DataFrame:
    """Return the table without the times."""
    return write_table(results, experiment).drop(columns="seconds").reset_index(drop=True)


SPARSE = "+metric_checkpoints={sc: [2]}"


def test_a_metric_is_computed_at_its_own_checkpoints_and_the_last(tmp_path: Path) -> None:
    go(tmp_path, "checkpoints=[1,2,3]", SPARSE)
    table = values(tmp_path)
    found = set(zip(table["metric"], table["iteration"], strict=True))
    assert found == {("scm", 1), ("scm", 2), ("scm", 3), ("sc", 2), ("sc", 3)}
    assert table["value"].notna().all()
    before = finished(tmp_path)
    go(tmp_path, "checkpoints=[1,2,3]", SPARSE)
    assert finished(tmp_path) == before


def test_metric_checkpoints_change_no_value_and_no_task(tmp_path: Path) -> None:
    """A run of all metrics finds the tasks of a sparse one, and computes the rest."""
    go(tmp_path / "all", "checkpoints=[1,2,3]")
    go(tmp_path / "both", "checkpoints=[1,2,3]", SPARSE)
    before = finished(tmp_path / "both")
    go(tmp_path / "both", "checkpoints=[1,2,3]")
    after = finished(tmp_path / "both")
    assert after.keys() == before.keys()
    assert all(after[task].startswith(before[task]) for task in before)
    pd.testing.assert_frame_equal(values(tmp_path / "both"), values(tmp_path / "all"))


def test_a_job_without_metric_checkpoints_has_the_identity_of_older_ones(tmp_path: Path) -> None:
    go(tmp_path, "checkpoints=[1]")
    (path,) = (tmp_path / "jobs" / "run").glob("*.json")
    assert "metric_checkpoints" not in read_json(path)["config"]


def test_metric_checkpoints_of_no_metric_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metric_checkpoints names no metric: pesk; the metrics"):
        go(tmp_path, "checkpoints=[2]", "+metric_checkpoints={pesk: [2]}")
    assert not (tmp_path / "tasks").exists()
