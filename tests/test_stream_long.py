"""Long streams: clicks where samples become final, denormal numbers, and ten hours."""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from test_stream import sound, streamed, transform_of

from melexp import MelStream, MelTransform, invert
from melexp.datasets import load_dataset
from melexp.metrics.scm import long_scm

#: Ten hours of frames, and a layout with few of them.
HOURS = 10
SPARSE = {"n_fft": 1024, "hop_length": 512, "n_mels": 20, "fmax": 4000}


def error_by_place(paper: MelTransform, speech: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the error and the size of short spectra at 8 places of a hop [shape=(2, 8)].

    Samples become final at multiples of the hop, the first place.
    """
    hop, window = paper.hop_length, np.hanning(64)
    sums = np.zeros((2, 8))
    for place in range(8):
        begin = np.arange(4 * hop - 32 + 32 * place, len(y) - 8 * hop, hop)
        rows = begin[:, None] + np.arange(64)
        a, b = (np.abs(np.fft.rfft(x[rows] * window)) for x in (y, speech))
        sums[:, place] = np.square(a - b).sum(), np.square(b).sum()
    return sums


@pytest.mark.torture
def test_no_click_where_samples_become_final(paper: MelTransform, real_data: Path) -> None:
    sums, lines, n_clips = np.zeros((2, 8)), np.zeros(9), 0
    for name in ("ljspeech", "librispeech"):
        for clip in load_dataset(name):
            speech = clip.load(22050)
            mel = paper(speech)
            y = streamed(MelStream(paper, lookahead=2, n_iter=30), mel)
            sums += error_by_place(paper, speech, y)
            lines += hop_lines(y - invert(mel, paper)[: len(y)], paper.hop_length)
            n_clips += 1
    sc = 10 * np.log10(sums[0] / sums[1])
    others = 10 * np.log10(sums[0, 1:].sum() / sums[1, 1:].sum())
    print(f"{n_clips} clips: SC {np.round(sc, 2)} dB by place, {others:.2f} away from commits")
    print(f"power of the difference at the hop rate over its neighbours: {lines[4] / n_clips:.2f}")
    assert sc[0] < others + 0.3
    assert lines[4] / n_clips < 1.5


def hop_lines(difference: np.ndarray, hop: int) -> np.ndarray:
    """Return the power of the envelope near the hop rate, relative to its mean there.

    The middle is the hop rate. A click in each hop would be a line there.
    """
    envelope = np.square(difference[: len(difference) // hop * hop].astype(np.float64))
    spectrum = np.abs(np.fft.rfft(envelope - envelope.mean())) ** 2
    at = len(envelope) // hop  # whole periods
    near = spectrum[at - 40 : at + 41]
    return spectrum[at - 4 : at + 5] / near.mean()


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_faint_frames_take_no_longer(power: float) -> None:
    transform = transform_of({"power": power})
    mel = transform(sound(16000)).astype(np.float64)
    faint = mel * np.where(np.arange(mel.shape[1]) < 50, 1.0, 1e-38)
    cost = {}
    for name, frames in (("ordinary", mel), ("faint", faint), ("silent", faint * (faint > 1e-30))):
        stream, times = MelStream(transform, lookahead=2, n_iter=20), []
        stream.push(frames[:, :60])
        for t in range(60, 260):
            began = time.process_time()
            stream.push(frames[:, t : t + 1])
            times.append(time.process_time() - began)
        cost[name] = np.median(times)
    assert max(cost.values()) < 2 * cost["ordinary"], cost


@pytest.mark.torture
def test_ten_hours() -> None:
    transform = transform_of(SPARSE)
    per_minute = 60 * 8000 // 512
    one = transform(sound(60 * 8000))[:, :per_minute].astype(np.float64)
    # Levels from 1e-6 to 1e6, and every tenth minute is silent.
    gains = [0.0 if k % 10 == 9 else 10.0 ** (k % 13 - 6) for k in range(60 * HOURS)]
    stream = MelStream(transform, lookahead=1, n_iter=3)
    kept, seconds, memory, n_samples = {}, [], [], 0
    for minute, gain in enumerate(gains):
        began = time.process_time()
        parts = [stream.push(gain * one[:, t : t + 1]) for t in range(per_minute)]
        seconds.append(time.process_time() - began)
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        n_samples += sum(part.shape[-1] for part in parts)
        assert n_samples == (minute + 1) * per_minute * 512 - stream.latency
        assert all(np.isfinite(part).all() for part in parts)
        if minute in (1, len(gains) - 2):
            kept[minute] = np.concatenate(parts) / gain
    # No drift: the last minutes are as close to their mel, at their place, as the first.
    scm = [long_scm(part(one, transform, stream), y, transform) for y in kept.values()]
    first, last = np.median(seconds[1:9]), np.median(seconds[-9:])
    silent = np.median(seconds[9::10])
    print(f"{HOURS} h: SCM {scm[0]:.2f} and {scm[1]:.2f} dB; a minute takes {first:.2f} s at first,")
    print(f"{last:.2f} s at last, {silent:.2f} s in silence; {memory[5]} to {memory[-1]} kB")
    assert abs(scm[1] - scm[0]) < 1
    assert last < 1.5 * first
    assert silent < 1.5 * first
    assert memory[-1] < memory[5] * 1.02 + 2000


def part(mel: np.ndarray, transform: MelTransform, stream: MelStream) -> np.ndarray:
    """Return the mel of the samples that a minute of pushes gives."""
    return transform(sound(60 * 8000))


if sys.platform == "win32":
    pytestmark = pytest.mark.skip("no resource module")
