"""MelStream against `invert`: other layouts, and trials of its parameters.

    python studies/live.py layouts --clips 6     # makes results/live/layouts.csv and .md
    python studies/live.py trials --clips 20     # the same of trials

Layouts are tried on LJ Speech, LibriSpeech and ESC-10, trials on voices of LibriSpeech's subset
"train", which no table of results has. Each run has the first seconds of a clip. A finished clip is
written at once, and a later run with the same arguments goes on after it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from melexp import MelStream, MelTransform, Problem, invert, make_method
from melexp.datasets import Clip, load_dataset
from melexp.files.atomic import write_text
from melexp.metrics import score
from melexp.results.provenance import provenance
from melexp.transforms.arrays import unit_phase

Run = Callable[[np.ndarray, MelTransform, int], np.ndarray]

PAPER = MelTransform.preset("paper")
LAYOUTS = {
    "hop 128": MelTransform.preset("paper", hop_length=128),
    "librosa_power": MelTransform.preset("librosa_power"),
    "Whisper": MelTransform.preset("whisper"),
    "AudioLDM": MelTransform.preset("audioldm"),
    "paper": PAPER,
}
#: Metrics of speech, with their digits and names. Those of packages that are missing have no value.
DIGITS = {"pesq": 2, "estoi": 3, "sc": 1, "scm": 1, "dnsmos": 2, "zimtohrli": 2}
NAMES = dict(zip(DIGITS, ["PESQ", "ESTOI", "SC dB", "SCM dB", "DNSMOS", "Zimtohrli"], strict=True))
#: Metrics of other sound.
SOUND = ("sc", "scm", "zimtohrli")
BY = ["layout", "dataset", "setting"]


def offline(mel: np.ndarray, transform: MelTransform, length: int) -> np.ndarray:
    """Invert the whole mel in 100 iterations."""
    return invert(mel, transform, n_iter=100, length=length)


def live(mel: np.ndarray, transform: MelTransform, length: int, **options: object) -> np.ndarray:
    """Invert the mel frame by frame."""
    stream = MelStream(transform, **options)
    y = np.concatenate([stream.push(mel), stream.flush()])[:length]
    return np.pad(y, (0, length - len(y)))


def offline_after_live(mel: np.ndarray, transform: MelTransform, length: int) -> np.ndarray:
    """Invert the whole mel, starting from the phase of a stream."""
    problem = Problem(mel, transform, length=length)
    method = make_method("admm_ramp").for_budget(100)
    y = live(mel, transform, length, lookahead=6, n_iter=20)
    Y, _ = method.start(problem, np.random.default_rng(0))
    X = Y * unit_phase(problem.stft.forward(y / np.float32(problem.scale)))
    state = method.begin(problem, Y, X)
    for _ in range(100):
        state = method.step(problem, state)
    return method.signal(problem, state)


def phase_only(
    mel: np.ndarray, transform: MelTransform, length: int, *, method: str, n_iter: int
) -> np.ndarray:
    """Invert the mel with a method that estimates only the phase, frame by frame."""
    return invert(mel, transform, method=method, lookahead=1, n_iter=n_iter, length=length)


def ahead(lookahead: int, n_iter: int, **options: object) -> tuple[str, Run]:
    """Return the name of a setting of MelStream, and its run."""
    more = "".join(f", {key} {value}" for key, value in options.items())
    run = partial(live, lookahead=lookahead, n_iter=n_iter, **options)
    return f"{lookahead} ahead, {n_iter}{more}", run


SETTINGS: dict[str, dict[str, Run]] = {
    "layouts": {
        "offline": offline,
        **dict([ahead(0, 100), *(ahead(n, 50) for n in (0, 1, 2, 4, 8, 16))]),
        "RTISI-LA, 1 ahead, 16": partial(phase_only, method="rtisi_la", n_iter=16),
        "RTPGHI, 1 ahead": partial(phase_only, method="rtpghi", n_iter=1),
    },
    "trials": {
        "offline": offline,
        "offline, started by a stream": offline_after_live,
        **dict(
            [
                ahead(2, 50),
                ahead(2, 50, rho_x=0.003),
                ahead(2, 50, rho_x_last=0.1),
                ahead(2, 50, rho_x_last=1.0),
                ahead(2, 50, rho_y_last=0.1),
                ahead(2, 50, rho_y_last=1.0),
                ahead(2, 50, ramp=75),
                ahead(2, 50, ramp=250),
                ahead(2, 50, phase="random"),
                ahead(0, 50),
                ahead(0, 100),
                ahead(0, 200),
                ahead(0, 100, ramp=300),
            ]
        ),
    },
}


def cases(study: str, clips: int) -> Iterator[tuple[Clip, str, str, MelTransform]]:
    """Yield clips, spread over speakers and categories, with data set and layout."""
    kinds = {"librispeech": {"subset": "train"}}
    if study == "layouts":
        kinds = {"ljspeech": {}, "librispeech": {}, "esc10": {}}
    found = {name: load_dataset(name, **options) for name, options in kinds.items()}
    for n in range(clips):
        for dataset, all_clips in found.items():
            clip = all_clips[n * len(all_clips) // clips]
            for layout in LAYOUTS if study == "layouts" else ("paper",):
                yield clip, dataset, layout, LAYOUTS[layout]


def rows_of(
    clip: Clip, dataset: str, layout: str, settings: dict[str, Run], *, seconds: float
) -> Iterator[dict[str, object]]:
    """Yield the scores of each setting."""
    transform = LAYOUTS[layout]
    x = clip.load(round(transform.sr))[: round(seconds * transform.sr)]
    mel = transform(x)
    for setting, run in settings.items():
        y = run(mel, transform, len(x)).astype(np.float32)
        metrics = SOUND if dataset == "esc10" else tuple(NAMES)
        values = {m: score(m, x, y, transform=transform).value for m in metrics}
        yield dict(zip(BY, (layout, dataset, setting), strict=True)) | {"clip": clip.id} | values


def markdown(table: pd.DataFrame) -> str:
    """Return the means of each setting, and the change of PESQ or SCM from the first setting."""
    lines = [f"| layout | data | clips | setting | {' | '.join(NAMES.values())} | change |"]
    lines += ["| --- | --- | ---: | --- |" + " ---: |" * (len(NAMES) + 1)]
    for (layout, dataset), group in table.groupby(BY[:2], sort=False):
        main = "scm" if dataset == "esc10" else "pesq"
        values = group.pivot(index="clip", columns="setting", values=main)
        first = group["setting"].iloc[0]
        for setting, rows in group.groupby("setting", sort=False):
            cells = [
                "" if rows[m].isna().all() else f"{rows[m].mean():.{DIGITS[m]}f}" for m in NAMES
            ]
            d = values[setting] - values[first]
            half = 1.96 * d.std(ddof=1) / np.sqrt(len(d)) if len(d) > 1 else np.nan
            change = "" if setting == first else f"{d.mean():+.3f} ± {half:.3f}"
            texts = [layout, dataset, str(len(rows)), setting, *cells, change]
            lines.append(f"| {' | '.join(texts)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=SETTINGS)
    parser.add_argument("--clips", type=int, default=6, help="clips of each data set")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--output", type=Path, default=Path("results/live"))
    a = parser.parse_args()
    a.output.mkdir(parents=True, exist_ok=True)
    path = a.output / f"{a.study}.csv"
    table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=[*BY, "clip"])
    done = set(table[[*BY, "clip"]].itertuples(index=False, name=None))
    for clip, dataset, layout, _ in cases(a.study, a.clips):
        missing = {
            name: run
            for name, run in SETTINGS[a.study].items()
            if (layout, dataset, name, clip.id) not in done
        }
        if not missing:
            continue
        new = pd.DataFrame(rows_of(clip, dataset, layout, missing, seconds=a.seconds))
        table = pd.concat([table, new]) if len(table) else new
        write_text(path, table.round(4).to_csv(index=False))
        write_text(path.with_suffix(".md"), markdown(table))
        notes = {"command": vars(a) | {"output": ""}, **provenance()}
        write_text(
            path.with_suffix(".provenance.json"), json.dumps(notes, indent=1, default=str) + "\n"
        )
        print(clip.id, layout, flush=True)


if __name__ == "__main__":
    main()
