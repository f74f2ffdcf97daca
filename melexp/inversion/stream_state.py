"""What a mel stream keeps between two calls."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from melexp.methods import Bins
from melexp.transforms.mel import MelTransform


class Guard:
    """Let one call at a time change a stream, and remember a change that did not end."""

    def __init__(self) -> None:
        self._lock, self._is_broken = threading.Lock(), False

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Refuse what another call does meanwhile.

        Raises
        ------
        RuntimeError
            If another thread is within a call.
        """
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("another thread uses this stream; use a stream for each thread")
        try:
            yield
        finally:
            self._lock.release()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Mark a change, which an exception such as that of Ctrl-C may interrupt.

        Raises
        ------
        RuntimeError
            If a change before did not end.
        """
        self.check()
        self._is_broken = True
        yield
        self._is_broken = False

    def check(self) -> None:
        """Raise RuntimeError if a change did not end."""
        if self._is_broken:
            raise RuntimeError("a call of this stream was interrupted; reset() begins again")

    def repair(self) -> None:
        """Forget a change that did not end, as the state is replaced."""
        self._is_broken = False


@dataclass
class StreamState:
    """All that a stream keeps between two calls.

    Arrays of frames have `capacity` places in the window, of which the first `n_window` are used.
    Signals and spectra are in units of ``2**exponent``, a power of two near the level of the last
    frames.
    """

    lead: np.ndarray  # leading shape of the frames
    n_read: int  # frames read
    n_window: int  # frames in the window
    committed: int  # samples of the padded signal that are final
    concealed: int  # bad frames that were replaced
    ages: np.ndarray  # (capacity,), iterations done on each frame
    exponent: np.ndarray  # (n_streams,)
    recent: np.ndarray  # (3, n_streams, n_recent), see `Starter.start`
    largest: np.ndarray  # (n_streams,), see `Read`
    last: np.ndarray  # (n_streams, n_mels), see `Read`
    slope: np.ndarray  # (n_streams, n_bins), see `Starter.start`
    mel: np.ndarray  # (n_streams, capacity, n_mels)
    bound: np.ndarray  # ... whether `mel` is an upper bound
    below: np.ndarray  # ... solver of the mel step, see `solve_tridiagonal`
    pivot: np.ndarray
    C: np.ndarray  # (n_arrays, n_streams, capacity, n_bins): complex arrays of the method
    R: np.ndarray  # ... real arrays
    F: np.ndarray  # ... fixed arrays
    x: np.ndarray  # (n_streams, length), the signal from the first frame of the window on
    memory: np.ndarray  # (n_streams, 1), of the de-emphasis filter

    @classmethod
    def blank(
        cls,
        lead: tuple[int, ...],
        transform: MelTransform,
        bins: Bins,
        *,
        capacity: int,
        n_recent: int,
        length: int,
        committed: int,
    ) -> StreamState:
        """Return the state before the first frame."""
        n, n_bins = int(np.prod(lead, dtype=int)), transform.n_fft // 2 + 1
        of_mels, of_bins = (n, capacity, transform.n_mels), (n, capacity, n_bins)
        n_fixed = len(bins.fixed) or int(bins.fits_mel and transform.power != 1)
        return cls(
            lead=np.array(lead, np.int64),
            n_read=0,
            n_window=0,
            committed=committed,
            concealed=0,
            ages=np.zeros(capacity, np.int64),
            exponent=np.zeros(n, np.int64),
            recent=np.zeros((3, n, n_recent)),
            largest=np.full(n, -np.inf),
            last=np.zeros((n, transform.n_mels)),
            slope=np.zeros((n, n_bins), np.float32),
            mel=np.zeros(of_mels, np.float32),
            bound=np.zeros(of_mels, bool),
            below=np.zeros(of_mels, np.float32),
            pivot=np.ones(of_mels, np.float32),
            C=np.zeros((len(bins.complex), *of_bins), np.complex64),
            R=np.zeros((len(bins.real), *of_bins), np.float32),
            F=np.zeros((n_fixed, *of_bins), np.float32),
            x=np.zeros((n, length), np.float32),
            memory=np.zeros((n, 1)),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return copies of all fields by name."""
        return {f.name: np.array(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def filled(self, arrays: Mapping[str, np.ndarray]) -> StreamState:
        """Return the state of `arrays`; raise ValueError if they are not shaped like this one."""
        missing = {f.name for f in dataclasses.fields(self)} - set(arrays)
        if missing:
            raise ValueError(
                f"the state has no {', '.join(sorted(missing))}; it is of another kind"
            )
        values: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            own, value = np.asarray(getattr(self, field.name)), np.asarray(arrays[field.name])
            if value.shape != own.shape or value.dtype != own.dtype:
                raise ValueError(
                    f"{field.name} of the state is {value.dtype} of shape {value.shape}, expected "
                    f"{own.dtype} of {own.shape}; give it to a stream with the same arguments"
                )
            is_number = isinstance(getattr(self, field.name), int)
            values[field.name] = int(value) if is_number else value.copy()
        return StreamState(**values)

    def follow_level(self, power: float, *, fits_mel: bool) -> None:
        """Let the unit of each stream follow the level of its last frames."""
        peak = self.recent[0].max(axis=1)
        exponent = np.where(peak > 0, np.frexp(peak)[1], self.exponent)
        if (exponent == self.exponent).all():
            return
        # Real arrays of a method that fits the mel are in its power; those of others magnitudes.
        real, fixed = (power, 2 * power - 2) if fits_mel else (1, 1)
        # In steps whose powers are finite in float32; a larger change goes on with the next frame.
        limit = int(126 / max(1, power, real, fixed))
        change = np.clip(self.exponent - exponent, -limit, limit)
        self.exponent = (self.exponent - change).astype(np.int64)
        factor = np.ldexp(1.0, change)
        kinds = ((self.C, 1), (self.R, real), (self.F, fixed))
        for arrays, degree in kinds:
            arrays *= (factor**degree).astype(np.float32)[:, None, None]
        self.mel *= (factor**power).astype(np.float32)[:, None, None]
        self.x *= factor.astype(np.float32)[:, None]
        if len(self.F) and fits_mel:  # the envelope is a factor of the system
            self.pivot *= (factor**fixed).astype(np.float32)[:, None, None]
            np.maximum(self.pivot, np.finfo(np.float32).tiny, out=self.pivot)  # it is divided by

    def drop(self, n: int, hop_length: int) -> None:
        """Remove the first `n` frames of the window."""
        if n == 0:
            return
        for array in (self.mel, self.bound, self.below, self.pivot):
            array[:, :-n] = array[:, n:]
        for array in (self.C, self.R, self.F):
            array[:, :, :-n] = array[:, :, n:]
        self.ages[:-n] = self.ages[n:]
        shift = n * hop_length
        self.x[:, :-shift] = self.x[:, shift:]
        self.x[:, -shift:] = 0
        self.n_window -= n
