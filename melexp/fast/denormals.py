"""Count denormal numbers as zero while code of another library runs."""

import platform
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
    modes = np.zeros(2, np.int32)  # the mode before, and the new one
    _read_mode()(modes)
    modes[1] = modes[0] | FLUSH
    _write_mode()(modes[1:])
    try:
        yield
    finally:
        _write_mode()(modes)


@cache
def _read_mode():
    return kernel(_call, ShortIntegers, key="read", name="llvm.x86.sse.stmxcsr")


@cache
def _write_mode():
    return kernel(_call, ShortIntegers, key="write", name="llvm.x86.sse.ldmxcsr")


def _call(trace, mode, *, name):
    """Call an LLVM function of a pointer to the mode."""
    pointer = trace.builder.inttoptr(mode.address, ir.IntType(8).as_pointer())
    kind = ir.FunctionType(ir.VoidType(), [pointer.type])
    trace.builder.call(ir.Function(trace.builder.module, kind, name), [pointer])
