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
#: A second signal within this many seconds is a forwarded copy and is ignored.
_SAME = 1.0

_last = -_SAME
_wanted: int | None = None


class Stopped(KeyboardInterrupt):
    """A signal that asks the process to end.

    Parameters
    ----------
    number : int
        Number of the signal.

    Attributes
    ----------
    status : int
        Exit code as of a shell: 130 after Ctrl-C, 143 after SIGTERM.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def stop_on_signals() -> None:
    """Raise `Stopped` when SIGINT or SIGTERM arrives."""
    for number in _SIGNALS:
        signal.signal(number, _stop)


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM, so that the command can finish its last writes."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def raise_if_stopped() -> None:
    """Raise `Stopped` again if a signal has arrived.

    An exception raised in a ``finally`` block replaces the first `Stopped`, so it may be lost.
    """
    if _wanted is not None:
        raise Stopped(_wanted)


@contextmanager
def sigint_blocked_in_children() -> Iterator[None]:
    """Block SIGINT in child processes started in this context; the parent terminates them.

    A terminal sends Ctrl-C to every process, and each child would print a traceback.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # started later, it would unblock SIGINT
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:  # a signal that arrived in the context is delivered here
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(number: int, frame: FrameType | None) -> None:
    global _last, _wanted
    before, _last, _wanted = _last, time.monotonic(), number
    if _last - before >= _SAME:
        raise Stopped(number)
