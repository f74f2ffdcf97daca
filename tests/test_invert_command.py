"""`melexp invert`: its inputs, its errors in one line, its outputs."""

import io
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from crashing import melexp
from tensor_files import number, saved_tensor, tensor_pickle, text, torch_file

from melexp import __main__ as cli
from melexp.metrics import score
from melexp.transforms.mel import MelTransform

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Return a function that runs `melexp invert` here: exit code, output, error output."""
    monkeypatch.chdir(tmp_path)

    def invert(*arguments: object) -> tuple[int, str, str]:
        given = ["melexp", "invert", *map(str, arguments)]
        if "--n-iter" not in given:
            given += ["--n-iter", "5"]
        monkeypatch.setattr(sys, "argv", given)
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return invert


@pytest.fixture(scope="module")
def hifigan() -> MelTransform:
    return MelTransform.preset("hifigan")


@pytest.fixture
def mel(speech: np.ndarray, hifigan: MelTransform, tmp_path: Path) -> np.ndarray:
    """A HiFi-GAN mel of half a second, also stored as `mel.npy`."""
    mel = hifigan(speech[:11008])
    np.save(tmp_path / "mel.npy", mel)
    return mel


# --- Refused input: exit code 2, one line, no file ---------------------------------------------


def refused(run: Run, *arguments: object) -> str:
    """Run with arguments that must be refused; return the line with the reason."""
    before = set(Path().rglob("*"))
    code, out, err = run(*arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("melexp: ")
    assert "Traceback" not in err
    assert set(Path().rglob("*")) == before
    return err


def bad_files(mel: np.ndarray) -> dict[str, tuple[bytes, str]]:
    """Return the content of bad files, and a word of the message for each."""

    def npy(array: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=True)
        return buffer.getvalue()

    buffer = io.BytesIO()
    np.savez(buffer, mel=mel)
    npz = buffer.getvalue()
    buffer = io.BytesIO()
    np.savez(buffer, a=mel, b=mel)
    nan = mel.copy()
    nan[3, 4] = np.nan
    objects = np.array([[None, 1.0]], dtype=object)
    code = b"cposix\nsystem\n(" + text("touch hacked") + b"tR"
    return {
        "empty.npy": (b"", "empty"),
        "pickled.npy": (pickle.dumps(mel), "pickle"),
        "objects.npy": (npy(objects), "objects"),
        "truncated.npy": (npy(mel)[:-100], "truncated"),
        "header.npy": (npy(mel)[:20], "truncated"),
        "nothing.npy": (npy(np.zeros((80, 0), np.float32)), "empty"),
        "strings.npy": (npy(np.array([["a"]])), "real numbers"),
        "complex.npy": (npy(mel.astype(np.complex64)), "real numbers"),
        "nan.npy": (npy(nan), "NaN"),
        "infinite.npy": (npy(np.where(mel < -9, np.inf, mel)), "NaN or infinite"),
        "other.npy": (npy(np.zeros((100, 50), np.float32)), "n_mels = 80"),
        "square.npy": (npy(np.zeros((80, 80), np.float32)), "--orientation"),
        "vector.npy": (npy(mel[0]), "one mel"),
        "linear.npy": (npy(np.full((80, 20), 300, np.float32)), "far too large"),
        "truncated.npz": (npz[: len(npz) // 2], "truncated"),
        "broken.npz": (npz[:80] + b"x" * 40 + npz[120:], "truncated"),
        "several.npz": (buffer.getvalue(), "--key"),
        "code.pt": (torch_file(code), "not a tensor"),
        "model.pt": (torch_file(b"ctorch.nn.modules.linear\nLinear\n)R"), "not a tensor"),
        "number.pt": (torch_file(number(3)), "not a tensor"),
        "beyond.pt": (torch_file(tensor_pickle((80, 9), (9, 1), "FloatStorage", 9)), "beyond"),
        "cut.pt": (saved_tensor(mel)[:-30], "truncated"),
        "legacy.pt": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "pickle"),
        "text.wav": (b"these are words", "neither"),
        "header.wav": (b"RIFF\x00\x00\x00\x00WAVE", "neither"),
    }


@pytest.mark.parametrize("name", bad_files(np.zeros((80, 43), np.float32)))
def test_a_bad_file(run: Run, mel: np.ndarray, name: str) -> None:
    content, word = bad_files(mel)[name]
    Path(name).write_bytes(content)
    err = refused(run, name, "out.wav", "--preset", "hifigan")
    assert name in err
    assert word in err
    assert not Path("hacked").exists()


def test_bad_mels_of_other_presets(run: Run, mel: np.ndarray) -> None:
    assert "n_mels = 64" in refused(run, "mel.npy", "out.wav", "--preset", "audioldm")
    err = refused(run, "mel.npy", "out.wav", "--preset", "librosa_power")
    assert "negative" in err
    np.save("linear.npy", np.exp(mel) - 0.1)
    assert "negative" in refused(run, "linear.npy", "out.wav", "--preset", "paper")
    err = refused(run, "mel.npy", "out.wav", "--preset", "hifigan", "--orientation", "frames-first")
    assert "frames-first" in err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["none.npy", "out.wav", "--preset", "hifigan"], "none.npy"),
        (["mel.npy", "out.wav"], "there must be n_mels = 128 bands"),
        (["mel.npy", "out.wav", "--preset", "hifigan", "--fmax", "high"], "--fmax"),
        (["mel.npy", "out.wav", "--preset", "hifigan", "--mean", "1", "--stats", "a"], "--stats"),
        (["mel.npy", "out.wav", "--max-norm", "4", "--floor", "1"], "--floor"),
        (["mel.npy", "out.wav", "--preset", "hifigan", "--stats", "none.npz"], "none.npz"),
        (["mel.npy", "out.wav", "--preset", "wavenet"], "wavenet"),
        (["mel.npy", "out.txt", "--preset", "hifigan"], ".wav"),
        (["mel.npy", "no/such/out.wav", "--preset", "hifigan"], "not a folder"),
        (["mel.npy", "out.wav", "--preset", "hifigan", "--subtype", "PCM_99"], "PCM_99"),
        (["mel.npy", "out.wav", "--preset", "hifigan", "--method", "magic"], "magic"),
        (["mel.npy", "out.wav", "--preset", "hifigan", "--set", "rh0=1"], "rh0"),
        (["mel.npy", "out.wav", "--preset", "hifigan", "--set", "rho=-1"], "rho"),
        (["mel.npy", "out.wav", "--preset", "hifigan", "--peak", "loud"], "--peak"),
        (["mel.npy", "out.wav", "--preset", "hifigan", "--n-iter", "-1"], "--n-iter"),
        (["mel.npy", "out.wav", "--preset", "hifigan", "--length", "9"], "9 samples"),
        (["mel.npy", "out.wav", "--preset", "paper", "--floor", "1"], "--compression"),
        (["mel.npy", "-", "--preset", "hifigan", "--compare", "librosa"], "--compare"),
        (["*.wav", "out", "--preset", "hifigan"], "no mel"),
        (["folder", "out", "--preset", "hifigan"], "no mel"),
        ([".", "mel.npy", "--preset", "hifigan"], "folder"),
    ],
)
def test_bad_arguments(run: Run, mel: np.ndarray, arguments: list[str], word: str) -> None:
    Path("folder").mkdir()
    assert word in refused(run, *arguments)


def test_a_failure_while_writing_leaves_the_old_file(
    run: Run, mel: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("out.wav").write_bytes(b"old")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.replace", full)
    assert "no space left" in refused(run, "mel.npy", "out.wav", "--preset", "hifigan")
    assert Path("out.wav").read_bytes() == b"old"


# --- Inputs -----------------------------------------------------------------------------------


def test_every_kind_of_mel_gives_the_same_sound(run: Run, mel: np.ndarray) -> None:
    np.save("turned.npy", mel.T)
    np.save("batch.npy", mel[None])
    np.savez("one.npz", anything=mel)
    np.savez("many.npz", mel=mel, speaker=3)
    Path("mel.pt").write_bytes(saved_tensor(mel))
    Path("turned.pt").write_bytes(saved_tensor(np.asfortranarray(mel).T))
    half = (mel.view(np.uint32) >> 16).astype(np.uint16)  # bfloat16 of numbers that are short
    rounded = (half.astype(np.uint32) << 16).view(np.float32)
    np.save("rounded.npy", rounded)
    Path("bfloat.pt").write_bytes(saved_tensor(half, "BFloat16Storage"))
    sounds = {}
    for path in sorted(Path().glob("*.np?")) + sorted(Path().glob("*.pt")):
        code, out, _ = run(path, "out.wav", "--preset", "hifigan")
        assert code == 0
        assert out.startswith("out.wav: 0.50 s")
        sounds[path.name] = Path("out.wav").read_bytes()
    same = sounds.pop("rounded.npy"), sounds.pop("bfloat.pt")
    assert same[0] == same[1]
    assert len(sounds) == 7
    assert len(set(sounds.values())) == 1


def test_the_sound_has_the_mel(run: Run, mel: np.ndarray, hifigan: MelTransform) -> None:
    code, out, err = run("mel.npy", "out.wav", "--preset", "hifigan", "--n-iter", 60)
    assert (code, err) == (0, "")
    y, sr = soundfile.read("out.wav", dtype="float32")
    assert sr == 22050
    made, given = hifigan.linear(y), np.exp(mel)
    scm = 20 * np.log10(np.linalg.norm(made - given) / np.linalg.norm(given))
    assert scm < -25
    assert f"SCM {scm:.1f}" in out or abs(float(out.split("SCM ")[1].split()[0]) - scm) < 0.3


def test_sound_on_a_round_trip(run: Run, speech: np.ndarray) -> None:
    soundfile.write("speech.wav", speech, 22050)
    arguments = ["--preset", "librosa_power", "--n-iter", 32, "--speech"]
    code, out, _ = run("speech.wav", "out.wav", *arguments, "--compare", "librosa")
    assert code == 0
    ours, theirs = out.splitlines()[1:3]
    assert ours.split()[0] == "admm_ramp"
    assert theirs.split()[0] == "librosa"
    assert float(ours.split("PESQ ")[1].split()[0]) > float(theirs.split("PESQ ")[1].split()[0]) + 1
    y, _ = soundfile.read("out.wav", dtype="float32")
    z, _ = soundfile.read("out.librosa.wav", dtype="float32")
    assert y.shape == z.shape == speech.shape
    reference, _ = soundfile.read("speech.wav", dtype="float32")
    transform = MelTransform.preset("librosa_power")
    value = score("pesq", reference, y, transform=transform).value
    assert float(ours.split("PESQ ")[1].split()[0]) == pytest.approx(value, abs=0.05)


def test_sound_of_another_rate_and_two_channels(run: Run, speech: np.ndarray) -> None:
    soundfile.write("stereo.flac", np.stack([speech, 0 * speech], 1), 22050)
    code, out, _ = run("stereo.flac", "out.flac", "--preset", "whisper", "--subtype", "PCM_24")
    assert code == 0
    assert "PESQ" not in out
    info = soundfile.info("out.flac")
    assert (info.samplerate, info.subtype, info.channels) == (16000, "PCM_24", 2)
    assert info.frames == pytest.approx(16000, abs=1)
    left, right = soundfile.read("out.flac")[0].T
    assert np.abs(left).max() > 0.1
    assert np.abs(right).max() < 0.01
    assert out.count("  admm_ramp  channel ") == 2
    assert "SC none (the reference is silent)" in out


def test_every_argument_of_the_transform(run: Run, speech: np.ndarray) -> None:
    transform = MelTransform.preset(
        "paper",
        sr=16000,
        n_fft=512,
        hop_length=128,
        win_length=400,
        window="hamming",
        center=False,
        pad_mode="reflect",
        pad=192,
        n_mels=40,
        fmin=50,
        fmax=7000,
        htk=True,
        norm=None,
        power=2,
        compression={"unit": "power_db", "floor": 1e-8, "range": 70.0, "ref": 2.0},  # type: ignore[arg-type]
    )
    np.save("mel.npy", transform(speech))
    given = (
        "--sr 16000 --n-fft 512 --hop-length 128 --win-length 400 --window hamming --no-center "
        "--pad-mode reflect --pad 192 --n-mels 40 --fmin 50 --fmax 7000 --htk --norm none "
        "--power 2 --compression power_db --floor 1e-8 --range 70 --ref 2 --n-iter 60"
    )
    code, out, _ = run("mel.npy", "out.wav", *given.split())
    assert code == 0
    assert float(out.split("SCM ")[1].split()[0]) < -25


@pytest.mark.slow
def test_from_and_to_standard_streams(mel: np.ndarray, tmp_path: Path) -> None:
    command = ["invert", "-", "-", "--preset", "hifigan", "--n-iter", "5"]
    data = (tmp_path / "mel.npy").read_bytes()
    done = melexp(*command, input=data)
    assert done.returncode == 0
    y, sr = soundfile.read(io.BytesIO(done.stdout))
    assert sr == 22050
    assert len(y) == 43 * 256
    assert b"SCM" in done.stderr
    done = melexp(*command, input=data[:-9])
    assert done.returncode == 2
    assert done.stdout == b""
    assert done.stderr.count(b"\n") == 1


def test_method_seed_and_parameters(run: Run, mel: np.ndarray) -> None:
    def sound(*arguments: object) -> bytes:
        assert run("mel.npy", "out.wav", "--preset", "hifigan", *arguments)[0] == 0
        return Path("out.wav").read_bytes()

    random = ["--phase", "random"]
    assert sound(*random) == sound(*random)
    assert sound(*random) != sound(*random, "--seed", 1)
    assert sound() != sound("--set", "rho_x=0.5")
    assert sound() != sound("--method", "gla")


def test_the_start_is_that_of_both_methods(run: Run, mel: np.ndarray) -> None:
    def compared(*arguments: object) -> bytes:
        given = ["--preset", "hifigan", "--compare", "gla", *arguments]
        assert run("mel.npy", "out.wav", *given)[0] == 0
        return Path("out.gla.wav").read_bytes()

    assert compared("--phase", "zero") != compared("--phase", "random")
    assert compared("--set", "rho_x=0.5") == compared()
    code, out, _ = run(
        "mel.npy", "out.wav", "--preset", "hifigan", "--phase", "zero", "--compare", "librosa"
    )
    assert code == 0
    assert "librosa" in out


def test_it_says_when_a_log_mel_looks_linear(run: Run, speech: np.ndarray) -> None:
    np.save("mel.npy", MelTransform.preset("paper")(speech))
    _, out, _ = run("mel.npy", "out.wav", "--preset", "hifigan")
    assert "warning: the values do not look like ln of magnitude" in out
    assert "give --preset paper" in out


def test_scores_are_those_of_the_file(run: Run, speech: np.ndarray) -> None:
    """With its level, its clipping and its rounding; the front end stands in its comment."""
    soundfile.write("in.wav", 3 * speech, 22050, subtype="FLOAT")
    for subtype, peak in (("PCM_16", "keep"), ("PCM_U8", "auto"), ("PCM_16", "0.01")):
        arguments = ("in.wav", "out.wav", "--preset", "paper", "--subtype", subtype, "--peak", peak)
        _, out, _ = run(*arguments)
        printed = float(re.search(r"SC (-?\d+\.\d+) dB", out)[1])  # type: ignore[index]
        y, _ = soundfile.read("out.wav", dtype="float32")
        change = re.search(r"level changed by ([+-]\d+\.\d) dB", out)
        y = y / 10 ** (float(change[1]) / 20) if change else y
        found = score("sc", 3 * speech, y, transform=MelTransform.preset("paper")).value
        assert found == pytest.approx(printed, abs=0.1)
        assert "front end: sr 22050, n_fft 1024" in out
        with soundfile.SoundFile("out.wav") as file:
            assert "admm_ramp, 5 iterations, seed 0; front end: sr 22050" in file.comment


# --- The level --------------------------------------------------------------------------------


def test_a_loud_mel_does_not_clip(run: Run, mel: np.ndarray) -> None:
    np.save("loud.npy", mel + np.log(50).astype(np.float32))
    code, out, _ = run("loud.npy", "out.wav", "--preset", "hifigan")
    assert code == 0
    assert "level changed" in out
    y, _ = soundfile.read("out.wav", dtype="int16")
    assert np.abs(y.astype(int)).max() in (32766, 32767)


# --- Several files ----------------------------------------------------------------------------


def test_a_folder(run: Run, mel: np.ndarray) -> None:
    (Path("in") / "below").mkdir(parents=True)
    np.save("in/one.npy", mel)
    np.save("in/below/two.npy", mel[:, :20])
    Path("in/notes.txt").write_text("no mel")
    Path("in/bad.npy").write_bytes(b"")
    given = ["in", "out", "--preset", "hifigan", "--jobs", 1]
    code, out, err = run(*given)
    assert code == 2
    assert err.count("\n") == 1
    assert "bad.npy: the file is empty" in err
    assert "2 inverted, 0 there already, 1 refused" in out
    made = sorted(str(p) for p in Path("out").rglob("*") if p.is_file())
    assert made == ["out/below/two.wav", "out/one.wav"]
    stamp = Path("out/one.wav").stat().st_mtime_ns
    Path("in/bad.npy").unlink()
    code, out, err = run(*given)
    assert (code, err) == (0, "")
    assert "0 inverted, 2 there already, 0 refused" in out
    assert Path("out/one.wav").stat().st_mtime_ns == stamp
    code, out, _ = run("in/*.npy", "other", "--preset", "hifigan", "--format", "flac", "--quiet")
    assert (code, out) == (0, "")
    assert [p.name for p in Path("other").iterdir()] == ["one.flac"]


def test_two_inputs_for_one_output(run: Run, mel: np.ndarray) -> None:
    np.savez("mel.npz", mel)
    assert "two inputs" in refused(run, "mel.np?", "out", "--preset", "hifigan")
