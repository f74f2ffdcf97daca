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
from pandas.api.types import union_categoricals
from plotly.colors import sample_colorscale

from melexp.errors import one_line
from melexp.methods import make_method
from melexp.report.colours import PANELS, readable
from melexp.report.received import check_job
from melexp.results.columns import distinct, has_twins, row_keys
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
from melexp.results.tables import LARGE, read_table

#: Names in plotly of matplotlib's line styles and markers.
_DASHES = {"-": "solid", "--": "dash", "-.": "dashdot", ":": "dot"}
_SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "v": "triangle-down", "D": "diamond"}
_SYMBOLS |= {"P": "cross", "x": "x-thin-open", "X": "x", "*": "star", "h": "hexagon"}

#: Runs that are drawn one by one; of more, some are chosen.
RUNS = 20_000


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
    def clips_taken(self) -> str:
        """Which clips of the data set were taken."""
        return canonical([self.config["dataset"], self.config["limit"], self.config.get("spread")])

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
        metrics = self.rows.groupby("dataset", observed=True)["metric"].nunique()
        return [str(name) for name in metrics.sort_values(ascending=False, kind="stable").index]

    @cached_property
    def last(self) -> pd.DataFrame:
        """The rows of each data set's last iteration."""
        groups = self.rows.groupby("dataset", observed=True)
        return pd.concat([at_last(rows)[0] for _, rows in groups])

    def iterations(self) -> dict[str, int]:
        """Return the last iteration of each data set."""
        last = self.last.groupby("dataset", observed=True)["iteration"].max()
        return {str(name): int(iteration) for name, iteration in last.items()}

    def summary(self, durations: Mapping[tuple[str, str], float]) -> pd.DataFrame:
        """Return the summary after the last iteration; `seconds` are per second of audio."""
        place = ["dataset", "clip"]
        first, which = distinct(self.last, place)
        clips = self.last[place].iloc[first].itertuples(index=False, name=None)
        length = np.array([durations.get(clip, np.nan) for clip in clips])[which]
        rows = summary(self.last.assign(seconds=self.last["seconds"] / length))
        columns = ["win_rate", "clip_win_rate", "p"]  # none where nothing is compared
        return rows.reindex(columns=list(dict.fromkeys([*rows.columns, *columns])))

    def curves(self) -> list[dict[str, Any]]:
        """Return mean and 95 % interval over clips by data set, metric, label and iteration.

        For each metric, a label uses its runs with the most checkpoints, so that all points of a
        curve belong to the same runs. `seconds` is the mean time of a run.
        """
        curve = ["dataset", "metric", "label"]
        used = [*curve, "seed", "clip", "iteration", "value", "seconds"]
        curves = []
        for (dataset, metric, label), rows in self.rows[used].groupby(curve, observed=True):
            run = pd.Series(row_keys(rows, ["seed", "clip"]), rows.index)
            checkpoints = rows.groupby(run)["iteration"].transform("nunique")
            group = rows[checkpoints == checkpoints.max()].astype({"clip": object})
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
        """Return columns with an entry per run of the last iteration, one for each metric.

        Of more than `RUNS` runs, those of some clips are returned, evenly chosen.
        """
        keys = ["dataset", "category", "clip", "label", "seed"]
        wide = self._shown.astype({key: object for key in keys[:4]} | {"metric": object})
        wide = wide.pivot_table(index=keys, columns="metric", values="value", dropna=True)
        wide = wide.reset_index()
        columns = {key: wide[key].tolist() for key in keys}
        return columns | {str(m): rounded(wide[m]) for m in wide.columns if m not in keys}

    @cached_property
    def _shown(self) -> pd.DataFrame:
        """The rows of `last` that are drawn one by one."""
        _, which = distinct(self.last, ["dataset", "clip"])
        step = -(-len(self.last) // (RUNS * max(self.last["metric"].nunique(), 1)))
        if step <= 1:
            return self.last
        return self.last[(which % step) == 0]

    @property
    def shown_clips(self) -> tuple[int, int]:
        """How many clips are drawn one by one, and how many there are."""
        place = ["dataset", "clip"]
        return len(distinct(self._shown, place)[0]), len(distinct(self.last, place)[0])

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


def chosen(table: pd.DataFrame, where: Sequence[str]) -> pd.DataFrame:
    """Return the rows of a table with some values.

    Parameters
    ----------
    table : pd.DataFrame
    where : sequence of str
        Such as ``label=ADMM`` or ``rho=0.1``; values as in `parameter_text`.

    Raises
    ------
    ValueError
        If there is no such column.
    """
    for text in where:
        column, _, value = text.partition("=")
        if column not in table:
            raise ValueError(f"--where {text}: there is no column {column!r} in a table")
        codes, values = pd.factorize(table[column])
        right = np.array([parameter_text(one) == value for one in values] + [value == ""])
        table = table[right[codes]]
    return table


def views(results: Path, where: Sequence[str] = ()) -> list[View]:
    """Return the views of a folder of results.

    Experiments with one setting of each method, on the same mel-spectrograms and the same part of
    each data set, form one view. Every other experiment, such as a sweep of a parameter, has its
    own view.

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
    groups: list[tuple[str, dict[str, str], list[View]]] = []
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
        table = chosen(read_table(results, experiment), where)
        told = [name for name in table if name not in ("value", "reason", "seconds")]
        if has_twins(table, told):
            raise ValueError(
                f"{experiment}.csv has runs that its columns cannot tell apart; use one "
                "experiment name per mel transform"
            )
        view = View(experiment, table, jobs, stored["clips"])
        data = {job.dataset: job.clips_taken for job in jobs}
        for known, taken, group in groups:
            if known == key and all(taken.get(name, part) == part for name, part in data.items()):
                taken.update(data)
                group.append(view)
                break
        else:
            groups.append((key, data, [view]))
    joined = [_join(group) for *_, group in groups if any(len(part.rows) for part in group)]
    if not joined:
        raise ValueError(f"{results} has no rows with {' and '.join(where)}")
    return sorted(joined, key=lambda view: (not view.compares, -len(view.rows)))


def _join(parts: Sequence[View]) -> View:
    """Join several views into one whose labels tell all settings apart."""
    rows = _concatenated([part.rows for part in parts])
    jobs = [job for part in parts for job in part.jobs]
    clips = {key: clip for part in parts for key, clip in part.clips.items()}
    parameters = [*parameters_of(rows), "dtype"]
    first, which = distinct(rows, ["label", *parameters])
    settings = rows[["label", *parameters]].iloc[first].astype(object)
    settings[parameters] = settings[parameters].map(parameter_text)
    telling = telling_parameters(settings)

    def name(label: str, setting: Mapping[str, Any]) -> str:
        return named_setting(label, {p: setting.get(p) or "none" for p in telling.get(label, [])})

    names = [name(setting["label"], setting) for setting in settings.to_dict("records")]
    rows["label"] = (
        pd.Categorical(names)[which] if len(rows) > LARGE else np.array(names, dtype=object)[which]
    )
    # Experiments may share runs; count each once.
    run = ["dataset", "clip", "label", "seed", "iteration", "metric"]
    if has_twins(rows, run):
        rows = rows.iloc[distinct(rows, run)[0]]
    named = []
    for job in jobs:
        setting = {key: parameter_text(value) for key, value in job.settings().items()}
        named.append(dataclasses.replace(job, name=name(job.label, setting)))
    there = set(names)
    named = [job for job in named if job.name in there]
    return View("-".join(part.name for part in parts), rows, named, clips)


def _concatenated(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return tables below each other; columns that are categorical in all stay so."""
    parts = [part for part in parts if len(part)]
    if len(parts) == 1:
        return parts[0].reset_index(drop=True)
    joined = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        columns = [part[name] for part in parts if name in part]
        if len(columns) == len(parts) and all(
            isinstance(column.dtype, pd.CategoricalDtype) for column in columns
        ):
            joined[name] = union_categoricals(columns, sort_categories=True)
    rest = [part.drop(columns=list(joined)) for part in parts]
    order = list(dict.fromkeys(name for part in parts for name in part))
    return pd.concat(rest, ignore_index=True).assign(**joined)[order]


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
