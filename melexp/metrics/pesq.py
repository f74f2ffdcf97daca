"""PESQ: perceptual evaluation of speech quality, wide-band."""

from __future__ import annotations

import numpy as np
import soxr

from melexp.metrics._score import Score, is_silent
from melexp.transforms.mel import MelTransform

RATE = 16000
#: Seconds within which PESQ cannot find more utterances than it has room for. Its C code counts in
#: windows of 4 ms, writes up to 50 utterances into arrays of that length, and does not look whether
#: there are more: the 51st overwrites others, and some more end the process. An utterance counts
#: from 50 windows, and pauses of up to 50 are closed and the others shortened by 4, so one begins
#: at the earliest 50 + 47 windows after the one before. The first begins in the padding of 75
#: windows before the sound, of which the last 2 may count as speech; the padding behind is as long:
#: 73 + 50 * 97 windows, less 150 of padding, are 19.09 s.
LONGEST = 19.0


def pesq(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    """Compute the wide-band PESQ (ITU-T P.862.2) at 16 kHz; speech only; higher is better.

    Range: 1.04 to 4.64. Both signals are resampled in the same way. Without a value where the
    reference or the estimate is silent, shorter than a quarter of a second, or has no utterance;
    and where they are longer than 19 s, since the C code has room for 50 utterances and writes
    beyond it, or ends the process, where the reference has more (`LONGEST`). Read speech reaches
    that after some 100 s, but short bursts of sound after 20 s.
    """
    import pesq as itu

    if is_silent(reference) or is_silent(estimate):
        return Score.without("the reference or the estimate is silent")
    # The C code reads beyond shorter signals; PESQ itself says so of less than 1/4 s.
    if len(reference) < transform.sr / 4:
        return Score.without("shorter than 0.25 s")
    if len(reference) > LONGEST * transform.sr:
        return Score.without(f"longer than {LONGEST:.0f} s: PESQ has room for 50 utterances only")
    x, y = (
        soxr.resample(signal.astype(np.float64), transform.sr, RATE)
        for signal in (reference, estimate)
    )
    try:
        return Score(float(itu.pesq(RATE, x, y, "wb")))
    except itu.NoUtterancesError:
        return Score.without("PESQ finds no utterance")
