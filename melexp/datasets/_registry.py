"""Registries of clips (CSV, one row per sound file), and the download of their files.

The columns are ``dataset, path, category, sha256, licence, author, source``, and ``url, subset``
for files that are downloaded. Embedded files lie beside their registry. Other files have the path
``<dataset>/<path>`` in the folder ``MELEXP_DATA_MIRROR`` or in the cache (``MELEXP_CACHE``, by
default the user's cache folder). A file that is in neither is downloaded into the cache.
"""

import csv
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath

from melexp.errors import one_line
from melexp.files.atomic import held, move_aside

from ._clip import Clip, ClipError, sha256_of

EMBEDDED = Path(__file__).parent / "demo" / "registry.csv"
REMOTE = Path(__file__).with_name("registry.csv")
RETRIES = 3  # further attempts after a failure; each wait is a second longer
TIMEOUT = 30.0  # seconds without data after which an attempt fails

Row = dict[str, str]


def embedded_clips(dataset: str) -> list[Clip]:
    """Return the clips embedded in the package; the id is the stem of the file's name."""
    folder = EMBEDDED.parent
    return [
        _clip(row, PurePosixPath(row["path"]).stem, partial(Path, folder, row["path"]))
        for row in _rows(EMBEDDED, dataset)
    ]


def remote_clips(
    dataset: str, clip_id: Callable[[Row], str], keep: Callable[[Row], bool] = lambda row: True
) -> list[Clip]:
    """Return clips whose files are downloaded one by one, at the first load.

    Parameters
    ----------
    dataset : str
        Value of the column ``dataset`` of the registry.
    clip_id : callable
        Returns the id of the clip of a row.
    keep : callable
        Returns whether a row is used.
    """
    return [
        _clip(
            row,
            clip_id(row),
            partial(_fetch, f"{dataset}/{row['path']}", row["url"], row["sha256"]),
        )
        for row in _rows(REMOTE, dataset)
        if keep(row)
    ]


def _rows(registry: Path, dataset: str) -> list[Row]:
    with registry.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["dataset"] == dataset]
    for row in rows:
        # The path is joined to a folder of the user and must not lead out of it.
        path, windows = PurePosixPath(row["path"]), PureWindowsPath(row["path"])
        if not path.parts or path.is_absolute() or windows.anchor or ".." in windows.parts:
            raise ClipError(
                f"{registry}: the path {row['path']!r} leads out of its folder; fix the row"
            )
        if not re.fullmatch("[0-9a-f]{64}", row["sha256"]):
            raise ClipError(f"{registry}: {row['path']!r} has no valid SHA-256; fix the row")
    return rows


def _clip(row: Row, clip_id: str, locate: Callable[[], Path]) -> Clip:
    columns = ("dataset", "category", "sha256", "licence", "author", "source")
    return Clip(id=clip_id, locate=locate, **{name: row[name] for name in columns})


def _fetch(relative: str, url: str, sha256: str) -> Path:
    """Return the path of a registered file: in the mirror, in the cache, or downloaded there."""
    if mirror := os.environ.get("MELEXP_DATA_MIRROR"):
        folder = Path(mirror).expanduser()
        if not folder.is_dir():
            raise ClipError(
                f"MELEXP_DATA_MIRROR={mirror} is not a folder; fix or unset the variable"
            )
        if (folder / relative).is_file():
            return folder / relative  # Clip.load verifies its SHA-256

    cache = cache_folder()
    path = cache / relative
    try:
        if path.is_file() and sha256_of(path) == sha256:
            return path
        with held(lock_of(path), wait=True):  # concurrent processes download a file once
            if moved := move_damaged(cache, relative, sha256):
                print(f"warning: {moved}; the file is downloaded again", file=sys.stderr)
            return _download(cache, relative, url, sha256)
    except (OSError, ValueError) as error:
        raise ClipError(
            f"{relative}: the file could not be downloaded from {url} ({one_line(error)}); "
            "try again, or set MELEXP_DATA_MIRROR to a folder that has it"
        ) from error


def _download(cache: Path, relative: str, url: str, sha256: str) -> Path:
    import pooch

    # pooch downloads to a temporary file, verifies and renames it: no partial file has this path.
    store = pooch.create(
        path=cache,
        base_url="",
        registry={relative: f"sha256:{sha256}"},
        urls={relative: url},
        retry_if_failed=RETRIES,
    )
    with _DownloadBar(relative) as bar:
        downloader = pooch.HTTPDownloader(progressbar=bar, timeout=TIMEOUT)
        return Path(store.fetch(relative, downloader=downloader))


def cache_folder() -> Path:
    """Return the folder of downloaded files: ``MELEXP_CACHE``, or the user's cache folder."""
    import pooch

    return Path(os.environ.get("MELEXP_CACHE") or pooch.os_cache("melexp"))


def registered() -> dict[str, str]:
    """Return the SHA-256 of each file that the cache may hold, by its path there."""
    with REMOTE.open(newline="", encoding="utf-8") as file:
        datasets = {row["dataset"] for row in csv.DictReader(file)}
    return {
        f"{dataset}/{row['path']}": row["sha256"]
        for dataset in sorted(datasets)
        for row in _rows(REMOTE, dataset)
    }


def lock_of(path: Path) -> Path:
    """Return the lock file of a download into the cache."""
    return path.with_name(f".{path.name}.lock")


def move_damaged(cache: Path, relative: str, sha256: str) -> str:
    """Move a corrupt file of the cache into ``damaged``; return a message, empty if it is valid."""
    path = cache / relative
    if not path.exists() or (path.is_file() and sha256_of(path) == sha256):
        return ""
    aside = move_aside(path, cache / "damaged" / PurePosixPath(relative).parent)
    return f"{path} does not match its SHA-256; moved to {aside}" if aside else ""


class _DownloadBar:
    """A progress bar of rich with the interface that pooch expects."""

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        self._shown = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            console=Console(stderr=True),
        )
        self._task = self._shown.add_task(title, total=None)
        self.total = 0

    def __enter__(self) -> "_DownloadBar":
        self._shown.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.stop()

    def update(self, n: int) -> None:
        self._shown.update(self._task, advance=n, total=self.total)

    def reset(self) -> None:
        """Reset the bar, before the bytes of each attempt and after the last."""
        self._shown.reset(self._task)

    def close(self) -> None:
        self._shown.update(self._task, completed=self.total)
