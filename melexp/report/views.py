"""Views of results: the methods of the experiments that compare them, or one sweep."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from plotly.colors import sample_colorscale

from melexp.errors import one_line
from melexp.methods import make_method
from melexp.report.received import check_job
from melexp.results.records import canonical, read_provenance
from melexp.results.statistics import (
    at_last,
    look_of,
    mean_table,
    methods_in_order,
    metric_facts,
    named_setting,
    parameter_text,
    parameters_of,
    summary,
    telling_parameters,
)
from melexp.results.tables import read_table

#: Names in plotly of matplotlib's line styles and markers.
_DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
_SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "D": "diamond"}
_SYMBOLS |= {"P": "cross", "x": "x-thin-open", "X": "x", "*": "star", "h": "hexagon"}


#: Colour of the panels behind the plots in each scheme, as in ``static/report.css``.
PANELS = {"light": "#f6f7f9", "dark": "#1d2128"}
#: Least contrast of a line or a mark on its panel (WCAG 2.2, 1.4.11).
CONTRAST = 3.0


@dataclass(frozen=True)
class Job:
    """One method on one data set with one seed: its configuration and its provenance.

    Attributes
    ----------
    experiment : str
    config : dict
        As `melexp run` resolved it.
    provenance : dict
        Versions, commit and machine.
    name : str
        The method's label, with its settings if the view has several.
    """

    experiment: str
    config: dict[str, Any]
    provenance: dict[str, Any]
    name: str = ""

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return str(self.config["dataset"]["name"])

    @property
    def label(self) -> str:
        """The method's label."""
        return str(self.config["method"]["label"])

    def settings(self) -> dict[str, Any]:
        """Return all parameters of the method, the defaults too, and the precision."""
        given = {k: v for k, v in self.config["method"].items() if k not in ("name", "label")}
        try:
            method = make_method(self.config["method"]["name"], **given)
        except TypeError as error:  # a comparison of text with a number
            raise ValueError(f"{self.label}: a parameter is invalid ({one_line(error)})") from error
        settings = method.parameters() | {"dtype": self.config["dtype"]}
        imperfection = self.config.get("imperfection")
        return settings | ({"imperfection": imperfection} if imperfection else {})


@dataclass(frozen=True)
class View:
    """Runs that are shown together.

    Attributes
    ----------
    name : str
        The experiments' names, joined.
    rows : pd.DataFrame
        Tidy rows, each run once; `label` tells all settings apart.
    jobs : list of Job
    clips : dict
        Identity and credits of each clip, by ``<data set>/<id>``.
    """

    name: str
    rows: pd.DataFrame = field(repr=False)
    jobs: list[Job] = field(repr=False)
    clips: dict[str, dict[str, str]] = field(repr=False)

    @property
    def experiments(self) -> list[str]:
        """The experiments that the view joins."""
        return list(dict.fromkeys(job.experiment for job in self.jobs))

    @property
    def compares(self) -> bool:
        """Whether the view compares methods, not settings of one method."""
        return any(job.name == job.label for job in self.jobs)

    @cached_property
    def labels(self) -> list[str]:
        """The methods in the order of all figures, or the settings of a swept one."""
        if self.compares:
            return methods_in_order(self.rows)
        return list(self.rows["label"].drop_duplicates())

    def anchor(self, dataset: str = "", label: str = "") -> str:
        """Return the anchor of the source of the view, or of a method on a data set."""
        place = [str(self.labels.index(label))] if label else []
        return re.sub(r"[^\w-]+", "-", "-".join(["source", self.name, dataset, *place]))

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets, those with the most metrics (speech) first."""
        metrics = self.rows.groupby("dataset")["metric"].nunique()
        return [str(name) for name in metrics.sort_values(ascending=False, kind="stable").index]

    @cached_property
    def last(self) -> pd.DataFrame:
        """The rows of each data set's last iteration."""
        return pd.concat([at_last(rows)[0] for _, rows in self.rows.groupby("dataset")])

    def iterations(self) -> dict[str, int]:
        """Return the last iteration of each data set."""
        return {str(k): int(v) for k, v in self.last.groupby("dataset")["iteration"].max().items()}

    def summary(self, durations: Mapping[tuple[str, str], float]) -> pd.DataFrame:
        """Return the summary after the last iteration; `seconds` are per second of audio."""
        clips = zip(self.last["dataset"], self.last["clip"], strict=True)
        length = np.array([durations.get(clip, np.nan) for clip in clips])
        rows = summary(self.last.assign(seconds=self.last["seconds"] / length))
        columns = ["win_rate", "clip_win_rate", "p"]  # none where nothing is compared
        return rows.reindex(columns=list(dict.fromkeys([*rows.columns, *columns])))

    def curves(self) -> list[dict[str, Any]]:
        """Return mean and 95 % interval over clips by data set, metric, label and iteration.

        For each metric, a label uses its runs with the most checkpoints, so that all points of a
        curve belong to the same runs. `seconds` is the mean time of a run.
        """
        curve = ["dataset", "metric", "label"]
        checkpoints = self.rows.groupby([*curve, "seed", "clip"])["iteration"].transform("nunique")
        most = checkpoints.groupby([self.rows[name] for name in curve]).transform("max")
        rows = self.rows[checkpoints == most]
        curves = []
        for (dataset, metric, label), group in rows.groupby(curve):
            clips = group.groupby(["iteration", "clip"])[["value", "seconds"]].mean().reset_index()
            means = mean_table(clips, ["iteration"]).sort_values("iteration")
            seconds = clips.groupby("iteration")["seconds"].mean()
            curves.append(
                {"dataset": dataset, "metric": metric, "label": label}
                | {name: rounded(means[name]) for name in ("mean", "low95", "high95")}
                | {"iteration": means["iteration"].tolist(), "clips": means["clips"].tolist()}
                | {"seconds": rounded(seconds.reindex(means["iteration"]))}
            )
        return curves

    def runs(self) -> dict[str, list[Any]]:
        """Return columns with an entry per run of the last iteration, one for each metric."""
        keys = ["dataset", "category", "clip", "label", "seed"]
        wide = self.last.pivot_table(index=keys, columns="metric", values="value", dropna=True)
        wide = wide.reset_index()
        columns = {key: wide[key].tolist() for key in keys}
        return columns | {str(m): rounded(wide[m]) for m in wide.columns if m not in keys}

    def looks(self) -> dict[str, dict[str, str]]:
        """Return the colour in each scheme, the dash and the symbol of each label.

        They are those of the figures; a colour that is too faint on a panel is made stronger.
        """
        shades = _shades(len(self.labels))
        looks = {}
        for label, shade in zip(self.labels, shades, strict=True):
            style = look_of(label, self.labels)
            colour = style.colour if self.compares else shade
            dash, symbol = _DASHES[style.line], _SYMBOLS[style.marker]
            colours = {scheme: readable(colour, panel) for scheme, panel in PANELS.items()}
            looks[label] = {**colours, "dash": dash, "symbol": symbol}
        return looks

    def data(self) -> dict[str, Any]:
        """Return the data of the plots, as plain values."""
        return {
            "name": self.name,
            "experiments": self.experiments,
            "anchor": self.anchor(),
            "labels": self.labels,
            "looks": self.looks(),
            "datasets": self.datasets,
            "iterations": self.iterations(),
            "curves": self.curves(),
            "runs": self.runs(),
        }


def views(results: Path) -> list[View]:
    """Return the views of a folder of results.

    Experiments with one setting of each method, on the same mel-spectrograms, form one view. Every
    other experiment, such as a sweep of a parameter, has its own view.

    Raises
    ------
    FileNotFoundError
        If the folder has no results.
    ValueError
        If the columns of a table cannot tell its runs apart, such as runs of several transforms.
    """
    found = sorted(path.name for path in results.glob("*.provenance.json"))
    if not found:
        raise FileNotFoundError(
            f"{results} has no results (no *.provenance.json); run: melexp run results={results}"
        )
    groups: dict[str, list[View]] = {}
    for file in found:
        experiment = file.removesuffix(".provenance.json")
        stored = read_provenance(results / file)
        for job in stored["jobs"]:
            check_job(results / file, job)
        jobs = [Job(experiment, job["config"], job["provenance"]) for job in stored["jobs"]]
        settings = {(job.label, canonical(job.settings())) for job in jobs}
        compares = len(settings) == len({job.label for job in jobs})
        mels = sorted({canonical(job.config["mel"]) for job in jobs})
        key = canonical(mels) if compares else experiment
        table = read_table(results, experiment)
        if len(mels) > 1 or table.drop(columns=["value", "reason", "seconds"]).duplicated().any():
            raise ValueError(
                f"{experiment}.csv has runs that its columns cannot tell apart; use one "
                "experiment name per mel transform"
            )
        groups.setdefault(key, []).append(View(experiment, table, jobs, stored["clips"]))
    joined = [_join(group) for group in groups.values()]
    return sorted(joined, key=lambda view: (not view.compares, -len(view.rows)))


def _join(parts: Sequence[View]) -> View:
    """Join several views into one whose labels tell all settings apart."""
    rows = pd.concat([part.rows for part in parts], ignore_index=True)
    jobs = [job for part in parts for job in part.jobs]
    clips = {key: clip for part in parts for key, clip in part.clips.items()}
    parameters = [*parameters_of(rows), "dtype"]
    settings = rows[parameters].map(parameter_text)
    telling = telling_parameters(rows.assign(**settings))

    def name(label: str, setting: Mapping[str, Any]) -> str:
        return named_setting(label, {p: setting.get(p) or "none" for p in telling.get(label, [])})

    records = zip(rows["label"], settings.to_dict("records"), strict=True)
    rows["label"] = [name(label, setting) for label, setting in records]
    # Experiments may share runs; count each once.
    run = ["dataset", "clip", "label", "seed", "iteration", "metric"]
    rows = rows.drop_duplicates(run)
    named = []
    for job in jobs:
        setting = {key: parameter_text(value) for key, value in job.settings().items()}
        named.append(dataclasses.replace(job, name=name(job.label, setting)))
    return View("-".join(part.name for part in parts), rows, named, clips)


def contrast(colour: str, other: str) -> float:
    """Return the contrast of two colours ``#rrggbb``, from 1 to 21 (WCAG 2.2)."""
    dark, light = sorted(map(_luminance, (colour, other)))
    return (light + 0.05) / (dark + 0.05)


def readable(colour: str, background: str) -> str:
    """Return a colour, mixed with white or black until its contrast is at least `CONTRAST`."""
    end = np.full(3, 255.0 if _luminance(background) < 0.18 else 0.0)
    start = np.array(_channels(colour))
    for share in np.linspace(0, 1, 51):
        mixed = "#" + "".join(f"{round(c):02x}" for c in start + share * (end - start))
        if contrast(mixed, background) >= CONTRAST:
            break
    return mixed


def _channels(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def _luminance(colour: str) -> float:
    """Return the relative luminance of a colour, from 0 to 1 (WCAG 2.2)."""
    c = np.array(_channels(colour)) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _shades(n: int) -> list[str]:
    """Return `n` colours of the middle of viridis, for the settings of a sweep."""
    shades = sample_colorscale("viridis", np.linspace(0.25, 0.85, n).tolist(), colortype="tuple")
    return ["#" + "".join(f"{round(255 * c):02x}" for c in shade) for shade in shades]


def rounded(values: pd.Series) -> list[float | None]:
    """Return plain numbers of five digits; None for a missing value."""
    return [float(f"{v:.5g}") if np.isfinite(v) else None for v in values]


def metrics(shown: Sequence[View]) -> dict[str, dict[str, Any]]:
    """Return label and direction of each metric in the views; metrics for every sound first."""
    names = dict.fromkeys(name for view in shown for name in sorted(view.rows["metric"].unique()))
    facts = {name: metric_facts(name) for name in names}
    order = sorted(names, key=lambda name: (facts[name].speech_only, -len(name)))
    return {
        name: {"label": facts[name].label, "lower": facts[name].lower_is_better} for name in order
    }
