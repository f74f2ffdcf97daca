"""The methods: what each keeps of a frame's bins, and how an iteration changes it.

A method is a named tuple of arrays and the functions `source`, `prepare` and `step`, see at the
end; `knobs` makes the scalars of each iteration from its parameters.

Spectra have shape ``(rows, slots, 2, LANES)``, magnitudes ``(rows, slots, LANES)``, mel spectra
``(rows, n_mels, LANES)``.  `slot` counts slots from the first row, `k` within the row.
"""

from typing import NamedTuple

import numpy as np
from numba.extending import overload

from .compiling import INLINE, inline
from .lanes import (
    cload,
    cstore,
    divide,
    full,
    inverse_sqrt,
    load,
    near_cube_root,
    pair,
    prefetch,
    root,
    store,
    where_positive,
)


class Mel(NamedTuple):
    """A filter bank whose bins lie in two adjacent filters, k and k + 1, at most."""

    starts: np.ndarray  # the bins of filter k (as lower one) are starts[k] to starts[k + 1] - 1 in
    members: np.ndarray  # ... their slots
    lower: np.ndarray  # ... their weights in filter k
    upper: np.ndarray  # ... and in filter k + 1
    band: np.ndarray  # k of each slot
    low: np.ndarray  # weights of each slot
    high: np.ndarray
    below: np.ndarray  # (n_mels + 1,): E E^T + c I = L D L^T, L has ones and this below them
    pivot: np.ndarray  # 1 / D


class Work(NamedTuple):
    """Room for one frame."""

    buffer: np.ndarray  # its transform
    magnitude: np.ndarray  # (slots, LANES)
    mel: np.ndarray  # (n_mels + 1, LANES)


@inline
def filter_rows(mel, values, start, out):
    """``out = E v`` for the magnitudes v that begin at row `start` of `values`."""
    carry = full(0.0)
    for k in range(len(mel.pivot)):
        total, carry = carry, full(0.0)
        for i in range(mel.starts[k], mel.starts[k + 1]):
            value = load(values, start + mel.members[i])
            total = total + value * mel.lower[i]
            carry = carry + value * mel.upper[i]
        store(out, k, total)


@inline
def spread(mel, values, k):
    """One bin of ``E^T v``."""
    band = mel.band[k]
    return load(values, band) * mel.low[k] + load(values, band + 1) * mel.high[k]


@inline
def residual(M, free, k, value):
    """``M - value`` in row k, but where M is only an upper bound at most zero."""
    error = load(M, k) - value
    return where_positive(error, error * load(free, k), error)


@inline
def polar(z):
    """Magnitude and phase; the phase of zero is 1."""
    square = z.re * z.re + z.im * z.im
    scale = inverse_sqrt(square + np.float32(1e-36))
    return square * scale, pair(where_positive(square, z.re * scale, full(1.0)), z.im * scale)


@inline
def _take(array, slot, mel):
    """A magnitude; also fetches that of the next frame."""
    prefetch(array, slot + len(mel.band))
    return load(array, slot)


@inline
def _ctake(array, slot, mel):
    """A bin of a spectrum; also fetches that of the next frame."""
    prefetch(array, 2 * (slot + len(mel.band)))
    prefetch(array, 2 * (slot + len(mel.band)) + 1)
    return cload(array, slot)


class Spectrum(NamedTuple):
    """A spectrogram to be made a signal."""

    X: np.ndarray

    @staticmethod
    def source(state, knobs, slot):
        return cload(state.X, slot)


class Admm(NamedTuple):
    """ADMM in Douglas-Rachford form: P = X + U, R = Y + V."""

    P: np.ndarray
    R: np.ndarray
    M: np.ndarray
    free: np.ndarray  # of M's shape: 0 where M is only an upper bound, else 1

    @staticmethod
    def knobs(rho1, rho2):
        """Factors of w and z in y, of z and w in x, and of z in x where y < 0."""
        q = 1 / (rho1 + rho2 + rho1 * rho2)
        return q * (1 + rho1) * rho2, q * rho1, q * (1 + rho2) * rho1, q * rho2, rho1 / (1 + rho1)

    @staticmethod
    def source(state, knobs, slot):
        return cload(state.P, slot)

    @staticmethod
    def prepare(state, mel, work, knobs, row):
        """Solve ``(E E^T + c I) s = M - E R``: a recursion up the filters, another one down."""
        n_mels = len(mel.pivot)
        filter_rows(mel, state.R, row * len(mel.band), work.mel)
        s = full(0.0)
        for k in range(n_mels):
            error = residual(state.M, state.free, row * n_mels + k, load(work.mel, k))
            s = error - s * mel.below[k]
            store(work.mel, k, s)
        s = full(0.0)
        for k in range(n_mels - 1, -1, -1):
            s = load(work.mel, k) * mel.pivot[k] - s * mel.below[k + 1]
            store(work.mel, k, s)

    @staticmethod
    def step(state, mel, work, knobs, k, slot, z):
        yw, yz, xz, xw, x0 = knobs
        p, r, d = _ctake(state.P, slot, mel), _take(state.R, slot, mel), spread(mel, work.mel, k)
        size, phase = polar(z + z - p)
        w = r + d + d
        y = w * yw + size * yz
        x = where_positive(y, size * xz + w * xw, size * x0)
        p = p + phase * x - z
        cstore(state.P, slot, p)
        store(state.R, slot, where_positive(y, y, full(0.0)) - d)
        return p


class AdmmPower(NamedTuple):
    """`Admm` for power mels: R = Y + V are powers, compared relative to an envelope S."""

    P: np.ndarray
    R: np.ndarray
    M: np.ndarray
    free: np.ndarray
    S: np.ndarray  # of R's shape
    below: np.ndarray  # of M's shape: E S E^T + c E S = L D L^T, below the ones of L
    pivot: np.ndarray  # 1 / D

    @staticmethod
    def knobs(rho1, rho2):
        """``q / (z S)`` of the cubic, and factors of b and of z in x."""
        return rho1 / (2 * (1 + rho1) * rho2), 1 / (1 + rho1), rho1 / (1 + rho1)

    @staticmethod
    def source(state, knobs, slot):
        return cload(state.P, slot)

    @staticmethod
    def prepare(state, mel, work, knobs, row):
        """Solve ``(E S E^T + c E S) s = M - E R``."""
        n_mels = len(mel.pivot)
        filter_rows(mel, state.R, row * len(mel.band), work.mel)
        s, below = full(0.0), full(0.0)
        for k in range(n_mels):
            at = row * n_mels + k
            s = residual(state.M, state.free, at, load(work.mel, k)) - s * below
            below = load(state.below, at)
            store(work.mel, k, s)
        s = full(0.0)
        for k in range(n_mels - 1, -1, -1):
            at = row * n_mels + k
            s = load(work.mel, k) * load(state.pivot, at) - s * load(state.below, at)
            store(work.mel, k, s)

    @staticmethod
    def step(state, mel, work, knobs, k, slot, z):
        p, r, S = _ctake(state.P, slot, mel), _take(state.R, slot, mel), load(state.S, slot)
        d = S * spread(mel, work.mel, k)
        size, phase = polar(z + z - p)
        h = S * knobs[0]
        b = cubic_root(h - (r + d + d), h * size)
        p = p + phase * (b * knobs[1] + size * knobs[2]) - z
        cstore(state.P, slot, p)
        store(state.R, slot, b * b - d)
        return p


@inline
def cubic_root(p, q):
    """The root b >= 0 of ``b^3 + p b = q``, q >= 0: see `melexp.prox.power_pair`.

    Halley's steps, which for a convex function are as safe as Newton's and fewer.
    """
    b = root(where_positive(p, full(0.0), full(0.0) - p)) + near_cube_root(q)
    for _ in range(5):
        square = b * b
        f, slope = b * (square + p) - q, square * np.float32(3.0) + p
        step = divide(f * slope, slope * slope - b * f * np.float32(3.0) + np.float32(1e-36))
        b = where_positive(b - step, b - step, full(0.0))
    return b


class AdmmGla(NamedTuple):
    """ADMM for the phase alone, magnitude A: P = X + U."""

    P: np.ndarray
    A: np.ndarray

    @staticmethod
    def knobs(rho):
        """Shares of P and of the projection in Z."""
        return rho / (1 + rho), 1 / (1 + rho)

    @staticmethod
    def source(state, knobs, slot):
        return cload(state.P, slot)

    @staticmethod
    def prepare(state, mel, work, knobs, row):
        pass

    @staticmethod
    def step(state, mel, work, knobs, k, slot, z):
        p = _ctake(state.P, slot, mel)
        z = p * knobs[0] + z * knobs[1]
        p = p - z + polar(z + z - p)[1] * _take(state.A, slot, mel)
        cstore(state.P, slot, p)
        return p


class Gla(NamedTuple):
    """Fast Griffin-Lim, magnitude A; dX is the last change of X."""

    X: np.ndarray
    dX: np.ndarray
    A: np.ndarray

    @staticmethod
    def knobs(momentum):
        """Momentum now and at the next iteration."""
        return momentum, np.append(momentum[1:], momentum[-1:])

    @staticmethod
    def source(state, knobs, slot):
        x = cload(state.X, slot) + cload(state.dX, slot) * knobs[0]
        return polar(x)[1] * load(state.A, slot)

    @staticmethod
    def prepare(state, mel, work, knobs, row):
        pass

    @staticmethod
    def step(state, mel, work, knobs, k, slot, z):
        d = z - _ctake(state.X, slot, mel)
        cstore(state.X, slot, z)
        cstore(state.dX, slot, d)
        return polar(z + d * knobs[1])[1] * _take(state.A, slot, mel)


class Ipalm(NamedTuple):
    """Inertial PALM; dX and dY are the last changes of X and Y."""

    X: np.ndarray
    dX: np.ndarray
    Y: np.ndarray
    dY: np.ndarray
    M: np.ndarray
    free: np.ndarray

    @staticmethod
    def knobs(inertia, lam, norm):
        """Inertia now and at the next iteration, 1/L and lam/L."""
        scale = 1 / (1 + lam * norm**2)
        return inertia, np.append(inertia[1:], inertia[-1:]), scale, lam * scale

    @staticmethod
    def source(state, knobs, slot):
        x = cload(state.X, slot) + cload(state.dX, slot) * knobs[0]
        return polar(x)[1] * load(state.Y, slot)

    @staticmethod
    def prepare(state, mel, work, knobs, row):
        """Y~ and lam/L (M - E Y~)."""
        n_mels, slots = len(mel.pivot), len(mel.band)
        for k in range(slots):
            y = load(state.Y, row * slots + k) + load(state.dY, row * slots + k) * knobs[0]
            store(work.magnitude, k, y)
        filter_rows(mel, work.magnitude, 0, work.mel)
        for k in range(n_mels):
            error = residual(state.M, state.free, row * n_mels + k, load(work.mel, k))
            store(work.mel, k, error * knobs[3])

    @staticmethod
    def step(state, mel, work, knobs, k, slot, z):
        d = z - _ctake(state.X, slot, mel)
        cstore(state.X, slot, z)
        cstore(state.dX, slot, d)
        ahead, old = load(work.magnitude, k), _take(state.Y, slot, mel)
        y = ahead + (polar(z)[0] - ahead) * knobs[2] + spread(mel, work.mel, k)
        y = where_positive(y, y, full(0.0))
        prefetch(state.dY, slot + len(mel.band))
        store(state.dY, slot, y - old)
        store(state.Y, slot, y)
        return polar(z + d * knobs[1])[1] * y


def source(state, knobs, slot):
    """The bin in `slot` of what the next signal is made of."""


def prepare(state, mel, work, knobs, row):
    """What must precede the bins of a frame."""


def step(state, mel, work, knobs, k, slot, z):
    """Update a bin, given its projection `z`; returns its new source."""


# In a kernel these are the functions of the method that it is compiled for.


@overload(source, jit_options=INLINE)
def _source(state, knobs, slot):
    return state.instance_class.source


@overload(prepare, jit_options=INLINE)
def _prepare(state, mel, work, knobs, row):
    return state.instance_class.prepare


@overload(step, jit_options=INLINE)
def _step(state, mel, work, knobs, k, slot, z):
    return state.instance_class.step
