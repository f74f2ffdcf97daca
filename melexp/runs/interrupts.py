"""SIGINT and SIGTERM end a command promptly, with finished work kept."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds in which a further signal is the same wish, passed on by another process; one that comes
#: later is raised again.
_SAME = 1.0

_last = -_SAME
_wanted: int | None = None


class Stopped(KeyboardInterrupt):
    """A signal that asks to end.

    Parameters
    ----------
    number : int
        Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        #: The exit code, as of a shell: 130 after Ctrl-C, 143 after SIGTERM.
        self.status = 128 + number


def stop_on_signals() -> None:
    """Let each of these signals raise `Stopped`."""
    for number in _SIGNALS:
        signal.signal(number, _stop)


def ignore_signals() -> None:
    """Let none of them cut short what ends the command in order."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def stop_if_wanted() -> None:
    """Raise `Stopped` again if a signal has come.

    The first may have been swallowed: an exception in a ``finally`` that it ran through takes its
    place.
    """
    if _wanted is not None:
        raise Stopped(_wanted)


@contextmanager
def deaf_children() -> Iterator[None]:
    """Let the processes that are started meanwhile not hear Ctrl-C, which this one ends.

    A terminal sends it to all of them, and each would print where it was.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # or it is started meanwhile, and unblocks it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:  # what has come meanwhile comes here now
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(number: int, frame: FrameType | None) -> None:
    global _last, _wanted
    before, _last, _wanted = _last, time.monotonic(), number
    if _last - before >= _SAME:
        raise Stopped(number)
