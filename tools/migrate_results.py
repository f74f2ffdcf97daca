"""Convert a folder of results made before the methods were renamed.

- Rename ``nnls_gla``, ``nnls_fgla`` and ``nnls_admm_gla`` to ``gla``, ``fgla`` and ``admm_gla``.
- Drop the parameter ``schedule`` of ``admm_ramp``, which must be ``geometric``.
- Add the parameter ``frame_weights`` (0) to every method except ``librosa``.
- Drop the parameters ``magnitude`` and ``phase`` of ``librosa``.
- Give each finished task the id of the present code, so that a re-run skips it.

Such a folder has a file per task and the clips in each note, and keeps this form, which is still
read. Values and times are unchanged. The command refuses a folder that it cannot convert
completely. It prints the numbers of files; ``--write`` converts them. Stop every run in the folder
first. After an interruption, run the same command again.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd

from melexp.discovery import read_config
from melexp.errors import one_line
from melexp.files.atomic import write_text
from melexp.methods import make_method
from melexp.results.columns import FIRST, LAST
from melexp.results.index import Index
from melexp.results.records import (
    digest,
    read_json,
    read_note,
    read_provenance,
    read_task,
    write_json,
)
from melexp.results.store import FORMAT, Store
from melexp.results.tables import (
    provenance_of,
    read_table,
    table_checksum,
)
from melexp.runs.task import Task
from melexp.start import VERSIONS
from melexp.transforms.mel import MelTransform

NAMES = {"nnls_gla": "gla", "nnls_fgla": "fgla", "nnls_admm_gla": "admm_gla"}
OLD_NAMES = {new: old for old, new in NAMES.items()}
#: Arguments of the transform that the old ids omitted at these values.
OMITTED = {"pad": None, "compression": None, "empty_filters": False}


def new_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a job as the present code resolves it.

    Raises
    ------
    ValueError
        If the present code has no such method, parameter or metric.
    """
    given = dict(config["method"])
    name, label = given.pop("name"), given.pop("label")
    name = NAMES.get(name, name)
    if given.pop("schedule", "geometric") != "geometric":
        raise ValueError(f"{label} has a constant schedule; re-run it with ramp=1")
    if name == "librosa":
        given = {k: v for k, v in given.items() if k not in ("magnitude", "phase", "frame_weights")}
    method = {"name": name, "label": label, **make_method(name, **given).parameters()}
    metric = {m: read_config("metric", m) for m in config["metric"]}
    return {"timed": False, **config, "method": method, "metric": metric}


def new_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the present names and columns; its values are unchanged.

    Raises
    ------
    ValueError
        If a row has a constant schedule.
    """
    if "schedule" in table and set(table["schedule"].dropna()) - {"geometric"}:
        raise ValueError("the column schedule has other values than geometric; re-run with ramp=1")
    table = table.drop(columns="schedule", errors="ignore")
    table["method"] = table["method"].replace(NAMES)
    peer = table["method"] == "librosa"
    if "frame_weights" not in table:
        table["frame_weights"] = 0.0
    table["frame_weights"] = table["frame_weights"].fillna(0.0).mask(peer)
    for column in {"magnitude", "phase"} & set(table.columns):
        table[column] = table[column].astype(object).mask(peer)
    parameters = sorted(set(table.columns) - {*FIRST, *LAST})
    only_peer = ("magnitude", "phase", "frame_weights") if peer.all() else ()
    kept = [p for p in parameters if p not in only_peer]
    table = table[[*FIRST, *kept, *LAST]]
    return table.sort_values([*FIRST[:-1], *kept, "seed", "iteration", "metric"])


def task_ids(config: dict[str, Any], sha256: str) -> tuple[str, str]:
    """Return the old and the new id of a task, given the new configuration of its job."""
    values = {k: v for k, v in config["method"].items() if k not in ("name", "label")}
    name = config["method"]["name"]
    method, transform = make_method(name, **values), MelTransform(**config["mel"])
    clip: Any = SimpleNamespace(sha256=sha256)
    scope = config["experiment"] if config["timed"] else ""
    new = Task(clip, method, name, transform, config["seed"], config["dtype"], scope)
    parameters = method.parameters()
    if not parameters.get("frame_weights"):
        parameters.pop("frame_weights", None)
    if name == "admm_ramp":
        parameters["schedule"] = "geometric"
    chosen = (parameters.get("magnitude"), parameters.get("phase"))
    starts = {n: VERSIONS[n] for n in chosen if n in VERSIONS}
    if name == "librosa":
        parameters |= {"magnitude": "librosa", "phase": "librosa"}
    settings = transform.settings()
    old = {
        "format": FORMAT,
        "clip": sha256,
        "method": OLD_NAMES.get(name, name),
        "version": method.version,
        "parameters": parameters,
        "transform": {k: v for k, v in settings.items() if k not in OMITTED or v != OMITTED[k]},
        "seed": config["seed"],
        "dtype": config["dtype"],
        **({"starts": starts} if starts else {}),
        **({"scope": scope} if scope else {}),
    }
    return digest(old), new.id


@dataclasses.dataclass
class Conversion:
    """The files to write and to remove, as read from a folder of results.

    Attributes
    ----------
    tasks, notes, provenance : dict
        Content of JSON files by path.
    tables : dict
        Text of tables by path.
    gone : set of Path
        Files of old tasks and notes.
    other : int
        Number of tasks that another version of the code computed; they stay as they are.
    """

    tasks: dict[Path, dict[str, Any]] = dataclasses.field(default_factory=dict)
    notes: dict[Path, dict[str, Any]] = dataclasses.field(default_factory=dict)
    provenance: dict[Path, dict[str, Any]] = dataclasses.field(default_factory=dict)
    tables: dict[Path, str] = dataclasses.field(default_factory=dict)
    gone: set[Path] = dataclasses.field(default_factory=set)
    other: int = 0

    def counts(self) -> dict[str, int]:
        """Return the numbers of tables, job notes and tasks, and of tasks of other versions."""
        return {
            "tables": len(self.tables),
            "notes": len(self.notes),
            "tasks": len(self.tasks),
            "tasks of other versions": self.other,
        }

    def write(self) -> None:
        """Write new files first, so that an interruption loses nothing; then remove old ones."""
        for part in (self.tasks, self.notes):
            for path, body in part.items():
                write_json(path, body)
        for path, text in self.tables.items():
            write_text(path, text)
            provenance = provenance_of(path.parent, path.stem)
            write_json(provenance, self.provenance[provenance])
        for path in self.gone - self.tasks.keys() - self.notes.keys():
            path.unlink()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Refuse a file that cannot be understood, with its name."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path} cannot be converted ({type(error).__name__}: {one_line(error)}); nothing was "
            "written"
        ) from error


def convert_note(path: Path, index: Index, conversion: Conversion) -> None:
    """Add the note of a job and its tasks to a conversion."""
    note = read_json(path)
    if "clips" in note:  # in the present form, so with the present names
        return
    read_note(path)
    config = new_config(note["config"])
    shas = {(c["dataset"], c["id"]): c["sha256"] for c in note["provenance"]["clips"]}
    for entry in note["tasks"]:
        old, new = task_ids(config, shas[entry["dataset"], entry["clip"]])
        if entry["task"] == new:
            continue
        if entry["task"] != old:
            conversion.other += 1
            continue
        entry["task"] = new
        source, target = file_of(index.root, old), file_of(index.root, new)
        if source.exists():
            rows = read_task(source)["rows"]
            # A run with the present code may have stored some of the rows already.
            stored = index.rows(new) if new in index else []
            joined = {(row["iteration"], row["metric"]): row for row in [*rows, *stored]}
            conversion.tasks[target] = {
                **read_task(source),
                "task": new,
                "rows": [joined[key] for key in sorted(joined)],
            }
            conversion.gone.add(source)
    method = {k: v for k, v in config["method"].items() if k != "name"}
    note |= {"config": config, "method": {"method": config["method"]["name"], **method}}
    place = path.with_name(f"{digest(config)}.json")
    conversion.gone.add(path)
    present = conversion.notes.get(place)
    if present is None and place != path and place.exists():
        present = read_json(place)
    if present is not None and asked(present) != asked(note):
        raise ValueError(f"{place.name} is the same job with other clips")
    conversion.notes[place] = present or note


def file_of(results: Path, task: str) -> Path:
    """Return the file of a task in the old form."""
    return results / "tasks" / task[:2] / f"{task}.json"


def asked(note: dict[str, Any]) -> list[str]:
    """Return the ids of the tasks of a job, sorted."""
    return sorted(task if isinstance(task, str) else task["task"] for task in note["tasks"])


def convert_table(path: Path, conversion: Conversion) -> None:
    """Add a table and its provenance to a conversion."""
    body = read_provenance(path)
    experiment = body["experiment"]
    file = path.with_name(f"{experiment}.csv")
    if body.get("table", checksum := table_checksum(file.read_bytes())) != checksum:
        raise ValueError(f"{file.name} does not match its checksum; restore it or re-run")
    with file.open(encoding="utf-8") as stream:
        text = new_table(read_table(stream, experiment)).to_csv(index=False, lineterminator="\n")
    jobs = [job | {"config": new_config(job["config"])} for job in body["jobs"]]
    conversion.tables[file] = text
    conversion.provenance[path] = body | {"jobs": jobs, "table": table_checksum(text.encode())}


def converted(results: Path) -> Conversion:
    """Return the conversion of a folder of results; writes nothing.

    Raises
    ------
    ValueError
        If a file cannot be understood, or the folder has no results.
    """
    index, conversion = Index(results), Conversion()
    index.refresh()
    if index.damage:
        raise ValueError(f"{index.damage[0].message}; nothing was written")
    for path in sorted(results.glob("jobs/*/*.json")):
        with naming(path):
            convert_note(path, index, conversion)
    for path in sorted(results.glob("*.provenance.json")):
        with naming(path):
            if "experiment" in read_json(path):  # the other ones are of benchmarks
                convert_table(path, conversion)
    if not conversion.notes and not conversion.tables:
        raise ValueError(f"{results} has no results: neither jobs/ nor a table with provenance")
    return conversion


def migrate(results: Path, *, write: bool = False) -> dict[str, int]:
    """Convert a folder of results, or count the files to convert.

    Parameters
    ----------
    results : Path
        A folder that ``melexp run`` wrote, or a folder of its tables only.
    write : bool
        Change the files.

    Returns
    -------
    counts : dict
        See `Conversion.counts`.

    Raises
    ------
    ValueError
        If a file cannot be understood; nothing is written then.
    """
    if not write:
        return converted(results).counts()
    store = Store(results)
    with ExitStack() as locks:
        for folder in sorted(path for path in results.glob("jobs/*") if path.is_dir()):
            locks.enter_context(store.writing(folder.name))
        conversion = converted(results)
        conversion.write()
    return conversion.counts()


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", type=Path, nargs="+", help="folders of results")
    parser.add_argument("--write", action="store_true", help="convert the files")
    arguments = parser.parse_args()
    for folder in arguments.results:
        try:
            counts = migrate(folder, write=arguments.write)
        except (ValueError, OSError) as error:
            sys.exit(f"migrate_results: {one_line(error)}")
        text = ", ".join(f"{count} {name}" for name, count in counts.items())
        print(f"{folder}: {text}{'' if arguments.write else ' (nothing written: give --write)'}")


if __name__ == "__main__":
    main()
