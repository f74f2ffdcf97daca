"""Discovery of modules and configurations, in the package and in the folders of MELEXP_PATH."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from melexp import discovery

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in MELEXP_PATH with the metric `mine` and its configuration."""
    for name, text in {
        "metrics/mine.py": "def mine(): ...\n",
        "metrics/_private.py": "",
        "conf/metric/mine.yaml": "name: mine\n",
        "conf/metric/scm.yaml": "name: of the user\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setenv(discovery.VARIABLE, str(tmp_path))
    return tmp_path


def metrics_and(*more: str) -> list[str]:
    """The metrics of the package and others, sorted."""
    own = {path.stem for path in (ROOT / "melexp" / "metrics").glob("[!_]*.py")}
    assert {"estoi", "pesq", "sc", "scm"} < own
    return sorted(own | set(more))


def python(code: str) -> str:
    """The output of a new interpreter, which reads MELEXP_PATH when it imports a package."""
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True
    )
    return run.stdout.strip()


def test_modules_of_the_user_are_found_and_loaded(user_folder: Path) -> None:
    code = (
        "from melexp.discovery import load, names; package = 'melexp.metrics';"
        "print(names(package), load(package, 'mine').__file__)"
    )
    path = user_folder / "metrics" / "mine.py"
    assert python(code) == f"{metrics_and('mine')} {path}"


def test_configurations_of_the_user_are_found_and_those_of_the_package_win(
    user_folder: Path,
) -> None:
    assert discovery.config_names("metric") == metrics_and("mine")
    assert discovery.conf_file("metric", "mine") == user_folder / "conf/metric/mine.yaml"
    assert discovery.conf_file("metric", "scm") == ROOT / "conf/metric/scm.yaml"


def test_unknown_names_are_answered_with_the_known_ones() -> None:
    message = f"^there is no metric 'x'; the metrics are {', '.join(metrics_and())}$"
    with pytest.raises(ValueError, match=message):
        discovery.load("melexp.metrics", "x")
    with pytest.raises(ValueError, match=message):
        discovery.conf_file("metric", "x")
    with pytest.raises(ValueError, match=r"^there is no data set '_clip'; the data sets are "):
        discovery.load("melexp.datasets", "_clip")


def test_a_folder_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(discovery.VARIABLE, os.pathsep.join([str(tmp_path), "/no/such/folder"]))
    message = "^MELEXP_PATH: /no/such/folder is not a folder; fix or unset the variable$"
    with pytest.raises(ValueError, match=message):
        discovery.user_folders()


def test_a_preset_imports_no_hydra() -> None:
    code = (
        "import sys; from melexp import MelTransform; MelTransform.preset('hifigan');"
        "print([name for name in sys.modules if name.partition('.')[0] == 'hydra'])"
    )
    assert python(code) == "[]"
