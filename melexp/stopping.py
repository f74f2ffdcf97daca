"""Ctrl-C and SIGTERM end a command alike: promptly, and with what is done kept."""

from __future__ import annotations

import signal
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


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


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)
