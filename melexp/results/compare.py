"""Compare two sets of results."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from melexp.results.columns import FIRST
from melexp.results.identity import transforms
from melexp.results.records import read_provenance
from melexp.results.statistics import mean_interval, metric_facts, parameters_of, variants
from melexp.results.tables import read_table

#: Largest allowed change of a mean over clips. The iterations amplify rounding, so another engine,
#: processor or FFT library changes single clips slightly. Between the two engines, the mean SCM of
#: four clips changes by at most 0.004 dB.
TOLERANCE = {
    **{"scm": 0.5, "sc": 0.1, "lsd": 0.1},
    **{"pesq": 0.1, "estoi": 0.01, "visqol": 0.1, "visqol_speech": 0.1},
    **{"zimtohrli": 0.1, "dnsmos": 0.1},
}
#: Factors on the tolerance, by method. ADMM-GLA does not converge: its mean SCM changes by 0.2 dB,
#: that of a clip by 1 dB.
UNSETTLED = {"admm_gla": 3.0}
#: Folder of the results in a commit.
FOLDER = "results/core"
#: A table of an experiment has a provenance file; other CSV files belong to figures.
_SUFFIX = ".provenance.json"


def tables_of(source: str, *, folder: str = FOLDER) -> dict[str, pd.DataFrame]:
    """Return the tables of a folder of results, or of a commit.

    Parameters
    ----------
    source : str
        A folder of results, or a commit such as ``HEAD~2`` or ``HEAD~2:results/mine``.
    folder : str
        The folder of results in the commit, if `source` names none.

    Returns
    -------
    dict
        Tables by experiment.

    Raises
    ------
    ValueError
        If `source` is neither, or has no table.
    """
    if Path(source).is_dir():
        names = sorted(_experiment(p.name) for p in Path(source).glob(f"*{_SUFFIX}"))
        tables = {name: read_table(source, name) for name in names}
    else:
        commit, _, inside = source.partition(":")
        inside = inside or folder
        files = _git("ls-tree", "--name-only", commit, f"{inside}/", source=source).splitlines()
        names = sorted(_experiment(Path(f).name) for f in files if f.endswith(_SUFFIX))
        tables = {}
        for name in names:
            text = _git("show", f"{commit}:./{inside}/{name}.csv", source=source)
            tables[name] = read_table(io.StringIO(text), name)
    if not tables:
        raise ValueError(
            f"{source} has no tables of experiments; name a folder that melexp run wrote"
        )
    return tables


def _experiment(file: str) -> str:
    return file.removesuffix(_SUFFIX)


def _git(*arguments: str, source: str) -> str:
    if source.startswith("-"):  # an option of git
        raise ValueError(f"{source} is neither a folder nor a commit")
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:]
        raise ValueError(f"{source} is neither a folder nor a commit with results: {''.join(why)}")
    return done.stdout


def compare(
    a: pd.DataFrame,
    b: pd.DataFrame,
    *,
    tolerance: Mapping[str, float] = TOLERANCE,
    either_way: bool = False,
) -> pd.DataFrame:
    """Compare the common rows of two tables of one experiment.

    Parameters
    ----------
    a, b : pd.DataFrame
        Tidy tables; rows are paired by clip, seed, method, parameters, iteration and metric.
    tolerance : mapping
        For each metric, the largest allowed loss of the mean over clips in `b`.
    either_way : bool
        Whether a gain above the tolerance is out of tolerance too.

    Returns
    -------
    pd.DataFrame
        A row per data set, method, iteration and metric. It has the means over clips of `a` and
        `b`; their difference b - a with its 95 % interval (Student's t over clips, each the mean
        over its seeds); the number of `clips`; the number of finite values `lost` in `b`; the
        tolerance; and whether the difference is `out` of tolerance.

    Raises
    ------
    ValueError
        If a metric has no tolerance, or the common columns do not tell the rows of a table apart.
    """
    parameters = sorted(set(parameters_of(a)) & set(parameters_of(b)))
    method = ["dataset", "method", "label", *parameters, "dtype"]
    key = [*method, "iteration", "metric", "clip", "seed"]
    for name, table in (("A", a), ("B", b)):
        if table.drop_duplicates([*key, "value"]).duplicated(key).any():
            raise ValueError(
                f"{name} has rows that the columns of both cannot tell apart, such as of two "
                "versions or transforms; compare folders with one of each"
            )
    # pandas joins no numbers with text, such as a parameter that is always missing in one table.
    kinds = {name: {a[name].dtype.kind, b[name].dtype.kind} for name in key}
    mixed = {name: object for name, kind in kinds.items() if len(kind) > 1 and kind - set("iuf")}
    if mixed:
        a, b = a.astype(mixed), b.astype(mixed)
    both = a.drop_duplicates(key).merge(b.drop_duplicates(key), on=key, suffixes=("_a", "_b"))
    both["name"] = variants(both[[*FIRST[1:3], *method[1:]]])
    rows = []
    for (dataset, name, iteration, metric), pairs in both.groupby(
        ["dataset", "name", "iteration", "metric"], sort=False, observed=True
    ):
        if metric not in tolerance:
            raise ValueError(f"there is no tolerance for {metric}; give --tolerance {metric}=...")
        allowed = tolerance[metric] * UNSETTLED.get(pairs["method"].iloc[0], 1.0)
        finite = np.isfinite(pairs[["value_a", "value_b"]].astype(np.float64))
        lost = int((finite["value_a"] & ~finite["value_b"]).sum())
        paired = pairs[finite.all(axis=1)]
        clips = paired.groupby("clip", observed=True)[["value_a", "value_b"]].mean()
        mean, low, high = mean_interval((clips["value_b"] - clips["value_a"]).to_numpy())
        worse = mean if metric_facts(str(metric)).lower_is_better else -mean
        rows.append(
            {"dataset": dataset, "name": name, "iteration": iteration, "metric": metric}
            | {"clips": len(clips), "a": clips["value_a"].mean(), "b": clips["value_b"].mean()}
            | {"difference": mean, "low95": low, "high95": high, "lost": lost}
            | {"tolerance": allowed}
            | {"out": bool(lost or worse > allowed or (either_way and worse < -allowed))}
        )
    return pd.DataFrame(rows)


def lines(compared: pd.DataFrame) -> list[str]:
    """Return the comparison as text, a line per row."""
    return [
        f"{r.dataset} {r.name_} {r.iteration} {r.metric}: {r.a:.3f} -> {r.b:.3f}, "
        f"{r.difference:+.3f} [{r.low95:+.3f}, {r.high95:+.3f}] "
        f"({r.clips} clips, tolerance {r.tolerance:g})"
        f"{f', {r.lost} values lost' if r.lost else ''}{'  OUT' if r.out else ''}"
        for r in compared.rename(columns={"name": "name_"}).itertuples()
    ]


def compare_all(
    a: Mapping[str, pd.DataFrame],
    b: Mapping[str, pd.DataFrame],
    *,
    every: bool = True,
    **options: Any,
) -> int:
    """Print the comparison of the common experiments; return 1 if a mean is out of tolerance.

    Parameters
    ----------
    a, b : mapping
        Tables by experiment.
    every : bool
        Print every mean; otherwise only means that differ or lost values.
    **options
        As of `compare`.

    Raises
    ------
    ValueError
        If no row is in both.
    """
    out = compared_rows = differing = 0
    for name in sorted(a.keys() & b.keys()):
        compared = compare(a[name], b[name], **options)
        if compared.empty:
            continue
        changed = compared[(compared["a"] != compared["b"]) | compared["out"]]
        shown = compared if every else changed
        print(f"{name}: {len(compared)} means, {len(changed)} differ")
        print("".join(f"{line}\n" for line in lines(shown)), end="")
        out += int(compared["out"].sum())
        differing += len(changed)
        compared_rows += len(compared)
    for name in sorted(a.keys() ^ b.keys()):
        print(f"{name}: only in {'A' if name in a else 'B'}, not compared")
    if not compared_rows:
        raise ValueError("the two have no row in common: nothing to compare")
    print(f"{compared_rows} means compared, {differing} differ, {out} out of tolerance")
    return int(out > 0)


def compare_sources(
    a: str,
    b: str,
    *,
    experiments: Sequence[str] = (),
    tolerance: Sequence[str] = (),
    every: bool = False,
) -> int:
    """Print the comparison of two folders or commits; return 1 if the second is worse.

    Parameters
    ----------
    a, b : str
        As of `tables_of`.
    experiments : sequence of str
        The experiments to compare; by default all common ones.
    tolerance : sequence of str
        Overrides of `TOLERANCE`, such as ``scm=0.5``.
    every : bool
        As of `compare_all`.

    Raises
    ------
    ValueError
        For an unknown experiment or source, or a tolerance that is not a number.
    """
    allowed = dict(TOLERANCE)
    for text in tolerance:
        metric, _, value = text.partition("=")
        try:
            allowed[metric] = float(value)
        except ValueError:
            raise ValueError(f"--tolerance {text} must look like scm=0.5") from None
        if not 0 <= allowed[metric] < np.inf:
            raise ValueError(f"--tolerance {text} must be a number of 0 or more")
    first, second = tables_of(a), tables_of(b)
    for name in experiments:
        if name not in first or name not in second:
            both = ", ".join(sorted(first.keys() & second.keys()))
            raise ValueError(f"{name} is not in both; there are {both}")
    if experiments:
        first = {name: first[name] for name in experiments}
        second = {name: second[name] for name in experiments}
    for name in sorted(first.keys() & second.keys()):
        _check_same(name, _provenance(a, name), _provenance(b, name))
    return compare_all(first, second, tolerance=allowed, every=every)


def _check_same(experiment: str, a: dict[str, Any], b: dict[str, Any]) -> None:
    """Raise ValueError if one name stands for two sounds, or the transforms differ."""
    clips, others = a["clips"], b["clips"]
    differ = [k for k in clips.keys() & others.keys() if clips[k]["sha256"] != others[k]["sha256"]]
    if differ:
        names = ", ".join(sorted(differ)[:5])
        raise ValueError(
            f"{experiment}: {len(differ)} clips are other sounds in B than in A ({names}); run "
            "both on the same files"
        )
    mels, other_mels = transforms(a["jobs"]), transforms(b["jobs"])
    if mels and other_mels and mels != other_mels:
        raise ValueError(
            f"{experiment}: the mel transforms of A and B differ; run both with the same one"
        )


def _provenance(source: str, experiment: str) -> dict[str, Any]:
    """Return the provenance of a table of `tables_of`."""
    name = f"{experiment}{_SUFFIX}"
    if Path(source).is_dir():
        return read_provenance(Path(source) / name)
    commit, _, inside = source.partition(":")
    text = _git("show", f"{commit}:./{inside or FOLDER}/{name}", source=source)
    return read_provenance(Path(name), text.encode())
