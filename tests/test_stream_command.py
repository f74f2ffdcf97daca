"""`melexp stream`: raw frames, files that grow, reports; and ``melexp invert --stream``."""

import io
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from crashing import melexp

from melexp import MelStream, MelTransform
from melexp.commands.stream import Playback, npy_frames, raw_frames, stream

OPTIONS = {"lookahead": 1, "n_iter": 2}
N_MELS = 12


@pytest.fixture(scope="module")
def frames(small: MelTransform) -> np.ndarray:
    """Frames of noise [shape=(n_frames, n_mels), float32]."""
    noise = np.random.default_rng(0).standard_normal(1600).astype(np.float32) / 10
    return np.ascontiguousarray(small(noise).T)


@pytest.fixture(scope="module")
def sound(small: MelTransform, frames: np.ndarray) -> np.ndarray:
    mel_stream = MelStream(small, **OPTIONS)
    return np.concatenate([mel_stream.push(frames.T), mel_stream.flush()])


def run(source: Path, small: MelTransform, subtype: str = "FLOAT") -> tuple[np.ndarray, str]:
    target = source.with_suffix(".raw")
    report = stream(
        str(source), str(target), small, subtype=subtype, wait=0.0, buffer=0.0, **OPTIONS
    )
    return np.fromfile(target, "<f4" if subtype == "FLOAT" else "<i2"), report


@pytest.mark.parametrize("by_columns", [False, True])
def test_a_file_is_streamed(
    small: MelTransform, frames: np.ndarray, sound: np.ndarray, tmp_path: Path, by_columns: bool
) -> None:
    np.save(tmp_path / "mel.npy", frames.T if by_columns else frames)
    made, report = run(tmp_path / "mel.npy", small)
    np.testing.assert_array_equal(made, sound)
    assert f"0.20 s of {len(frames)} frames" in report
    assert "latency 12 ms, underruns " in report


def test_integers_are_clipped_and_counted(
    small: MelTransform, frames: np.ndarray, sound: np.ndarray, tmp_path: Path
) -> None:
    np.save(tmp_path / "mel.npy", frames)
    made, report = run(tmp_path / "mel.npy", small, "PCM_16")
    np.testing.assert_allclose(made / 32767, sound, atol=1e-4)
    assert "samples clip" not in report
    np.save(tmp_path / "mel.npy", 100 * frames)
    made, report = run(tmp_path / "mel.npy", small, "PCM_16")
    assert made.max() == 32767
    assert "samples clip; use --subtype FLOAT" in report


def test_a_file_may_grow(frames: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "mel.npy"
    np.save(path, frames)
    data = path.read_bytes()
    path.write_bytes(data[:1000])

    def grow() -> None:
        for at in range(1000, len(data), 700):  # also within a frame
            time.sleep(0.01)
            with path.open("ab") as file:
                file.write(data[at : at + 700])

    writer = threading.Thread(target=grow)
    writer.start()
    read = list(npy_frames(path, N_MELS, wait=5.0 if sys.platform == "win32" else 1.0))
    writer.join()
    np.testing.assert_array_equal(read, frames)


def test_raw_frames_come_as_soon_as_they_are_complete(frames: np.ndarray) -> None:
    class Pipe(io.RawIOBase):
        """Give 50 bytes at a time, and count what has been read."""

        def __init__(self, data: bytes) -> None:
            self.data, self.at = data, 0

        def read1(self, _: int) -> bytes:
            block = self.data[self.at : self.at + 50]
            self.at += len(block)
            return block

    pipe = Pipe(frames.tobytes())
    for n, frame in enumerate(raw_frames(pipe, N_MELS), 1):  # type: ignore[arg-type]
        np.testing.assert_array_equal(frame, frames[n - 1])
        assert pipe.at < n * 4 * N_MELS + 50
    assert n == len(frames)


def test_an_input_that_ends_within_a_frame(frames: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="within a frame: 3 of its 48 bytes"):
        list(raw_frames(io.BytesIO(frames.tobytes() + b"123"), N_MELS))
    np.save(tmp_path / "mel.npy", frames)
    with (tmp_path / "mel.npy").open("ab") as file:
        file.write(b"123")
    with pytest.raises(ValueError, match="within a frame: 3 of its 48 bytes"):
        list(npy_frames(tmp_path / "mel.npy", N_MELS, wait=0))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((N_MELS, 5), np.float32), "transpose it"),
        (np.zeros((5, N_MELS), int), "not floating-point"),
        (np.zeros(N_MELS, np.float32), "not floating-point frames of shape"),
        (np.float32(1), "not floating-point frames of shape"),
    ],
)
def test_files_that_hold_no_frames(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "mel.npy", array)
    with pytest.raises(ValueError, match=message):
        list(npy_frames(tmp_path / "mel.npy", N_MELS, wait=0))


def of_header(text: str) -> bytes:
    """Return a ``.npy`` file with a header."""
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    "content",
    [b"RIFF and so on", *map(of_header, ["(" * 5000, "-" * 9000 + "1", "{[]: 1}", "\0"])],
    ids=["sound", "brackets", "signs", "list as key", "zero"],
)
def test_a_file_of_another_kind(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "mel.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"not a \.npy file"):
        list(npy_frames(tmp_path / "mel.npy", N_MELS, wait=0))


@pytest.mark.parametrize("shape", ["(-1, 12)", f"({'1, ' * 900})"])
def test_an_impossible_shape(shape: str, tmp_path: Path) -> None:
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    (tmp_path / "mel.npy").write_bytes(of_header(text))
    with pytest.raises(ValueError, match="not floating-point frames") as caught:
        list(npy_frames(tmp_path / "mel.npy", N_MELS, wait=0))
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


def test_a_bad_input_leaves_the_output_as_it_is(
    small: MelTransform, frames: np.ndarray, tmp_path: Path
) -> None:
    source = tmp_path / "mel.npy"
    for content in (frames[:, 1:], frames[:0, 1:]):
        np.save(source, content)
        source.with_suffix(".raw").write_bytes(b"precious")
        with pytest.raises(ValueError, match="n_mels = 12"):
            run(source, small)
        assert source.with_suffix(".raw").read_bytes() == b"precious"
    np.save(source, frames)
    kept = source.read_bytes()
    with pytest.raises(ValueError, match="it is the input"):
        stream(str(source), str(source), small, subtype="FLOAT", wait=0.0, buffer=0.0, **OPTIONS)
    assert source.read_bytes() == kept


@pytest.mark.parametrize(("lookahead", "n_iter"), [(10**8, 50), (10_000, 101), (0, 10**20)])
def test_a_stream_is_bounded(small: MelTransform, lookahead: int, n_iter: int) -> None:
    with pytest.raises(ValueError, match="n_iter up to 1,000,000"):
        MelStream(small, lookahead=lookahead, n_iter=n_iter)


def test_a_buffer_delays_the_player() -> None:
    now = 0.0
    playback = Playback(100.0, buffer=0.5, clock=lambda: now)
    playback.add(10)
    now = 0.59
    playback.add(10)
    assert playback.underruns == 0
    now = 0.75
    playback.add(10)
    assert (playback.underruns, playback.missing) == (1, pytest.approx(0.05))


def test_underruns() -> None:
    now = 0.0
    playback = Playback(100.0, clock=lambda: now)
    playback.add(0)  # the player has not begun
    now = 5.0
    playback.add(10)
    now = 5.09
    playback.add(10)  # in time: the sound lasts until 5.2
    assert playback.underruns == 0
    now = 5.25
    playback.add(10)  # 0.05 s late, so that the sound lasts until 5.35
    assert (playback.underruns, playback.missing) == (1, pytest.approx(0.05))
    now = 5.34
    playback.add(10)
    assert (playback.underruns, playback.samples) == (1, 40)


SMALL = {"sr": 8000, "n_fft": 128, "hop_length": 32, "n_mels": N_MELS, "fmax": 4000}
CHANGES = [f"--change={name}={value}" for name, value in SMALL.items()]


def test_command_from_pipe_to_pipe(frames: np.ndarray, sound: np.ndarray) -> None:
    options = ["--preset=paper", *CHANGES, "--lookahead=1", "--n-iter=2", "--subtype=FLOAT"]
    done = melexp("stream", *options, input=frames.tobytes())
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.frombuffer(done.stdout, "<f4"), sound)
    assert done.stderr.startswith(b"standard output: 0.20 s")
    bad = frames.copy()
    bad[7, 2] = np.nan
    done = melexp("stream", *options, input=bad.tobytes())
    assert done.returncode == 2
    assert b"frame 7: it has 1 values that are NaN" in done.stderr
    done = melexp("stream", *options, "--conceal", input=bad.tobytes())
    assert done.returncode == 0
    assert b"1 bad frames were replaced" in done.stderr


def test_invert_as_a_stream(speech: np.ndarray, paper: MelTransform, tmp_path: Path) -> None:
    mel = paper(speech[:11025])
    np.save(tmp_path / "mel.npy", mel)
    target = tmp_path / "out.wav"
    options = ["--preset=paper", "--stream=1", "--n-iter=3", "--subtype=FLOAT", "--peak=keep"]
    done = melexp("invert", tmp_path / "mel.npy", target, *options)
    assert done.returncode == 0, done.stderr
    assert b"stream 1  SCM" in done.stdout
    mel_stream = MelStream(paper, lookahead=1, n_iter=3)
    expected = np.concatenate([mel_stream.push(mel), mel_stream.flush()])
    np.testing.assert_array_equal(soundfile.read(target, dtype="float32")[0], expected)
