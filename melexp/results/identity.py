"""What tells the rows of a table apart: the sound, the transform and the version of the code.

Jobs of one experiment may come from several machines and from several versions of the code. Two
files may then have one name, one method may have two versions, and the transforms may differ. Such
rows get names and columns of their own, so that no statistic pairs or averages them.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from melexp.errors import printable
from melexp.results.records import canonical, digest
from melexp.transforms.mel import MelTransform

Note = dict[str, Any]

_DEFAULTS = {
    field.name: field.default
    for field in dataclasses.fields(MelTransform)
    if field.default is not dataclasses.MISSING
}


class Identities:
    """The names of clips and the further columns of the jobs of one experiment.

    Parameters
    ----------
    jobs : sequence of dict
        The notes of the jobs.

    Attributes
    ----------
    said : list of str
        A line for each reason to tell rows apart.
    """

    def __init__(self, jobs: Sequence[Note]) -> None:
        self.said: list[str] = []
        self._shared = self._names_of_several_sounds(jobs)
        self._columns: dict[int, dict[str, Any]] = {id(job): {} for job in jobs}
        self._tell_transforms_apart(jobs)
        self._tell_versions_apart(jobs)

    def clip(self, clip: dict[str, str]) -> str:
        """Return the name of a clip, with the start of its hash if other sounds have the name."""
        if (clip["dataset"], clip["id"]) not in self._shared:
            return printable(clip["id"])
        return printable(f"{clip['id']}@{clip['sha256'][:8] or 'unreadable'}")

    def columns(self, job: Note) -> dict[str, Any]:
        """Return the columns of a job that tell transforms and versions apart."""
        return self._columns[id(job)]

    def _names_of_several_sounds(self, jobs: Sequence[Note]) -> set[tuple[str, str]]:
        sounds = defaultdict(set)
        for clips in {id(job["clips"]): job["clips"] for job in jobs}.values():
            for clip in clips:
                sounds[clip["dataset"], clip["id"]].add(clip["sha256"])
        shared = {name for name, found in sounds.items() if len(found) > 1}
        if shared:
            names = ", ".join(f"{d}/{printable(c)}" for d, c in sorted(shared)[:5])
            self.said.append(
                f"{len(shared)} clips have several contents under one name ({names}"
                f"{', ...' if len(shared) > 5 else ''}); the table adds the start of the hash"
            )
        return shared

    def _tell_transforms_apart(self, jobs: Sequence[Note]) -> None:
        settings = {id(job): _DEFAULTS | _mel(job) for job in jobs if _mel(job)}
        names = sorted({name for mel in settings.values() for name in mel})
        several = [n for n in names if len({canonical(m.get(n)) for m in settings.values()}) > 1]
        for key, mel in settings.items():
            self._columns[key] |= {f"mel.{name}": cell(mel.get(name)) for name in several}
        if several:
            self.said.append(
                f"the jobs have several transforms; the table adds the columns {_list(several)}"
            )

    def _tell_versions_apart(self, jobs: Sequence[Note]) -> None:
        found: dict[tuple[str, str, str], dict[str, set[str]]]
        found = defaultdict(lambda: defaultdict(set))
        settings = {
            id(job): canonical([job["method"], job["seed"], job["dtype"], self.columns(job)])
            for job in jobs
        }
        uses = Counter(settings.values())
        for job in jobs:
            setting = settings[id(job)]
            if uses[setting] == 1:  # one job has one version
                continue
            for task, clip in zip(job["tasks"], job["clips"], strict=True):
                key = (setting, clip["dataset"], self.clip(clip))
                found[key][job.get("version", "")].add(task)
        if all(len(set().union(*tasks.values())) == 1 for tasks in found.values()):
            return
        # Notes of older versions of melexp lack the version of the code.
        recorded = all(len(ids) == 1 for tasks in found.values() for ids in tasks.values())
        for job in jobs:
            version = job.get("version", "") or "not recorded"
            self._columns[id(job)]["version"] = (
                version if recorded else f"job {digest(job['config'])[:8]}"
            )
        self.said.append(
            "some methods have tasks of several versions of the code; the table adds the column "
            "version"
        )


def cell(value: Any) -> Any:
    """Return a value of a configuration as a cell of a table: one number, or one line of text."""
    if isinstance(value, str):
        return printable(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return printable(canonical(value))


def transforms(jobs: Sequence[Note]) -> set[str]:
    """Return the transforms of jobs, each as text that is the same for equal settings."""
    return {canonical(_DEFAULTS | _mel(job)) for job in jobs if _mel(job)}


def _mel(job: Note) -> dict[str, Any]:
    mel = job["config"].get("mel")
    return mel if isinstance(mel, dict) else {}


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"mel.{name}" for name in names)
