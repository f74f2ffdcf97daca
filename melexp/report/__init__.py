"""The report: a folder of static pages to look at and listen to, made from stored results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from melexp.errors import require

#: What the extra ``report`` installs.
NEEDED = ("jinja2", "plotly", "pyloudnorm")


def report(
    results: Path,
    output: Path | None = None,
    *,
    clips: int | None = None,
    datasets: Sequence[str] = (),
    where: Sequence[str] = (),
) -> Path:
    """Write the report of a folder of results.

    Parameters
    ----------
    results : Path
        The tables and provenance that `melexp run` or `melexp reproduce` has written.
    output : Path or None
        The report's folder, ``<results>/report`` by default; an older report there is replaced.
    clips : int >= 0 or None
        Clips of each data set on the listening page; by default 6, or one of each category if
        that is more.
    datasets : sequence of str
        Data sets to render in addition to those of the local configuration, as ``NAME`` (the
        stored location) or ``NAME=PATH``. Results from elsewhere cannot choose what is read here.
    where : sequence of str
        Show these rows only, such as ``label=ADMM`` and ``rho=0.1``.

    Returns
    -------
    index : Path
        The page to open.

    Raises
    ------
    ValueError
        If a package or a clip is missing, `output` is a folder but not a report, or a file of the
        results is a link out of their folder or too large.
    FileNotFoundError
        If there are no results.
    """
    require("report", *NEEDED, what="the report")
    if clips is not None and clips < 0:
        raise ValueError(f"clips must not be negative; got {clips}")
    from melexp.report.build import build

    output = Path(output or Path(results) / "report")
    return build(Path(results), output, clips=clips, datasets=datasets, where=where)
