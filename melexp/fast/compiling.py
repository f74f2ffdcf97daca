"""How the functions of this package are compiled."""

import hashlib
import os
import types
from pathlib import Path

import llvmlite.binding
from numba import njit

CPU = llvmlite.binding.get_host_cpu_features()
# float32 numbers in a vector register, which is the number of signal parts done at a time.
LANES = int(os.environ.get("MELEXP_LANES", 16 if CPU.get("avx512f") else 8))

# Arrays are borrowed from the caller, hence no reference counts: numba keeps them at every access
# of a part of a kernel to a table, which took a quarter of the time or more.
_OPTIONS = {"error_model": "numpy", "_nrt": False}
INLINE = {"forceinline": True, **_OPTIONS}

# Numba's cache looks for edits in the file of the cached function alone, but a kernel contains
# code of every file here.  Closure variables are part of the cache's key, so each kernel gets one:
# a digest of all files.
_FILES = sorted(Path(__file__).parent.glob("*.py"))
_DIGEST = hashlib.sha256(b"".join(p.read_bytes() for p in _FILES) + bytes([LANES])).hexdigest()


def inline(function):
    """Compile a part of a kernel."""
    return njit(**INLINE)(function)


def kernel(function):
    """Compile a function for use from Python: without the GIL, cached on disk."""
    code = function.__code__.replace(co_freevars=("digest",))
    keyed = types.FunctionType(
        code, function.__globals__, function.__name__, None, (types.CellType(_DIGEST),)
    )
    keyed.__doc__, keyed.__module__ = function.__doc__, function.__module__
    return njit(nogil=True, cache=True, **_OPTIONS)(keyed)
