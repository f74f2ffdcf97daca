"""The frames of a mel stream: read and checked one by one, then started for the iteration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from melexp.methods import Binwise
from melexp.problem import LARGEST_NEGATIVE, density_of, envelope_of, unusable
from melexp.start import MAGNITUDES
from melexp.start.magnitude import magnitude_of
from melexp.start.pghi import gaussian_width
from melexp.start.phase import window_delay
from melexp.transforms.filters import MelFilters
from melexp.transforms.mel import MelTransform
from melexp.transforms.stft import STFT

#: Number of frames whose largest values are the level of a stream.
RECENT = 40
#: Smallest normal number of float32.
TINY = np.finfo(np.float32).tiny
#: Phases of a new frame: predicted from the frame before (pghi), random or zero.
PHASES = ("pghi", "random", "zero")
#: Bins below this share of the largest recent magnitude get a random phase.
_FAINT = 1e-3
#: Smallest magnitude in a logarithm, relative to the largest recent one.
_FLOOR = 1e-9
#: A concealed frame is the frame before at this level: -3 dB.
_FADE = 0.7


# --- Read -----------------------------------------------------------------------------------


class Read(NamedTuple):
    """Linear frames of one call and what the reader keeps of them.

    Attributes
    ----------
    mels : np.ndarray [shape=(n_frames, n_streams, n_mels), float64, non-negative]
    bounds : np.ndarray [shape=(n_frames, n_streams, n_mels), bool]
        True where the floor of the compression hides the value and `mels` is an upper bound.
    largest : np.ndarray [shape=(n_streams,), float64]
        Largest compressed value so far, before gain and offset.
    last : np.ndarray [shape=(n_streams, n_mels), float64]
        The last frame.
    concealed : int
        Number of bad frames that were replaced.
    """

    mels: np.ndarray
    bounds: np.ndarray
    largest: np.ndarray
    last: np.ndarray
    concealed: int


def read_frames(
    frames: np.ndarray,
    transform: MelTransform,
    *,
    first: int,
    largest: np.ndarray,
    last: np.ndarray,
    conceal: bool,
) -> Read:
    """Expand and check frames; each by itself, so that the cuts between calls do not matter.

    Parameters
    ----------
    frames : np.ndarray [shape=(n_streams, n_mels, n_frames)]
        As the transform makes them.
    transform : MelTransform
    first : int >= 0
        Number of the first frame, for messages.
    largest, last : np.ndarray
        See `Read`; of the frames before.
    conceal : bool
        Replace bad frames by the frame before, 3 dB lower.

    Raises
    ------
    ValueError
        If a frame is bad and not concealed.
    """
    n_streams, _, n_frames = frames.shape
    largest, last, concealed = largest.copy(), last.copy(), 0
    mels = np.zeros((n_frames, n_streams, transform.n_mels))
    bounds = np.zeros(mels.shape, bool)
    for t in range(n_frames):
        for stream in range(n_streams):
            frame = frames[stream, :, t : t + 1]
            try:
                mel, bound, top = _linear(frame, transform, largest[stream], last[stream])
            except ValueError as error:
                if not conceal:
                    place = f"frame {first + t}" + (f" of stream {stream}" if stream else "")
                    raise ValueError(
                        f"{place}: {error}; repair it, or replace bad frames with conceal=True"
                    ) from error
                mel, bound, top = _FADE**transform.power * last[stream], False, largest[stream]
                concealed += 1
            largest[stream], last[stream] = top, mel
            mels[t, stream], bounds[t, stream] = mel, bound
    return Read(mels, bounds, largest, last, concealed)


def _linear(
    frame: np.ndarray, transform: MelTransform, largest: float, last: np.ndarray
) -> tuple[np.ndarray, Any, float]:
    """Return a frame as a linear mel, its bounds, and the largest value so far."""
    if count := np.count_nonzero(unusable(frame, transform)):
        raise ValueError(f"it has {count} values that are NaN or infinite")
    compression = transform.compression
    bound: Any = False
    if compression is not None:
        if compression.range is None:
            mel, floored = compression.expand(frame)
        else:  # only the frames so far are known
            gain, offset = float(compression.gain), float(compression.offset)
            top = frame.max() if gain > 0 else frame.min()
            largest = max(largest, (float(top) - offset) / gain)
            mel, floored = compression.expand(frame, largest=gain * largest + offset)
        bound = False if floored is None else floored[:, 0]
    else:
        mel = frame.astype(np.float64)
    mel = mel[:, 0]
    if mel.min() < 0:
        size = max(np.linalg.norm(mel), np.linalg.norm(last))
        if np.linalg.norm(np.minimum(mel, 0)) > LARGEST_NEGATIVE * size:
            raise ValueError(
                f"it has negative values (least: {mel.min():.3g}), so it is not linear: give its "
                "compression"
            )
        mel = np.maximum(mel, 0)
    return mel, bound, largest


# --- Start ----------------------------------------------------------------------------------


@dataclass(eq=False)
class OneFrame:
    """One frame of each stream, with what the starts and methods use of `melexp.Problem`.

    Arrays have shape ``(rows, n_streams)``.
    """

    transform: MelTransform
    stft: STFT
    mel: np.ndarray
    envelope: np.ndarray | None = None

    @property
    def dtype(self) -> Any:
        return np.dtype(np.float32)

    @property
    def filters(self) -> MelFilters:
        return self.transform.filters(self.dtype)


class Started(NamedTuple):
    """Arrays of a new frame; see `StreamState`."""

    C: list[np.ndarray]
    R: list[np.ndarray]
    F: list[np.ndarray]
    below: np.ndarray
    pivot: np.ndarray


def solver_arrays(solver: Any, n_mels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the sub-diagonal of L, ending with 0, and D [shape=(1 or n_streams, n_mels)].

    Without a solver they are those of the identity.
    """
    if solver is None:
        return np.zeros((1, n_mels), np.float32), np.ones((1, n_mels), np.float32)
    low, inv_d = solver.factors
    return low.T.reshape(-1, n_mels), 1 / inv_d.T


class Starter:
    """Start a new frame from its mel and the frame before it.

    The phase continues that of the frame before by the gradient in time that the magnitude implies
    (:func:`melexp.start.pghi`), as the real-time variant of PGHI does.

    Parameters
    ----------
    transform : MelTransform
    method : Binwise
    seed : int >= 0
        Seed of the random phases, which are the same in all streams.

    References
    ----------
    Z. Průša and P. L. Søndergaard, "Real-time spectrogram inversion using phase gradient heap
    integration", DAFx 2016.
    """

    def __init__(self, transform: MelTransform, method: Binwise[Any], seed: int) -> None:
        self._transform, self._method, self._seed = transform, method, seed
        n_fft, hop = transform.n_fft, transform.hop_length
        self._stft = transform.stft(n_fft)  # of any length: its window is used
        window = self._stft.window
        bins = np.arange(n_fft // 2 + 1)
        self._advance = (2 * np.pi / n_fft * (hop * bins % n_fft)).astype(np.float32)
        self._first = (-window_delay(window) * bins % (2 * np.pi)).astype(np.float32)
        self._of_slope = np.float32(hop * n_fft / gaussian_width(window))
        self.bins = method.bins(self.problem(np.zeros((0, 0), np.float32)))
        self._solver: tuple[Any, Any] = (None, None)  # the last one, and its arrays

    def problem(self, mel: np.ndarray) -> Any:
        return OneFrame(self._transform, self._stft, mel)

    def start(
        self,
        mel: np.ndarray,
        *,
        number: int,
        before: np.ndarray,
        slope: np.ndarray,
        recent: np.ndarray,
        unit: np.ndarray,
    ) -> Started:
        """Return the arrays of a new frame; update `slope` and, in its last column, `recent`.

        Parameters
        ----------
        mel : np.ndarray [shape=(n_streams, n_mels), float32]
            The linear mel in the stream's unit.
        number : int >= 0
            Number of the frame.
        before : np.ndarray [shape=(n_streams, n_bins), complex]
            Spectrum of the frame before.
        slope : np.ndarray [shape=(n_streams, n_bins)]
            Derivative of the log magnitude of the frame before along the bins.
        recent : np.ndarray [shape=(3, n_streams, RECENT or more)]
            Largest mel, magnitude and density of the last frames, as magnitudes.
        unit : np.ndarray [shape=(n_streams,)]
            Magnitude that the stream's arrays count as 1.
        """
        method, power = self._method, self._transform.power
        Y = self._magnitude(mel)
        recent[1, :, -1] = Y.max(axis=1) * unit
        top = (recent[1].max(axis=1) / unit).astype(np.float32)[:, None]
        angle = self._angle(Y, top, number, before, slope)
        X = np.empty(Y.shape, np.complex64)
        np.multiply(Y, np.cos(angle), out=X.real)  # faster than the complex exponential
        np.multiply(Y, np.sin(angle), out=X.imag)
        problem = self.problem(mel.T)
        if self.bins.fits_mel and power != 1:
            # One by one: a product of matrices rounds differently for another number of streams.
            columns = [density_of(row[:, None], self._transform) for row in mel]
            density = np.concatenate(columns, axis=1)
            recent[2, :, -1] = density.max(axis=0) ** (1 / power) * unit
            peak = (recent[2].max(axis=1) / unit) ** power
            problem.envelope = envelope_of(density, peak, power).astype(np.float32)
        state = method.begin(problem, Y, X)
        fixed = method.fixed(problem, state)
        solver = method.mel_solver(problem)
        last, arrays = self._solver
        if arrays is None or solver is not last:
            arrays = solver_arrays(solver, mel.shape[1])
            self._solver = solver, arrays
        below, pivot = arrays
        return Started(
            [getattr(state, name) for name in self.bins.complex],
            [getattr(state, name) for name in self.bins.real],
            [f.T if f is problem.envelope else f for f in fixed],
            below,
            pivot,
        )

    def _magnitude(self, mel: np.ndarray) -> np.ndarray:
        """Return the initial magnitude [shape=(n_streams, n_bins)]."""
        peak = mel.max(axis=1)
        # Each frame by itself, with a maximum of 1. Denormal numbers count as silence.
        audible = peak >= TINY
        unit = np.divide(1, peak, out=np.zeros_like(peak), where=audible)
        problem = self.problem(np.ascontiguousarray((mel * unit[:, None]).T))
        spectrum = MAGNITUDES[self._method.magnitude](problem)
        Y = magnitude_of(spectrum * peak, self._transform.power)
        return np.ascontiguousarray(Y.T)

    def _angle(
        self, Y: np.ndarray, top: np.ndarray, number: int, before: np.ndarray, slope: np.ndarray
    ) -> np.ndarray:
        """Return the initial phase [shape=(n_streams, n_bins)]; update `slope`."""
        phase = self._method.phase
        if phase == "zero":
            return np.zeros_like(Y)
        chance = np.random.default_rng([self._seed, number]).random(Y.shape[1], np.float32)
        chance *= np.float32(2 * np.pi)
        if phase == "random":
            return np.broadcast_to(chance, Y.shape)
        log = np.log(np.maximum(Y, np.maximum(np.float32(_FLOOR) * top, TINY)))
        old = slope.copy()
        slope[:, 1:-1] = (log[:, 2:] - log[:, :-2]) / 2
        slope[:, 0], slope[:, -1] = log[:, 1] - log[:, 0], log[:, -1] - log[:, -2]
        if number == 0:
            angle = np.broadcast_to(self._first, Y.shape)
        else:
            angle = np.angle(before) + self._advance + self._of_slope * (old + slope) / 2
        return np.where(np.float32(_FAINT) * top < Y, angle, chance)
