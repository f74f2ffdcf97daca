"""PESQ: perceptual evaluation of speech quality, wide-band."""

from __future__ import annotations

import numpy as np

from melexp.metrics._score import Score, at_rate, is_silent
from melexp.transforms.mel import MelTransform

RATE = 16000
#: Longest sound in seconds that cannot have more than 50 utterances. The C code of PESQ stores
#: utterances in arrays of length 50 without a check: the 51st overwrites other data, and further
#: ones crash the process. It counts in windows of 4 ms. An utterance has 50 windows or more. It
#: merges utterances at most 50 windows apart and shortens longer pauses by 4, so utterances begin
#: at least 97 windows apart. The sound is padded by 75 windows at each end, of which 2 may count as
#: speech. The limit is 73 + 50 * 97 windows, less 150 of padding: 19.09 s.
LONGEST = 19.0


def pesq(reference: np.ndarray, estimate: np.ndarray, *, transform: MelTransform) -> Score:
    """Compute the wide-band PESQ (ITU-T P.862.2) at 16 kHz; speech only; higher is better.

    Range: 1.04 to 4.64. Both signals are resampled in the same way. Undefined if the reference or
    the estimate is silent, shorter than 0.25 s, or has no utterance. Also undefined above 19 s,
    because with more than 50 utterances the C code writes beyond its arrays or crashes (`LONGEST`).
    Read speech has 50 utterances after about 100 s, short bursts of sound after 20 s.
    """
    import pesq as itu

    from melexp.fast.denormals import flushed  # here, as it imports the compiler

    if is_silent(reference) or is_silent(estimate):
        return Score.without("the reference or the estimate is silent")
    # The C code reads beyond the end of shorter signals; the standard requires 0.25 s.
    if len(reference) < transform.sr / 4:
        return Score.without("shorter than 0.25 s")
    if len(reference) > LONGEST * transform.sr:
        return Score.without(f"longer than {LONGEST:.0f} s: PESQ has room for 50 utterances only")
    x, y = at_rate(RATE, transform, reference, estimate)
    try:
        with flushed():  # the C code filters silence; it takes half the time then
            return Score(float(itu.pesq(RATE, x, y, "wb")))
    except itu.NoUtterancesError:
        return Score.without("PESQ finds no utterance")
