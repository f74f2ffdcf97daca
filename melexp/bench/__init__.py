"""Time the methods against the FFTs that they need and against their peers, in the same run.

A time alone says little about another machine. Each row therefore has its ratio to a reference
that was timed in turn with it, round by round: the median over rounds, with quartiles. Times are
those of the processor, which other programs hardly affect, with the wall time beside them. Rows of
several processes or threads, and of a GPU, are of the wall time.

Each module measures one quantity with its function ``rows``.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from threadpoolctl import threadpool_limits

from melexp.bench import (
    cores,
    denormals,
    iterations,
    lengths,
    overhead,
    quality,
    start_up,
    starts,
    streams,
)
from melexp.bench._rows import Row
from melexp.files.atomic import write_text
from melexp.results.provenance import provenance
from melexp.results.records import write_json


def bench(folder: Path, *, dataset: str = "demo_speech", quick: bool = False) -> pd.DataFrame:
    """Measure everything, on one core except for rows of processes; write and print the table.

    Parameters
    ----------
    folder : Path
        Gets ``bench.csv``, ``bench.md`` and ``bench.provenance.json``.
    dataset : str
        Data set of speech for the time to quality.
    quick : bool
        Use fewer rounds and clips.
    """
    rounds = 11 if quick else 21
    with threadpool_limits(1):
        parts = [
            iterations.rows(rounds),
            iterations.preset_rows(rounds),
            starts.rows(rounds),
            streams.rows(rounds),
            denormals.rows(rounds),
            quality.rows(dataset, 4 if quick else None, rounds=1 if quick else 3),
            lengths.rows(rounds),
            cores.rows(rounds),
            overhead.rows(200 if quick else 1000),
            torch_rows(rounds),
            start_up.rows(rounds),
        ]
        rows = []
        for part in parts:
            for entry in part:
                print(line(entry), flush=True)
                rows.append(entry)
    table = pd.DataFrame(rows)
    write_text(folder / "bench.csv", table.to_csv(index=False, float_format="%.6g"))
    write_text(folder / "bench.md", markdown(table))
    torch = metadata.version("torch") if find_spec("torch") else None
    write_json(
        folder / "bench.provenance.json", {"dataset": dataset, "torch": torch, **provenance()}
    )
    return table


def torch_rows(rounds: int) -> Iterator[Row]:
    """Yield the rows of batches in torch, on one core and on a GPU, if these are available."""
    try:
        from melexp.bench.batches import rows  # here, because torch is optional
    except ImportError as error:
        print(f"no rows for torch ({error}): pip install 'melexp[torch]'", flush=True)
        return
    yield from rows(rounds)


def line(entry: Row) -> str:
    """Return a row as a line of text: it says of which clock the value and the ratio are."""
    of = f" of {entry.clock} time" if entry.clock else ""
    wall = f", {entry.wall:.4g} {entry.unit} of wall time" if entry.clock == "CPU" else ""
    return (
        f"{entry.section}: {entry.name}: {entry.value:.4g} {entry.unit}{of} "
        f"({entry.low:.4g} to {entry.high:.4g}){wall}; {entry.ratio:.3g} x {entry.against}{of}"
    )


def markdown(table: pd.DataFrame) -> str:
    """Return the table in Markdown, with a heading per section."""
    lines = []
    for section, group in table.groupby("section", sort=False):
        lines += [
            "",
            f"**{section}**",
            "",
            "| | time of | median | quartiles | wall | ratio | to |",
        ]
        lines.append("| --- | --- | ---: | ---: | ---: | ---: | --- |")
        lines += [
            f"| {r.name_} | {r.clock} | {r.value:.3g} {r.unit} | {r.low:.3g} to {r.high:.3g} "
            f"| {'' if pd.isna(r.wall) else format(r.wall, '.3g')} | {r.ratio:.3g} | {r.against} |"
            for r in group.rename(columns={"name": "name_"}).itertuples()
        ]
    return "\n".join(lines[1:]) + "\n"
