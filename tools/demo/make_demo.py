"""Make the sounds embedded in the package: ``melexp/datasets/demo``.

Speech is made of Harvard sentences spoken by flite and espeak-ng. It depends on their versions,
which the registry records. `foley.py` synthesises the foley; its samples are the same on every run.
The FLAC bytes, and therefore the hashes, also depend on the encoder.

    python tools/demo/make_demo.py
"""

import csv
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile
import soxr
from foley import FOLEY, SEED, SR, make_foley, to_int16

DEMO = Path(__file__).resolve().parents[2] / "melexp" / "datasets" / "demo"
COLUMNS = ["dataset", "path", "category", "sha256", "licence", "author", "source", "text"]

# --- Speech ---------------------------------------------------------------------------------

SYNTHESISERS = {
    "flite": "http://cmuflite.org",
    "espeak-ng": "https://github.com/espeak-ng/espeak-ng",
}
# IEEE Recommended Practice for Speech Quality Measurements (1969), lists 1 and 2.
UTTERANCES = [  # list, number, synthesiser, voice, words per minute (espeak-ng), sentence
    (1, 1, "flite", "slt", 0, "The birch canoe slid on the smooth planks."),
    (1, 2, "flite", "rms", 0, "Glue the sheet to the dark blue background."),
    (1, 3, "flite", "awb", 0, "It's easy to tell the depth of a well."),
    (1, 4, "flite", "kal16", 0, "These days a chicken leg is a rare dish."),
    (1, 5, "espeak-ng", "en-us+f2", 140, "Rice is often served in round bowls."),
    (1, 6, "espeak-ng", "en-gb-x-rp+m3", 150, "The juice of lemons makes fine punch."),
    (1, 7, "espeak-ng", "en-gb-scotland+f3", 150, "The box was thrown beside the parked truck."),
    (1, 8, "espeak-ng", "en-us+m7", 160, "The hogs were fed chopped corn and garbage."),
    (1, 9, "espeak-ng", "en-gb-x-gbclan+Annie", 140, "Four hours of steady work faced us."),
    (1, 10, "espeak-ng", "en-us+klatt2", 165, "A large size in stockings is hard to sell."),
    (2, 1, "espeak-ng", "en-029+f4", 145, "The boy was there when the sun rose."),
    (2, 2, "espeak-ng", "en-gb-x-gbcwmd+m1", 140, "A rod is used to catch pink salmon."),
    (2, 3, "espeak-ng", "en-us+f5", 160, "The source of the huge river is the clear spring."),
    (2, 4, "espeak-ng", "en-us-nyc+m4", 150, "Kick the ball straight and follow through."),
]


def version(synthesiser: str) -> str:
    """Return the name and version of an installed synthesiser."""
    if shutil.which(synthesiser) is None:
        sys.exit(f"{synthesiser} is not installed; install the Debian packages flite and espeak-ng")
    # flite states its version, then exits with an error.
    run = subprocess.run([synthesiser, "--version"], check=False, capture_output=True, text=True)
    found = re.search(r"\d+\.\d+[\w.-]*", run.stdout)
    return f"{synthesiser} {found.group() if found else 'of unknown version'}"


def speak(synthesiser: str, voice: str, rate: int, text: str) -> np.ndarray:
    """Synthesise a sentence [shape=(n_samples,), at SR], with 0.1 s of silence at its ends."""
    with tempfile.TemporaryDirectory() as folder:
        wav = str(Path(folder) / "speech.wav")
        command = {
            "flite": ["flite", "-voice", voice, "-t", text, "-o", wav],
            "espeak-ng": ["espeak-ng", "-v", voice, "-s", str(rate), "-w", wav, text],
        }[synthesiser]
        subprocess.run(command, check=True)
        x, sr = soundfile.read(wav)
    if sr != SR:
        x = soxr.resample(x, sr, SR, quality="HQ")
    loud = np.flatnonzero(np.abs(x) > 0.01 * np.abs(x).max())
    pad = np.zeros(SR // 10)
    return np.concatenate([pad, x[loud[0] : loud[-1]], pad])


# --- Files ----------------------------------------------------------------------------------


def main() -> None:
    """Write the sounds and their registry."""
    versions = {name: version(name) for name in SYNTHESISERS}
    rows: list[dict[str, str]] = []

    def write(dataset: str, path: str, samples: np.ndarray, **about: str) -> None:
        file = DEMO / path
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, samples, SR, subtype="PCM_16")
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        rows.append({"dataset": dataset, "path": path, "sha256": digest, **about})
        print(f"{path}: {samples.size / SR:.2f} s, {file.stat().st_size / 1024:.0f} KiB")

    for part, number, synthesiser, voice, rate, text in UTTERANCES:
        rng = np.random.default_rng([SEED, part, number])
        write(
            "demo_speech",
            f"speech/harvard-{part}-{number:02d}-{voice.replace('+', '-').lower()}.flac",
            to_int16(rng, speak(synthesiser, voice, rate, text)),
            category="speech",
            licence="MIT, as generated for this project; text: Harvard sentences (IEEE, 1969)",
            author=f"voice {voice} of {versions[synthesiser]}",
            source=SYNTHESISERS[synthesiser],
            text=text,
        )
    for category in FOLEY:
        for variant in (0, 1):
            write(
                "demo_foley",
                f"foley/{category}-{variant}.flac",
                make_foley(category, variant),
                category=category,
                licence="MIT, as generated for this project",
                author=f"synthesis by tools/demo/make_demo.py, seed {SEED}",
                source="tools/demo/make_demo.py",
                text="",
            )
    with (DEMO / "registry.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()
