"""Long streams: clicks where samples become final, denormal numbers, and ten hours."""

import time
from pathlib import Path

import numpy as np
import pytest
from test_stream import sound, streamed, transform_of

from melexp import MelStream, MelTransform, invert
from melexp.datasets import load_dataset

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


def errors_of(names: list[str], paper: MelTransform) -> tuple[np.ndarray, float]:
    """Return the SC at 8 places of a hop, in dB, and the line at the hop rate; all clips."""
    sums, lines, n_clips = np.zeros((2, 8)), 0.0, 0
    for name in names:
        for clip in load_dataset(name):
            speech = clip.load(22050)
            mel = paper(speech)
            y = streamed(MelStream(paper, lookahead=2, n_iter=30), mel)
            sums += error_by_place(paper, speech, y)
            lines += hop_line(y - invert(mel, paper)[: len(y)], paper.hop_length)
            n_clips += 1
    sc = 10 * np.log10(sums[0] / sums[1])
    print(f"{n_clips} clips: SC {np.round(sc, 2)} dB by place in a hop, the first at commits;")
    print(
        f"the difference from offline has {lines / n_clips:.2f} of the usual power at the hop rate"
    )
    return sc, lines / n_clips


@pytest.mark.long
def test_no_click_in_synthetic_speech(paper: MelTransform) -> None:
    sc, line = errors_of(["demo_speech"], paper)
    assert sc[0] < sc[1:].mean() + 1  # the places differ by 0.4 dB (standard deviation)
    assert line < 1.5


@pytest.mark.torture
def test_no_click_where_samples_become_final(paper: MelTransform, real_data: Path) -> None:
    sc, line = errors_of(["ljspeech", "librispeech"], paper)
    assert sc[0] < sc[1:].mean() + 0.3
    assert line < 1.5


def hop_line(difference: np.ndarray, hop: int) -> float:
    """Return the power at the first 16 multiples of the hop rate, relative to that beside them.

    It is about 1 without a line; equal clicks in each hop would be lines.
    """
    whole = difference[: len(difference) // hop * hop].astype(np.float64)
    spectrum = np.abs(np.fft.rfft(whole)) ** 2
    at = len(whole) // hop * np.arange(1, 17)
    beside = spectrum[at[:, None] + np.r_[-12:0, 1:13]].mean(axis=1)
    return float(np.mean(spectrum[at] / beside))


@pytest.mark.torture  # it compares times, in CPU time
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


@pytest.mark.torture  # in CPU time; the time on the clock is printed
def test_the_slowest_push_in_ten_minutes(paper: MelTransform, speech: np.ndarray) -> None:
    hop = paper.hop_length / paper.sr
    mel = paper(np.tile(speech, 10))
    stream = MelStream(paper, lookahead=6, n_iter=50)
    stream.push(mel[:, :20])  # compiles, and fills the window
    cpu, wall = [], []
    for t in range(round(600 / hop)):
        k = t % mel.shape[1]
        began = time.thread_time(), time.perf_counter()
        stream.push(mel[:, k : k + 1])
        cpu.append(time.thread_time() - began[0])
        wall.append(time.perf_counter() - began[1])
    for name, times in (("CPU", cpu), ("clock", wall)):
        median, high, most = 1e3 * np.percentile(times, [50, 99.9, 100])
        print(
            f"{name}: median {median:.2f} ms, 99.9 % {high:.2f}, slowest {most:.2f} of {len(times)}"
        )
    print(f"{np.sum(cpu) / 600:.3f} s of CPU per second; a hop lasts {1e3 * hop:.2f} ms")
    assert max(cpu) < hop


@pytest.mark.torture
def test_ten_hours() -> None:
    resource = pytest.importorskip("resource")
    transform = transform_of(SPARSE)
    per_minute = 60 * 8000 // 512
    one = transform(sound(60 * 8000))[:, :per_minute].astype(np.float64)
    # Levels from 1e-6 to 1e6, and every tenth minute is silent.
    gains = [0.0 if k % 10 == 9 else 10.0 ** (k % 13 - 6) for k in range(60 * HOURS)]
    # The last minute that has the level of the second one after the same level: a minute that
    # begins 240 dB below the one before it takes some frames to forget it.
    same = 1 + (len(gains) - 2) // 130 * 130
    stream = MelStream(transform, lookahead=1, n_iter=3)
    kept, memory, n_samples = {}, [], 0
    for minute, gain in enumerate(gains):
        parts = [stream.push(gain * one[:, t : t + 1]) for t in range(per_minute)]
        memory.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        n_samples += sum(part.shape[-1] for part in parts)
        assert n_samples == (minute + 1) * per_minute * 512 - stream.latency
        assert all(np.isfinite(part).all() for part in parts)
        if minute in (1, same):
            kept[minute] = np.concatenate(parts) / gain
    # No drift: that minute is as close to its mel, at its place, as the first. A minute of
    # pushes gives the sound of a minute that began `latency` samples earlier.
    inside, scm = slice(2, per_minute - 6), []
    for x in kept.values():
        made = transform(np.roll(x, -stream.latency).astype(np.float32))[:, inside]
        error = np.linalg.norm(made - one[:, inside]) / np.linalg.norm(one[:, inside])
        scm.append(20 * np.log10(error))
    print(f"{HOURS} h: SCM {scm[0]:.2f} and {scm[1]:.2f} dB; {memory[5]} to {memory[-1]} kB")
    assert abs(scm[1] - scm[0]) < 1
    assert scm[0] < -20
    assert memory[-1] < memory[5] * 1.02 + 2000
    # Each second of sound and of silence, in turn with a new stream, as other programs interfere.
    new = MelStream(transform, lookahead=1, n_iter=3)
    seconds: dict[str, list[float]] = {"new": [], "old": [], "silent": []}
    for n in range(120):
        t = n * 15 % (per_minute - 15)
        for name, pushed, gain in (("new", new, 1), ("old", stream, 1), ("silent", stream, 0)):
            began = time.process_time()
            for frame in one[:, t : t + 15].T[:, :, None]:
                pushed.push(gain * frame)
            seconds[name].append(time.process_time() - began)
    first, last, silent = (float(np.median(s)) * 60 for s in seconds.values())
    print(f"a minute takes {first:.2f} s, after {HOURS} h {last:.2f} s, in silence {silent:.2f} s")
    assert last < 1.3 * first
    assert silent < 1.3 * first
