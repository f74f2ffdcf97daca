"""Count denormal numbers as zero while code of another library runs."""

import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import numpy as np
from llvmlite import ir

from .memory import ShortIntegers
from .tracing import kernel

#: Bits of the register MXCSR: results (15) and operands (6) that are denormal become zero.
FLUSH = 1 << 15 | 1 << 6


@contextmanager
def flushed() -> Iterator[None]:
    """Let float32 and float64 numbers below the normal range be zero, in this thread.

    Arithmetic on such numbers is slow on many processors, and recursive filters make them in
    silence. Nothing changes on processors other than x86.
    """
    if platform.machine().lower() not in ("x86_64", "amd64"):
        yield
        return
    mode, read, write = _register()
    read()
    before = int(mode[0])
    mode[0] = before | FLUSH
    write()
    try:
        yield
    finally:
        mode[0] = before
        write()


_KEPT = threading.local()


def _register():
    """Return one number of this thread, and functions that read and write the register there."""
    if not hasattr(_KEPT, "register"):
        mode = np.zeros(1, np.int32)
        read, write = (function.bind(mode) for function in _kernels())
        _KEPT.register = mode, read, write
    return _KEPT.register


@cache
def _kernels():
    return tuple(
        kernel(_call, ShortIntegers, key=key, name=f"llvm.x86.sse.{name}")
        for key, name in (("read", "stmxcsr"), ("write", "ldmxcsr"))
    )


def _call(trace, mode, *, name):
    """Call an LLVM function of a pointer to the mode."""
    pointer = trace.builder.inttoptr(mode.address, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [pointer.type])
    trace.builder.call(ir.Function(trace.builder.module, kind, name), [pointer])
