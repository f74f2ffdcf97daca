"""The report: its computed content and its pages (test_report_browser opens them)."""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
import soundfile
from hydra import compose, initialize_config_dir

from melexp.datasets import Clip, folder, load_dataset
from melexp.discovery import conf_dir
from melexp.metrics import score
from melexp.results.records import read_json, write_json
from melexp.results.statistics import FURTHER, LOOKS
from melexp.results.tables import read_table, table_checksum, write_table
from melexp.runs.hydra_app import register
from melexp.runs.runner import plan, run

pytest.importorskip("jinja2", reason="the report needs the extra: pip install 'melexp[report]'")
pytest.importorskip("plotly", reason="the report needs the extra: pip install 'melexp[report]'")
pyln = pytest.importorskip("pyloudnorm", reason="the report needs the extra 'melexp[report]'")

from melexp.report import report  # noqa: E402
from melexp.report.colours import CONTRAST, PANELS, contrast, darken  # noqa: E402
from melexp.report.listening import (  # noqa: E402
    CEILING,
    LOUDNESS,
    chosen_clips,
    equally_loud,
    render,
    write_audio,
)
from melexp.report.views import _DASHES, _SYMBOLS, views  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
HOSTILE = "<script>window.pwned = 1</script>"
register()


def go(results: Path, *overrides: str, experiment: str = "run") -> None:
    """Run a configuration in this process, with few clips and iterations."""
    quick = ("limit=2", "checkpoints=[2,6]", "workers=1", "metric=[scm,sc]")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("config", [*quick, f"results={results}", *overrides])
    config.experiment = experiment
    assert run(config) == []
    write_table(results, config.experiment)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Results of two methods on demo clips, a short clip with a hostile name, and a silent clip."""
    root = tmp_path_factory.mktemp("report")
    sounds = root / "sounds" / "<img src=x onerror=window.pwned=1>"
    sounds.mkdir(parents=True)
    noise = np.random.default_rng(0).standard_normal(6000) / 10
    soundfile.write(sounds / f"{HOSTILE.replace('/', '')}.wav", noise, 22050)
    soundfile.write(sounds / "silent.wav", 0 * noise, 22050)
    plain = folder.clips

    def hostile(*, path: str) -> list[Clip]:
        clips = plain(path=path)
        return [c if "silent" in c.id else dataclasses.replace(c, id=HOSTILE) for c in clips]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "clips", hostile)
        for method in ("admm", "gla"):
            go(root / "r", f"method={method}")
            go(root / "r", f"method={method}", "dataset=demo_foley")
            go(root / "r", f"method={method}", "dataset=folder",
               f"dataset.path={root / 'sounds'}")  # fmt: skip
        go(root / "r", "method.rho=0.1", experiment="sweep")
        go(root / "r", "method.rho=0.2", experiment="sweep")
        for suffix in ("png", "txt"):
            shutil.copy(ROOT / "results" / "core" / f"fig2.{suffix}", root / "r")
        yield root / "r"


@pytest.fixture(scope="module")
def pages(results: Path) -> Path:
    """Folder of the report."""
    return report(results, datasets=["folder"]).parent


# --- Content ----------------------------------------------------------------------------------


def test_renderings_have_the_stored_scores(results: Path) -> None:
    view = views(results)[0]
    table = view.last.set_index(["dataset", "clip", "label", "metric"])["value"]
    seen = 0
    for job in view.jobs:
        for task in (task for task in plan(job.config) if "silent" not in task.clip.id):
            y = render(task, task.reference(), job.config["checkpoints"])
            now, _ = score("scm", task.reference(), y, transform=task.transform)
            assert now == pytest.approx(table[job.dataset, task.clip.id, job.name, "scm"], abs=1e-9)
            seen += 1
    assert seen == 2 * (2 + 2 + 1)


def test_views_join_comparisons_and_name_the_settings_of_a_sweep(results: Path) -> None:
    methods, sweep = views(results)
    assert methods.labels == ["NNLS + GLA", "ADMM"]
    assert set(methods.datasets) == {"demo_speech", "demo_foley", "folder"}
    assert sweep.labels == ["ADMM (rho=0.1)", "ADMM (rho=0.2)"]
    assert {job.name for job in sweep.jobs} == set(sweep.labels)
    for view in (methods, sweep):
        for curve in view.curves():
            assert curve["iteration"] == [2, 6]
        assert len(view.runs()["scm"]) == view.last["value"].notna().sum() / 2  # of two metrics


def test_a_curve_has_the_checkpoints_of_its_metric(tmp_path: Path) -> None:
    """Each metric uses its runs with the most checkpoints: here one seed of SCM, both of SC."""
    go(tmp_path, "checkpoints=[2,4,6]", "+metric_checkpoints={sc: [2]}")
    go(tmp_path, "checkpoints=[2,6]", "seed=1")
    (view,) = views(tmp_path)
    curves = {curve["metric"]: curve for curve in view.curves()}
    assert curves["scm"]["iteration"] == [2, 4, 6]
    assert curves["sc"]["iteration"] == [2, 6]
    rows = view.rows.groupby(["metric", "seed", "iteration"])["value"].mean()
    assert curves["scm"]["mean"][-1] == pytest.approx(rows["scm", 0, 6], rel=1e-4)
    assert curves["sc"]["mean"][-1] == pytest.approx(rows["sc"][:, 6].mean(), rel=1e-4)
    assert rows["sc", 0, 6] != pytest.approx(rows["sc", 1, 6], rel=1e-3)


def test_every_look_has_a_symbol_and_a_dash_in_the_plots() -> None:
    for look in (*LOOKS.values(), *FURTHER):
        assert look.marker in _SYMBOLS, look
        assert look.line in _DASHES, look


def test_figures_can_be_read_on_the_dark_panel() -> None:
    import matplotlib.pyplot as plt
    from matplotlib.colors import to_hex

    figure, axes = plt.subplots()
    lines = axes.plot([0, 1], "k-") + axes.plot([1, 0], "o-", color="#0072b2")
    bars = axes.bar([0, 1], [1, 1], color=["#ffffff", "#003366"], edgecolor="black")
    shade = axes.fill_between([0, 1], 1, 2, color="#888888", alpha=0.3)
    title = axes.set_title("title")
    darken(figure)
    for drawn in [*(line.get_color() for line in lines), title.get_color(),
                  lines[0].get_markerfacecolor(), bars[1].get_facecolor(),
                  bars[0].get_edgecolor()]:  # fmt: skip
        assert contrast(to_hex(drawn), PANELS["dark"]) >= CONTRAST
    for white in (figure.get_facecolor(), axes.get_facecolor(), bars[0].get_facecolor()):
        assert to_hex(white) == PANELS["dark"]
    assert shade.get_alpha() == 0.3 or shade.get_facecolor()[0][3] == pytest.approx(0.3)
    plt.close(figure)


def test_the_contrast_is_that_of_wcag() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)  # a known example
    assert contrast("#123456", "#123456") == 1


@pytest.mark.parametrize("scheme", sorted(PANELS))
def test_every_colour_stands_out_from_its_panel(results: Path, scheme: str) -> None:
    style = (ROOT / "melexp" / "report" / "static" / "report.css").read_text()
    declared = re.findall(r"--panel: (#\w{6});", style)
    assert declared == list(PANELS.values())
    view, sweep = views(results)
    every = dataclasses.replace(view, rows=view.rows.iloc[:1])
    every.__dict__["labels"] = [*LOOKS, "another", "and another", "a third"]
    for shown in (every, sweep):
        for label, look in shown.looks().items():
            assert contrast(look[scheme], PANELS[scheme]) >= CONTRAST, label
    light = every.looks()["ADMM"]["light"]
    assert light == LOOKS["ADMM"].colour.lower()  # strong enough: as in the figures


def test_summary_of_the_committed_results_is_the_committed_summary() -> None:
    core = ROOT / "results" / "core"
    ours = views(core)[0].summary({}).drop(columns="seconds")
    theirs = pd.read_csv(core / "summary.csv").drop(columns="seconds")
    ours = ours[
        ours["method"].isin(theirs["method"])
    ]  # the view joins the methods of the ablation too
    by = ["dataset", "metric", "method"]
    ours, theirs = (t.sort_values(by).reset_index(drop=True) for t in (ours, theirs))
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4)


def test_seconds_are_per_second_of_audio(results: Path) -> None:
    view = views(results)[0]
    clips = list(zip(view.last["dataset"], view.last["clip"], strict=True))
    once = view.summary(dict.fromkeys(clips, 1.0))["seconds"]
    twice = view.summary(dict.fromkeys(clips, 2.0))["seconds"]
    np.testing.assert_allclose(twice, once / 2)


def test_clips_are_taken_in_turn_from_the_categories() -> None:
    clips = load_dataset("demo_foley")
    one_each = chosen_clips(clips, None)
    assert len(one_each) == len({clip.category for clip in one_each}) == 7
    assert chosen_clips(clips, 2) == one_each[:2]
    assert chosen_clips(clips, 99)[:7] == one_each
    speech = load_dataset("demo_speech")  # of one category
    assert chosen_clips(speech, None) == speech[:6]


@pytest.mark.parametrize("impulses", [False, True])
def test_versions_have_one_loudness_and_do_not_clip(speech: np.ndarray, impulses: bool) -> None:
    versions = [speech, 0.01 * speech, speech[::-1]]
    if impulses:  # peaks above the ceiling: all versions get less loud
        versions[1] = versions[1].copy()
        versions[1][::5000] = 1
    louder, level, unit = equally_loud(versions, 22050)
    measured = [pyln.Meter(22050).integrated_loudness(y) for y in louder]
    assert unit == "LUFS"
    assert (level < LOUDNESS - 1) if impulses else (level == LOUDNESS)
    np.testing.assert_allclose(measured, level, atol=0.01)
    assert max(np.abs(y).max() for y in louder) <= CEILING + 1e-9


def test_loudness_of_short_and_silent_clips(speech: np.ndarray) -> None:
    short = speech[4000:8000]
    louder, level, unit = equally_loud([short, 3 * short], 22050)
    assert unit == "dB (RMS)"
    np.testing.assert_allclose(louder[0], louder[1])
    assert 10 * np.log10(np.mean(louder[0] ** 2)) == pytest.approx(level)
    louder, _, _ = equally_loud([speech, 0 * speech], 22050)
    assert np.isfinite(louder[0]).all()
    assert not louder[1].any()


@pytest.mark.parametrize("sr", [8000, 22050, 44100, 48000])
def test_audio_keeps_its_length_and_loudness(tmp_path: Path, speech: np.ndarray, sr: int) -> None:
    name = write_audio(tmp_path, speech, sr)
    decoded, rate = soundfile.read(tmp_path / name)
    assert len(decoded) / rate == pytest.approx(len(speech) / sr, abs=2 / sr)
    before, after = (
        pyln.Meter(r).integrated_loudness(np.tile(y, 3)) for y, r in ((speech, sr), (decoded, rate))
    )
    assert after == pytest.approx(before, abs=0.3)


# --- Pages ------------------------------------------------------------------------------------


class Links(HTMLParser):
    """The links of a page, each with its tag, and the identifiers in the page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: dict[str, str] = {}
        self.ids: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links |= {value: tag for key, value in attrs if key in ("href", "src") and value}
        self.ids += [value for key, value in attrs if key == "id" and value]


def test_every_link_of_a_page_exists_in_the_folder(pages: Path) -> None:
    parsed = {path.name: Links(path) for path in pages.glob("*.html")}
    assert set(parsed) == {"index.html", "listen.html", "sources.html"}
    for name, page in parsed.items():
        assert len(page.ids) == len(set(page.ids))
        for link, tag in page.links.items():
            file, _, anchor = link.partition("#")
            if file == "data:," or (tag == "a" and file.startswith("http")):
                continue  # the icon; the address of a work, loaded only by a click
            assert (pages / unquote(file or name)).is_file(), link
            if anchor and (file or name) in parsed:
                assert anchor in parsed[file or name].ids, link


def test_names_of_clips_are_escaped(pages: Path) -> None:
    for path in pages.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<script>window" not in text
        assert "<img src=x" not in text
    text = (pages / "listen.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;window.pwned" in text
    assert "silent" not in text  # not on the listening page
    assert text.count("Difference of ADMM from ") == 5
    assert "8 kHz</span>" in text


def test_a_rendering_that_differs_from_the_stored_value_says_so(
    pages: Path, results: Path, tmp_path: Path
) -> None:
    assert "have the stored SCM" in (pages / "listen.html").read_text(encoding="utf-8")
    shutil.copytree(results, tmp_path / "r", ignore=shutil.ignore_patterns("report"))
    table = read_table(tmp_path / "r", "run")
    changed = (table["label"] == "ADMM") & (table["metric"] == "scm")
    table.loc[changed, "value"] += 1
    table.to_csv(tmp_path / "r" / "run.csv", index=False)
    provenance = tmp_path / "r" / "run.provenance.json"
    body = read_json(provenance)
    body["table"] = table_checksum((tmp_path / "r" / "run.csv").read_bytes())
    write_json(provenance, body)
    index = report(tmp_path / "r", clips=1, datasets=["folder"])
    text = (index.parent / "listen.html").read_text(encoding="utf-8")
    assert "The SCM of 3 of the 6 renderings differs" in text
    assert text.count("SCM of this rendering") == 3
    listed = text[text.index('<details id="changed">') :]
    assert listed.count("ADMM: ") == 3
    assert "3 renderings whose SCM is not the stored one" in listed


def test_provenance_is_on_the_sources_page(pages: Path, results: Path) -> None:
    text = (pages / "sources.html").read_text(encoding="utf-8")
    for clip in load_dataset("demo_speech")[:2]:
        assert clip.sha256 in text
        assert clip.licence in text
    assert "numpy " + np.__version__ in text
    assert "rho: 0.2" in text
    copied = read_table(pages / "data", "run")
    pd.testing.assert_frame_equal(copied, read_table(results, "run"))


def test_without_clips_there_is_no_listening_page_and_an_old_report_is_replaced(
    results: Path, tmp_path: Path
) -> None:
    output = tmp_path / "pages"
    for _ in range(2):
        index = report(results, output, clips=0)
    assert index == output / "index.html"
    assert not (output / "listen.html").exists()
    assert "listen.html" not in index.read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["pages"]


def test_a_table_that_cannot_tell_its_runs_apart_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n_mels in (40, 80):
        go(tmp_path, f"mel.n_mels={n_mels}")
    (view,) = views(tmp_path)
    assert set(view.rows["mel.n_mels"]) == {40, 80}
    without = read_table(tmp_path, "run").drop(columns="mel.n_mels")
    monkeypatch.setattr("melexp.report.views.read_table", lambda *_: without)
    with pytest.raises(ValueError, match="cannot tell apart"):
        views(tmp_path)


def test_refusals(results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FileNotFoundError, match="has no results"):
        report(tmp_path)
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match="is not a report"):
        report(results, tmp_path)
    assert (tmp_path / "mine.txt").exists()
    with pytest.raises(ValueError, match="clips must not be negative"):
        report(results, clips=-1)
    monkeypatch.setattr("melexp.errors.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"run: pip install 'melexp\[report\]'"):
        report(results)
