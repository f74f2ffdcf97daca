"""One call of ``melexp run`` (a configuration or a sweep) from its start to its summary."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

import pandas as pd
from omegaconf import DictConfig

from melexp.results.records import read_note
from melexp.results.statistics import named_setting, parameters_of
from melexp.results.store import Store
from melexp.results.tables import table_of, update_table
from melexp.runs.display import shown


class Sweep:
    """The jobs that write into one results folder between `begin` and `end`.

    Launchers run jobs in other processes and on other machines. The jobs of a sweep are therefore
    found by their notes in the folder: those that are new or changed since `begin`.

    Parameters
    ----------
    quiet : bool
        Print failures only.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.store: Store | None = None
        self._open = ExitStack()

    def begin(self, config: DictConfig, *, jobs: int | None) -> None:
        """Record the job notes in the folder and start the progress display.

        Parameters
        ----------
        config : DictConfig
            Of any of its jobs.
        jobs : int or None
            Number of jobs, or None if it is not known.

        Raises
        ------
        Unwritable
            If the results folder cannot be written.
        """
        store = Store(config.results)
        store.begin()
        self.store = store
        self.before = self.store.notes()
        self.began = time.monotonic()
        self.tally = self._open.enter_context(shown(self.store.root, jobs=jobs, quiet=self.quiet))

    def end(self, *, stopped: bool = False) -> int:
        """Write the tables of the experiments that ran and report the missing values.

        Parameters
        ----------
        stopped : bool
            Whether a signal has ended the jobs. Missing values are not listed then.

        Returns
        -------
        status : int
            0, or 1 if a task failed or a corrupt file left a gap in a table. The results of the
            other tasks are kept.

        Raises
        ------
        Unwritable
            If a table cannot be written.
        """
        self._open.close()
        if self.store is None:
            return 0
        after = self.store.notes()
        changed = [path for path, stamp in after.items() if self.before.get(path) != stamp]
        failed = 0
        experiments = sorted({path.parent.name for path in changed})
        for experiment in experiments:  # all of them before the first line, which may fail
            update_table(self.store, experiment)
        for experiment in experiments:
            jobs = [read_note(path) for path in changed if path.parent.name == experiment]
            failed += sum(len(job["reasons"]) for job in jobs)
            for block in [] if stopped else self.store.blocks(experiment, jobs):
                for line in without_value(block.lost()):
                    print(line, file=sys.stderr)
            if not self.quiet:
                print(table_of(self.store.root, experiment))
        if not changed:
            self.store.unmark_if_empty()
        if changed and not (self.quiet or stopped):
            print(self._summary(failed), file=sys.stderr)
        if self.store.damaged:
            fault = "the tables lack the corrupt tasks; re-run their experiments"
            print(f"melexp: {self.store.root}: {fault}", file=sys.stderr)
        return int(failed > 0 or bool(self.store.damaged))

    def _summary(self, failed: int) -> str:
        tally, seconds = self.tally, time.monotonic() - self.began
        return (
            f"{tally.tasks} tasks in {tally.ended} jobs: {tally.stored} stored before, "
            f"{tally.done.total() - tally.stored - failed} done, {failed} failed; {seconds:.0f} s"
        )


def without_value(table: pd.DataFrame) -> list[str]:
    """Return a line for each task that lacks a value of a metric, with the reason.

    Parameters
    ----------
    table : pd.DataFrame
        Tidy rows without a value, as of `melexp.results.blocks.Block.lost`.
    """
    if table.empty:
        return []
    parameters = parameters_of(table)
    lines = []
    task = ["dataset", "clip", "label", *parameters, "seed", "reason"]
    for _, rows in table.groupby(task, sort=False, dropna=False):
        one = rows.iloc[0]
        name = named_setting(one["label"], {p: one[p] for p in parameters})
        what = ", ".join(rows["metric"].drop_duplicates())
        at = ", ".join(str(n) for n in rows["iteration"].drop_duplicates())
        lines.append(
            f"no value: {one['dataset']}/{one['clip']}, {name}, seed {one['seed']}: "
            f"{what} after {at} iterations: {one['reason']}"
        )
    return lines
