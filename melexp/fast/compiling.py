"""Compilation of the functions of this package."""

import hashlib
import inspect
import os
import types
from pathlib import Path

import llvmlite.binding
from numba import njit

CPU = llvmlite.binding.get_host_cpu_features()
# float32 numbers in a vector register: the number of signal parts processed side by side.
LANES = int(os.environ.get("MELEXP_LANES", 16 if CPU.get("avx512f") else 8))

# The caller owns all arrays, so reference counts are off. Numba would update them at every access
# to a table, which took a quarter of the time or more.
_OPTIONS = {"error_model": "numpy", "_nrt": False}
INLINE = {"forceinline": True, **_OPTIONS}


def _content(files):
    return hashlib.sha256(b"".join(Path(p).read_bytes() for p in sorted(files))).hexdigest()


# Numba's cache detects edits only in the file of the cached function, but a kernel contains code of
# every file here and of a method's module. The name of a kernel is part of the name of its cache
# file, so each kernel gets a digest of these files and of its parts in its name. Cache files of
# other versions are then never read.
_DIGEST = f"{_content(Path(__file__).parent.glob('*.py'))} {LANES}"


def inline(function):
    """Compile a function that is inlined into kernels."""
    return njit(**INLINE)(function)


def kernel(function, sources=(), **parts):
    """Compile a function that is called from Python, runs without the GIL and is cached on disk.

    Parameters
    ----------
    function : function
    sources : sequence of functions
        Further functions whose modules contribute code to the kernel.
    **parts
        Compiled functions or constants that replace global names of `function`.
    """
    files = {inspect.getsourcefile(s) for s in sources}
    folders = {Path(f).parent for f in files}  # a module may import from its neighbours
    names = [f"{s.__module__}.{s.__qualname__}" for s in sources]
    content = _content(p for folder in folders for p in folder.glob("*.py"))
    digest = hashlib.sha256(f"{_DIGEST} {content} {names} {sorted(parts)}".encode()).hexdigest()
    named = types.FunctionType(
        function.__code__, {**function.__globals__, **parts}, f"{function.__name__}_{digest[:16]}"
    )
    named.__doc__, named.__module__ = function.__doc__, function.__module__
    named.__qualname__ = named.__name__
    return njit(nogil=True, cache=True, **_OPTIONS)(named)
