"""Pictures of mels: the mapping of pixels, channels, what is refused, and the commands."""

import io
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from melexp import __main__ as cli
from melexp.files import pictures
from melexp.files.mels import read_input
from melexp.files.pictures import read_picture, write_picture
from melexp.transforms.mel import MelTransform

VALUES = np.random.default_rng(0).random((48, 31)).astype(np.float32)
WAYS = [{"inverted": a, "flipped": b} for a in (False, True) for b in (False, True)]

PRESET = """
sr: 22050
n_fft: 1024
hop_length: 256
n_mels: 80
fmax: 8000.0
power: 2.0
compression: {unit: power_db, floor: 1.0e-10, ref: max, range: 80.0, gain: 0.0125, offset: 1.0}
"""


def png(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


# --- Pixels -------------------------------------------------------------------------------------


def test_the_mapping_of_pixels() -> None:
    pixels = np.array([[0, 255], [51, 102], [204, 153]], np.uint8)  # the top row first
    plain = read_picture(png(pixels), inverted=False, flipped=False)
    np.testing.assert_allclose(plain, [[0, 1], [0.2, 0.4], [0.8, 0.6]], rtol=1e-6)
    assert plain.dtype == np.float32
    low_first = read_picture(png(pixels), inverted=False, flipped=True)
    np.testing.assert_array_equal(low_first, plain[::-1])
    black_on_white = read_picture(png(pixels), inverted=True, flipped=False)
    np.testing.assert_allclose(black_on_white, 1 - plain, atol=1e-7)
    fine = read_picture(png(pixels.astype(np.uint16) * 257), inverted=False, flipped=False)
    np.testing.assert_allclose(fine, plain, rtol=1e-6)


def test_audio_diffusion() -> None:
    """The bytes that diffusers' `Mel` makes of dB: row 0 is the highest band."""
    dB = -80 * VALUES
    stored = (((dB + 80) * 255 / 80).clip(0, 255) + 0.5).astype(np.uint8)[::-1]
    values = read_picture(png(stored), inverted=False, flipped=True)
    np.testing.assert_allclose((values - 1) * 80, dB, atol=80 / 510 + 1e-4)


@pytest.mark.parametrize("stereo", [False, True])
def test_riffusion(stereo: bool) -> None:
    """The pixels of Riffusion: values to the power 0.25, black on white, green and blue stereo."""
    mel = np.stack([VALUES, VALUES[:, ::-1]])[: 1 + stereo]
    data = (255 - 255 * (mel / mel.max()) ** 0.25).astype(np.uint8)
    if stereo:
        image = np.stack([0 * data[0], data[0], data[1]], axis=-1)
    else:
        image = np.stack([data[0]] * 3, axis=-1)
    values = read_picture(png(image[::-1]), inverted=True, flipped=True)
    assert values.shape == (mel.shape if stereo else mel.shape[1:])
    np.testing.assert_allclose(values, np.squeeze((mel / mel.max()) ** 0.25), atol=1.01 / 255)


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("stereo", [False, True])
def test_a_round_trip(way: dict[str, bool], bits: int, stereo: bool) -> None:
    mel = np.stack([VALUES, VALUES[:, ::-1]]) if stereo else VALUES
    if stereo and bits == 16:
        with pytest.raises(ValueError, match="--bits must be 8, or 16 for one channel"):
            write_picture(mel, bits=bits, **way)
        return
    found = read_picture(write_picture(mel, bits=bits, **way), **way)
    np.testing.assert_allclose(found, mel, atol=0.51 / (2**bits - 1))


def test_grey_that_a_model_or_jpeg_left() -> None:
    smooth = np.cumsum(np.cumsum(VALUES - 0.5, axis=0), axis=1)
    smooth = ((smooth - smooth.min()) / np.ptp(smooth) * 255).astype(np.uint8)
    noise = np.random.default_rng(1).integers(-3, 4, (*smooth.shape, 3))
    colours = np.clip(smooth[..., None] + noise, 0, 255).astype(np.uint8)
    for data in (png(colours), png(smooth, "JPEG", quality=95)):
        values = read_picture(data, inverted=False, flipped=False)
        assert np.abs(values - smooth / 255).mean() < 0.02


# --- Refused ------------------------------------------------------------------------------------


def refused(data: bytes) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        read_picture(data, inverted=False, flipped=True)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_pictures_that_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import colormaps

    coloured = (colormaps["viridis"](VALUES)[..., :3] * 255).astype(np.uint8)
    assert "colour map" in refused(png(coloured))
    grey = (VALUES * 255).astype(np.uint8)
    seen_through = np.dstack([grey, grey, grey, grey])
    assert "transparent" in refused(png(seen_through))
    opaque = np.dstack([grey, grey, grey, 0 * grey + 255])
    np.testing.assert_allclose(
        read_picture(png(opaque), inverted=False, flipped=False), grey / 255, rtol=1e-6
    )
    monkeypatch.setattr(pictures, "LARGEST", 1000)
    assert "more than 1000 pixels" in refused(png(grey))


def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    head = png(np.zeros((2, 2), np.uint8))
    for size, depth in (
        (2**14, b"\x08\0"),
        (2**16, b"\x08\0"),
        (2**31 - 1, b"\x08\0"),
        (2**12 + 1, b"\x08\2"),  # in colour
        (2**12 + 1, b"\x08\6"),  # and with transparency
    ):
        chunk = b"IHDR" + size.to_bytes(4, "big") * 2 + depth + head[26:29]
        crc = zlib.crc32(chunk).to_bytes(4, "big")
        assert "more than" in refused(head[:12] + chunk + crc + head[33:])


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_damaged_pictures(kind: str) -> None:
    data, rng = png((VALUES * 255).astype(np.uint8), kind), np.random.default_rng(0)
    for keep in (0.9, 0.5, 0.1):
        assert "corrupt or truncated" in refused(data[: int(keep * len(data))])
    for _ in range(200):
        damaged = bytearray(data)
        for at in rng.integers(len(data), size=3):
            damaged[at] = rng.integers(256)
        try:
            values = read_picture(bytes(damaged), inverted=False, flipped=True)
        except ValueError as error:
            message = str(error)
        else:
            message, finite = "", np.isfinite(values).all()
            assert finite
        assert "\n" not in message


def test_values_beyond_a_picture_are_refused() -> None:
    for wrong in (VALUES + 0.1, VALUES - 0.1, VALUES * np.nan):
        with pytest.raises(ValueError, match="but a picture holds 0 to 1"):
            write_picture(wrong, inverted=False, flipped=True)
    with pytest.raises(ValueError, match="1 or 2 channels; the mel has 3"):
        write_picture(np.stack([VALUES] * 3), inverted=False, flipped=True)
    near = write_picture(VALUES * 1.005, inverted=False, flipped=True)
    assert read_picture(near, inverted=False, flipped=True).max() <= 1


# --- The presets and the commands ---------------------------------------------------------------


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs `melexp` in a folder with presets of pictures."""
    folder = tmp_path / "mine" / "conf" / "mel"
    folder.mkdir(parents=True)
    (folder / "pictured.yaml").write_text(PRESET + "picture: {}\n")
    (folder / "negative.yaml").write_text(PRESET + "picture: {inverted: true, flipped: false}\n")
    (folder / "bare.yaml").write_text(PRESET)
    monkeypatch.setenv("MELEXP_PATH", str(tmp_path / "mine"))
    monkeypatch.chdir(tmp_path)

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["melexp", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return command


Run = Callable[..., tuple[int, str, str]]


def test_the_settings_of_a_preset(run: Run) -> None:
    assert MelTransform.preset_picture("pictured") == {"inverted": False, "flipped": True}
    assert MelTransform.preset_picture("negative") == {"inverted": True, "flipped": False}
    assert MelTransform.preset_picture("hifigan") == {}
    assert MelTransform.preset("pictured") == MelTransform.preset("bare")


@pytest.mark.parametrize("preset", ["pictured", "negative"])
def test_a_picture_is_inverted(run: Run, speech: np.ndarray, preset: str) -> None:
    soundfile.write("speech.wav", speech, 22050)
    code, out, err = run("picture", "speech.wav", "mel.png", "--preset", preset)
    assert (code, err) == (0, "")
    assert out == "mel.png: 87 x 80 pixels\n"
    code, out, err = run("invert", "mel.png", "out.wav", "--preset", preset, "--n-iter", 60)
    assert (code, err) == (0, "")
    assert float(out.split("SCM ")[1].split()[0]) < -22
    y, sr = soundfile.read("out.wav", dtype="float32")
    assert np.abs(y).max() == pytest.approx(0.9, abs=1e-3)
    assert sr == 22050
    transform = MelTransform.preset("paper")
    given, made = transform(speech), transform(y)
    given, made = given / given.max(), made[:, : given.shape[1]] / made.max()
    assert 20 * np.log10(np.linalg.norm(given - made) / np.linalg.norm(given)) < -20


def test_a_picture_has_the_pixels_of_its_mel(run: Run, speech: np.ndarray) -> None:
    mel = MelTransform.preset("pictured")(speech)
    np.save("mel.npy", mel.T)
    code, _, _ = run("picture", "mel.npy", "mel.png", "--preset", "pictured", "--bits", 16)
    assert code == 0
    pixels = np.asarray(Image.open("mel.png"))
    np.testing.assert_allclose(pixels[::-1] / 65535, mel, atol=1e-5)


def test_the_channels_of_a_picture(run: Run, speech: np.ndarray) -> None:
    soundfile.write("stereo.wav", np.stack([speech, 0.1 * speech[::-1]], axis=1), 22050)
    assert run("picture", "stereo.wav", "mel.png", "--preset", "pictured")[0] == 0
    assert np.asarray(Image.open("mel.png")).shape == (80, 87, 3)
    code, out, _ = run("invert", "mel.png", "out.wav", "--preset", "pictured", "--n-iter", 20)
    assert code == 0
    assert "2 channels" in out
    left, right = soundfile.read("out.wav")[0].T
    assert np.std(right) / np.std(left) == pytest.approx(0.1, rel=0.1)


def test_without_a_preset_of_pictures(run: Run, speech: np.ndarray) -> None:
    Path("mel.png").write_bytes(write_picture(VALUES, inverted=False, flipped=True))
    before = set(Path().iterdir())
    for more in ([], ["--preset", "bare"], ["--n-mels", 48]):
        code, out, err = run("invert", "mel.png", "out.wav", *more)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "--preset" in err
        assert "pictured" in err
    code, _, err = run("invert", "mel.png", "out.wav", "--preset", "pictured")
    assert code == 2
    assert "mel has shape (48, 31), but there must be n_mels = 80 bands" in err
    for given in (["mel.png", "out.png", "--preset", "bare"], ["none.npy", "x.png"],
                  ["mel.png", "out.jpg", "--preset", "pictured"],
                  ["none.npy", "out.png", "--preset", "pictured"]):  # fmt: skip
        code, out, err = run("picture", *given)
        assert (code, out, err.count("\n")) == (2, "", 1)
    assert set(Path().iterdir()) == before
    with pytest.raises(ValueError, match="--preset"):
        read_input(Path("mel.png").read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["audio_diffusion", "riffusion"])
def test_the_presets_of_pictures(run: Run, speech: np.ndarray, preset: str) -> None:
    if preset not in MelTransform.presets():
        pytest.skip(f"there is no preset {preset}")
    soundfile.write("speech.wav", speech, 22050)
    assert run("picture", "speech.wav", "mel.png", "--preset", preset)[0] == 0
    shape = np.asarray(Image.open("mel.png")).shape
    assert shape[0] == MelTransform.preset(preset).n_mels
    code, out, _ = run("invert", "mel.png", "out.wav", "--preset", preset, "--n-iter", 20)
    assert code == 0
    assert float(out.split("SCM ")[1].split()[0]) < -15
