"""How often `melexp.inspect` finds the front end of a mel, and `melexp.invert` warns.

``--train`` measures melexp/inspection/natural.json on LJ Speech and the embedded clips. Without it,
mels of other speech and of ESC-10 are made by known conventions, and inspected: makes
results/inspect/.
"""

import argparse
import json
import os
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
import pandas as pd

from melexp.datasets import Clip, load_dataset
from melexp.files.atomic import write_text
from melexp.inspection import doubts, kinds
from melexp.inspection.conventions import equivalent
from melexp.inspection.explain import Explanation
from melexp.inspection.facts import Sound, decibels, sample, sound
from melexp.inspection.inspect import inspect
from melexp.inspection.natural import comparable, traits
from melexp.results.provenance import provenance
from melexp.transforms.compression import Compression
from melexp.transforms.mel import MelTransform

TABLE = Path(__file__).resolve().parents[1] / "melexp" / "inspection" / "natural.json"
#: Seconds of each clip.
SECONDS = 5
#: The deviations of the training clips are widened by this for other recorders and sounds.
WIDER = 1.2
_DB = {"unit": "power_db", "floor": 1e-10}
_AMPLITUDE = {"unit": "amplitude_db", "floor": 1e-4}
_AST = {"unit": "ln", "floor": 2**-23, "gain": 0.109433, "offset": 0.467031}
#: Scales of values beside those of the presets: base, power, arguments of the compression.
SCALES: dict[str, tuple[str, float, dict]] = {
    "Vocos": ("bigvgan", 1, {"unit": "ln", "floor": 1e-7}),
    "VGGish": ("audioldm", 1, {"unit": "ln", "floor": 0, "epsilon": 0.01}),
    "Kaldi": ("whisper", 2, {"unit": "ln", "floor": 2**-23}),
    "NeMo, not normalised": ("whisper", 2, {"unit": "ln", "floor": 0, "epsilon": 2**-24}),
    "AST": ("whisper_128", 2, _AST),
    "log1p": ("librosa", 2, {"unit": "ln", "floor": 0, "epsilon": 1.0}),
    "ESPnet": ("paper", 1, {"unit": "log10", "floor": 1e-10}),
    "log10 of power": ("paper", 2, {"unit": "log10", "floor": 1e-10}),
    "log10(1 + 10000 M)": (
        "librosa",
        2,
        {"unit": "log10", "floor": 0, "epsilon": 1e-4, "offset": 4.0},
    ),
    "dB": ("paper", 2, _DB),
    "dB, range 80": ("librosa", 2, _DB | {"range": 80.0}),
    "dB, ref max": ("paper", 2, _DB | {"ref": "max", "range": 80.0}),
    "(dB + 80) / 80": (
        "librosa",
        2,
        _DB | {"ref": "max", "range": 80.0, "gain": 1 / 80, "offset": 1.0},
    ),
    "amplitude dB": ("paper", 1, _AMPLITUDE | {"floor": 1e-5}),
    "Tacotron, 0 to 1": ("paper", 1, _AMPLITUDE | {"gain": 0.01, "offset": 0.8}),
    "Tacotron, -4 to 4": ("paper", 1, _AMPLITUDE | {"gain": 0.08, "offset": 2.4}),
    "AutoVC": (
        "paper",
        1,
        {"unit": "amplitude_db", "floor": 10**-4.2, "gain": 0.01, "offset": 0.84},
    ),
    "8-bit picture": (
        "librosa",
        2,
        _DB | {"ref": "max", "range": 80.0, "gain": 3.1875, "offset": 255.0},
    ),
}
#: Normalisations of a mel of `hifigan`, and MFCCs: the names that `inspect` has for them.
KINDS = {
    "mean and deviation of the mel": kinds.OVERALL[0],
    "mean and deviation of the data set": kinds.OVERALL[0],
    "band means of the mel": kinds.PER_BAND[0],
    "band means of the data set": kinds.PER_BAND[0],
    "least to largest": kinds.SCALED[0],
    "MFCC, 13": kinds.MFCC[0],
    "MFCC, 20": kinds.MFCC[0],
    "MFCC, 40": kinds.MFCC[0],
}
#: Wrong settings: the front end that is claimed for a mel, by the name of its convention.
WRONG = [
    ("librosa", "paper with n_fft 2048, 128 bands"),
    ("librosa_power", "paper"),
    ("paper", "librosa_power"),
    ("paper", "hifigan"),
    ("hifigan", "paper"),
    ("hifigan", "ESPnet"),
    ("hifigan", "dB"),
    ("hifigan in log10", "hifigan"),
    ("librosa_db", "librosa"),
    ("(dB + 80) / 80", "librosa"),
    ("(dB + 80) / 80", "librosa_db"),
    ("Tacotron, 0 to 1", "paper"),
    ("Tacotron, -4 to 4", "hifigan"),
    ("least to largest", "paper"),
    ("mean and deviation of the mel", "hifigan"),
    ("band means of the mel", "hifigan"),
    ("MFCC, 20", "paper with 20 bands"),
    ("MFCC, 20", "hifigan with 20 bands"),
    ("hifigan without a floor", "hifigan"),
    ("hifigan padded with zeros", "hifigan"),
    ("paper slightly negative", "paper"),
    ("whisper", "log10 of power"),
]


class Statistics(NamedTuple):
    """Means and deviations of the mels of a data set, of all values and by band."""

    mean: float
    deviation: float
    means: np.ndarray
    deviations: np.ndarray


@cache
def front_ends() -> dict[str, MelTransform]:
    """Return the transforms of the conventions by name: the presets, and `SCALES`."""
    found = {name: MelTransform.preset(name) for name in MelTransform.presets()}
    for name, (base, power, arguments) in SCALES.items():
        found[name] = MelTransform.preset(
            base, power=float(power), compression=Compression(**arguments)
        )
    return found


def claims() -> dict[str, MelTransform]:
    """Return the front ends that may be claimed by name."""
    few = {"n_mels": 20}
    return front_ends() | {
        "paper with n_fft 2048, 128 bands": MelTransform.preset(
            "paper", n_fft=2048, hop_length=512, n_mels=128
        ),
        "paper with 20 bands": MelTransform.preset("paper", **few),
        "hifigan with 20 bands": MelTransform.preset("hifigan", **few),
    }


def cut(clip: Clip, sr: float) -> np.ndarray:
    """Return the beginning of a clip."""
    return clip.load(round(sr))[: round(SECONDS * sr)]


def statistics(clips: list[Clip]) -> Statistics:
    """Return the statistics of the mels of `hifigan`."""
    t = MelTransform.preset("hifigan")
    mels = np.concatenate([t(cut(clip, t.sr)) for clip in clips], axis=1)
    return Statistics(float(mels.mean()), float(mels.std()), mels.mean(axis=1), mels.std(axis=1))


def mels_of(clip: Clip, of_all: Statistics) -> dict[str, np.ndarray]:
    """Return the mels of a clip by the name of their convention."""
    sounds: dict[float, np.ndarray] = {}
    found = {}
    for name, t in front_ends().items():
        y = sounds.setdefault(t.sr, cut(clip, t.sr))
        found[name] = np.round(t(y)) if name == "8-bit picture" else t(y)
    mel, y = found["hifigan"], sounds[22050]
    means, deviations = mel.mean(axis=1, keepdims=True), mel.std(axis=1, keepdims=True)
    found["mean and deviation of the mel"] = (mel - mel.mean()) / mel.std()
    found["mean and deviation of the data set"] = (mel - of_all.mean) / of_all.deviation
    found["band means of the mel"] = (mel - means) / np.maximum(deviations, 1e-5)
    found["band means of the data set"] = (mel - of_all.means[:, None]) / of_all.deviations[:, None]
    found["least to largest"] = (mel - mel.min()) / (mel.max() - mel.min())
    for n in (13, 20, 40):
        found[f"MFCC, {n}"] = librosa.feature.mfcc(y=y, n_mfcc=n)
    found["hifigan in log10"] = mel / np.log(np.float32(10))
    with np.errstate(divide="ignore"):
        linear = found["paper"]
        found["hifigan without a floor"] = np.log(np.where(linear < 1e-4, 0, linear))
    found["hifigan padded with zeros"] = np.pad(mel, ((0, 0), (0, 20)))
    found["paper slightly negative"] = linear.copy()
    found["paper slightly negative"][::7] -= np.float32(1e-3) * linear.max()
    return found


def is_right(truth: str, first: Explanation) -> bool:
    """Return whether the first explanation is the true convention or an equivalent one."""
    if truth in KINDS:
        return first.name == KINDS[truth]
    t = front_ends()[truth]
    return any(equivalent(t, c.transform) for c in first.conventions)


def inspected(dataset: str, clips: list[Clip]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the answers and the warnings for the mels of clips, as counts."""
    of_all, known = statistics(clips), claims()
    answers: Counter = Counter()
    warned: Counter = Counter()
    made: Counter = Counter()
    for clip in clips:
        mels = mels_of(clip, of_all)
        for name in [*front_ends(), *KINDS]:
            if np.ptp(mels[name]) == 0 or np.isnan(mels[name]).any():
                continue
            first = inspect(mels[name], orientation="mels-first").explanations[0]
            answers[dataset, name, first.name, is_right(name, first)] += 1
        for name, claim in [(name, name) for name in front_ends()] + WRONG:
            made[dataset, name, claim] += 1
            warned[dataset, name, claim] += bool(doubts(mels[name], known[claim]))
        print(f"{dataset} {clip.id}", flush=True)
    return (
        pd.DataFrame(
            [(*key, n) for key, n in sorted(answers.items())],
            columns=["dataset", "truth", "answer", "right", "mels"],
        ),
        pd.DataFrame(
            [(*key, n, warned[key]) for key, n in made.items()],
            columns=["dataset", "truth", "claimed", "mels", "warned"],
        ),
    )


def trained(speech: list[Clip], others: dict[str, list[Clip]]) -> dict:
    """Return the table of `natural.json`.

    Parameters
    ----------
    speech : list of Clip
        Clips that the weights of the traits are fitted to.
    others : dict of list of Clip
        Clips of "speech" and of "other" sound, which widen the deviations.
    """
    measured = {"fit": list(features(speech))}
    measured |= {kind: list(features(clips)) for kind, clips in others.items()}
    measured["speech"] = measured["fit"] + measured["speech"]
    rows = {}
    for name in Sound._fields:
        known = [(x, values[name]) for x, values in measured["fit"] if name in values]
        weights = np.linalg.lstsq(
            *(np.array(part) for part in zip(*known, strict=True)), rcond=None
        )[0]
        rows[name] = {"weights": [float(f"{w:.4g}") for w in weights]}
        for kind in ("speech", "other"):
            apart = np.array([v[name] - x @ weights for x, v in measured[kind] if name in v])
            rows[name][kind] = {
                "mean": float(f"{apart.mean():.3g}"),
                "deviation": float(f"{WIDER * apart.std():.3g}"),
            }
    return rows


def features(clips: list[Clip]) -> Iterator[tuple[np.ndarray, dict[str, float]]]:
    """Yield the traits of each preset, and the features of each clip in it."""
    for clip in clips:
        for name in MelTransform.presets():
            t = MelTransform.preset(name)
            mel = t(cut(clip, t.sr))
            if mel.shape[1] > 10:
                levels = decibels(sample(mel), t, largest=float(mel.max()))
                yield traits(t), comparable(sound(*levels, t))


def chosen(clips: list[Clip], n: int) -> list[Clip]:
    """Return n clips, evenly spread over the list, without its ends."""
    return [
        clips[k] for k in np.unique(np.linspace(0, len(clips) - 1, 2 * n + 1).astype(int)[1::2])
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--clips", type=int, default=20, help="clips of each data set")
    mirror = os.environ.get("MELEXP_DATA_MIRROR", ".")
    parser.add_argument("--speech", default=f"{mirror}/librispeech", help="folder of unseen speech")
    parser.add_argument("--output", type=Path, default=Path("results/inspect"))
    arguments = parser.parse_args()
    if arguments.train:
        demo = {"speech": load_dataset("demo_speech"), "other": load_dataset("demo_foley")}
        text = json.dumps({"features": trained(load_dataset("ljspeech"), demo)}, indent=1)
        write_text(TABLE, text + "\n")
        return
    sets = {
        "librispeech": chosen(load_dataset("folder", path=arguments.speech), arguments.clips),
        "esc10": chosen(load_dataset("esc10", subset="full"), arguments.clips),
    }
    tables = [inspected(name, clips) for name, clips in sets.items()]
    confusion, warned = (pd.concat(part) for part in zip(*tables, strict=True))
    arguments.output.mkdir(parents=True, exist_ok=True)
    write_text(arguments.output / "confusion.csv", confusion.to_csv(index=False))
    write_text(arguments.output / "warnings.csv", warned.to_csv(index=False))
    facts = {
        "command": f"python studies/inspection.py --clips {arguments.clips}",
        "seconds": SECONDS,
        "clips": {name: {clip.id: clip.sha256 for clip in clips} for name, clips in sets.items()},
        **provenance(),
    }
    write_text(arguments.output / "provenance.json", json.dumps(facts, indent=1) + "\n")
    print(summary(confusion, warned))


def summary(confusion: pd.DataFrame, warned: pd.DataFrame) -> str:
    """Return the shares of right answers and of warnings as text."""
    lines = []
    for dataset, rows in confusion.groupby("dataset"):
        right = rows.loc[rows["right"], "mels"].sum()
        lines.append(f"{dataset}: {right} of {rows['mels'].sum()} first explanations are right")
    for (dataset, right), rows in warned.groupby(["dataset", warned["truth"] == warned["claimed"]]):
        kind = "right" if right else "wrong"
        lines.append(
            f"{dataset}: {rows['warned'].sum()} of {rows['mels'].sum()} {kind} settings warn"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
