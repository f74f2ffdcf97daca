"""The listening page: a clip and every method's output, at one loudness, with their mels."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from types import MappingProxyType
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pyloudnorm
import soundfile
import soxr
from joblib import Parallel, cpu_count, delayed
from PIL import Image
from threadpoolctl import threadpool_limits

from melexp.datasets import Clip, ClipError, limited, load_dataset
from melexp.errors import one_line
from melexp.methods import Peer
from melexp.metrics import score
from melexp.report.received import check_size, dataset_to_read, settings
from melexp.report.views import Job, View
from melexp.runs.processes import worker_processes
from melexp.runs.runner import left_out, plan
from melexp.runs.task import Task
from melexp.transforms.mel import MelTransform

#: Target loudness (EBU R 128) in LUFS, and the largest allowed peak.
LOUDNESS = -23.0
CEILING = 10 ** (-1 / 20)

#: Sampling rates of Opus, in Hz.
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)
#: Compression level of libsndfile for about 100 kbit/s, transparent for one channel.
OPUS_COMPRESSION = 0.64

#: Default number of clips of a data set; one of each category if there are more categories.
CLIPS = 6
#: Range of the mel-spectrogram images, in dB below the maximum of the original.
RANGE = 80.0
#: Range of the images of differences, in dB above and below the original.
DIFFERENCE = 12.0


@dataclass(frozen=True)
class Version:
    """The original or a method's output, as files of the page.

    Attributes
    ----------
    label : str
        Label of the method; "original" for the clip itself.
    audio, image, difference : str
        Names of the files; they do not reveal the label. `difference` is the image of the
        difference from the original; that of the original itself is empty.
    scores : dict
        The stored values, by metric.
    scm : float
        SCM of this rendering. It differs from the stored SCM if the method has changed since.
    """

    label: str
    audio: str
    image: str
    difference: str
    scores: dict[str, float]
    scm: float = float("nan")

    @property
    def is_as_stored(self) -> bool:
        """Whether the rendering has the stored SCM; true for the original, which has none."""
        return not abs(self.scm - self.scores.get("scm", float("nan"))) >= 0.01


@dataclass(frozen=True)
class Sample:
    """A clip with its versions.

    Attributes
    ----------
    level : float
        Common loudness of all versions.
    unit : str
        Unit of the level: LUFS, or dB (RMS) if a clip is too short or too quiet for LUFS.
    seed, iterations : int
    seconds : float
        Length of the clip, which the images span.
    band : tuple of float
        Lowest and highest frequency of the images, in Hz; the scale between is that of the mel.
    """

    clip: Clip
    versions: list[Version]
    level: float
    unit: str
    seed: int
    iterations: int
    seconds: float
    band: tuple[float, float]

    @property
    def changed(self) -> list[Version]:
        """The versions whose rendering has not the stored SCM."""
        return [version for version in self.versions if not version.is_as_stored]


def chosen_clips(clips: Sequence[Clip], count: int | None) -> list[Clip]:
    """Choose the first clip of each category, then the second, and so on; `count` in all.

    By default `CLIPS` or one of each category, if that is more.
    """
    categories: dict[str, list[Clip]] = {}
    for clip in clips:
        categories.setdefault(clip.category, []).append(clip)
    turns = [clip for turn in zip_longest(*categories.values()) for clip in turn if clip]
    return turns[: max(CLIPS, len(categories)) if count is None else count]


def chosen_jobs(view: View, dataset: str) -> list[Job]:
    """Choose for each label the job with the least seed that reaches the last iteration."""
    last = view.iterations()[dataset]
    fitting = [
        j for j in view.jobs if j.dataset == dataset and last == max(j.config["checkpoints"])
    ]
    first: dict[str, Job] = {}
    for job in sorted(fitting, key=lambda job: int(job.config["seed"])):
        first.setdefault(job.name, job)
    return [first[label] for label in view.labels if label in first]


def samples(
    view: View,
    folder: Path,
    *,
    count: int | None = None,
    named: Mapping[str, str | None] = MappingProxyType({}),
) -> Iterator[Sample]:
    """Render the chosen clips of each data set from the stored configurations, one in each core.

    A peer whose package is missing is left out, with a line on stderr.

    Parameters
    ----------
    view : View
    folder : Path
        Folder for the files.
    count : int or None
        Clips of each data set; see `chosen_clips`.
    named : mapping
        Data sets of the user; see `melexp.report.received.dataset_to_read`. Other data sets whose
        location the results choose are left out, with a line on the standard error.

    Yields
    ------
    Sample

    Raises
    ------
    ClipError
        If a clip is missing, or differs from the clip that was scored.
    """
    folder.mkdir(parents=True, exist_ok=True)
    calls = []
    for dataset in view.datasets:
        places = [
            (job, dataset_to_read(job.config["dataset"], named))
            for job in chosen_jobs(view, dataset)
        ]
        plans = [
            (job, {task.clip.id: task for task in _tasks(job, place)})
            for job, place in places
            if place is not None
        ]
        if not plans:
            print(
                f"the clips of {dataset} are not rendered, because the results choose where they "
                f"lie; if you trust it, use --dataset {dataset} or --dataset {dataset}=PATH",
                file=sys.stderr,
            )
            continue
        plans = [(job, by_id) for job, by_id in plans if can_render(next(iter(by_id.values())))]
        has_value = view.last["value"].notna() & (view.last["dataset"] == dataset)
        scored = set(view.last.loc[has_value, "clip"])  # other clips failed or are silent
        tasks = plans[0][1].values() if plans else ()
        clips = [task.clip for task in tasks if task.clip.id in scored]
        for clip in chosen_clips(clips, count):
            known = view.clips.get(f"{clip.dataset}/{clip.id}")
            if known is None or clip.sha256 != known["sha256"]:
                raise ClipError(
                    f"{dataset}/{clip.id} is not the clip that was scored; re-run its experiment"
                )
            pairs = [(job, by_id[clip.id]) for job, by_id in plans if clip.id in by_id]
            rows = view.last[(view.last["dataset"] == dataset) & (view.last["clip"] == clip.id)]
            calls.append(delayed(_sample)(pairs, rows, view.iterations()[dataset], folder))
    if calls:
        with worker_processes(min(cpu_count(), len(calls))):
            yield from Parallel(return_as="generator")(calls)


def durations(
    view: View, named: Mapping[str, str | None] = MappingProxyType({})
) -> dict[tuple[str, str], float]:
    """Return the seconds of each readable clip of a view that is rendered, by data set and id."""
    seconds = {}
    for job in {job.clips_taken: job for job in view.jobs}.values():
        place, config = dataset_to_read(job.config["dataset"], named), job.config
        clips = load_dataset(**settings(place)) if place else []
        for clip in limited(clips, config["limit"], spread=config.get("spread", False)):
            with suppress(soundfile.SoundFileError, OSError, UnicodeError):
                seconds[job.dataset, clip.id] = soundfile.info(clip.locate()).duration
    return seconds


def _tasks(job: Job, place: dict[str, Any]) -> list[Task]:
    """Return the tasks of a job, with the data set `place`.

    Raises
    ------
    ValueError
        If the configuration exceeds a limit, or has a setting that this version has not.
    """
    check_size(job.config)
    try:
        return plan({**job.config, "dataset": place})
    except (TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(
            f"{job.experiment}.provenance.json: {job.label} has a setting that this version of "
            f"melexp cannot use ({one_line(error)}); use --clips 0"
        ) from error


def can_render(task: Task) -> bool:
    """Return whether the packages of the method are installed; print a line if not."""
    return not (isinstance(task.method, Peer) and left_out(task.method.check_installed))


def render(task: Task, reference: np.ndarray, checkpoints: list[int]) -> np.ndarray:
    """Return the waveform that was scored at the last checkpoint [shape=(n_samples,)].

    The run passes the same checkpoints on one thread, because some methods amplify rounding.
    """
    with threadpool_limits(1):
        *_, last = task.observe(reference, checkpoints)
    return last.signal


def _sample(
    pairs: Sequence[tuple[Job, Task]], rows: pd.DataFrame, iterations: int, folder: Path
) -> Sample:
    """Render the versions of a clip, whose last rows are `rows`."""
    _, task = pairs[0]
    reference = task.reference()
    signals = {"original": reference}
    stored: dict[str, dict[str, float]] = {"original": {}}
    scm = {"original": float("nan")}
    for job, one in pairs:
        label = job.name
        signals[label] = render(one, reference, job.config["checkpoints"])
        of_run = rows[(rows["label"] == label) & (rows["seed"] == one.seed)]
        stored[label] = dict(zip(of_run["metric"], of_run["value"], strict=True))
        scm[label] = score("scm", reference, signals[label], transform=one.transform).value
    louder, level, unit = equally_loud(list(signals.values()), round(task.transform.sr))
    shown = decibels(reference, task.transform)
    peak = float(shown.max())
    target = np.maximum(shown - peak, -RANGE)
    mels = {
        label: np.maximum(decibels(y, task.transform) - peak, -RANGE)
        for label, y in signals.items()
    }
    versions = [
        Version(
            label,
            audio=write_audio(folder, y, round(task.transform.sr)),
            image=write_mel(folder, mels[label]),
            difference=write_difference(folder, mels[label] - target) if n else "",
            scores=stored[label],
            scm=scm[label],
        )
        for n, (label, y) in enumerate(zip(signals, louder, strict=True))
    ]
    t = task.transform
    return Sample(
        task.clip,
        versions,
        level,
        unit,
        seed=task.seed,
        iterations=iterations,
        seconds=len(reference) / t.sr,
        band=(t.fmin, t.sr / 2 if t.fmax is None else t.fmax),
    )


def equally_loud(signals: Iterable[np.ndarray], sr: int) -> tuple[list[np.ndarray], float, str]:
    """Scale the versions of a clip to `LOUDNESS`, or all to less if a peak exceeds `CEILING`.

    Versions that are too short (below one block of 0.4 s) or too quiet for EBU R 128 are measured
    by their RMS. Silence stays silent.

    Parameters
    ----------
    signals : iterable of np.ndarray [shape=(n_samples,)]
    sr : int
        Sampling rate in Hz.

    Returns
    -------
    louder : list of np.ndarray
    level : float
        Their common loudness.
    unit : str
        ``LUFS`` or ``dB (RMS)``.
    """
    signals = [np.asarray(y, dtype=np.float64) for y in signals]
    meter, unit = pyloudnorm.Meter(sr), "LUFS"
    try:
        loudness = np.array([meter.integrated_loudness(y) for y in signals])
    except ValueError:
        loudness = np.array([-np.inf])
    if not np.isfinite(loudness).all():
        unit = "dB (RMS)"
        power = np.array([np.mean(y**2) for y in signals])
        loudness = 10 * np.log10(power, where=power > 0, out=np.full(len(power), np.inf))
    gains = 10 ** ((LOUDNESS - loudness) / 20)
    peak = max(float(np.abs(g * y).max()) for g, y in zip(gains, signals, strict=True))
    lowered = min(1.0, CEILING / peak) if peak > 0 else 1.0
    louder = [g * lowered * y for g, y in zip(gains, signals, strict=True)]
    return louder, LOUDNESS + 20 * float(np.log10(lowered)), unit


def decibels(y: np.ndarray, transform: MelTransform) -> np.ndarray:
    """Return the mel-spectrogram in dB [shape=(n_mels, n_frames)]."""
    return 20 / transform.power * np.log10(np.maximum(transform.linear(y), 1e-10))


def write_audio(folder: Path, y: np.ndarray, sr: int) -> str:
    """Write an Opus file, named by the hash of its samples; return the name."""
    rate = next((r for r in OPUS_RATES if r >= sr), OPUS_RATES[-1])
    samples = soxr.resample(y, sr, rate, quality="HQ") if rate != sr else y
    name = f"{hashlib.sha256(np.ascontiguousarray(y).tobytes()).hexdigest()[:16]}.opus"
    soundfile.write(
        folder / name,
        samples,
        rate,
        format="OGG",
        subtype="OPUS",
        compression_level=OPUS_COMPRESSION,
    )
    return name


def write_mel(folder: Path, mel: np.ndarray) -> str:
    """Write an image of a mel-spectrogram in dB, 0 dB at the top of the range; return the name."""
    return _write_image(folder, "magma", 1 + mel / RANGE)


def write_difference(folder: Path, difference: np.ndarray) -> str:
    """Write an image of a difference in dB: louder is red, quieter is blue; return the name."""
    return _write_image(folder, "RdBu_r", 0.5 + difference / (2 * DIFFERENCE))


def _write_image(folder: Path, colours: str, values: np.ndarray) -> str:
    """Write values from 0 to 1 as an image with the first row at the bottom; return the name."""
    shades = matplotlib.colormaps[colours](np.clip(values[::-1], 0, 1), bytes=True)
    name = f"{hashlib.sha256(shades.tobytes()).hexdigest()[:16]}.webp"
    Image.fromarray(np.ascontiguousarray(shades[..., :3])).save(folder / name, quality=80)
    return name
