"""What metrics derive from a waveform, computed once and kept."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")


class Shelf:
    """Results of functions of a waveform, found again by the content of the waveform.

    The least recently used results are dropped first. Threads may share a shelf.

    Parameters
    ----------
    largest : int
        Bytes of arrays that are kept. A larger result is not kept.
    items : int > 0 or None
        Number of results that are kept; None for any number.
    """

    def __init__(self, *, largest: int, items: int | None = None) -> None:
        self._largest, self._items = largest, items
        self._held: OrderedDict[Any, tuple[Any, int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def of(self, function: Callable[..., T], signal: np.ndarray, *given: Any) -> T:
        """Return ``function(signal, *given)``: an array or a tuple of arrays, not to be written.

        Parameters
        ----------
        function : callable
            Its result depends on its arguments alone.
        signal : np.ndarray [shape=(n_samples,)]
        *given
            Hashable arguments.
        """
        content = hashlib.sha256(np.ascontiguousarray(signal).data).digest()
        key = (function, content, signal.dtype.str, *given)
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                found: T = self._held[key][0]
                return found
        result = function(signal, *given)
        arrays: Any = result if isinstance(result, tuple) else (result,)
        size = sum(array.nbytes for array in arrays)
        for array in arrays:
            array.setflags(write=False)
        if size <= self._largest:
            with self._lock:
                self._put(key, result, size)
        return result

    def _put(self, key: Any, result: Any, size: int) -> None:
        if key in self._held:  # another thread has computed it meanwhile
            return
        self._held[key] = result, size
        self._size += size
        while self._size > self._largest or len(self._held) > (self._items or len(self._held)):
            _, (_, dropped) = self._held.popitem(last=False)
            self._size -= dropped


#: Of references: they are scored against at every checkpoint of every method of a process.
REFERENCES = Shelf(largest=2**28)
#: Of the latest estimate: metrics of one spectrogram are computed one after the other.
ESTIMATE = Shelf(largest=2**28, items=1)
