"""Functions in compiled code: arguments, loops and calls.

A traced function is a Python function of a `Trace` and symbolic arguments. Python runs it once; a
``for`` over `Trace.range` becomes a loop, an ``if`` is decided while tracing. The arguments are
declared by *kinds*:

- ``int``: an integer;
- a class of `melexp.fast.memory`: an array;
- a subclass of NamedTuple, whose annotations are kinds, or a tuple of kinds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, reduce
from inspect import getsourcefile
from pathlib import Path

from llvmlite import ir

from .compiling import LANES, callable_at, content, load
from .lanes import I64, VECTOR, Integer, Real, number
from .memory import Memory


class Variable:
    """A number that a loop changes: set and read `value`."""

    def __init__(self, builder, first):
        self._builder, self._kind = builder, type(first)
        with builder.goto_entry_block():
            self._place = builder.alloca(first.value.type)
        self.value = first

    @property
    def value(self):
        return self._kind(self._builder, self._builder.load(self._place))

    @value.setter
    def value(self, x):
        self._builder.store(x.value, self._place)


class Trace:
    """Control flow of a function that is being traced."""

    def __init__(self, builder):
        self.builder = builder

    def integer(self, x):
        """Return an integer."""
        return x if isinstance(x, Integer) else Integer(self.builder, I64(int(x)))

    def zeros(self):
        """Return a variable vector, zero at first."""
        return self.variable(Real(self.builder, ir.Constant(VECTOR, [0.0] * LANES)))

    def variable(self, first):
        """Return a variable with its first value."""
        return Variable(self.builder, first)

    def range(self, start, stop=None) -> Iterator[Integer]:
        """Loop over integers: use it once, in a ``for``, without ``break``."""
        start, stop = (0, start) if stop is None else (start, stop)
        i = self.variable(self.integer(start))
        for _ in self.during(lambda: i.value.compare("<", stop)):
            yield i.value
            i.value = i.value + 1

    def during(self, condition) -> Iterator[None]:
        """Loop as long as a condition holds, as `range`."""
        b = self.builder
        check, body, end = (b.append_basic_block() for _ in range(3))
        b.branch(check)
        b.position_at_end(check)
        b.cbranch(condition(), body, end)
        b.position_at_end(body)
        yield
        b.branch(check)
        b.position_at_end(end)

    @contextmanager
    def when(self, condition):
        """Run a block only if a condition holds."""
        with self.builder.if_then(condition):
            yield

    def every(self, conditions):
        """Return whether all conditions hold."""
        return reduce(self.builder.and_, conditions)

    def select(self, condition, yes, no):
        """Return one of two integers or numbers."""
        yes, no = (x if hasattr(x, "value") else self.integer(x) for x in (yes, no))
        return type(yes)(self.builder, self.builder.select(condition, yes.value, no.value))

    def pick(self, condition, yes, no):
        """Return one of two arrays."""
        return type(yes)(self.builder, self.builder.select(condition, yes.address, no.address))

    def call(self, address, *arguments):
        """Call the function at an address."""
        values = [x.address if isinstance(x, Memory) else number(x) for x in arguments]
        kind = ir.FunctionType(ir.VoidType(), [I64] * len(values))
        self.builder.call(self.builder.inttoptr(address.value, kind.as_pointer()), values)


# --- Arguments -----------------------------------------------------------------------------------


@cache
def _parts(kind):
    """Return the kinds in a tuple of kinds, or None for a single argument."""
    if isinstance(kind, tuple):
        return kind
    return tuple(kind.__annotations__.values()) if hasattr(kind, "_fields") else None


def _receive(kind, builder, values):
    parts = _parts(kind)
    if parts is not None:
        made = [_receive(part, builder, values) for part in parts]
        return tuple(made) if isinstance(kind, tuple) else kind(*made)
    return (Integer if kind is int else kind)(builder, next(values))


def _size(kind):
    parts = _parts(kind)
    return 1 if parts is None else sum(map(_size, parts))


def _flatten(kind, value, out):
    parts = _parts(kind)
    if parts is not None:
        for part, x in zip(parts, value, strict=True):
            _flatten(part, x, out)
    elif kind is int:
        out.append(int(value))
    else:
        if value.dtype not in kind.dtypes:
            raise TypeError(f"{kind.__name__} expected; got an array of {value.dtype}")
        if not value.flags.c_contiguous:
            raise TypeError("the array must be contiguous; use numpy.ascontiguousarray")
        out.append(value.__array_interface__["data"][0])


def address(function, *kinds, key="", parts=(), **static):
    """Compile a traced function and return its address; it takes one integer per argument.

    Parameters
    ----------
    function : function
        Called with a `Trace`, the arguments and `static`.
    *kinds
        Kinds of the arguments.
    key : object
        What distinguishes this version of the function from others.
    parts : sequence of functions or None
        Functions of other modules that made values of `static`.
    **static
        Values that are fixed while tracing.
    """
    parts = [p for p in parts if p]
    folders = {Path(getsourcefile(p)).parent for p in parts}  # modules import from neighbours
    around = (p for folder in folders for p in folder.glob("*.py"))
    files = content([getsourcefile(function), *around])
    names = [f"{p.__module__}.{p.__qualname__}" for p in parts]

    def make(name):
        module = ir.Module()
        kind = ir.FunctionType(ir.VoidType(), [I64] * _size(kinds))
        traced = ir.Function(module, kind, name)
        builder = ir.IRBuilder(traced.append_basic_block())
        function(Trace(builder), *_receive(kinds, builder, iter(traced.args)), **static)
        builder.ret_void()
        return str(module)

    return load(function.__name__, f"{function.__name__} {key} {names} {files}", make)


def kernel(function, *kinds, **options):
    """Compile a traced function and return it as a Python function, which runs without the GIL."""
    call = callable_at(address(function, *kinds, **options), _size(kinds))

    def flat(arguments):
        values = []
        _flatten(kinds, arguments, values)
        return values

    def run(*arguments):
        call(*flat(arguments))

    def bind(*arguments):
        """Return a function without arguments, for many calls with the same memory."""
        values = flat(arguments)

        def bound(_kept=arguments):  # the addresses stay valid as long as the arrays are kept
            call(*values)

        return bound

    run.bind = bind
    return run
