"""Build the report: pages from templates, with tables, figures and sound beside them."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
import plotly
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import Progress

from melexp.files.received import inside
from melexp.report.listening import DIFFERENCE, RANGE, Sample, durations, samples
from melexp.report.received import CAPTION, FIGURE, is_report, named_datasets, plain_file
from melexp.report.views import View, metrics, views
from melexp.results.provenance import provenance
from melexp.results.records import canonical
from melexp.results.statistics import BEST, metric_facts, p_text
from melexp.results.tables import provenance_of, table_of

HERE = Path(__file__).parent
#: End of the stem of a figure for the dark scheme.
DARK = ".dark"
PAGES = ("index", "listen", "sources")

#: Size in bytes above which the build warns: a larger report is hard to share.
BUDGET = 30_000_000
#: Largest size in bytes of a table that is copied beside the pages.
LARGEST_TABLE = 20_000_000


def build(
    results: Path,
    output: Path,
    *,
    clips: int | None = None,
    datasets: Sequence[str] = (),
    where: Sequence[str] = (),
) -> Path:
    """Write the report; see `melexp.report.report`."""
    named = named_datasets(datasets)
    if output.exists() and not (output.is_dir() and is_report(output)):
        raise ValueError(f"{output} exists and is not a report; remove it or name another folder")
    shown = views(results, where)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".report.", dir=output.parent) as aside:
        folder = (
            Path(aside) / "report"
        )  # renamed at the end: an interruption leaves no partial report
        _copy(results, shown, folder)
        heard = _listen(shown[0], folder / "clips", clips, named)
        _write_pages(results, shown, heard, folder, named)
        if output.exists():
            shutil.rmtree(output)
        folder.rename(output)
    size = sum(path.stat().st_size for path in output.rglob("*"))
    print(f"{output / 'index.html'}: {size / 1e6:.1f} MB, {len(heard)} clips to listen to")
    if size > BUDGET:
        print(f"the report exceeds {BUDGET / 1e6:.0f} MB; use a smaller --clips", file=sys.stderr)
    return output / "index.html"


def _copy(results: Path, shown: list[View], folder: Path) -> None:
    """Copy the assets, figures and tables."""
    shutil.copytree(HERE / "static", folder / "assets")
    bundled = metadata.distribution("plotly").locate_file("plotly/package_data/plotly.min.js")
    shutil.copyfile(str(bundled), folder / "assets" / "plotly.min.js")
    for part in ("figures", "data"):
        (folder / part).mkdir()
    for path in [*results.glob("*.png"), *results.glob("*.pdf")]:
        shutil.copyfile(plain_file(results, path, FIGURE), folder / "figures" / path.name)
    for experiment in (name for view in shown for name in view.experiments):
        for path in (table_of(results, experiment), provenance_of(results, experiment)):
            if path.suffix == ".json" or not _is_large(results, experiment):
                shutil.copyfile(inside(results, path), folder / "data" / path.name)


def _listen(
    view: View, folder: Path, count: int | None, named: Mapping[str, str | None]
) -> list[Sample]:
    """Render the clips of the listening page, with a progress bar."""
    if count == 0:
        return []
    heard = []
    with Progress(console=Console(file=sys.stderr)) as bar:
        task = bar.add_task("Rendering", total=None)
        for sample in samples(view, folder, count=count, named=named):
            heard.append(sample)
            bar.update(task, description=f"Rendered {sample.clip.id}", completed=len(heard))
    return heard


def _write_pages(
    results: Path,
    shown: list[View],
    heard: list[Sample],
    folder: Path,
    named: Mapping[str, str | None],
) -> None:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,  # names of clips, categories and authors are untrusted text
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {}  # keep the order of the metrics
    environment.filters |= {"score": score_text, "p": p_text, "yaml": _yaml}
    known = metrics(shown)
    context: dict[str, Any] = {
        "title": results.resolve().name,
        "large": {e for v in shown for e in v.experiments if _is_large(results, e)},
        "best": BEST,
        "views": shown,
        "metrics": known,
        "summaries": {view.name: _summary(view, named) for view in shown},
        "figures": _figures(results),
        "data": {"metrics": known, "views": [view.data() for view in shown]},
        "clips": {key: clip for view in shown for key, clip in view.clips.items()}.values(),
        "samples": heard,
        "range": RANGE,
        "difference": DIFFERENCE,
        "built": provenance() | {"plotly": plotly.__version__},
        "pages": [page for page in PAGES if heard or page != "listen"],
    }
    for page in context["pages"]:
        text = environment.get_template(f"{page}.html.j2").render(context, page=page)
        (folder / f"{page}.html").write_text(text, encoding="utf-8", errors="backslashreplace")


def _is_large(results: Path, experiment: str) -> bool:
    table = table_of(results, experiment)
    return table.suffix == ".parquet" or table.stat().st_size > LARGEST_TABLE


def _yaml(config: dict[str, Any]) -> str:
    try:
        return OmegaConf.to_yaml(OmegaConf.create(config))
    except OmegaConfBaseException:  # such as a value that looks like a broken interpolation
        return canonical(config)


def _summary(view: View, named: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """Return the rows of the summary table, in the order of the labels."""
    rows = view.summary(durations(view, named))
    place = rows["method"].map(view.labels.index)
    rows = rows.assign(place=place).sort_values(["dataset", "metric", "place"])
    return [_without_nan(row) for row in rows.to_dict("records")]


def _without_nan(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): None if pd.isna(value) else value for key, value in row.items()}


def _figures(results: Path) -> list[dict[str, str]]:
    """Return the name and the caption of each figure."""
    figures = []
    for path in sorted(results.glob("*.png")):
        if path.stem.endswith(DARK):
            continue
        caption = path.with_suffix(".txt")
        text = path.stem
        if caption.exists():
            content = plain_file(results, caption, CAPTION).read_bytes()
            text = content.decode(errors="replace").strip()
        dark = path.with_suffix(f"{DARK}.png")
        figures.append(
            {"name": path.stem, "caption": text, "dark": dark.stem if dark.exists() else ""}
        )
    return figures


def score_text(value: float | None, metric: str) -> str:
    """Return a value with the digits of its metric."""
    if value is None or not np.isfinite(value):
        return "–"
    return metric_facts(metric).text(value, minus="−")
