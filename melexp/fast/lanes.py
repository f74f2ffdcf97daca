"""Vectors of lanes as numba values: one register of float32 numbers, two for complex numbers.

In jitted code these vectors support ``+ - *`` with each other and with scalars, which are
broadcast. `load` and `store` access one row of an aligned array of shape ``(..., LANES)``. `cload`
and `cstore` access two rows: real part and imaginary part. An index counts rows, or pairs of rows,
in memory order; it is not checked.
"""

import operator
import os

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import (
    intrinsic,
    lower_builtin,
    make_attribute_wrapper,
    models,
    register_model,
    type_callable,
    types,
)

from .compiling import CPU, LANES, inline

_F32, _I32 = ir.FloatType(), ir.IntType(32)
_VECTOR = ir.VectorType(_F32, LANES)
# Products may be fused with sums; infinity and NaN keep their meaning.
_FLAGS = ("contract", "nsz")


class _Real(types.Type):
    def __init__(self):
        super().__init__(name=f"real x {LANES}")


class _Complex(types.Type):
    def __init__(self):
        super().__init__(name=f"complex x {LANES}")


_REAL, _COMPLEX = _Real(), _Complex()


@register_model(_Real)
class _RealModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VECTOR)


@register_model(_Complex)
class _ComplexModel(models.StructModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, [("re", _REAL), ("im", _REAL)])


make_attribute_wrapper(_Complex, "re", "re")
make_attribute_wrapper(_Complex, "im", "im")


# Arithmetic. The functions below emit LLVM code; `None` means no imaginary part.


def _constant(value):
    return ir.Constant(_VECTOR, [float(value)] * LANES)


def _broadcast(context, builder, value, kind):
    scalar = context.cast(builder, value, kind, types.float32)
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(undefined, scalar, _I32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, LANES), None))


def _parts(context, builder, value, kind):
    """Return the real and imaginary part of any operand, as vectors."""
    if kind == _REAL:
        return value, None
    if kind == _COMPLEX:
        return builder.extract_value(value, 0), builder.extract_value(value, 1)
    if isinstance(kind, types.Complex):
        scalar, part = context.make_complex(builder, kind, value), kind.underlying_float
        return tuple(_broadcast(context, builder, x, part) for x in (scalar.real, scalar.imag))
    return _broadcast(context, builder, value, kind), None


def _pair(context, builder, re, im):
    value = ir.Constant(context.get_value_type(_COMPLEX), ir.Undefined)
    return builder.insert_value(builder.insert_value(value, re, 0), im, 1)


def _sum(operation):
    def lower(context, builder, signature, args):
        (a, ai), (b, bi) = (
            _parts(context, builder, *x) for x in zip(args, signature.args, strict=True)
        )
        add = getattr(builder, operation)
        re = add(a, b, flags=_FLAGS)
        if ai is None and bi is None:
            return re
        ai, bi = (_constant(0) if x is None else x for x in (ai, bi))
        return _pair(context, builder, re, add(ai, bi, flags=_FLAGS))

    return lower


def _product(context, builder, signature, args):
    (a, ai), (b, bi) = (
        _parts(context, builder, *x) for x in zip(args, signature.args, strict=True)
    )

    def times(x, y):
        return builder.fmul(x, y, flags=_FLAGS)

    if ai is None and bi is None:
        return times(a, b)
    if ai is None:
        return _pair(context, builder, times(a, b), times(a, bi))
    if bi is None:
        return _pair(context, builder, times(a, b), times(ai, b))
    re = builder.fsub(times(a, b), times(ai, bi), flags=_FLAGS)
    return _pair(context, builder, re, builder.fadd(times(a, bi), times(ai, b), flags=_FLAGS))


def _register(symbol, lower):
    vectors, scalars = (_Real, _Complex), (types.Float, types.Complex)

    @type_callable(symbol)
    def typing(context):
        def result(*operands):
            if any(isinstance(x, vectors) for x in operands) and all(
                isinstance(x, vectors + scalars) for x in operands
            ):
                whole = not any(isinstance(x, (_Complex, types.Complex)) for x in operands)
                return _REAL if whole else _COMPLEX

        # numba inspects the number of operands
        return lambda a, b: result(a, b)

    for vector in vectors:
        for other in vectors + scalars:
            lower_builtin(symbol, vector, other)(lower)
            lower_builtin(symbol, other, vector)(lower)


_register(operator.add, _sum("fadd"))
_register(operator.sub, _sum("fsub"))
_register(operator.mul, _product)


@intrinsic
def full(typing, value):
    """Return a vector that repeats a scalar."""

    def lower(context, builder, signature, args):
        return _broadcast(context, builder, args[0], signature.args[0])

    return _REAL(value), lower


@intrinsic
def pair(typing, re, im):
    """Return the complex vector ``re + i im``."""
    return _COMPLEX(re, im), lambda context, builder, _, args: _pair(context, builder, *args)


def _llvm(builder, name):
    """Return LLVM's function of a vector of that name."""
    kind = ir.FunctionType(_VECTOR, [_VECTOR])
    return cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}.v{LANES}f32")


@intrinsic
def inverse_sqrt(typing, x):
    """Return ``1 / sqrt(x)`` for x > 0, by the processor's estimate and one Newton step."""
    if LANES == 16 and CPU.get("avx512f"):
        name, rest = "llvm.x86.avx512.rsqrt14.ps.512", [_constant(0), ir.IntType(16)(0xFFFF)]
    elif LANES == 8 and CPU.get("avx"):
        name, rest = "llvm.x86.avx.rsqrt.ps.256", []
    else:
        name, rest = None, []

    def lower(context, builder, signature, args):
        (x,) = args
        if name is None:
            return builder.fdiv(_constant(1), builder.call(_llvm(builder, "sqrt"), args))
        kind = ir.FunctionType(_VECTOR, [_VECTOR, *(c.type for c in rest)])
        estimate = cgutils.get_or_insert_function(builder.module, kind, name)
        r = builder.call(estimate, [x, *rest])
        half = builder.fmul(builder.fmul(_constant(0.5), x), r)
        step = builder.fsub(_constant(1.5), builder.fmul(half, r, flags=_FLAGS), flags=_FLAGS)
        return builder.fmul(r, step)

    return _REAL(x), lower


@inline
def root(x):
    """Return the square root of non-negative numbers, to within 1e-6."""
    return x * inverse_sqrt(x + np.float32(1e-36))


@intrinsic
def divide(typing, x, y):
    """Return ``x / y``."""
    return _REAL(x, y), lambda context, builder, _, args: builder.fdiv(*args, flags=_FLAGS)


@intrinsic
def near_cube_root(typing, x):
    """Return the cube root of non-negative numbers, to within 7 % (1e-13 for zero).

    Dividing the bits by 3, as an integer, approximately divides the logarithm by 3.
    """

    def lower(context, builder, signature, args):
        integers = ir.VectorType(_I32, LANES)
        bits = builder.sitofp(builder.bitcast(args[0], integers), _VECTOR)
        third = builder.fadd(builder.fmul(bits, _constant(1 / 3)), _constant(0x2A512400))
        return builder.bitcast(builder.fptosi(third, integers), _VECTOR)

    return _REAL(x), lower


@intrinsic
def where_positive(typing, x, yes, no):
    """Return `yes` where ``x > 0``, and `no` elsewhere."""

    def lower(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered(">", args[0], _constant(0)), *args[1:])

    return _REAL(x, yes, no), lower


@intrinsic
def sum_lanes(typing, x):
    """Return the sum of all lanes, float64."""

    def lower(context, builder, signature, args):
        double = ir.DoubleType()
        numbers = builder.fpext(args[0], ir.VectorType(double, LANES))
        name = f"llvm.vector.reduce.fadd.v{LANES}f64"
        kind = ir.FunctionType(double, [double, numbers.type])
        reduce = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(reduce, [double(0.0), numbers], fastmath=("reassoc",))

    return types.float64(x), lower


def _rotate(builder, vector, by):
    order = ir.Constant(ir.VectorType(_I32, LANES), [(k - by) % LANES for k in range(LANES)])
    return builder.shuffle_vector(vector, vector, order)


@intrinsic
def to_next_lane(typing, x):
    """Move every number one lane up, the last number to the first lane."""
    return _REAL(x), lambda context, builder, _, args: _rotate(builder, args[0], 1)


@intrinsic
def to_previous_lane(typing, x):
    """Move every number one lane down, the first number to the last lane."""
    return _REAL(x), lambda context, builder, _, args: _rotate(builder, args[0], -1)


# Memory.


def _address(context, builder, signature, args):
    data = context.make_array(signature.args[0])(context, builder, args[0]).data
    offset = builder.mul(args[1], args[1].type(LANES))
    return builder.bitcast(builder.gep(data, [offset]), _VECTOR.as_pointer())


@intrinsic
def load(typing, array, row):
    """Return row `row` of an array."""

    def lower(context, builder, signature, args):
        return builder.load(_address(context, builder, signature, args), align=4 * LANES)

    return _REAL(array, types.intp), lower


@intrinsic
def store(typing, array, row, value):
    """Write `value` to row `row`."""

    def lower(context, builder, signature, args):
        builder.store(args[2], _address(context, builder, signature, args), align=4 * LANES)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), lower


@intrinsic
def prefetch(typing, array, row):
    """Prefetch row `row` for writing; it may lie past the end of the array."""

    def lower(context, builder, signature, args):
        address = builder.bitcast(
            _address(context, builder, signature, args), ir.IntType(8).as_pointer()
        )
        kind = ir.FunctionType(ir.VoidType(), [address.type, _I32, _I32, _I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(fetch, [address, _I32(1), _I32(2), _I32(1)])  # to write, level 2, data
        return context.get_dummy_value()

    return types.void(array, types.intp), lower


@intrinsic
def add_atomic(typing, array, value):
    """Add to the first element of an int64 array, sequentially consistent; return the sum."""

    def lower(context, builder, signature, args):
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        before = builder.atomic_rmw("add", data, args[1], "seq_cst")
        return builder.add(before, args[1])

    return types.int64(array, types.int64), lower


if os.name == "posix":
    give_way = types.ExternalFunction("sched_yield", types.int32())
else:

    @inline
    def give_way():
        """Yield to other threads."""
        return 0


@inline
def cload(array, index):
    """Return the complex vector in rows ``2 index`` and ``2 index + 1``."""
    return pair(load(array, 2 * index), load(array, 2 * index + 1))


@inline
def cstore(array, index, value):
    """Write a complex vector to rows ``2 index`` and ``2 index + 1``."""
    store(array, 2 * index, value.re)
    store(array, 2 * index + 1, value.im)


@inline
def conj(a):
    """Return the complex conjugate."""
    return pair(a.re, full(0.0) - a.im)


@inline
def swap(a):
    """Exchange the real and the imaginary part."""
    return pair(a.im, a.re)
