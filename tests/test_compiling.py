"""Compiled functions: their cache on disk, and the control flow of a trace."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from melexp.fast import compiling
from melexp.fast.memory import DoubleRows, Floats, Integers, Rows, ShortIntegers, aligned
from melexp.fast.tracing import kernel


def total(trace: Any, x: Any, n: Any, out: Any) -> None:
    out[0] = x[0].like(0)
    for i in trace.range(n):
        out[0] = out[0] + x[i]


def sums(key: str) -> float:
    out = np.zeros(1, np.float32)
    kernel(total, Floats, int, Floats, key=key)(np.arange(5, dtype=np.float32), 5, out)
    return float(out[0])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, as in a new process."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compiling, "_ADDRESSES", {})
    monkeypatch.setattr(compiling, "_engine", compiling._engine.__wrapped__)
    compiling._folder.cache_clear()
    yield tmp_path  # type: ignore[misc]
    compiling._folder.cache_clear()


def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that each compilation extends."""
    made: list[str] = []
    compile_ = compiling._machine_code
    monkeypatch.setattr(compiling, "_machine_code", lambda a: made.append(a) or compile_(a))
    return made


def test_machine_code_is_kept_and_found_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, engines = compilations(monkeypatch), []
    engine = compiling._engine
    monkeypatch.setattr(compiling, "_engine", lambda: engines.append(engine()) or engines[-1])
    for process in range(2):
        monkeypatch.setattr(compiling, "_ADDRESSES", {})
        assert sums("kept") == 10
        assert len(made) == 1
        assert len(engines) == process + 1
    assert sums("other") == 10
    assert len(made) == 2
    assert len(list(folder.glob("total_*.o"))) == 2


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 5000])
def test_a_damaged_file_is_compiled_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, damage: bytes
) -> None:
    engines: list[Any] = []
    engine = compiling._engine
    monkeypatch.setattr(compiling, "_engine", lambda: engines.append(engine()) or engines[-1])
    assert sums("damaged") == 10
    (file,) = folder.glob("total_*.o")
    good = file.read_bytes()
    file.write_bytes(damage)
    monkeypatch.setattr(compiling, "_ADDRESSES", {})
    assert sums("damaged") == 10
    assert file.read_bytes() == good


def test_without_a_folder_that_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "folder"))
    compiling._folder.cache_clear()
    engine = compiling._engine()
    monkeypatch.setattr(compiling, "_engine", lambda: engine)
    assert sums("nowhere") == 10


def test_threads_compile_a_function_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, found = compilations(monkeypatch), []
    engine = compiling._engine()
    monkeypatch.setattr(compiling, "_engine", lambda: engine)
    threads = [threading.Thread(target=lambda: found.append(sums("threads"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [10] * 4
    assert len(made) == 1


def collatz(trace: Any, start: Any, out: Any) -> None:
    """Count the steps of the Collatz sequence, and its even members."""
    n, steps = trace.variable(start), trace.variable(trace.integer(0))
    for _ in trace.during(lambda: n.value.compare(">", 1)):
        odd = (n.value % 2).compare("==", 1)
        with trace.when((n.value % 2).compare("==", 0)):
            out[1] = out[1] + 1
        n.value = trace.select(odd, n.value * 3 + 1, n.value // 2)
        steps.value = steps.value + 1
    out[0] = steps.value


def test_loops_and_conditions() -> None:
    out = np.zeros(2, np.int32)
    kernel(collatz, int, ShortIntegers)(27, out)
    assert out.tolist() == [111, 70]


def bits(trace: Any, x: Any, out: Any) -> None:
    a, b = x[0], x[1]
    for i, value in enumerate((a & b, a | b, a << 3, a >> 2, a.lowest_bit(), 7 - a)):
        out[i] = value


def test_integers() -> None:
    out = np.zeros(6, np.int64)
    kernel(bits, Integers, Integers)(np.array([44, 14]), out)
    assert out.tolist() == [12, 46, 352, 11, 2, -37]


def test_vectors_of_both_precisions() -> None:
    def affine(trace: Any, x: Any, y: Any) -> None:
        for a in (x, y):
            a[1] = (1.0 - a[0]) * 2 / a[0] + a[0]

    x, y = aligned(2, Rows.width), aligned(2, DoubleRows.width, dtype=np.float64)
    x[0], y[0] = np.arange(1, Rows.width + 1), np.arange(1, DoubleRows.width + 1)
    kernel(affine, Rows, DoubleRows)(x, y)
    for a, bound in ((x, 1e-6), (y, 1e-15)):
        np.testing.assert_allclose(a[1], (1 - a[0]) * 2 / a[0] + a[0], rtol=bound)


def test_an_array_of_another_type_is_refused() -> None:
    run = kernel(total, Floats, int, Floats)
    with pytest.raises(TypeError, match="Floats expected; got an array of float64"):
        run(np.zeros(5), 5, np.zeros(1, np.float32))
    with pytest.raises(TypeError, match="contiguous"):
        run(np.zeros(10, np.float32)[::2], 5, np.zeros(1, np.float32))


def test_the_package_needs_no_numba() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\n"
        "import melexp.fast, melexp.start._kernels, melexp.problem"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
