"""Restoration of imperfect mel-spectrograms: makes the table of docs/beyond.md.

The parameters of `melexp.restore_mel` were chosen on other voices (subset train of librispeech).
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import pandas as pd

from melexp import MelError, MelTransform, invert, restore_mel
from melexp.datasets import limited, load_dataset
from melexp.metrics import score
from melexp.transforms.imperfect import imperfect
from melexp.transforms.restore import (
    THRESHOLD,
    denoised,
    estimated_error,
    from_logarithm,
    logarithm,
    sharpened,
)

METRICS = ("pesq", "estoi", "dnsmos")
ERRORS = ("noise_0.3", "blur_both", "blur_frames", "blur_bands", "rank_10")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--clips", type=int, default=7, help="number of clips, of each voice in turn"
    )
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--errors", nargs="+", default=ERRORS, help="names of imperfections")
    parser.add_argument("--trials", action="store_true", help="ways to remove noise, other voices")
    options = parser.parse_args()
    transform = MelTransform.preset("hifigan")
    if options.trials:
        trials(transform, options.clips, options.iterations)
        return
    rows = []
    for clip in limited(load_dataset("librispeech"), options.clips, spread=True):
        x = clip.load(round(transform.sr))
        exact = transform(x)
        print(clip.id, "exact:", tuple(estimated_error(exact, transform)), flush=True)
        for error in options.errors:
            seed = [0, int(clip.sha256[:16], 16)]
            mel = imperfect(exact, transform, name=error, seed=seed)
            print(clip.id, error, tuple(estimated_error(mel, transform)), flush=True)
            for name, given in {"as it is": mel, "restored": restore_mel(mel, transform)}.items():
                y = invert(given, transform, n_iter=options.iterations, length=len(x))
                values = {m: score(m, x, y, transform=transform).value for m in METRICS}
                rows.append({"clip": clip.id, "error": error, "mel": name, **values})
        print(table(pd.DataFrame(rows)), flush=True)


def trials(transform: MelTransform, n_clips: int, n_iter: int) -> None:
    """Print what each way to remove noise of 0.3 gains, on voices of the subset train."""
    rows = []
    for clip in load_dataset("librispeech", subset="train")[:n_clips]:
        x = clip.load(round(transform.sr))
        seed = [0, int(clip.sha256[:16], 16)]
        mel = imperfect(transform(x), transform, name="noise_0.3", seed=seed)
        log_mel = logarithm(mel, transform)
        assert log_mel is not None
        wiener = sharpened(log_mel, MelError(noise=0.3))
        ways: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
            "as it is": (log_mel, {}),
            "Wiener filter": (wiener, {}),
            "the same for noise of 0.5": (sharpened(log_mel, MelError(noise=0.5)), {}),
            "the same, a quarter of the iterations": (wiener, {"n_iter": n_iter // 4}),
            "ratio 500": (log_mel, {"ratio": 500.0}),
            "ratio 50": (log_mel, {"ratio": 50.0}),
            "threshold 2.2": (denoised(log_mel, 0.3), {}),
            "threshold 2.7": (denoised(log_mel, 0.3 * 2.7 / THRESHOLD), {}),
        }
        for name, (given, changes) in ways.items():
            restored = from_logarithm(given, transform).astype(np.float32)
            y = invert(restored, transform, **{"n_iter": n_iter, "length": len(x)} | changes)
            values = {m: score(m, x, y, transform=transform).value for m in METRICS}
            rows.append({"way": name, **values})
        print(pd.DataFrame(rows).groupby("way", sort=False).mean().round(3), flush=True)


def table(rows: pd.DataFrame) -> str:
    """Return the means, and the least gain of a clip, as a table of Markdown."""
    lines = [f"{rows['clip'].nunique()} clips", "| mel | PESQ | ESTOI | DNSMOS | least gain |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for error, group in rows.groupby("error", sort=False):
        by_clip = group.pivot(index="clip", columns="mel", values="dnsmos")
        least = float(np.min(by_clip["restored"] - by_clip["as it is"]))
        for name, part in group.groupby("mel", sort=False):
            pesq, estoi, dnsmos = part[list(METRICS)].mean()
            gain = f"{least:+.2f}" if name == "restored" else ""
            lines.append(f"| {error}, {name} | {pesq:.2f} | {estoi:.3f} | {dnsmos:.2f} | {gain} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
