"""The work of ``melexp regress``: recompute a subset of committed results and compare."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
from omegaconf import OmegaConf

from melexp.bench import iterations
from melexp.results.compare import compare_all
from melexp.results.records import read_json
from melexp.results.tables import read_table, write_table
from melexp.runs.display import shown
from melexp.runs.runner import run

#: The subset: this number of clips of these experiments, with every method and one seed.
CLIPS = 4
SEED = 0
EXPERIMENTS = ("fig3", "fig4")
#: Largest allowed growth of the cost of an iteration relative to the FFTs of scipy.
MARGIN = 1.3


def regress(committed: Path) -> int:
    """Return 0 if every mean is within `compare.TOLERANCE`, otherwise 1.

    The fast engine is timed too if ``bench/bench.csv`` lies beside the results folder.

    Parameters
    ----------
    committed : Path
        The results folder to compare with.

    Raises
    ------
    FileNotFoundError
        If the folder has no table of an experiment.
    """
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        for experiment in EXPERIMENTS:
            old = read_table(committed, experiment)
            jobs = read_json(committed / f"{experiment}.provenance.json")["jobs"]
            for job in (job for job in jobs if job["config"]["seed"] == SEED):
                config = job["config"] | {"limit": CLIPS, "results": folder, "workers": None}
                with shown(Path(folder), jobs=1):
                    failures = run(OmegaConf.create(config))
                for line in failures:
                    print(f"no result: {line}")
                    worst = 1
            # An improvement is an unexpected change too, hence either_way.
            new = {experiment: write_table(folder, experiment)}
            worst = max(worst, compare_all({experiment: old}, new, either_way=True))
    bench = committed.parent / "bench" / "bench.csv"
    if bench.exists():
        worst |= bool(worse_ratios(bench))
    print("regress:", "FAILED" if worst else "all within tolerance")
    return worst


def worse_ratios(committed: Path) -> list[str]:
    """Return the methods whose iterations cost more FFTs than in a committed table.

    Parameters
    ----------
    committed : Path
        A ``bench.csv``.

    Returns
    -------
    lines : list of str
        One for each method whose ratio exceeds `MARGIN` times the committed one.
    """
    new = pd.DataFrame(iterations.rows(11, layouts=("n_fft 1024",), engines=("fast",)))
    was, now = _in_ffts(pd.read_csv(committed)), _in_ffts(new)
    lines = []
    for name in now.index:
        line = f"{name}: {now[name]:.3f} of scipy's FFTs, was {was[name]:.3f}"
        print(line)
        if not now[name] <= MARGIN * was[name]:
            lines.append(line)
    return lines


def _in_ffts(table: pd.DataFrame) -> pd.Series:
    rows = table[table["section"] == "iteration, n_fft 1024, 5.1 s"].set_index("name")["value"]
    rows = rows[~rows.index.duplicated()]
    return rows[[n for n in rows.index if n.endswith(", fast")]] / rows["scipy.fft rfft + irfft"]
