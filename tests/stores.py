"""Folders of results made by hand."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

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
