"""The network of the shipped prior: its input and its output, in NumPy.

The network works on patches of `PATCH` bins by one frame. Every layer but the last is a 3 x 3
convolution of patches. A block adds to its input a convolution that is dilated along
frequency, followed by ReLU and a pointwise layer. The output has
`N_OUT` values for each bin. ``tools/prior`` trains it.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import scipy.ndimage

from melexp.problem import Problem, density_of
from melexp.start.harmonics import Combs
from melexp.transforms.mel import MelTransform

#: Bins in a patch.
PATCH = 4
#: Frames on either side whose energies set the level of a frame.
AROUND = 8
#: Lower limit of magnitudes relative to the level.
FLOOR = 1e-5
#: Values of a bin that the network takes and returns.
N_PLANES, N_OUT = 9, 4
#: Patches that a convolution treats at a time, which stay in the cache.
_CHUNK = 2048


def static_planes(transform: MelTransform) -> np.ndarray:
    """Return the inputs that describe the front end [shape=(N_PLANES - 3, n_bins), float32].

    They are the width of the bin's mel bands in bins, its frequency, its distance from the next
    bin in Hz, the overlap of the windows, the exponent of the mel, and whether a band has the bin.
    All are of the order of 1.
    """
    E = transform.basis
    rows, squares = E.sum(axis=1), (E**2).sum(axis=1)
    widths = np.divide(rows**2, squares, out=np.ones_like(rows), where=squares > 0)
    columns = E.sum(axis=0)
    width = np.divide(widths @ E, columns, out=np.ones_like(columns), where=columns > 0)
    spacing = transform.sr / transform.n_fft
    frequency = spacing * np.arange(E.shape[1])
    length = transform.win_length or transform.n_fft
    one = np.ones(E.shape[1])
    values = (
        np.log2(width) / 2 - 1,
        np.log2(1 + frequency / 700) / 2 - 1,
        one * np.log2(spacing / 20),
        one * (np.log2(length / transform.hop_length) - 2),
        one * (transform.power - 1),
        columns > 0,
    )
    return np.stack(values).astype(np.float32)


_STATIC: WeakKeyDictionary[Any, tuple[np.ndarray, Combs]] = WeakKeyDictionary()


def level_of(A: np.ndarray) -> np.ndarray:
    """Return the level of each frame: the largest norm of the frames around [shape=(n_frames,)]."""
    energy = np.sqrt(np.einsum("ft,ft->t", A, A) / len(A))
    level = scipy.ndimage.maximum_filter1d(energy, 2 * AROUND + 1, mode="nearest")
    return np.maximum(level, np.finfo(A.dtype).tiny ** 0.5)


def planes(problem: Problem, A: np.ndarray) -> np.ndarray:
    """Return the input of the network [shape=(N_PLANES, n_bins, n_frames), float32].

    The planes are the logarithm of the magnitude and of its mean over the mel bands, the comb of
    the harmonics, and those of `static_planes`.

    Parameters
    ----------
    problem : Problem
    A : np.ndarray [shape=(n_bins, n_frames)], non-negative
        The magnitude to correct.
    """
    if problem.filters not in _STATIC:
        transform = problem.transform
        _STATIC[problem.filters] = static_planes(transform), Combs.of(transform)
    static, combs = _STATIC[problem.filters]
    level = level_of(A)
    out = np.empty((N_PLANES, *A.shape), np.float32)
    density = density_of(problem.mel, problem.transform).astype(np.float32)
    smooth = density ** np.float32(1 / problem.transform.power)
    for plane, values in zip(out, (A, smooth), strict=False):
        np.divide(values, level, out=plane)
        plane += FLOOR
        np.log(plane, out=plane)
        plane += 4
        plane *= np.float32(1 / 3)
    out[2] = combs.expected(A, smooth, level)
    out[3:] = static[:, :, None]
    return out


def forward(weights: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Return the output of the network [shape=(N_OUT, n_bins, n_frames), float32].

    Parameters
    ----------
    weights : dict
        Arrays by name: ``stem``, ``blocks.<n>.conv``, ``blocks.<n>.out`` and ``head``, each with
        ``.weight`` and ``.bias``, and ``dilations``.
    x : np.ndarray [shape=(N_PLANES, n_bins, n_frames), float32]
        From `planes`.
    """
    n_planes, n_bins, n_frames = x.shape
    n_patches = -(-n_bins // PATCH)
    h = np.zeros((n_frames, n_patches, n_planes, PATCH), np.float32)
    for g in range(PATCH):
        h[:, : len(x[0, g::PATCH]), :, g] = x[:, g::PATCH].transpose(2, 1, 0)
    h = _convolve(weights, "stem", h.reshape(n_frames, n_patches, -1), 1)
    for n, dilation in enumerate(weights["dilations"]):
        wide = _convolve(weights, f"blocks.{n}.conv", h, int(dilation))
        np.maximum(wide, 0, out=wide)
        h += _pointwise(weights, f"blocks.{n}.out", wide)
    out = _pointwise(weights, "head", h).reshape(n_frames, n_patches, N_OUT, PATCH)
    result = np.empty((N_OUT, n_patches, PATCH, n_frames), np.float32)
    result[...] = out.transpose(2, 1, 3, 0)
    return result.reshape(N_OUT, -1, n_frames)[:, :n_bins]


def _pointwise(weights: dict[str, np.ndarray], name: str, h: np.ndarray) -> np.ndarray:
    W = weights[f"{name}.weight"]
    out = h.reshape(-1, h.shape[-1]) @ W.reshape(len(W), -1).T + weights[f"{name}.bias"]
    return out.reshape(*h.shape[:-1], len(W))


def _convolve(
    weights: dict[str, np.ndarray], name: str, h: np.ndarray, dilation: int
) -> np.ndarray:
    """Apply a 3 x 3 convolution [shape=(n_frames, n_patches, n_channels)], zero beyond the ends."""
    n_frames, n_patches, n_channels = h.shape
    W, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    # Rows in the order of the columns below: along frequency, along time, channels.
    W = np.ascontiguousarray(W.transpose(2, 3, 1, 0)).reshape(-1, len(W))
    padded = np.pad(h, ((1, 1), (dilation, dilation), (0, 0)))
    step = max(_CHUNK // n_patches, 1)
    out = np.empty((n_frames, n_patches, W.shape[1]), np.float32)
    columns = np.empty((step, n_patches, 9, n_channels), np.float32)
    for t in range(0, n_frames, step):
        n = min(step, n_frames - t)
        for k in range(9):
            f = k // 3 * dilation
            columns[:n, :, k] = padded[t + k % 3 : t + k % 3 + n, f : f + n_patches]
        flat = columns[:n].reshape(n * n_patches, -1)
        np.dot(flat, W, out=out[t : t + n].reshape(n * n_patches, -1))
        out[t : t + n] += bias
    return out
