"""Arrays in compiled code.

An index counts rows in memory order: numbers, or vectors. It is not checked.
"""

from math import prod

import numpy as np
from llvmlite import ir

from .compiling import LANES
from .lanes import F32, F64, I32, I64, Complex, Integer, Real, constant, number


class Memory:
    """An array that begins at an address."""

    element = F32
    dtypes = np.dtype(np.float32), np.dtype(np.complex64)  # the first is that of the element
    width = 1  # numbers of a row

    def __init__(self, builder, address):
        self.builder, self.address = builder, address

    @property
    def row(self):
        """The LLVM type of a row."""
        return self.element if self.width == 1 else ir.VectorType(self.element, self.width)

    @property
    def _bytes(self):
        return self.dtypes[0].itemsize * self.width

    def at(self, index):
        """Return the array that begins at an index."""
        begin = Integer(self.builder, self.address) + index * self._bytes
        return type(self)(self.builder, begin.value)

    def _pointer(self, index, kind):
        base = self.builder.inttoptr(self.address, self.element.as_pointer())
        pointer = self.builder.gep(base, [number(index * self.width)])
        return self.builder.bitcast(pointer, kind.as_pointer())

    def _load(self, index):
        return self.builder.load(self._pointer(index, self.row), align=self._bytes)

    def _store(self, index, value):
        self.builder.store(value, self._pointer(index, self.row), align=self._bytes)


class _Reals(Memory):
    def __getitem__(self, index):
        return Real(self.builder, self._load(index))

    def __setitem__(self, index, x):
        if not isinstance(x, Real):
            x = Real(self.builder, constant(self.row, x))
        self._store(index, x.value if self.width == 1 else x.spread(self.row).value)

    def complex(self, index):
        """Return the complex number in rows ``2 index`` and ``2 index + 1``."""
        return Complex(self[index * 2], self[index * 2 + 1])

    def put(self, index, z):
        """Write a complex number to rows ``2 index`` and ``2 index + 1``."""
        self[index * 2], self[index * 2 + 1] = z

    def prefetch(self, row):
        """Prefetch a row for writing; it may lie past the end of the array."""
        pointer = self._pointer(row, ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
        module, name = self.builder.module, "llvm.prefetch.p0"
        function = module.globals.get(name) or ir.Function(module, kind, name)
        self.builder.call(function, [pointer, I32(1), I32(2), I32(1)])  # to write, level 2, data


class Floats(_Reals):
    """float32 numbers; complex64 ones are pairs."""


class Doubles(_Reals):
    """float64 numbers."""

    element, dtypes = F64, (np.dtype(np.float64),)


class Rows(_Reals):
    """Aligned vectors: an array of shape (..., LANES), float32."""

    width = LANES

    def numbers(self):
        """Return the array of the single numbers."""
        return Floats(self.builder, self.address)


class DoubleRows(_Reals):
    """Aligned vectors of the same size: an array of shape (..., LANES // 2), float64."""

    element, dtypes, width = F64, (np.dtype(np.float64),), LANES // 2


class Integers(Memory):
    """int64 numbers."""

    element, dtypes = I64, (np.dtype(np.int64),)

    def __getitem__(self, index):
        return Integer(self.builder, self._load(index))

    def __setitem__(self, index, x):
        self._store(index, number(x))

    def add_atomic(self, increment):
        """Add to the first number, sequentially consistent, and return the sum."""
        b, pointer = self.builder, self._pointer(0, I64)
        return Integer(b, b.atomic_rmw("add", pointer, I64(increment), "seq_cst")) + increment


class ShortIntegers(Integers):
    """int32 numbers."""

    element, dtypes = I32, (np.dtype(np.int32),)

    def __getitem__(self, index):
        return Integer(self.builder, self.builder.sext(self._load(index), I64))

    def __setitem__(self, index, x):
        self._store(index, self.builder.trunc(number(x), I32))


def aligned(*shape, dtype=np.float32):
    """Return zeros for `Rows` or `DoubleRows`, aligned to cache lines; a row is the last axis."""
    size = prod(shape) * np.dtype(dtype).itemsize
    raw = np.zeros(size + 64, np.uint8)
    start = -raw.__array_interface__["data"][0] % 64
    return raw[start : start + size].view(dtype).reshape(shape)
