"""Round trip of speech through every preset: makes docs/presets.md."""

import argparse
from pathlib import Path

import numpy as np

from melexp import invert
from melexp.datasets import load_dataset
from melexp.files.atomic import write_text
from melexp.metrics import score
from melexp.transforms.mel import MelTransform

HEAD = """# Front ends

`MelTransform.preset("hifigan")` and `melexp invert --preset hifigan` accept these names. Each is a
file in `conf/mel/`. `tests/test_presets.py` compares it with the original code, or with a
transcription of its formula if no package has that code.

The table reports the round trip. The mel-spectrogram of {names}
is inverted by `{method}` with {n_iter} iterations. The linear mel-spectrogram of the result is
compared with that of the original. Values are means over the clips; *worst* is the largest SCM.
*Floored* is the share of bins at the floor of the compression, for which only a bound is known.
PESQ and ESTOI refer to the band of the front end: for 16 kHz the original is resampled first.

{table}

Made by `python studies/presets.py`.

- `librosa_db` and every other preset with `ref: max` lose the level. `melexp invert` writes
  such sound with a peak of 0.9. The table compares at the level of the loudest bin.
- Whisper drops its last frame. Pass its mel unchanged: the sound ends one hop earlier.
- The defaults of `torchaudio` leave 4 of the 128 filters without a bin (`empty_filters: true`).
- `hifigan` and `bigvgan` add 1e-9 under the square root. This lies below their floor of
  1e-5 and is omitted: it changes no value above 1e-3 by more than 0.2 %.
- `kaldi_fbank` and relatives undo a pre-emphasis. They do not remove the mean of a frame.
- `riffusion` and `audio_diffusion` are pictures in practice; the table has no rounding to 8 bits.
- The output of a model is not the mel-spectrogram of any sound. Its SCM is larger than in the
  table.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="ljspeech")
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--n-iter", type=int, default=300)
    parser.add_argument("--output", type=Path, default=Path("docs/presets.md"))
    arguments = parser.parse_args()
    clips = load_dataset(arguments.dataset)[: arguments.clips]
    rows = [
        "| preset | made of | floored | SCM dB | worst | SC dB | PESQ | ESTOI |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in MelTransform.presets():
        rows.append(row(name, clips, arguments.n_iter))
        print(rows[-1], flush=True)
    text = HEAD.format(
        names=f"{len(clips)} clips of {arguments.dataset}",
        method="admm_ramp",
        n_iter=arguments.n_iter,
        table="\n".join(rows),
    )
    write_text(arguments.output, text)


def row(name: str, clips: list, n_iter: int) -> str:
    transform = MelTransform.preset(name)
    scores, floored = [], []
    for clip in clips:
        y = clip.load(round(transform.sr))
        mel = transform(y)
        z = invert(mel, transform, method="admm_ramp", n_iter=n_iter, length=len(y))
        compression = transform.compression
        if compression is not None:
            mask = compression.expand(mel)[1]
            floored.append(0.0 if mask is None else float(mask.mean()))
            if compression.ref == "max":
                ratio = transform.linear(y).max() / transform.linear(z).max()
                z *= ratio ** (1 / transform.power)
        scores.append(
            [score(m, y, z, transform=transform).value for m in ("scm", "sc", "pesq", "estoi")]
        )
    scm, sc, pesq, estoi = np.mean(scores, axis=0)
    kind = "magnitude" if transform.power == 1 else "power"
    unit = "linear" if transform.compression is None else transform.compression.unit
    share = f"{100 * np.mean(floored):.1f} %" if floored else ""
    return (
        f"| {name} | {kind}, {unit} | {share} | {scm:.1f} | {max(s[0] for s in scores):.1f} "
        f"| {sc:.1f} | {pesq:.2f} | {estoi:.3f} |"
    )


if __name__ == "__main__":
    main()
