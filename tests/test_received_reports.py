"""The report of a folder that came from elsewhere reads nothing that the user did not name."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_dir
from test_strangers import tree

from melexp.datasets import folder as folder_of_sounds
from melexp.discovery import conf_dir
from melexp.results.export import export
from melexp.results.records import read_json, write_json
from melexp.results.tables import read_table, table_checksum, write_table
from melexp.runs.hydra_app import register
from melexp.runs.runner import run
from melexp.transforms.mel import MelTransform

for module in ("jinja2", "plotly", "pyloudnorm"):
    pytest.importorskip(module, reason="the report needs the extra: pip install 'melexp[report]'")

from melexp.report import report  # noqa: E402
from melexp.report.received import check_size  # noqa: E402

register()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results on the clips of a folder, and that folder."""
    root = tmp_path_factory.mktemp("made")
    (root / "sounds").mkdir()
    noise = np.random.default_rng(0).standard_normal(6000) / 10
    soundfile.write(root / "sounds" / "a.wav", noise, 22050)
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        overrides = ["dataset=folder", f"dataset.path={root / 'sounds'}", "checkpoints=[2]"]
        overrides += ["workers=1", "metric=[scm]", "method=gla", f"results={root / 'r'}"]
        config = compose("config", overrides)
    assert run(config) == []
    write_table(root / "r", "run")
    return root


@pytest.fixture
def received(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / "r", tmp_path / "r")
    (tmp_path / "r" / "fig.png").write_bytes(b"png")
    (tmp_path / "r" / "fig.txt").write_text("caption")
    return tmp_path / "r"


def change(root: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    """Change the provenance, with a right checksum."""
    path = root / "run.provenance.json"
    body = read_json(path)
    edit(body)
    write_json(path, body)


def config(root: Path, **changes: Any) -> None:
    change(root, lambda body: [job["config"].update(changes) for job in body["jobs"]])


def table(root: Path, column: str, value: object) -> None:
    """Change a column of the table, with a right checksum."""
    rows = read_table(root, "run")
    rows[column] = value
    rows.to_csv(root / "run.csv", index=False)
    checksum = table_checksum((root / "run.csv").read_bytes())
    change(root, lambda body: body.update(table=checksum))


@pytest.mark.parametrize("name", ["fig.png", "fig.txt", "more.pdf", "run.csv"])
@pytest.mark.parametrize("kind", ["link", "folder link", "pipe", "large"])
def test_files_of_this_machine_are_not_copied(
    received: Path, tmp_path: Path, name: str, kind: str
) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "x").write_text("secret")
    path = received / name
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(secret / "x")
    elif kind == "folder link":
        (received / "inside").symlink_to(secret)
        path.symlink_to("inside/x")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with path.open("wb") as file:
            file.truncate(2 * 10**9)  # sparse
    with pytest.raises(ValueError, match=r"link that leads out|plain file|limit of|not a file"):
        report(received, clips=0)
    assert not (received / "report").exists()


def test_links_inside_the_folder_are_followed(received: Path) -> None:
    (received / "same.png").symlink_to("fig.png")
    index = report(received, clips=0)
    assert (index.parent / "figures" / "same.png").read_bytes() == b"png"


def test_the_sound_of_a_stored_path_is_not_read(
    received: Path, made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    listed: list[str] = []
    plain = folder_of_sounds.clips

    def clips(*, path: str) -> Any:
        listed.append(path)
        return plain(path=path)

    monkeypatch.setattr(folder_of_sounds, "clips", clips)
    config(received, dataset={"name": "folder", "path": "/", "speech": False})
    index = report(received)
    assert listed == []
    assert "are not rendered" in capsys.readouterr().err
    assert not (index.parent / "listen.html").exists()
    index = report(received, datasets=[f"folder={made / 'sounds'}"])
    assert set(listed) == {str(made / "sounds")}
    assert (index.parent / "listen.html").exists()
    with pytest.raises(ValueError, match="there is no data set nonsense"):
        report(received, datasets=["nonsense"])


#: A setting that only another version has: the message names the file and the label.
UNKNOWN = r"run\.provenance\.json: NNLS \+ GLA has a setting that this version of melexp cannot"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoints": [10**9]}, "iterations = 1000000000"),
        ({"mel": {"n_fft": 2**30}}, "n_fft = 1073741824"),
        ({"mel": {"n_mels": 2**30}}, "n_mels = 1073741824"),
        ({"mel": {"n_fft": 2**16, "n_mels": 2**12}}, r"n_fft \* n_mels = 268435456"),
        ({"mel": {"n_fft": 2**16, "hop_length": 1}}, "n_fft / hop_length = 65536"),
        ({"mel": {"hop_length": 1}}, "n_fft / hop_length = 2048"),
        ({"mel": {"n_fft": 64, "hop_length": 1, "n_mels": 128}}, "n_mels / hop_length = 128"),
        ({"checkpoints": list(range(1001))}, "the number of checkpoints = 1001"),
        ({"mel": {"n_fft": "x"}}, "is incomplete"),
        ({"mel": {"fmin": "a"}}, "is incomplete"),
        ({"mel": {"fmin": [0]}}, "is incomplete"),
        ({"mel": {"compression": {"kind": "ln"}}}, UNKNOWN),
        ({"mel": {"evil": 1}}, UNKNOWN),
        ({"mel": {"preset": "hifigan"}}, UNKNOWN),
        ({"mel": {"window": {"a": 1}}}, "window"),
        ({"imperfection": [1]}, "is incomplete"),
        ({"dataset": {"name": "folder", "path": 5}}, "is incomplete"),
        ({"mel": []}, "is incomplete"),
        ({"checkpoints": []}, "is incomplete"),
        ({"checkpoints": "abc"}, "is incomplete"),
        ({"dataset": {}}, "is incomplete"),
        ({"dataset": {"name": "../../x"}}, "is incomplete"),
        ({"method": {"name": "gla"}}, "is incomplete"),
        ({"method": {"name": "../../x", "label": "x"}}, "is incomplete"),
        ({"method": {"name": "x", "label": "NNLS + GLA"}}, "there is no method 'x'"),
        ({"method": {"name": "admm", "label": "x", "rho": "y"}}, "a parameter is invalid"),
        ({"seed": -1}, "is incomplete"),
    ],
)
def test_stored_settings_are_bounded(
    received: Path, made: Path, changes: dict[str, Any], message: str
) -> None:
    config(received, **changes)
    if "iterations" in message or "checkpoints" in message:
        table(received, "iteration", max(changes["checkpoints"]))
    with pytest.raises(ValueError, match=message) as error:
        report(received, datasets=[f"folder={made / 'sounds'}"])
    assert "\n" not in str(error.value)
    if "use --clips 0" in str(error.value):
        assert report(received, clips=0, datasets=[f"folder={made / 'sounds'}"]).exists()


@pytest.mark.parametrize("preset", MelTransform.presets())
def test_every_preset_can_be_rendered(preset: str) -> None:
    mel = MelTransform.preset(preset).settings()
    names = {"method": {"label": "x"}, "dataset": {"name": "x"}}
    check_size({"checkpoints": [5000], "mel": mel, **names})


@pytest.mark.parametrize("metric", ["../../../evil", "/tmp/evil", "evil\n", "..", "x" * 10**4])
def test_a_metric_is_a_name(received: Path, tmp_path: Path, metric: str) -> None:
    """A YAML file elsewhere, such as an alias bomb, is not loaded."""
    (tmp_path / "evil.yaml").write_text("label: x\nlower_is_better: true\nspeech_only: false\n")
    if metric.startswith("../"):
        metric = os.path.relpath(tmp_path / "evil", conf_dir() / "metric")
    table(received, "metric", metric)
    rows = read_table(received, "run")
    for use in (
        lambda: export(rows, tmp_path / "out.tex"),
        lambda: report(received, clips=0),
    ):
        with pytest.raises(ValueError, match="there is no metric"):
            use()


def test_an_experiment_is_a_name(received: Path) -> None:
    for name in ("../r/run", "/etc/passwd", ""):
        with pytest.raises(ValueError, match="experiment is part of file names"):
            read_table(received, name)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("iteration", "text"),
        ("iteration", 1.5),
        ("iteration", np.nan),
        ("seed", "x"),
        ("value", "x"),
    ],
)
def test_a_table_of_other_columns_is_refused(received: Path, column: str, value: object) -> None:
    table(received, column, value)
    with pytest.raises(ValueError, match="is not a table of results"):
        report(received, clips=0)


@pytest.mark.parametrize("change", ["assets/mine.txt", "mine.txt", "clips/mine.wav", "data/link"])
def test_a_folder_with_other_files_is_not_replaced(
    received: Path, tmp_path: Path, change: str
) -> None:
    output = tmp_path / "pages"
    report(received, output, clips=0)
    assert report(received, output, clips=0).exists()  # its own report is replaced
    path = output / change
    path.parent.mkdir(exist_ok=True)
    if path.name == "link":
        path.symlink_to(tmp_path)
    else:
        path.write_text("mine")
    before = tree(output)
    with pytest.raises(ValueError, match="is not a report"):
        report(received, output, clips=0)
    assert tree(output) == before
