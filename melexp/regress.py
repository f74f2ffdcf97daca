"""Recomputes a subset of committed results and compares it with them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from omegaconf import OmegaConf

from melexp.bench import worse_ratios
from melexp.compare import compare_all
from melexp.display import shown
from melexp.runner import run
from melexp.store import read_json
from melexp.tables import read_table, write_table

#: What is recomputed: the first so many clips of these experiments, with every method and one seed.
CLIPS = 4
SEED = 0
EXPERIMENTS = ("fig3", "fig4")


def regress(committed: Path) -> int:
    """Compare; 0 where all lies within `melexp.compare.TOLERANCE`, 1 where something does not.

    Also times the fast engine, where ``bench/bench.csv`` lies beside the results.

    Raises
    ------
    FileNotFoundError
        If there is no committed result to compare with.
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
            # A change for the better is a change of the numbers as well.
            new = {experiment: write_table(folder, experiment)}
            worst = max(worst, compare_all({experiment: old}, new, either_way=True))
    bench = committed.parent / "bench" / "bench.csv"
    if bench.exists():
        worst |= bool(worse_ratios(bench))
    print("regress:", "FAILED" if worst else "all within tolerance")
    return worst
