"""Cost of inverting long input in segments: the joined waveform against the whole solution."""

import argparse
import resource
import time
from itertools import pairwise

import numpy as np

from melexp.datasets import load_dataset
from melexp.inversion.invert import invert
from melexp.inversion.segments import OVERLAP, segment_frames
from melexp.metrics.scm import long_scm
from melexp.transforms.blocks import long_mel
from melexp.transforms.mel import MelTransform

#: Length of a segment in seconds.
SEGMENT = 20.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", default="ljspeech")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--n-iter", type=int, default=300)
    parser.add_argument("--no-whole", action="store_true", help="invert in segments only")
    arguments = parser.parse_args()
    transform = MelTransform.preset("paper")
    sr = round(transform.sr)
    speech = np.concatenate([clip.load(sr) for clip in load_dataset(arguments.dataset)])
    y = np.resize(speech, round(60 * arguments.minutes * sr))
    mel = long_mel(y, transform)

    options = {"method": "admm_ramp", "n_iter": arguments.n_iter, "length": len(y)}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    joined = invert(mel, transform, segment=SEGMENT, **options)
    seconds = time.perf_counter() - began
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{arguments.minutes:g} minutes of {arguments.dataset}, {arguments.n_iter} iterations")
    print(f"joined: SCM {long_scm(mel, joined, transform):.2f} dB, {seconds:.1f} s")
    print(
        f"memory beyond input: {more / 1024:.0f} MiB, including output {joined.nbytes / 2**20:.0f}"
    )
    if arguments.no_whole:
        return
    whole = invert(mel, transform, **options)
    print(f"whole: SCM {long_scm(mel, whole, transform):.2f} dB")
    # Overlaps of adjacent segments, which contain the seams.
    plan = segment_frames(mel.shape[1], transform, SEGMENT, OVERLAP)
    seams = [np.arange(a, b) for (_, b), (a, _) in pairwise(plan)]
    for name, z in (("joined", joined), ("whole", whole)):
        error = long_mel(z, transform) - mel
        at = np.concatenate(seams)
        level = np.linalg.norm(error[:, at]) / np.linalg.norm(mel[:, at])
        print(
            f"{name}, the {len(seams)} overlaps of {OVERLAP:g} s: SCM {20 * np.log10(level):.2f} dB"
        )


if __name__ == "__main__":
    main()
