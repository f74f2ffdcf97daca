"""Machine code: LLVM optimises a traced function, and a file keeps the result."""

import ctypes
import hashlib
import os
import tempfile
from functools import cache
from pathlib import Path
from threading import Lock

import llvmlite
import llvmlite.binding as llvm

if llvm.llvm_version_info < (20,):
    llvm.initialize()  # newer versions of llvmlite refuse this call
llvm.initialize_native_target()
llvm.initialize_native_asmprinter()

CPU = llvm.get_host_cpu_features()
# float32 numbers in a vector register: the number of signal parts processed side by side.
LANES = int(os.environ.get("MELEXP_LANES", 16 if CPU.get("avx512f") else 8))

_LOCK = Lock()
_ADDRESSES: dict[str, int] = {}


def content(files):
    """Return a digest of the content of files."""
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(map(Path, files)))).hexdigest()


@cache
def _digest():
    """Return what machine code depends on, apart from the function: this package and processor."""
    processor = f"{llvm.get_host_cpu_name()} {CPU.flatten()} {LANES} {llvmlite.__version__}"
    return f"{content(Path(__file__).parent.glob('*.py'))} {processor}"


def load(name, key, make):
    """Return the address of a function, compiled or read from the cache.

    Parameters
    ----------
    name : str
        Beginning of its name.
    key : str
        All that the function depends on except this package and the processor.
    make : callable
        Returns the LLVM assembly, given the full name.
    """
    digest = hashlib.sha256(f"{_digest()} {key}".encode()).hexdigest()
    name = f"{name}_{digest[:16]}"
    with _LOCK:
        if name not in _ADDRESSES:
            code = _read(name)
            if code is None:
                code = _machine_code(make(name))
                _write(name, code)
            engine = _engine()
            engine.add_object_file(llvm.ObjectFileRef.from_data(code))
            engine.finalize_object()
            _ADDRESSES[name] = engine.get_function_address(name)
        return _ADDRESSES[name]


def _machine():
    target = llvm.Target.from_triple(_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=CPU.flatten(), opt=3, jit=True
    )


def _triple():
    return llvm.get_process_triple() + ("-elf" if os.name == "nt" else "")  # MCJIT loads only ELF


@cache
def _engine():
    module = llvm.parse_assembly("")
    module.triple = _triple()
    return llvm.create_mcjit_compiler(module, _machine())


def _machine_code(assembly):
    module, machine = llvm.parse_assembly(assembly), _machine()
    module.triple = _triple()
    # The code has vectors already, so that LLVM need not look for them.
    if hasattr(llvm, "create_pass_builder"):
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
    else:
        builder, passes = llvm.create_pass_manager_builder(), llvm.create_module_pass_manager()
        builder.opt_level, builder.disable_unroll_loops = 2, True
        builder.populate(passes)
        passes.run(module)
    return machine.emit_object(module)


# --- The cache -------------------------------------------------------------------------------


@cache
def _folder():
    """Return the folder of compiled functions, or None if none can be written."""
    given = os.environ.get("NUMBA_CACHE_DIR")  # as for other compiled code
    folders = [given] if given else [Path(__file__).parent / "__pycache__", "~/.cache/melexp"]
    for name in folders:
        try:
            folder = Path(name).expanduser()
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except (OSError, RuntimeError):  # RuntimeError: there is no home folder
            continue
    return None


def _read(name):
    """Return the machine code of a function, or None without an undamaged file."""
    folder = _folder()
    try:
        data = (folder / f"{name}.o").read_bytes() if folder else b""
    except OSError:
        return None
    code = data[32:]
    return code if code and hashlib.sha256(code).digest() == data[:32] else None


def _write(name, code):
    folder = _folder()
    if folder is None:
        return
    try:
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(hashlib.sha256(code).digest() + code)
        os.replace(file.name, folder / f"{name}.o")
    except OSError:  # the disk is full: the function is compiled again next time
        return


def callable_at(address, n_arguments):
    """Return a Python function that calls an address with integers, without the GIL."""
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * n_arguments)(address)
