"""The report: a folder of static pages to look at and listen to, made from stored results."""

from __future__ import annotations

from pathlib import Path

from melexp.errors import require

#: What the extra ``report`` installs.
NEEDED = ("jinja2", "plotly", "pyloudnorm")


def report(results: Path, output: Path | None = None, *, clips: int | None = None) -> Path:
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

    Returns
    -------
    index : Path
        The page to open.

    Raises
    ------
    ValueError
        If a package or a clip is missing, or `output` is a folder but not a report.
    FileNotFoundError
        If there are no results.
    """
    require("report", *NEEDED, what="the report")
    if clips is not None and clips < 0:
        raise ValueError(f"clips must not be negative; got {clips}")
    from melexp.report.build import build

    return build(Path(results), Path(output or Path(results) / "report"), clips=clips)
