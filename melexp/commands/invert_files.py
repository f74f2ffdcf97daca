"""The files of ``melexp invert``: one, standard streams, or those of a folder or glob."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from melexp.commands.front_end import front_end
from melexp.commands.invert import Progress, invert_bytes, numbered
from melexp.commands.invert_options import InvertOptions
from melexp.errors import one_line
from melexp.files.mels import AUDIO_SUFFIXES, MEL_SUFFIXES, read_source
from melexp.files.sound import file_format


def run(source: str, output: str, options: InvertOptions) -> int:
    """Invert a file, standard input, or the files of a folder or glob.

    Parameters
    ----------
    source, output : str
        As given on the command line.
    options : InvertOptions

    Returns
    -------
    status : int
        0, or 2 if one of several inputs could not be inverted.

    Raises
    ------
    ValueError, OSError
        If a single input cannot be inverted; no file is written then.
    """
    several = _several(source)
    if several is not None:
        return _run_several(several, output, options)
    if output == "-" and options.compare:
        raise ValueError("--compare writes two files: name an OUTPUT instead of '-'")
    target = None if output == "-" else Path(output)
    if target is not None and not target.parent.is_dir():
        raise ValueError(f"{target.parent} is not a folder; create it first")
    folder = None if source == "-" else Path(source).parent
    with _bar(options) as progress:
        try:
            data = read_source(source)
            text = invert_bytes(data, target, options, folder=folder, progress=progress)
        except (ValueError, MemoryError) as error:
            reason = one_line(error) if str(error) else "there is not enough memory"
            raise ValueError(f"{source}: {reason}") from error
    if not options.quiet:
        print(text, file=sys.stderr if target is None else sys.stdout)
    return 0


@contextlib.contextmanager
def _bar(options: InvertOptions) -> Iterator[Progress | None]:
    """Show a progress bar on a terminal; yield None without a terminal."""
    if options.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("inverting", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _several(text: str) -> list[tuple[Path, Path]] | None:
    """Return the files of a folder or glob and their relative paths; None for a single input."""
    path = Path(text)
    if path.is_dir():
        suffixes = MEL_SUFFIXES + AUDIO_SUFFIXES
        found = [p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file()]
        root = path
    elif text != "-" and not path.exists() and glob.has_magic(text):
        found = [p for p in _matches(text) if p.is_file()]
        root = Path(os.path.commonpath([p.parent for p in found])) if found else path
    else:
        return None
    if not found:
        raise ValueError(f"{text}: there is no mel ({', '.join(MEL_SUFFIXES)}) and no sound file")
    return [(p, p.relative_to(root)) for p in sorted(found)]


def _matches(pattern: str) -> set[Path]:
    """Return the paths of a glob; ``**`` follows no link to a folder, which may lead back."""
    before, *after = re.split(r"(?:^|(?<=[/\\]))\*\*(?:[/\\]|$)", pattern, maxsplit=1)
    if not after:
        return {Path(p) for p in glob.glob(pattern)}
    found: set[Path] = set()
    for top in glob.glob(before) if before else [os.curdir]:
        for folder, below, _ in os.walk(top):
            below[:] = [name for name in below if not name.startswith(".")]  # as glob does
            found |= _matches(os.path.join(glob.escape(folder), after[0] or "*"))
    return found


def _run_several(inputs: list[tuple[Path, Path]], folder: str, options: InvertOptions) -> int:
    """Invert several files; skip those whose output exists."""
    from joblib import Parallel, delayed

    from melexp.runs.processes import worker_processes

    output = Path(folder)
    if folder == "-" or (output.exists() and not output.is_dir()):
        raise ValueError(f"OUTPUT must be a folder for several inputs; got {folder}")
    targets = [output / below.with_suffix(f".{options.format}") for _, below in inputs]
    twice = {str(t) for t in targets if targets.count(t) > 1}
    if twice:
        raise ValueError(f"two inputs would be written to {min(twice)}; invert them separately")
    file_format(targets[0], options.subtype)
    front_end(options.transform, options.compression)
    waiting = [
        (source, target)
        for (source, _), target in zip(inputs, targets, strict=True)
        if not (target.exists() or numbered(target, 0).exists())
    ]
    failed = 0
    jobs = max(1, min(options.jobs, len(waiting) or 1))
    with _bar(options) as progress, worker_processes(jobs):
        work = (delayed(_one_of_several)(s, t, options) for s, t in waiting)
        for done, (error, report) in enumerate(Parallel(return_as="generator")(work), 1):
            if error:
                failed += 1
                print(f"melexp: {error}", file=sys.stderr)
            elif not options.quiet:
                print(report)
            if progress is not None:
                progress(done, len(waiting))
    if not options.quiet:
        skipped = len(inputs) - len(waiting)
        print(f"{len(waiting) - failed} inverted, {skipped} there already, {failed} refused")
    return 2 if failed else 0


def _one_of_several(source: Path, target: Path, options: InvertOptions) -> tuple[str, str]:
    """Return the error or the report of one of several inputs."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        data = read_source(str(source))
        return "", invert_bytes(data, target, options, folder=source.parent)
    except (ValueError, OSError, MemoryError) as error:
        return f"{source}: {one_line(error)}", ""
