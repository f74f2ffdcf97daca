"""The stored JSON files: their schema and checksum, read and written.

A folder of results may come from elsewhere. Every file is therefore bounded in size, compared with
its checksum and with its schema before any value is used.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import Meta, Struct

from melexp.errors import one_line
from melexp.files.atomic import write_bytes
from melexp.results.columns import FIRST, LAST

#: Largest size of a stored file in bytes. Reading it takes about ten times as much memory.
LARGEST = 2**29
#: Largest number of rows of a table that one job asks for.
LARGEST_JOB = 2**24


class DamagedFile(ValueError):
    """A stored file whose content does not match its checksum or its schema."""


LARGEST_VALUE = 1e300
Number = Annotated[float, Meta(ge=-LARGEST_VALUE, le=LARGEST_VALUE)]
#: Characters of a text.
LONGEST_TEXT = 10_000
Text = Annotated[str, Meta(max_length=LONGEST_TEXT)]
Name = Annotated[str, Meta(min_length=1, max_length=1000)]
#: Part of file names, or of a key of a configuration.
Word = Annotated[str, Meta(pattern=r"^\w[\w.-]*\Z", max_length=200)]
Id = Annotated[str, Meta(pattern=r"^[0-9a-f]+\Z", max_length=64)]
Sha256 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Scalar = bool | Whole | Number | Text | None


class Row(Struct, forbid_unknown_fields=True):
    """A value of a task; `iteration` and `metric` tell the rows of a task apart."""

    iteration: Count
    metric: Word
    value: Number | None
    reason: Text | None = ""
    seconds: Number | None = None


class Task(Struct):
    """A finished task in a file of its own, as older versions wrote it."""

    task: Id
    clip: Name
    rows: list[Row]


class Entry(Struct):
    """A task in the note of a job of an older version; `reason` is that of a failure."""

    task: Id
    dataset: Name
    clip: Name
    category: Text
    reason: Text = ""


class Clip(Struct):
    """Identity and credits of a clip; a file that was not readable has an empty hash."""

    dataset: Name
    id: Name
    category: Text
    licence: Text
    author: Text
    source: Text
    sha256: Sha256


class Origin(Struct):
    """The provenance of a job; its other fields are for people. Older versions list the clips."""

    clips: list[Clip] | None = None


class Note(Struct):
    """A job: its configuration, its method with all parameters, and its tasks.

    `clips` names a list of clips, of which each has one of the tasks. `reasons` are those of
    failures, by the place of the task.
    """

    config: dict[str, Any]
    method: dict[Word, Scalar | list[Scalar]]
    seed: Count
    dtype: Literal["float32", "float64"]
    checkpoints: Annotated[list[Count], Meta(min_length=1, max_length=10_000)]
    metrics: Annotated[list[Word], Meta(min_length=1, max_length=1000)]
    tasks: Annotated[list[Id | Entry], Meta(min_length=1)]
    provenance: Origin
    clips: Id = ""
    reasons: dict[Annotated[str, Meta(pattern=r"^[0-9]{1,8}\Z")], Text] = {}
    version: Text = ""
    metric_checkpoints: dict[Word, list[Count]] = {}


class _Unnamed(Note):
    """A note whose list of clips has no name yet."""

    clips: Text = ""


class Source(Struct):
    """A job in the provenance of a table."""

    config: dict[str, Any]
    provenance: dict[str, Any]


class Provenance(Struct):
    """The provenance of a table, with the checksum of the table."""

    experiment: Word
    table: Id
    jobs: list[Source] = []
    clips: dict[str, Clip] = {}


def canonical(value: Any) -> str:
    """Return JSON text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest(value: Any) -> str:
    """Return the content hash of a JSON value."""
    return text_digest(canonical(value))


def text_digest(text: str) -> str:
    """Return the content hash of JSON text."""
    return hashlib.sha256(encoded(text)).hexdigest()[:32]


def encoded(text: str) -> bytes:
    """Return JSON text as UTF-8."""
    # Bytes of a path that are not UTF-8 are lone surrogates, which JSON can escape.
    return text.encode("utf-8", "backslashreplace")


def check_name(experiment: str) -> None:
    """Raise ValueError unless the name is a safe file name within the folder of results."""
    if not re.fullmatch(r"\w[\w.-]*", experiment):
        raise ValueError(
            "experiment is part of file names: use letters, digits, '_', '-' and '.' only; got "
            f"{experiment!r}"
        )


def is_task(name: Any) -> bool:
    """Return whether a name is a valid task id; a note from elsewhere may hold any text."""
    return isinstance(name, str) and re.fullmatch("[0-9a-f]+", name) is not None


def write_json(path: Path, body: dict[str, Any]) -> None:
    """Write a JSON file with its checksum, atomically."""
    text = json.dumps({"checksum": digest(body), **body}, indent=1, ensure_ascii=False)
    write_bytes(path, encoded(text))


def content_of(path: Path, largest: int = LARGEST) -> bytes:
    """Return the content of a stored file.

    Raises
    ------
    DamagedFile
        If it is no plain file, or larger than `largest` bytes.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "folder" if stat.S_ISDIR(status.st_mode) else "device or pipe"
        raise DamagedFile(f"{path} is a {kind}, not a file of results")
    if status.st_size > largest:
        raise DamagedFile(f"{path} has {status.st_size} bytes, more than the limit of {largest}")
    return path.read_bytes()


def read_json(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """Read a JSON file, or its `content`, and compare it with its checksum.

    Raises
    ------
    DamagedFile
        If the file is truncated, was changed, or is too large.
    """
    content = content_of(path) if content is None else content
    try:
        body: dict[str, Any] = json.loads(content.decode(), parse_constant=_refuse)
        checksum = body.pop("checksum")
        actual = digest(body)
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise DamagedFile(
            f"{path} is not a file of a results folder ({one_line(error)})"
        ) from error
    if checksum != actual:
        raise DamagedFile(f"{path} does not match its checksum")
    return body


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a number of JSON")


def read_task(path: Path) -> dict[str, Any]:
    """Read a finished task.

    Raises
    ------
    DamagedFile
        If the file is corrupt, or that of another task.
    """
    body = read_json(path)
    _check(path, body, Task, "task")
    if body["task"] != path.stem:
        raise DamagedFile(f"{path} is not the file of this task")
    return body


def read_note(path: Path) -> dict[str, Any]:
    """Read the note of a job.

    Returns
    -------
    dict
        As `Note`; its `clips` is the list of clips (see `Clip`), one of each task.

    Raises
    ------
    DamagedFile
        If the file is corrupt, or that of another job, or its list of clips is corrupt or missing.
    """
    body = read_json(path)
    _check(path, body, Note, "job")
    config, method = body["config"], body["method"]
    if digest(config) != path.stem or config.get("experiment") != path.parent.name:
        raise DamagedFile(f"{path} is not the note of this job")
    try:
        check_name(path.parent.name)
    except ValueError as error:
        raise DamagedFile(f"{path} is not the note of a job ({error})") from None
    try:
        _check_method(method)
    except ValueError as error:
        raise DamagedFile(f"{path} is not the note of a job ({error})") from None
    if len(body["checkpoints"]) * len(body["metrics"]) * len(body["tasks"]) > LARGEST_JOB:
        raise DamagedFile(f"{path} asks for more than {LARGEST_JOB} rows")
    if {isinstance(task, str) for task in body["tasks"]} != {"clips" in body}:
        raise DamagedFile(f"{path} is not the note of a job (its tasks or its clips are lost)")
    if "clips" not in body:
        if "clips" not in body["provenance"]:
            raise DamagedFile(f"{path} is not the note of a job (its clips are lost)")
        return modern(body)
    place = clips_of(path.parents[2], body["clips"])
    try:
        body["clips"] = read_clips(place)
    except FileNotFoundError:
        raise DamagedFile(f"{path} needs the list of clips {place}, which is missing") from None
    if len(body["clips"]) != len(body["tasks"]):
        raise DamagedFile(f"{path} has another number of tasks than {place} has clips")
    body.setdefault("reasons", {})
    return body


def modern(note: dict[str, Any]) -> dict[str, Any]:
    """Return a note of an older version, which repeats the clips, in the form of `read_note`."""
    if isinstance(note["tasks"][0], str):
        return note
    origin = dict(note["provenance"])
    credits = {(clip["dataset"], clip["id"]): clip for clip in origin.pop("clips")}
    entries = note["tasks"]
    unknown = dict.fromkeys(("licence", "author", "source", "sha256"), "")
    clips = [
        {**unknown, **credits.get((entry["dataset"], entry["clip"]), {})}
        | {"dataset": entry["dataset"], "id": entry["clip"], "category": entry["category"]}
        for entry in entries
    ]
    reasons = {str(n): e["reason"] for n, e in enumerate(entries) if e.get("reason")}
    tasks = [entry["task"] for entry in entries]
    return note | {"tasks": tasks, "clips": clips, "reasons": reasons, "provenance": origin}


def clips_of(root: Path, name: str) -> Path:
    """Return the file of a list of clips in a folder of results."""
    return root / "clips" / f"{name}.json"


def clips_content(clips: Sequence[dict[str, str]]) -> tuple[str, bytes]:
    """Return the name of a list of clips, which is the hash of its content, and its content."""
    rows = [json.dumps(clip, sort_keys=True, ensure_ascii=False) for clip in clips]
    content = encoded("[\n" + ",\n".join(rows) + "\n]\n")
    return hashlib.sha256(content).hexdigest()[:32], content


def read_clips(path: Path) -> list[dict[str, str]]:
    """Read a list of clips; lists that were read before are shared, so do not change them.

    Raises
    ------
    DamagedFile
        If the file is corrupt, or another list.
    """
    status = path.stat()
    return _clips(path, (status.st_mtime_ns, status.st_ino, status.st_size))


@lru_cache(maxsize=16)
def _clips(path: Path, stamp: tuple[int, ...]) -> list[dict[str, str]]:
    content = content_of(path)
    if hashlib.sha256(content).hexdigest()[:32] != path.stem:
        raise DamagedFile(f"{path} does not match its checksum")
    try:
        found = msgspec.json.decode(content, type=list[Clip])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedFile(f"{path} is not a list of clips ({one_line(error)})") from error
    rows: list[dict[str, str]] = msgspec.to_builtins(found)
    return rows


def read_provenance(path: Path, content: bytes | None = None) -> dict[str, Any]:
    """Read the provenance of an experiment's table, from its file or from `content`.

    Raises
    ------
    DamagedFile
        If the file is corrupt, or belongs to another table.
    """
    body = read_json(path, content)
    _check(path, body, Provenance, "table's provenance")
    if f"{body['experiment']}.provenance.json" != path.name:
        raise DamagedFile(f"{path} is not the provenance of this table")
    body.setdefault("jobs", [])
    body.setdefault("clips", {})
    return body


def check_job(body: dict[str, Any]) -> None:
    """Check the note of a job before its tasks are computed, so that it can be read again.

    Parameters
    ----------
    body : dict
        As `Store.save_job` takes it.

    Raises
    ------
    ValueError
        If `read_note` would refuse it.
    """
    try:
        msgspec.convert(body["clips"], list[Clip])
        msgspec.convert(body | {"clips": ""}, _Unnamed)
        json.dumps(body["config"], allow_nan=False)
    except (ValueError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"the results could not be stored ({one_line(error)}); change this setting, or the "
            "data set that lists this clip"
        ) from error
    _check_method(body["method"])


def _check_method(method: dict[str, Any]) -> None:
    if not (isinstance(method.get("method"), str) and isinstance(method.get("label"), str)):
        raise ValueError("its method has no name or no label")
    if taken := sorted(method.keys() & ({*FIRST, *LAST, "version"} - {"method", "label"})):
        raise ValueError(f"parameters named {', '.join(taken)}")


def _check(path: Path, body: dict[str, Any], schema: type[Struct], what: str) -> None:
    try:
        msgspec.convert(body, schema)
    except (msgspec.ValidationError, OverflowError, RecursionError) as error:
        raise DamagedFile(f"{path} is not the file of a {what} ({one_line(error)})") from error
