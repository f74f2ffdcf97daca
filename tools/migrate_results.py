"""Bring results made before the methods were renamed to the present names and columns.

Renames ``nnls_gla``, ``nnls_fgla`` and ``nnls_admm_gla`` to ``gla``, ``fgla`` and ``admm_gla``.
Drops the column ``schedule`` (constant: geometric), adds the column ``frame_weights`` (constant: 0)
and leaves the start of librosa empty. Values stay as they are. Finished tasks get the ids of the
present code, so that they are recognised and not computed again. Prints the counts; ``--write``
changes the files.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from melexp.discovery import conf_file
from melexp.files.atomic import write_text
from melexp.methods import make_method
from melexp.results.columns import FIRST, LAST
from melexp.results.store import FORMAT, Store, digest, read_json, write_json
from melexp.results.tables import provenance_of, read_table, table_checksum
from melexp.runs.runner import Task
from melexp.start import VERSIONS
from melexp.transforms.mel import MelTransform

NAMES = {"nnls_gla": "gla", "nnls_fgla": "fgla", "nnls_admm_gla": "admm_gla"}
OLD_NAMES = {new: old for old, new in NAMES.items()}
#: Arguments of the transform that the old ids left out at these values.
LATER = {"pad": None, "compression": None, "empty_filters": False}


def new_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a job as the present code resolves it.

    Raises
    ------
    ValueError
        If the present code has no such method or parameter.
    """
    given = dict(config["method"])
    name, label = given.pop("name"), given.pop("label")
    name = NAMES.get(name, name)
    if given.pop("schedule", "geometric") != "geometric":
        raise ValueError(f"{label}: a constant schedule has no present form but ramp=1")
    if name == "librosa":
        given = {k: v for k, v in given.items() if k == "momentum"}
    method = {"name": name, "label": label, **make_method(name, **given).parameters()}
    metric = {
        m: OmegaConf.to_container(OmegaConf.load(conf_file("metric", m))) for m in config["metric"]
    }
    return {"timed": False, **config, "method": method, "metric": metric}


def new_table(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the present names and columns; its values are unchanged."""
    table = table.drop(columns="schedule", errors="ignore")
    table["method"] = table["method"].replace(NAMES)
    peer = table["method"] == "librosa"
    if "frame_weights" not in table:
        table["frame_weights"] = 0.0
    table.loc[peer, "frame_weights"] = float("nan")
    for column in {"magnitude", "phase"} & set(table.columns):
        table[column] = table[column].astype(object).mask(peer)
    parameters = sorted(set(table.columns) - {*FIRST, *LAST})
    kept = [p for p in parameters if table[p].notna().any() or p not in ("magnitude", "phase")]
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
    starts = {
        n: VERSIONS[n]
        for n in (parameters.get("magnitude"), parameters.get("phase"))
        if n in VERSIONS
    }
    if name == "librosa":
        parameters |= {"magnitude": "librosa", "phase": "librosa"}
    settings = dataclasses.asdict(transform)
    old = {
        "format": FORMAT,
        "clip": sha256,
        "method": OLD_NAMES.get(name, name),
        "version": method.version,
        "parameters": parameters,
        "transform": {k: v for k, v in settings.items() if k not in LATER or v != LATER[k]},
        "seed": config["seed"],
        "dtype": config["dtype"],
        **({"starts": starts} if starts else {}),
        **({"scope": scope} if scope else {}),
    }
    return digest(old), new.id


def migrate(results: Path, *, write: bool = False) -> dict[str, int]:
    """Return migrate a folder of results.

    Returns
    -------
    counts : dict
        Numbers of ``tables``, ``notes`` and ``tasks`` that were migrated, and of tasks that another
        version of the code computed, which stay as they are (``other``).

    Raises
    ------
    ValueError
        If something cannot be understood; nothing is written then.
    """
    store, counts = Store(results), dict.fromkeys(("tables", "notes", "tasks", "other"), 0)
    bodies: dict[Path, dict[str, Any]] = {}
    texts: dict[Path, str] = {}
    gone: list[Path] = []
    for path in sorted(results.glob("jobs/*/*.json")):
        note = read_json(path)
        config = new_config(note["config"])
        shas = {(c["dataset"], c["id"]): c["sha256"] for c in note["provenance"]["clips"]}
        for entry in note["tasks"]:
            old, new = task_ids(config, shas[entry["dataset"], entry["clip"]])
            if old != entry["task"]:
                counts["other"] += entry["task"] != new
                continue
            if store.path(old).exists():
                bodies[store.path(new)] = read_json(store.path(old)) | {"task": new}
                gone.append(store.path(old))
            entry["task"] = new
            counts["tasks"] += 1
        method = {k: v for k, v in config["method"].items() if k != "name"}
        note |= {"config": config, "method": {"method": config["method"]["name"], **method}}
        bodies[path.with_name(f"{digest(config)}.json")] = note
        gone.append(path)
        counts["notes"] += 1
    for path in sorted(results.glob("*.provenance.json")):
        experiment = path.name.removesuffix(".provenance.json")
        body = read_json(path)
        if "jobs" not in body:
            continue
        body.setdefault("table", table_checksum((results / f"{experiment}.csv").read_bytes()))
        with (results / f"{experiment}.csv").open(encoding="utf-8") as file:
            table = new_table(read_table(file, experiment))
        text = table.to_csv(index=False, lineterminator="\n")
        jobs = [job | {"config": new_config(job["config"])} for job in body["jobs"]]
        texts[results / f"{experiment}.csv"] = text
        body |= {"jobs": jobs, "table": table_checksum(text.encode())}
        bodies[provenance_of(results, experiment)] = body
        counts["tables"] += 1
    if write:
        for file, text in texts.items():
            write_text(file, text)
        for file, content in bodies.items():
            write_json(file, content)
        for file in set(gone) - set(bodies):
            file.unlink()
    return counts


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, nargs="+", help="folders of results")
    parser.add_argument("--write", action="store_true", help="change the files")
    arguments = parser.parse_args()
    for folder in arguments.results:
        counts = migrate(folder, write=arguments.write)
        text = ", ".join(f"{count} {name}" for name, count in counts.items())
        print(f"{folder}: {text}{'' if arguments.write else ' (nothing written: give --write)'}")


if __name__ == "__main__":
    main()
