"""Folders of results made by hand."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from melexp.results.parts import HEAD, checksum, parse
from melexp.results.records import read_note, write_json
from melexp.results.store import Store


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def add_job(
    root: Path,
    clips: dict[str, tuple[str, float]],
    *,
    label: str = "ADMM",
    dataset: str = "d",
    category: str = "c",
    version: str = "v1.1",
    is_recorded: bool = True,
    experiment: str = "run",
    **config: Any,
) -> Path:
    """Add a job and its tasks.

    Parameters
    ----------
    root : Path
    clips : dict
        Content (any text) and value of each clip, by name.
    **config
        Of the job, such as `limit` or `mel`; it is a part of the identity of the note.
    """
    store = Store(root)
    store.begin()
    entries, credits = [], []
    for clip, (content, value) in clips.items():
        task = sha(f"{content} {label} {version} {config.get('mel')}")[:32]
        row = {"iteration": 5, "metric": "scm", "value": value, "reason": "", "seconds": 1.0}
        store.save({"task": task, "clip": clip, "rows": [row]})
        entries.append({"task": task, "dataset": dataset, "clip": clip, "category": category})
        credits.append(
            {"dataset": dataset, "id": clip, "category": category, "sha256": sha(content)}
            | dict.fromkeys(("licence", "author", "source"), "x")
        )
    body = {
        "config": {"experiment": experiment, "seed": 0, "label": label, **config},
        "method": {"method": label.lower(), "label": label, "rho": 0.1},
        "seed": 0,
        "dtype": "float32",
        "checkpoints": [5],
        "metrics": ["scm"],
        "tasks": entries,
        "provenance": {"clips": credits},
    }
    store.save_job(experiment, body | ({"version": version} if is_recorded else {}))
    return root


def part(root: Path) -> Path:
    """Return the first part of a folder."""
    return min((root / "tasks").glob("*.jsonl"))


def finished(root: Path) -> dict[str, bytes]:
    """Return the complete lines of each finished task that are not damaged."""
    found: dict[str, bytes] = {}
    for path in sorted((root / "tasks").glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            try:
                task = parse(line).task
            except ValueError:
                continue
            found[task] = found.get(task, b"") + line + b"\n"
    return found


def change_line(root: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change the first line of a folder and give it a right checksum."""
    path = part(root)
    first, *others = path.read_bytes().split(b"\n")
    body = json.loads(first)
    del body["checksum"]
    change(body)
    rest = json.dumps(body, separators=(",", ":")).encode()[1:]
    path.write_bytes(b"\n".join([HEAD + checksum(rest) + b'",' + rest, *others]))


def older(root: Path) -> Path:
    """Turn a folder into one that an older version wrote: a file per task, clips in each note."""
    store = Store(root)
    index = store.index()
    for task, content in finished(root).items():
        body = {"task": task, "clip": parse(content.split(b"\n")[0]).clip}
        path = root / "tasks" / task[:2] / f"{task}.json"
        write_json(path, body | {"rows": index.rows(task)})
    for path in (root / "tasks").glob("*.jsonl"):
        path.unlink()
    for path in root.glob("jobs/*/*.json"):
        note = read_note(path)
        clips, reasons = note.pop("clips"), note.pop("reasons")
        note["tasks"] = [
            {"task": task, "dataset": clip["dataset"], "clip": clip["id"]}
            | {"category": clip["category"]}
            | ({"reason": reasons[str(n)]} if str(n) in reasons else {})
            for n, (task, clip) in enumerate(zip(note["tasks"], clips, strict=True))
        ]
        note["provenance"] |= {"clips": clips}
        write_json(path, note)
    for path in root.glob("clips/*.json"):
        path.unlink()
    (root / "clips").rmdir()
    return root
