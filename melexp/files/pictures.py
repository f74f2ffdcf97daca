"""Read and write pictures of mel-spectrograms: a pixel per band and frame."""

from __future__ import annotations

import io
import warnings

import numpy as np

from melexp.errors import one_line
from melexp.files.array_files import Refused
from melexp.transforms.mel import MelTransform

#: Largest number of pixels, checked before they are unpacked: 22 minutes of 512 bands at 10 ms, and
#: a quarter of it in colour, which takes more memory.
LARGEST, LARGEST_COLOURED = 2**26, 2**24
#: Distance of pixels up to which they count as equal: what a model or JPEG leaves, of 255.
_NEAR = 8
#: Part of the range 0 to 1 by which a value may be outside; it is clipped.
_BEYOND = 0.01


def is_picture(data: bytes) -> bool:
    """Return whether the content is a PNG or a JPEG."""
    return data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"))


def picture_settings(preset: str | None) -> dict[str, bool]:
    """Return the arguments of `read_picture` and `write_picture` for a preset.

    Raises
    ------
    Refused
        If no preset is given, or one that does not say how pixels become values of the mel.
    """
    settings = {} if preset is None else MelTransform.preset_picture(preset)
    if not settings:
        known = [name for name in MelTransform.presets() if MelTransform.preset_picture(name)]
        named = " or ".join(known or ["audio_diffusion", "riffusion"])
        raise Refused(
            "a picture needs a preset that says how its pixels map to the mel"
            + (f", which {preset} does not" if preset else "")
            + f"; give --preset {named}"
        )
    return settings


def read_picture(data: bytes, *, inverted: bool, flipped: bool) -> np.ndarray:
    """Read a picture of a mel-spectrogram.

    Parameters
    ----------
    data : bytes
        A PNG with 8 or 16 bits, or a JPEG. It is grey; or red is empty, and green and blue hold
        the left and the right channel.
    inverted : bool
        White is 0 and black is 1.
    flipped : bool
        The highest band is on top.

    Returns
    -------
    values : np.ndarray [shape=(n_mels, n_frames) or (2, n_mels, n_frames), float32]
        In the range 0 to 1; the lowest band first.

    Raises
    ------
    Refused
        If the picture is corrupt, larger than `LARGEST` or `LARGEST_COLOURED`, in colour or
        transparent.
    """
    try:
        pixels, largest = _pixels(data)
    except Refused:
        raise
    except Exception as error:  # a corrupt picture raises any error of its reader
        raise Refused(f"the picture is corrupt or truncated ({one_line(error)})") from error
    values = np.moveaxis(pixels.astype(np.float32) / largest, -1, 0)
    if flipped:
        values = values[:, ::-1]
    if inverted:
        values = 1 - values
    return np.ascontiguousarray(values[0] if len(values) == 1 else values)


def _pixels(data: bytes) -> tuple[np.ndarray, int]:
    """Return the pixels [shape=(height, width, 1 or 2)] and the largest value they could have."""
    from PIL import Image  # here, because it is rarely needed

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            picture = Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large() from error
    grey = picture.mode in ("1", "L") or picture.mode.startswith("I")
    if picture.width * picture.height > (LARGEST if grey else LARGEST_COLOURED):
        raise _too_large()
    if picture.mode.startswith("I"):
        return np.asarray(picture)[..., None], 2**16 - 1
    if grey:
        return np.asarray(picture.convert("L"))[..., None], 255
    colours = np.asarray(picture.convert("RGBA")).astype(np.int16)
    if colours[..., 3].min() < 255:
        raise Refused("the picture is transparent in parts; save it without transparency")
    red, green, blue = (colours[..., k] for k in range(3))
    apart = max(np.abs(red - green).mean(), np.abs(blue - green).mean())
    if apart <= _NEAR:
        return colours[..., :3].mean(axis=-1, dtype=np.float32)[..., None], 255
    if red.mean() <= _NEAR:
        return colours[..., 1:3], 255
    raise Refused(
        "the picture is in colour: its values cannot be told from a colour map; save the values "
        "themselves in grey"
    )


def _too_large() -> Refused:
    return Refused(
        f"the picture has more than {LARGEST} pixels, or {LARGEST_COLOURED} in colour; split it"
    )


def write_picture(mel: np.ndarray, *, inverted: bool, flipped: bool, bits: int = 8) -> bytes:
    """Return a mel-spectrogram as a PNG, which `read_picture` reads.

    Parameters
    ----------
    mel : np.ndarray [shape=(n_mels, n_frames) or (2, n_mels, n_frames)]
        Values from 0 to 1.
    inverted, flipped : bool
        As in `read_picture`.
    bits : 8 or 16
        Bits of a pixel; 16 for a single channel only.

    Raises
    ------
    ValueError
        If values lie outside 0 to 1 by more than 0.01, or for another number of bits or channels.
    """
    from PIL import Image

    if bits not in (8, 16) or (bits == 16 and mel.ndim == 3):
        raise ValueError(f"--bits must be 8, or 16 for one channel; got {bits}")
    if mel.ndim == 3 and len(mel) != 2:
        raise ValueError(f"a picture holds 1 or 2 channels; the mel has {len(mel)}")
    if not (mel.min() >= -_BEYOND and mel.max() <= 1 + _BEYOND):
        raise ValueError(
            f"mel has values from {mel.min():.4g} to {mel.max():.4g}, but a picture holds 0 to 1; "
            "give the mel as the preset makes it"
        )
    values = np.clip(1 - mel if inverted else mel, 0, 1)[..., :: -1 if flipped else 1, :]
    largest = 2**bits - 1
    pixels = np.rint(values.astype(np.float64) * largest).astype(f"uint{bits}")
    if pixels.ndim == 3:
        pixels = np.stack([np.zeros_like(pixels[0]), *pixels], axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
