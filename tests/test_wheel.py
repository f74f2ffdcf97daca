"""The wheel alone: built, installed without the source tree, and used from an empty folder."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from melexp import MelTransform, __version__

pytestmark = pytest.mark.slow
pytest.importorskip("hatchling", reason="the wheel is built with it: pip install hatchling")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree; needs no network, as the builder is here already."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment with the wheel, and with what it needs from this one.

    A folder that a .pth names is searched, but the .pth files in it are not followed: so what is
    installed here is found, and the source tree, which an editable installation names so, is not.
    """
    home = tmp_path_factory.mktemp("home")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    (site,) = home.glob("lib/python*/site-packages")
    here = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "needs.pth").write_text("\n".join(sorted(here)))
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
    # Within somebody's repository, whose commits say nothing of the package.
    git = ["git", "-C", str(home), "-c", "user.name=me", "-c", "user.email=me@localhost"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "-m", "mine"], check=True)
    return home / "bin"


@pytest.fixture
def call(scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs a command of the installed package in an empty folder; what it prints."""
    monkeypatch.chdir(tmp_path)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "MELEXP"))}

    def run(name: str, *arguments: str) -> str:
        done = subprocess.run(
            [scripts / name, *arguments], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def in_tree(*patterns: str) -> set[str]:
    """The files of the source tree that git knows or would take, without what is compiled."""
    paths = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return {p.relative_to(ROOT).as_posix() for p in paths if "__pycache__" not in p.parts}


def test_all_files_are_in_the_wheel_and_no_others(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    conf = {f"melexp/{path}" for path in in_tree("conf/**/*.yaml") if "/local/" not in path}
    assert packed == in_tree("melexp/**/*", "hydra_plugins/**/*") | conf
    assert any(name.endswith(".flac") for name in packed)
    assert {"melexp/py.typed", "melexp/datasets/registry.csv"} <= packed


def test_the_installed_package_is_the_one_that_runs(call, scripts: Path) -> None:
    code = "import melexp, melexp.discovery as d; print(melexp.__file__, d.conf_dir())"
    printed = call("python", "-c", code)
    for path in printed.split():
        assert Path(path).is_relative_to(scripts.parent)
        assert not Path(path).is_relative_to(ROOT)
    version = "from importlib.metadata import version; print(version('melexp'))"
    assert call("python", "-c", version).strip() == __version__


@pytest.mark.long
def test_what_it_is_for_works(call, tmp_path: Path) -> None:
    """A run on an embedded clip, its report, the inversion of a mel, and the lists."""
    assert {"admm", "admm_ramp", "librosa"} <= set(call("melexp", "methods").split())
    assert "demo_speech" in call("melexp", "data", "list")
    quick = ["limit=1", "checkpoints=[2]", "metric=[scm,sc]", "workers=1", "results=r"]
    for method in ("admm", "fgla"):
        call("melexp", "run", "experiment=fig2", f"method={method}", *quick)
    table = pd.read_csv("r/fig2.csv")
    assert len(table) == 4
    assert table["value"].notna().all()
    np.save("mel.npy", MelTransform.preset("paper")(np.random.default_rng(0).standard_normal(9000)))
    assert "SCM" in call("melexp", "invert", "mel.npy", "out.wav", "--preset", "paper")
    assert np.isfinite(soundfile.read("out.wav")[0]).all()


def test_the_report_comes_with_its_pages(call, tmp_path: Path) -> None:
    for name in ("jinja2", "plotly", "pyloudnorm"):
        pytest.importorskip(name, reason="the report needs the extra: pip install 'melexp[report]'")
    call("melexp", "run", "limit=1", "checkpoints=[2]", "metric=[scm]", "workers=1", "results=r")
    call("melexp", "report", "r", "--clips", "1")
    report = tmp_path / "r" / "report"
    assert {"index.html", "listen.html", "sources.html"} <= {p.name for p in report.iterdir()}
    assert (report / "assets" / "report.css").is_file()
    assert '"commit": null' in (tmp_path / "r" / "run.provenance.json").read_text()
