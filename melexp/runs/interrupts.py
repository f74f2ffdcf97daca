"""SIGINT, SIGTERM and SIGHUP end a command promptly, with finished work kept."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from types import FrameType

_HANGUP = getattr(signal, "SIGHUP", None)  # Windows has none
_SIGNALS = (signal.SIGINT, signal.SIGTERM, *([_HANGUP] if _HANGUP else []))
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
        Exit code as of a shell: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number


def stop_on_signals() -> None:
    """Raise `Stopped` when a signal arrives; SIGHUP stays ignored under nohup."""
    for number in _SIGNALS:
        if number != _HANGUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)


def ignore_signals() -> None:
    """Ignore these signals, so that the command can finish its last writes."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def raise_if_stopped() -> None:
    """Raise `Stopped` again if a signal has arrived.

    An exception raised in a ``finally`` block replaces the first `Stopped`, so it may be lost.
    """
    if _wanted is not None:
        raise Stopped(_wanted)


@contextmanager
def signals_blocked_in_children() -> Iterator[None]:
    """Block SIGINT and SIGHUP in child processes started in this context.

    A terminal sends them to every process. Each child would print a traceback, or die before the
    parent has written its results. The parent terminates the children.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # started later, it would unblock SIGINT
    before = signal.pthread_sigmask(
        signal.SIG_BLOCK, {signal.SIGINT, *([_HANGUP] if _HANGUP else [])}
    )
    try:
        yield
    finally:  # a signal that arrived in the context is delivered here
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_terminal() -> None:
    """Send what is still printed to the null device: writing to a closed terminal fails."""
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        with suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(null, stream)
    os.close(null)


def _stop(number: int, frame: FrameType | None) -> None:
    global _last, _wanted
    if number == _HANGUP:
        _leave_terminal()
    before, _last, _wanted = _last, time.monotonic(), number
    if _last - before >= _SAME:
        raise Stopped(number)
