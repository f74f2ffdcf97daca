"""Comparison, merging and export of results, with hand-made tables and stores."""

import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from crashing import melexp_text as melexp
from scipy import stats

from melexp.metrics import available_metrics
from melexp.results.compare import compare, compare_all, compare_sources, tables_of
from melexp.results.export import export, latex
from melexp.results.merge import merge
from melexp.results.records import write_json
from melexp.results.statistics import MetricFacts, metric_facts, variants
from melexp.results.store import Store
from melexp.results.tables import read_table, table_checksum

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "results" / "core"


def table(values: list[float], *, metric: str = "scm", **columns: object) -> pd.DataFrame:
    """A table with one row per clip."""
    one = {"experiment": "e", "dataset": "d", "category": "", "method": "admm", "label": "ADMM"}
    one |= {"rho": 0.1, "seed": 0, "dtype": "float32", "iteration": 5, "metric": metric}
    one |= {"reason": "", "seconds": 1.0, **columns}
    return pd.DataFrame([one | {"clip": f"c{n}", "value": v} for n, v in enumerate(values)])


# --- compare ----------------------------------------------------------------------------------


def test_difference_by_hand() -> None:
    """Values 1, 2, 3 and 3, 2, 4: differences 2, 0, 1, mean 1, and the interval of scipy."""
    (row,) = compare(table([1, 2, 3]), table([3, 2, 4])).itertuples()
    assert (row.a, row.b, row.difference, row.clips, row.lost) == (2, 3, 1, 3, 0)
    low, high = stats.t.interval(0.95, 2, loc=1, scale=stats.sem([2, 0, 1]))
    assert (row.low95, row.high95) == pytest.approx((low, high))


@pytest.mark.parametrize(
    ("metric", "shift", "out", "either_way"),
    [
        ("scm", 0.6, True, True),  # lower is better, tolerance 0.5
        ("scm", 0.4, False, False),
        ("scm", -0.6, False, True),
        ("pesq", -0.2, True, True),  # higher is better, tolerance 0.1
        ("pesq", 0.2, False, True),
    ],
)
def test_worse_is_out_and_better_is_not(
    metric: str, shift: float, out: bool, either_way: bool
) -> None:
    a, b = table([1, 2], metric=metric), table([1 + shift, 2 + shift], metric=metric)
    assert compare(a, b)["out"].tolist() == [out]
    assert compare(a, b, either_way=True)["out"].tolist() == [either_way]


def test_lost_values_are_out_and_own_metrics_need_a_tolerance() -> None:
    (row,) = compare(table([1, 2]), table([1, np.nan])).itertuples()
    assert (row.lost, row.out, row.clips) == (1, True, 1)
    (row,) = compare(table([1, np.nan]), table([1, 2])).itertuples()
    assert (row.lost, row.out) == (0, False)
    with pytest.raises(ValueError, match="no tolerance for mine; give --tolerance mine="):
        compare(table([1], metric="mine"), table([1], metric="mine"))


def test_infinite_values_are_not_left_out() -> None:
    (row,) = compare(table([1, 2]), table([1, -np.inf])).itertuples()
    assert (row.lost, row.out, row.clips) == (1, True, 1)
    (row,) = compare(table([1, np.inf]), table([1, 2])).itertuples()
    assert (row.lost, row.out, row.clips) == (0, False, 1)
    (row,) = compare(table([1, 2]), table([np.inf, np.inf])).itertuples()
    assert (row.lost, row.out, row.clips) == (2, True, 0)


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "x", ""])
def test_a_tolerance_is_a_number(value: str) -> None:
    with pytest.raises(ValueError, match=f"--tolerance scm={value} must"):
        compare_sources(str(CORE), str(CORE), tolerance=[f"scm={value}"])


def test_parameters_are_told_apart_and_nothing_in_common_is_an_error() -> None:
    a = pd.concat([table([1, 2]), table([5, 6], rho=0.2)])
    compared = compare(a, a)
    assert compared["name"].tolist() == ["ADMM (rho=0.1)", "ADMM (rho=0.2)"]
    assert compared["a"].tolist() == [1.5, 5.5]
    with pytest.raises(ValueError, match="nothing to compare"):
        compare_all({"e": table([1])}, {"e": table([1], label="other")})


def note_table(folder: Path, experiment: str) -> None:
    """Write the provenance of a table, with its checksum."""
    checksum = table_checksum((folder / f"{experiment}.csv").read_bytes())
    body = {"experiment": experiment, "table": checksum}
    write_json(folder / f"{experiment}.provenance.json", body)


@pytest.mark.slow
@pytest.mark.parametrize("none", [np.nan, None])
def test_a_parameter_of_another_type_is_compared(none: float | None) -> None:
    """Text in one table, and numbers, or no value at all, in the other."""
    text, number = table([1, 2]).assign(rho=["0.1", none]), table([1, 2]).assign(rho=0.1)
    with pytest.raises(ValueError, match="no row in common"):
        compare_all({"x": text}, {"x": number})
    missing = table([1, 2]).assign(rho=np.nan)
    (row,) = compare(text, missing).itertuples()
    assert (row.a, row.b, row.clips) == (2, 2, 1)
    (row,) = compare(number.astype({"rho": "category"}), number).itertuples()
    assert row.clips == 2


def test_compare_on_the_command_line(tmp_path: Path) -> None:
    same = melexp("compare", CORE, CORE, "--experiment", "fig4")
    assert same.returncode == 0, same.stderr
    assert "0 out of tolerance" in same.stdout
    worse = read_table(CORE, "fig4")
    worse.loc[worse["label"] == "ADMM", "value"] += 1.0
    worse.to_csv(tmp_path / "fig4.csv", index=False)
    note_table(tmp_path, "fig4")
    done = melexp("compare", CORE, tmp_path)
    assert done.returncode == 1
    assert {line.split()[1] for line in done.stdout.splitlines() if "OUT" in line} == {"ADMM"}
    assert len(same.stdout.splitlines()) == 2  # nothing differs: a summary
    wide = [f"--tolerance={m}=2" for m in ("scm", "sc")]
    assert melexp("compare", CORE, tmp_path, *wide).returncode == 0
    bad = melexp("compare", "nonsense", CORE)
    assert bad.returncode == 2
    assert bad.stderr.startswith("melexp: nonsense is neither a folder nor a commit")
    assert melexp("compare", CORE, CORE, "--tolerance=scm").returncode == 2


def test_tables_of_a_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "results" / "mine"
    folder.mkdir(parents=True)
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org"]
    subprocess.run([*git, "init", "-q"], check=True)
    for value in (1.0, 2.0):
        table([value]).to_csv(folder / "e.csv", index=False)
        note_table(folder, "e")
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-qm", "x"], check=True)
    was, now = tables_of("HEAD~1:results/mine"), tables_of("HEAD", folder="results/mine")
    assert (was["e"]["value"].tolist(), now["e"]["value"].tolist()) == ([1.0], [2.0])
    assert tables_of("results/mine")["e"]["clip"].tolist() == ["c0"]
    with pytest.raises(ValueError, match="has no tables"):
        tables_of(str(tmp_path))


# --- merge ------------------------------------------------------------------------------------


def fill(root: Path, clips: dict[str, float], seed: int = 0) -> Path:
    """Write a store with one job."""
    store = Store(root)
    for clip, value in clips.items():
        row = {"iteration": 5, "metric": "scm", "value": value, "reason": "", "seconds": 1.0}
        store.save({"task": f"{clip}{seed}ff", "clip": clip, "rows": [row]})
    store.save_job(
        "e",
        {
            "config": {"experiment": "e", "seed": seed},
            "method": {"method": "admm", "label": "ADMM", "rho": 0.1},
            "seed": seed,
            "dtype": "float32",
            "checkpoints": [5],
            "metrics": ["scm"],
            "tasks": [
                {"task": f"{c}{seed}ff", "dataset": "d", "clip": c, "category": ""} for c in clips
            ],
            "provenance": {"clips": []},
        },
    )
    return root


def test_merge_joins_and_refuses_conflicts(tmp_path: Path) -> None:
    a = fill(tmp_path / "a", {"aa": 1.0, "bb": 2.0})
    b = fill(tmp_path / "b", {"aa": 3.0, "bb": 4.0}, seed=1)
    assert merge(tmp_path / "all", [a, b]) == ["e"]
    joined = read_table(tmp_path / "all", "e")
    assert joined["value"].tolist() == [1.0, 3.0, 2.0, 4.0]
    assert merge(tmp_path / "all", [a, b]) == ["e"]  # again changes nothing
    pd.testing.assert_frame_equal(read_table(tmp_path / "all", "e"), joined)

    other = fill(tmp_path / "other", {"aa": 1.5, "bb": 2.0})
    new = fill(other, {"cc": 9.0}, seed=2)
    with pytest.raises(ValueError, match=r"conflicts in task aa0ff \(aa\): scm after 5 .* is 1.5"):
        merge(tmp_path / "all", [new])
    assert Store(tmp_path / "all").load("cc2ff") is None  # nothing was merged
    merge(tmp_path / "all", [new], rtol=0.5)
    assert Store(tmp_path / "all").load("aa0ff")["rows"][0]["value"] == 1.0
    with pytest.raises(ValueError, match="it cannot be merged"):
        merge(tmp_path / "all", [tmp_path])


def test_merge_refuses_other_clips_under_one_configuration(tmp_path: Path) -> None:
    a, b = fill(tmp_path / "a", {"aa": 1.0}), fill(tmp_path / "b", {"bb": 1.0})
    with pytest.raises(ValueError, match="with other clips or another version of the code"):
        merge(a, [b])


# --- export -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_csv_and_parquet_hold_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pip install -c constraints.txt -e '.[parquet]'")
    rows = read_table(CORE, "fig4")
    for suffix in ("csv", "parquet"):
        assert melexp("export", CORE, "fig4", tmp_path / f"t.{suffix}").returncode == 0
    columns = ["clip", "label", "iteration", "metric", "value"]
    parquet = pd.read_parquet(tmp_path / "t.parquet")
    pd.testing.assert_frame_equal(parquet[columns], rows[columns])
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "t.csv")[columns], rows[columns])


def test_latex_by_hand() -> None:
    rows = pd.concat(
        [
            table([-10, -12]),
            table([-20, -22], label="50 % & more"),
            table([3, 3.2], metric="pesq"),
        ]
    )
    text = latex(rows)
    half = stats.t.ppf(0.975, 1) * stats.sem([-10, -12])
    assert rf"ADMM & $-11.00 \pm {half:.2f}$ & $\mathbf{{3.10}} \pm" in text
    assert r"50 \% \& more & $\mathbf{-21.00} \pm" in text
    assert r" & -- \\" in text
    assert r"Method & SCM (dB) $\downarrow$ & PESQ $\uparrow$ \\" in text
    assert text.count(r"\toprule") == 1


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"t\.xls must end in \.csv, \.parquet or \.tex"):
        export(table([1]), tmp_path / "t.xls")


def test_variants() -> None:
    rows = pd.concat([table([1]), table([1], rho=0.2), table([1], label="B")])
    assert variants(rows.reset_index(drop=True)).tolist() == [
        "ADMM (rho=0.1)",
        "ADMM (rho=0.2)",
        "B",
    ]


def test_facts_of_a_metric_have_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every metric states its facts; a metric of the user may leave out unit and digits."""
    facts = {name: metric_facts(name) for name in available_metrics()}
    known = {"scm": ("dB", 2), "sc": ("dB", 2), "pesq": ("", 2), "estoi": ("", 3)}
    assert {name: facts[name][-2:] for name in known} == known
    for fact in facts.values():
        assert (f"({fact.unit})" in fact.label) == bool(fact.unit)
    assert facts["estoi"].text(-0.12345, minus="−") == "−0.123"

    folder = tmp_path / "conf" / "metric"
    folder.mkdir(parents=True)
    monkeypatch.setenv("MELEXP_PATH", str(tmp_path))
    file = folder / "mine.yaml"
    file.write_text(
        "# @package metric.mine\nlabel: Mine\nlower_is_better: true\nspeech_only: false\n"
    )
    assert metric_facts("mine") == MetricFacts("Mine", True, False, unit="", digits=2)
    file.write_text("label: Mine\n")
    with pytest.raises(ValueError, match=r"mine\.yaml must have label, lower_is_better"):
        metric_facts("mine")
