"""What a report takes from a folder that may come from elsewhere, and what it refuses.

Only the local configuration, or the user, chooses which files of this machine are read. A stored
configuration chooses the methods and their settings, within bounds.
"""

from __future__ import annotations

import dataclasses
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from melexp.discovery import config_names, read_config
from melexp.errors import one_line
from melexp.files.received import inside
from melexp.files.sound import RATES
from melexp.results.records import Count, DamagedFile, Name, Number, Scalar, Text, Word
from melexp.transforms.mel import MelTransform

#: Limits of a clip that is rendered: iterations, samples of a frame, bands of a mel-spectrogram.
ITERATIONS, N_FFT, N_MELS = 100_000, 2**16, 2**12
#: Further limits: values of the filter bank, and of a spectrogram for each sample of sound.
CHECKPOINTS, FILTERS, OVERLAP = 1000, 2**25, 64
#: Largest sizes in bytes of a figure and of its caption.
FIGURE, CAPTION = 50 * 10**6, 100_000

#: Files of a report, by their paths in its folder.
_OWN = re.compile(
    r"(index|listen|sources)\.html|assets/[\w.-]+\.(js|css)|figures/[^/]+\.(png|pdf)"
    r"|data/[^/]+\.(csv|provenance\.json)|clips/[0-9a-f]{16}\.(opus|webp)"
)


class _Method(Struct):
    name: Word
    label: Text


class _Dataset(Struct):
    name: Word
    path: Text = ""


class _Mel(Struct):
    sr: Number = 1.0
    n_fft: Count = 1
    hop_length: Count = 1
    n_mels: Count = 1
    fmin: Number = 0.0
    fmax: Number | None = None
    power: Number = 1.0
    pad: Count | None = None
    preemphasis: Number = 0.0


class _Config(Struct):
    dataset: _Dataset
    mel: dict[str, Scalar | list[Scalar] | dict[str, Scalar]]
    method: _Method
    checkpoints: Annotated[list[Count], Meta(min_length=1)]
    seed: Count
    dtype: Literal["float32", "float64"]
    limit: Count | None
    timed: bool
    experiment: Name
    imperfection: Text | None = None
    spread: bool = False


class _Origin(Struct):
    melexp: Text
    python: Text
    packages: dict[str, Text]
    cpu: Text
    system: Text
    workers: Count
    commit: Text | None
    dirty: bool | None


class _Job(Struct):
    config: _Config
    provenance: _Origin


def check_job(path: Path, job: dict[str, Any]) -> None:
    """Raise DamagedFile unless a job of a provenance file has all that the pages show."""
    try:
        msgspec.convert(job, _Job)
        msgspec.convert(job["config"]["mel"], _Mel)
    except (msgspec.ValidationError, OverflowError) as error:
        raise DamagedFile(f"{path} has a job that is incomplete ({one_line(error)})") from error


def plain_file(folder: Path, path: Path, largest: int) -> Path:
    """Return a path of the folder of results.

    Raises
    ------
    ValueError
        If it is a link out of the folder, no plain file, or too large.
    """
    status = inside(folder, path).stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path} is not a plain file; remove it")
    if status.st_size > largest:
        raise ValueError(f"{path} has {status.st_size} bytes, more than the limit of {largest}")
    return path


def named_datasets(texts: Sequence[str]) -> dict[str, str | None]:
    """Return the data sets of ``NAME`` or ``NAME=PATH``, each with its path or None.

    Raises
    ------
    ValueError
        If there is no such data set.
    """
    named = {}
    for text in texts:
        name, _, path = text.partition("=")
        if name not in config_names("dataset"):
            known = ", ".join(config_names("dataset"))
            raise ValueError(f"--dataset {text}: there is no data set {name}; there are {known}")
        named[name] = path or None
    return named


def dataset_to_read(
    dataset: dict[str, Any], named: Mapping[str, str | None]
) -> dict[str, Any] | None:
    """Return the settings of a data set that this machine knows, or None.

    That is a data set with the settings of the local configuration, or one that the user names.
    A path that the user gives takes the place of the stored one.
    """
    name = dataset["name"]
    if name in named:
        return dataset if named[name] is None else {**dataset, "path": named[name]}
    known = name in config_names("dataset")
    if known and settings(read_config("dataset", name)) == settings(dataset):
        return dataset
    return None


def check_size(config: dict[str, Any]) -> None:
    """Check that rendering a clip with a stored configuration takes a bounded memory and time.

    Raises
    ------
    ValueError
        If the configuration exceeds a limit.
    """
    mel = {field.name: field.default for field in dataclasses.fields(MelTransform)} | config["mel"]
    bins, bands, hop = mel["n_fft"], mel["n_mels"], mel["hop_length"] or 1
    for key, value, limit in (
        ("iterations", max(config["checkpoints"]), ITERATIONS),
        ("the number of checkpoints", len(config["checkpoints"]), CHECKPOINTS),
        ("n_fft", bins, N_FFT),
        ("n_mels", bands, N_MELS),
        ("n_fft * n_mels", bins * bands, FILTERS),
        ("n_fft / hop_length", bins / hop, OVERLAP),
        ("n_mels / hop_length", bands / hop, OVERLAP),
        ("sr", mel["sr"], RATES[1]),
        ("pad", mel["pad"] or 0, N_FFT),
    ):
        if value > limit:
            raise ValueError(
                f"{key} = {value} of {config['method']['label']} on {config['dataset']['name']} is "
                f"above the limit of a report, {limit}; use --clips 0"
            )


def settings(dataset: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a data set that `melexp.datasets.load_dataset` takes."""
    return {key: value for key, value in dataset.items() if key != "speech"}


def is_report(folder: Path) -> bool:
    """Return whether a folder is empty or holds files of a report only, so may be replaced."""
    found = list(folder.rglob("*"))
    if any(path.is_symlink() for path in (folder, *found)):
        return False
    files = [path.relative_to(folder).as_posix() for path in found if not path.is_dir()]
    return not files or ("assets/report.css" in files and all(map(_OWN.fullmatch, files)))
