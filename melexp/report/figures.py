"""Driver of the scripts in ``experiments/``: read a table, draw its figure, write the files."""

from __future__ import annotations

import argparse
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from melexp.files.atomic import write_text
from melexp.results.columns import to_csv
from melexp.results.tables import read_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Drawing:
    """A figure, the numbers that it shows, and its caption.

    Attributes
    ----------
    figure : Figure
    drawn : pd.DataFrame
        Written beside the figure as CSV.
    caption : str
    texts : dict
        Further files to write beside the figure: text by name.
    """

    figure: Figure
    drawn: pd.DataFrame
    caption: str
    texts: dict[str, str] = field(default_factory=dict)


def draw_figure(script: str | Path, results: Path | None = None) -> None:
    """Call ``draw(table) -> Drawing`` of an experiment's script and write the files.

    Writes ``<name>.png``, ``<name>.dark.png`` for dark pages, ``<name>.pdf``,
    ``<name>.drawn.csv`` and ``<name>.txt`` (the caption).
    The name of the script is also the name of the experiment, and so of its table.

    Parameters
    ----------
    script : str or Path
        Such as ``experiments/fig2.py``.
    results : Path or None
        The folder of results; None reads it from the command line (default: results/demo).

    Raises
    ------
    FileNotFoundError
        If the folder has no table of the experiment.
    """
    import matplotlib.pyplot as plt  # here, because a table needs no matplotlib

    from melexp.report.colours import darken
    from melexp.report.plots import STYLE

    name = Path(script).stem
    spec = importlib.util.spec_from_file_location(f"experiment_{name}", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = results_folder(module.__doc__) if results is None else results
    table = read_table(folder, name)
    with plt.rc_context(STYLE):
        drawing: Drawing = module.draw(table)
        drawing.figure.savefig(folder / f"{name}.png", metadata={"Software": None})
        drawing.figure.savefig(folder / f"{name}.pdf", metadata={"CreationDate": None})
        darken(drawing.figure)
        drawing.figure.savefig(folder / f"{name}.dark.png", metadata={"Software": None})
    plt.close(drawing.figure)
    text = to_csv(drawing.drawn, float_format="%.6g")
    texts = {f"{name}.drawn.csv": text, f"{name}.txt": drawing.caption + "\n", **drawing.texts}
    for file, content in texts.items():
        write_text(folder / file, content)
    print(f"{folder / name}.png: {drawing.caption}")


def results_folder(description: str | None) -> Path:
    """Return the folder of results that the command line of a script names."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("results", type=Path, nargs="?", default=Path("results/demo"))
    folder: Path = parser.parse_args().results
    return folder
