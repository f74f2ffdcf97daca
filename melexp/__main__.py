"""The command ``melexp``; also ``python -m melexp``."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

import typer

from melexp.commands import app
from melexp.errors import one_line, printable
from melexp.runs.interrupts import Stopped, ignore_signals, raise_if_stopped, stop_on_signals

#: The base of all errors of usage; typer exports the class derived from it only.
_UsageError: Any = typer.BadParameter.__base__


def main() -> None:
    """Run the command line: exit code 2 and one line for a usage error or bad input."""
    open_streams()
    stop_on_signals()
    try:
        try:
            sys.exit(_status())
        except Exception:
            raise_if_stopped()
            raise
    except Stopped as signal:
        ignore_signals()
        print("melexp: stopped", file=sys.stderr)
        sys.exit(signal.status)
    finally:
        ignore_signals()  # let the interpreter shut down


def open_streams() -> None:
    """Open the null device in place of closed standard streams; print any file name.

    Otherwise the next file that is opened would become the standard output.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)  # the least free number
            os.dup2(null, number, inheritable=True)
            if null != number:
                os.close(null)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may not be valid UTF-8


def _status() -> int:
    """Run the command line; return its exit code."""
    if "_MELEXP_COMPLETE" in os.environ:  # a shell asks for completions
        app(prog_name="melexp")
    command = typer.main.get_command(app)
    try:
        # command.main() would turn a signal into an Abort.
        with command.make_context("melexp", sys.argv[1:]) as context:
            result = command.invoke(context)
            sys.stdout.flush()  # here, so that a closed pipe is noticed
    except typer.Exit as error:
        return error.exit_code
    except _UsageError as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error.format_message())
            return 0
        path = error.ctx.command_path if error.ctx else "melexp"
        message = one_line(error.format_message()).rstrip(".")
        print(f"melexp: {message}; see {path} --help", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of a pipe has ended, such as `melexp data list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except RuntimeError as error:
        if "no locator available" not in str(error):  # of numba
            raise
        print("melexp: compiled code has no folder; set NUMBA_CACHE_DIR to one", file=sys.stderr)
        return 2
    except (OverflowError, MemoryError) as error:
        is_number = isinstance(error, OverflowError)
        what = "a number is too large" if is_number else "there is too little memory"
        remedy = "use a smaller one" if is_number else "give less at once"
        print(f"melexp: {what} ({one_line(error)}); {remedy}", file=sys.stderr)
        return 2
    except (ValueError, OSError) as error:
        print(f"melexp: {printable(str(error))}", file=sys.stderr)
        from melexp.results.records import DamagedFile

        if isinstance(error, DamagedFile):
            print("run melexp doctor: it moves corrupt files aside", file=sys.stderr)
        return 2
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    main()
