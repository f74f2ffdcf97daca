"""`melexp invert` of channels, of batches, and with a length that the frames do not have."""

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from test_invert_command import Run, hifigan, mel, refused, run  # noqa: F401


def test_two_channels_are_one_file(run: Run, mel: np.ndarray) -> None:
    np.save("stereo.npy", np.stack([mel, mel + np.float32(np.log(0.1))]))
    code, out, err = run("stereo.npy", "out.wav", "--preset", "hifigan", "--compare", "gla")
    assert (code, err) == (0, "")
    assert out.startswith("out.wav: 0.50 s, 2 channels\n  admm_ramp  channel 1  SCM ")
    for name in ("out.wav", "out.gla.wav"):
        left, right = soundfile.read(name)[0].T
        assert np.std(right) / np.std(left) == pytest.approx(0.1, rel=0.1)
    run("mel.npy", "mono.wav", "--preset", "hifigan")
    np.testing.assert_array_equal(soundfile.read("mono.wav")[0], soundfile.read("out.wav")[0][:, 0])


def test_loud_channels_keep_their_relative_level(run: Run, mel: np.ndarray) -> None:
    np.save("loud.npy", np.stack([mel + np.float32(np.log(20)), mel]))
    code, out, _ = run("loud.npy", "out.wav", "--preset", "hifigan")
    assert code == 0
    assert out.count("level changed") == 1
    left, right = soundfile.read("out.wav")[0].T
    assert np.std(left) / np.std(right) == pytest.approx(20, rel=0.1)


@pytest.mark.parametrize("shape", [(3, 1), (1, 3), (3,)])
def test_a_batch_is_numbered_files(run: Run, mel: np.ndarray, shape: tuple[int, ...]) -> None:
    batch = np.stack([mel[:, :20], mel[:, 20:40], mel[:, 5:25]])
    np.save("batch.npy", batch.reshape(*shape, 80, 20).swapaxes(-1, -2))
    code, out, _ = run("batch.npy", "out.flac", "--preset", "hifigan", "--compare", "gla")
    assert code == 0
    assert [line for line in out.splitlines() if not line.startswith(" ")] == [
        f"out.00{k}.flac: 0.23 s" for k in range(3)
    ]
    names = {path.name for path in Path().glob("out*")}
    assert names == {f"out.00{k}{m}.flac" for k in range(3) for m in ("", ".gla")}
    np.save("one.npy", batch[1])
    run("one.npy", "one.flac", "--preset", "hifigan")
    one, second = (soundfile.read(name)[0] for name in ("one.flac", "out.001.flac"))
    np.testing.assert_array_equal(one, second)


def test_a_batch_that_is_refused_leaves_no_file(run: Run, mel: np.ndarray) -> None:
    bad = np.stack([mel, mel, mel])
    bad[2, 3, 4] = np.nan
    np.save("bad.npy", bad)
    assert "NaN" in refused(run, "bad.npy", "out.wav", "--preset", "hifigan")
    np.save("batch.npy", np.stack([mel, mel, mel]))
    assert "OUTPUT" in refused(run, "batch.npy", "-", "--preset", "hifigan")
    np.save("last.npy", np.zeros((30, 80, 2), np.float32))
    assert "channels seem to be last" in refused(run, "last.npy", "out.wav", "--preset", "hifigan")


def test_a_folder_with_batches_is_not_inverted_twice(run: Run, mel: np.ndarray) -> None:
    Path("in").mkdir()
    np.save("in/batch.npy", np.stack([mel[:, :9]] * 3))
    assert "1 inverted" in run("in", "out", "--preset", "hifigan", "--jobs", 1)[1]
    assert "0 inverted, 1 there already" in run("in", "out", "--preset", "hifigan", "--jobs", 1)[1]


def test_a_length_within_a_hop(run: Run, mel: np.ndarray) -> None:
    given = ["mel.npy", "out.wav", "--preset", "tacotron2", "--length"]
    code, out, _ = run(*given, 43 * 256)
    assert code == 0
    assert "note: the 43 frames end at sample 11007: padded with zeros to 11008" in out
    y, _ = soundfile.read("out.wav")
    assert len(y) == 43 * 256
    code, out, _ = run(*given, 42 * 256 - 100)
    assert "the 43 frames end at sample 10752: cut to 10652" in out
    assert soundfile.info("out.wav").frames == 42 * 256 - 100
    assert "note" not in run(*given, 42 * 256 + 100)[1]
    assert "frames, but mel has 43" in refused(run, *given, 45 * 256)
    assert "whole number of samples above zero" in refused(run, *given, "-1")


def test_files_of_other_programs(run: Run, mel: np.ndarray) -> None:
    import scipy.io

    scipy.io.savemat("mel.mat", {"mel": mel, "speaker": "x"})
    np.savetxt("mel.csv", mel, delimiter=",")
    sounds = set()
    for name in ("mel.npy", "mel.mat", "mel.csv"):
        assert run(name, "out.wav", "--preset", "hifigan")[0] == 0
        sounds.add(Path("out.wav").read_bytes())
    assert len(sounds) == 1


def test_a_format_with_too_few_channels(run: Run) -> None:
    soundfile.write("nine.wav", np.zeros((3000, 9)), 22050)
    before = time.monotonic()
    err = refused(run, "nine.wav", "out.flac", "--preset", "hifigan", "--n-iter", 5000)
    assert "a FLAC file (PCM_16) cannot hold 9 channels at 22050 Hz" in err
    assert time.monotonic() - before < 5
    assert run("nine.wav", "out.wav", "--preset", "hifigan")[0] == 0
    assert soundfile.info("out.wav").channels == 9
