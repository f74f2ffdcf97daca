"""Numbers in compiled code: arithmetic on them emits LLVM instructions.

A `Real` stands for a vector register of float32 numbers, one per lane, or for a single number,
which arithmetic with a vector broadcasts. A `Complex` is a pair of them. Both support ``+ - *``
with each other and with Python numbers. Code that uses only these and the functions below is
traced: Python runs it once, and the instructions that it emits are then compiled.
"""

import operator
from typing import Any, NamedTuple

from llvmlite import ir

from .compiling import CPU, LANES

F32, F64, I32, I64 = ir.FloatType(), ir.DoubleType(), ir.IntType(32), ir.IntType(64)
VECTOR = ir.VectorType(F32, LANES)
# Products may be fused with sums; infinity and NaN keep their meaning.
FLAGS = ("contract", "nsz")


def constant(kind, value):
    """Return a number as a constant of an LLVM type."""
    if isinstance(kind, ir.VectorType):
        return ir.Constant(kind, [float(value)] * kind.count)
    return ir.Constant(kind, float(value))


class Real:
    """A vector of float32 numbers, or one number."""

    __slots__ = ("builder", "value")

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def like(self, number):
        """Return a Python number as a constant of the same type."""
        return Real(self.builder, constant(self.value.type, number))

    def spread(self, kind=VECTOR):
        """Return a vector that repeats the number."""
        if isinstance(self.value.type, ir.VectorType):
            return self
        empty = ir.Constant(kind, ir.Undefined)
        first = self.builder.insert_element(empty, self.value, I32(0))
        order = ir.Constant(ir.VectorType(I32, kind.count), None)
        return Real(self.builder, self.builder.shuffle_vector(first, empty, order))

    def _apply(self, name, other, reverse=False):
        if isinstance(other, Complex):
            return NotImplemented
        x, y = _match(self, other if isinstance(other, Real) else self.like(other))
        x, y = (y, x) if reverse else (x, y)
        return Real(self.builder, getattr(self.builder, name)(x.value, y.value, flags=FLAGS))

    def __add__(self, other):
        return self._apply("fadd", other)

    def __sub__(self, other):
        return self._apply("fsub", other)

    def __mul__(self, other):
        return self._apply("fmul", other)

    def __truediv__(self, other):
        return self._apply("fdiv", other)

    def __rsub__(self, other):
        return self._apply("fsub", other, reverse=True)

    __radd__, __rmul__ = __add__, __mul__

    def compare(self, relation, other):
        """Return the truth of ``self relation other`` for single numbers."""
        other = other if isinstance(other, Real) else self.like(other)
        return self.builder.fcmp_ordered(relation, self.value, other.value)

    def integer(self):
        """Return the single number, rounded towards zero."""
        return Integer(self.builder, self.builder.fptosi(self.value, I64))


def _match(x, y):
    if x.value.type == y.value.type:
        return x, y
    return x.spread(y.value.type), y.spread(x.value.type)


class Integer:
    """An integer of 64 bits."""

    __slots__ = ("builder", "value")

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def _apply(self, name, other, reverse=False):
        x, y = self.value, number(other)
        x, y = (y, x) if reverse else (x, y)
        return Integer(self.builder, getattr(self.builder, name)(x, y))

    def __add__(self, other):
        return self._apply("add", other)

    def __sub__(self, other):
        return self._apply("sub", other)

    def __rsub__(self, other):
        return self._apply("sub", other, reverse=True)

    def __mul__(self, other):
        return self._apply("mul", other)

    def __floordiv__(self, other):
        """Divide numbers that are not negative."""
        return self._apply("udiv", other)

    def __mod__(self, other):
        """Return the remainder of numbers that are not negative."""
        return self._apply("urem", other)

    __radd__, __rmul__ = __add__, __mul__

    def __and__(self, other):
        return self._apply("and_", other)

    def __or__(self, other):
        return self._apply("or_", other)

    def __lshift__(self, other):
        return self._apply("shl", other)

    def __rshift__(self, other):
        return self._apply("ashr", other)

    def lowest_bit(self):
        """Return the index of the lowest set bit of a number that is not zero."""
        return Integer(self.builder, self.builder.cttz(self.value, ir.Constant(ir.IntType(1), 1)))

    def compare(self, relation, other):
        """Return the truth of ``self relation other``."""
        return self.builder.icmp_signed(relation, self.value, number(other))


def number(x):
    """Return the LLVM value of an integer or a Python integer."""
    return x.value if isinstance(x, Integer) else I64(int(x))


class Complex(NamedTuple):
    """A complex number: two of `Real`, or two Python numbers."""

    re: Any
    im: Any

    def __add__(self, other):
        return _by_parts(operator.add, self, other)

    def __sub__(self, other):
        return _by_parts(operator.sub, self, other)

    def __rsub__(self, other):
        return _by_parts(operator.sub, _complex(other), self)

    def __mul__(self, other):
        if isinstance(other, complex | Complex):
            a, b = self, _complex(other)
            return Complex(a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re)
        return Complex(self.re * other, self.im * other)

    __radd__, __rmul__ = __add__, __mul__


def _complex(x):
    if isinstance(x, complex):
        return Complex(x.real, x.imag)
    return x if isinstance(x, Complex) else Complex(x, 0.0)


def _by_parts(operation, x, y):
    y = _complex(y)
    return Complex(operation(x.re, y.re), operation(x.im, y.im))


def conj(z):
    """Return the complex conjugate."""
    return Complex(z.re, 0.0 - z.im)


def swap(z):
    """Exchange the real and the imaginary part."""
    return Complex(z.im, z.re)


def turn(z):
    """Multiply by -i."""
    return Complex(z.im, 0.0 - z.re)


# --- Functions of vectors ------------------------------------------------------------------------


def _intrinsic(x, name, *rest):
    """Call an LLVM function of a vector that returns a vector."""
    kind = ir.FunctionType(VECTOR, [VECTOR, *(c.type for c in rest)])
    function = x.builder.module.globals.get(name) or ir.Function(x.builder.module, kind, name)
    return Real(x.builder, x.builder.call(function, [x.value, *rest]))


def _estimate(x, name):
    """Call the processor's estimate of a function, or return None if it has none."""
    if LANES == 16 and CPU.get("avx512f"):
        mask = constant(VECTOR, 0), ir.IntType(16)(0xFFFF)
        return _intrinsic(x, f"llvm.x86.avx512.{name}14.ps.512", *mask)
    if LANES == 8 and CPU.get("avx"):
        return _intrinsic(x, f"llvm.x86.avx.{name}.ps.256")
    return None


def inverse_sqrt(x):
    """Return ``1 / sqrt(x)`` for x > 0, by the processor's estimate and one Newton step."""
    r = _estimate(x, "rsqrt")
    if r is None:
        return x.like(1) / _intrinsic(x, f"llvm.sqrt.v{LANES}f32")
    return r * (1.5 - x * 0.5 * r * r)


def root(x):
    """Return the square root of non-negative numbers, to within 1e-6."""
    return x * inverse_sqrt(x + 1e-36)


def near_inverse(x):
    """Return ``1 / x`` to within 4e-4."""
    r = _estimate(x, "rcp")
    return x.like(1) / x if r is None else r


def near_cube_root(x):
    """Return the cube root of non-negative numbers, to within 7 % (1e-13 for zero).

    Dividing the bits by 3, as an integer, approximately divides the logarithm by 3.
    """
    b, integers = x.builder, ir.VectorType(I32, LANES)
    third = Real(b, b.sitofp(b.bitcast(x.value, integers), VECTOR)) * (1 / 3) + 0x2A512400
    return Real(b, b.bitcast(b.fptosi(third.value, integers), VECTOR))


def where_positive(x, yes, no):
    """Return `yes` where ``x > 0``, and `no` elsewhere."""
    kind = x.value.type
    yes, no = (v if isinstance(v, Real) else x.like(v) for v in (yes, no))
    positive = x.builder.fcmp_ordered(">", x.value, constant(kind, 0))
    yes, no = (v.spread(kind).value for v in (yes, no))
    return Real(x.builder, x.builder.select(positive, yes, no))


def sum_lanes(x):
    """Return the sum of all lanes, float64."""
    b = x.builder
    numbers = b.fpext(x.value, ir.VectorType(F64, LANES))
    name = f"llvm.vector.reduce.fadd.v{LANES}f64"
    kind = ir.FunctionType(F64, [F64, numbers.type])
    reduce = b.module.globals.get(name) or ir.Function(b.module, kind, name)
    return Real(b, b.call(reduce, [F64(0.0), numbers], fastmath=("reassoc",)))


def _rotate(x, by):
    order = ir.Constant(ir.VectorType(I32, LANES), [(k - by) % LANES for k in range(LANES)])
    return Real(x.builder, x.builder.shuffle_vector(x.value, x.value, order))


def to_next_lane(x):
    """Move every number one lane up, the last number to the first lane."""
    return _rotate(x, 1)


def to_previous_lane(x):
    """Move every number one lane down, the first number to the last lane."""
    return _rotate(x, -1)
