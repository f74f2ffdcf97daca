"""Corrupt files, of results and in the cache: doctor and runs find and repair them.

Counted and printed as in `test_crash`; with ``-m torture`` every file is damaged in every way.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from crashing import Ended
from faults import SIGNALS, TORTURE, Bench, Tried, leftovers, values
from stores import finished, part

from melexp.commands.doctor import doctor
from melexp.datasets import _registry
from melexp.files.atomic import held
from melexp.results.parts import is_torn, parse
from melexp.results.records import DamagedFile, read_clips, read_note
from melexp.results.tables import read_table

# --- Results ----------------------------------------------------------------------------------


def damages(content: bytes, other: bytes, rng: np.random.Generator) -> dict[str, bytes]:
    flipped = bytearray(content)
    flipped[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    return {
        "truncated": content[: len(content) // 2],
        "bit-flipped": bytes(flipped),
        "empty": b"",
        "foreign": b"\x89PNG\r\n\x1a\n" + rng.bytes(200),
        "swapped": other,
    }


def stored(root: Path) -> list[Path]:
    """Return the files of the store, relative to its folder."""
    names = ("tasks/*.jsonl", "clips/*.json", "jobs/*/*.json", "run.*")
    return sorted(path.relative_to(root) for name in names for path in root.glob(name))


def damaged(bench: Bench, tried: Tried, file: Path, kind: str, seed: int) -> None:
    """One corrupt file: found by doctor, or by the next run, and repaired."""
    whole = (bench.reference / file).read_bytes()
    others = [f for f in stored(bench.reference) if f != file and f.suffix == file.suffix]
    other = (bench.reference / others[0]).read_bytes() if others else b"a,b\n1,2\n"
    content = damages(whole, other, np.random.default_rng(seed))[kind]
    by_itself = file.suffix == ".csv" or "provenance" in file.name  # the run writes it again
    # A part that ends early, or is another part, is as if its other tasks were never computed.
    unseen = file.suffix == ".jsonl" and not bad_lines(content)
    for finder in ("doctor", "run"):
        what = f"{kind} {file}, found by {finder}"
        root = bench.new(filled=True)
        (root / file).write_bytes(content)
        same = parsed(content) == parsed(whole)  # white space in JSON says nothing
        if by_itself and not same:
            with pytest.raises(DamagedFile, match="run"):
                read_table(root, "run")
        tried.tried += 1
        if finder == "doctor":
            with contextlib.redirect_stdout(said := io.StringIO()):
                status = doctor([root])
            if not (same or unseen) and (status != 1 or file.name not in said.getvalue()):
                tried.changed += 1
                tried.wrong.append(f"{what}: not found: {said.getvalue()}")
            with contextlib.redirect_stdout(said):
                again = doctor([root])
            if again:
                tried.unclear += 1
                tried.wrong.append(f"{what}: doctor is not done after once: {said.getvalue()}")
        ended = bench.run(root)
        if finder == "run" and file.suffix == ".jsonl" and not unseen:
            aside = root / "damaged" / file.name
            if file.name not in ended.said or aside.read_bytes() != b"\n".join(bad_lines(content)):
                tried.changed += 1
                tried.wrong.append(f"{what}: not named or not moved: {ended}")
        bench.compare(root, tried, what, ended)


def bad_lines(content: bytes) -> list[bytes]:
    """Return the lines of a part that are not finished tasks; a torn last line is none."""
    *lines, end = content.split(b"\n")
    return [line for line in lines if not is_good(line)] + ([] if is_torn(end) else [end])


def is_good(line: bytes) -> bool:
    try:
        return parse(line) is not None
    except DamagedFile:
        return False


def parsed(content: bytes) -> object:
    """Return the parsed content of a file of the store, or its bytes."""
    try:
        return json.loads(content)
    except ValueError:
        return content


KINDS = ("truncated", "bit-flipped", "empty", "foreign", "swapped")


@pytest.mark.slow
def test_some_damaged_files(bench: Bench, tried: Tried) -> None:
    for k, file in enumerate(stored(bench.reference)[::6]):
        damaged(bench, tried, file, KINDS[k % 5], k)
    tried.check()


@TORTURE
@pytest.mark.parametrize("kind", KINDS)
def test_every_damaged_file(sweep: Bench, tried: Tried, kind: str) -> None:
    for seed, file in enumerate(stored(sweep.reference)):
        damaged(sweep, tried, file, kind, seed)
    tried.check()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tasks/*.jsonl", "clips/*.json", "jobs/*/*.json", "run.*"])
def test_every_flipped_byte_is_noticed(bench: Bench, tmp_path: Path, name: str) -> None:
    root = bench.new(filled=True)
    for path in sorted(root.glob(name))[:2]:
        whole = path.read_bytes()
        places = range(0, len(whole), max(len(whole) // 400, 1))
        for place in places:
            content = bytearray(whole)
            content[place] ^= 1 << place % 8
            path.write_bytes(content)
            try:
                if name.startswith("run"):
                    read_table(root, "run")
                elif name.startswith("tasks"):
                    lost = bad_lines(bytes(content))
                    assert lost or not is_good(bytes(content).split(b"\n")[-1])
                    continue
                else:
                    (read_clips if name.startswith("clips") else read_note)(path)
            except DamagedFile:
                continue
            assert parsed(bytes(content)) == parsed(whole)  # white space in JSON
        path.write_bytes(whole)


@pytest.mark.slow
def test_a_damaged_note_does_not_stop_the_table(sweep: Bench) -> None:
    """A corrupt note of another job is reported, and the table lacks that job."""
    root = sweep.new(filled=True)
    notes = {read_note(p)["method"]["method"]: p for p in root.glob("jobs/run/*.json")}
    notes["gla"].write_bytes(b"{}")
    one = ("run", "method=admm", *sweep.arguments[3:], f"results={root}")
    ended = sweep.forge.run(*one, log=sweep.log)
    assert ended.status == 1
    assert notes["gla"].name in ended.said
    assert "the tables lack the corrupt tasks" in ended.said
    assert set(read_table(root, "run")["method"]) == {"admm"}
    assert sweep.run(root).status == 0
    assert values(root).equals(sweep.table)


@pytest.mark.slow
def test_doctor_leaves_what_is_at_work(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    """Doctor keeps a held lock and a file that is being written, and removes leftovers."""
    root = bench.new(filled=True)
    (root / "tasks" / "ab").mkdir()
    (root / "tasks" / "ab" / ".ab.json.12345678.part").write_bytes(b"half")  # of an older version
    (root / ".run.csv.k2_x4567.melexp.part").write_bytes(b"half")
    (root / "tasks" / "ab.lock").touch()
    note = next(root.glob("jobs/run/*.json"))
    (root / ".hydra" / "progress-0123abcd").mkdir(parents=True)
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(note)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "during\n"
    with held(root / "tasks" / "cd.lock", wait=False) as ours:
        assert ours
        assert doctor([root]) == 0
        left = sorted(leftovers(root), key=lambda name: Path(name).suffix, reverse=True)
        assert [Path(name).suffix for name in left] == [".part", ".lock"]
        assert note.name in left[0]
    writer.communicate("\n" if writer.stdin else None, timeout=30)
    assert capsys.readouterr().out.count("leftover: ") == 4
    assert note.read_text() == "new"
    assert leftovers(root) == []


WRITER = """
import sys, time
from pathlib import Path
from crashing import at_each_write
from melexp.files.atomic import write_text
def fault(point, path):
    if point == "during":
        print(point, flush=True)
        time.sleep(3)
at_each_write(fault)
write_text(Path(sys.argv[1]), "new")
"""


@pytest.mark.slow
def test_doctor_waits_for_the_writer_of_a_part(bench: Bench) -> None:
    """A part that is locked for longer than a line takes is left alone."""
    root = bench.new(filled=True)
    before = finished(root)
    with part(root).open("ab") as file:
        file.write(b'{"checksum":"half')
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        assert doctor([root]) == 0
        assert part(root).read_bytes().endswith(b"half")
    assert doctor([root]) == 0
    assert finished(root) == before
    assert part(root).read_bytes().endswith(b"\n")


@pytest.mark.slow
def test_doctor_says_what_it_is_for(bench: Bench, tmp_path: Path) -> None:
    assert bench.forge.run("doctor", tmp_path, log=bench.log).status == 2
    assert "is not a results folder" in bench.log.read_text()
    ended = bench.forge.run("doctor", log=bench.log)
    assert ended == Ended(
        2, "melexp: there is no folder to verify; give a results folder or --cache\n"
    )
    root = bench.new(filled=True)
    part(root).write_text("hello\n")
    (root / "tasks" / "foreign.txt").write_text("hello")
    ended = bench.forge.run("doctor", root, log=bench.log)
    assert ended.status == 1
    assert f"{part(root)}: 1 damaged lines; moved to" in ended.said
    assert "foreign.txt is not a file of melexp, left alone" in ended.said
    assert "next: re-run the commands that wrote" in ended.said
    assert bench.forge.run("doctor", root, log=bench.log).status == 0


@pytest.mark.slow
def test_doctor_without_tasks_moves_the_table_aside(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as results/core in a clone: there are no tasks to rewrite the table from."""
    root = bench.new(filled=True)
    shutil.rmtree(root / "tasks")
    shutil.rmtree(root / "jobs")
    assert doctor([root]) == 0
    table = root / "run.csv"
    table.write_text(table.read_text().replace("-", "+", 1))
    assert doctor([root]) == 1
    assert f"next: restore {table}" in capsys.readouterr().out
    assert not table.exists()


# --- The cache of recordings ------------------------------------------------------------------


class Slow(http.server.SimpleHTTPRequestHandler):
    """Send a file in pieces, so that there is time to kill the process that downloads it."""

    def copyfile(self, source, outputfile) -> None:  # type: ignore[no-untyped-def]
        while piece := source.read(2**14):
            outputfile.write(piece)
            time.sleep(0.02)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, a registry of three files, and a server with these files."""
    files = tmp_path / "served" / "esc10"
    files.mkdir(parents=True)
    for k in range(3):
        noise = np.random.default_rng(k).standard_normal(40000) / 10
        soundfile.write(files / f"{k}.wav", noise, 22050)
    handler = functools.partial(Slow, directory=str(files.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    rows = [
        {
            "dataset": "esc10",
            "path": path.name,
            "category": "c",
            "sha256": _registry.sha256_of(path),
            "licence": "l",
            "author": "a",
            "source": "s",
            "url": f"http://127.0.0.1:{server.server_port}/esc10/{path.name}",
            "subset": "core",
        }
        for path in sorted(files.iterdir())
    ]
    registry = tmp_path / "registry.csv"
    pd.DataFrame(rows).to_csv(registry, index=False)
    monkeypatch.setattr(_registry, "REMOTE", registry)
    monkeypatch.setattr(_registry, "RETRIES", 0)
    monkeypatch.setenv("MELEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MELEXP_DATA_MIRROR", raising=False)
    yield tmp_path / "cache"
    server.shutdown()


def clips() -> list[np.ndarray]:
    listed = _registry.remote_clips("esc10", lambda row: row["path"])
    return [clip.load(22050) for clip in listed]


@pytest.mark.parametrize("kind", KINDS[:4])
@pytest.mark.parametrize("finder", ["doctor", "load"])
def test_a_damaged_recording_is_fetched_again(
    cache: Path, kind: str, finder: str, capsys: pytest.CaptureFixture[str], tried: Tried
) -> None:
    whole = clips()
    assert doctor([], cache=True) == 0
    for k, path in enumerate(sorted((cache / "esc10").iterdir())):
        content = damages(path.read_bytes(), b"", np.random.default_rng(k))[kind]
        path.write_bytes(content)
        capsys.readouterr()
        tried.tried += 1
        if finder == "doctor":
            assert doctor([], cache=True) == 1
            assert not path.exists()
        np.testing.assert_array_equal(clips(), whole)
        assert f"{path} does not match its SHA-256; moved to" in "".join(capsys.readouterr())
        (aside,) = (p for p in (cache / "damaged").rglob("*.wav*") if p.read_bytes() == content)
        aside.unlink()
    assert doctor([], cache=True) == 0


def test_foreign_files_in_the_cache_are_left_alone(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clips()
    foreign = [cache / "esc10" / name for name in ("x.wav", "tmp-notes.txt", "poetry.lock")]
    for path in [*foreign, cache / "mine.txt"]:
        path.write_text("?")
    (cache / "esc10" / "tmpabcdefgh").write_bytes(b"half")
    assert doctor([], cache=True, dry_run=True) == 0
    assert (cache / "esc10" / "tmpabcdefgh").exists()
    assert doctor([], cache=True) == 0
    said = capsys.readouterr().out
    assert all(f"{path} is not a file of melexp, left alone" in said for path in foreign)
    assert all(path.exists() for path in [*foreign, cache / "mine.txt"])
    assert not (cache / "esc10" / "tmpabcdefgh").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [pytest.param(n, marks=[pytest.mark.long] if n != SIGNALS[0] else []) for n in SIGNALS],
    ids=lambda number: number.name,
)
def test_a_killed_download_leaves_nothing_behind(cache: Path, number: int, tried: Tried) -> None:
    code = (
        "import sys; from pathlib import Path; from melexp.datasets import _registry\n"
        "_registry.REMOTE = Path(sys.argv[1])\n"
        "for c in _registry.remote_clips('esc10', lambda row: row['path']): c.load(22050)"
    )
    for wait in (0.0, 0.05, 0.1):
        shutil.rmtree(cache, ignore_errors=True)
        process = subprocess.Popen(
            [sys.executable, "-c", code, str(_registry.REMOTE)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        while not any(cache.rglob("tmp*")):
            assert process.poll() is None
            time.sleep(0.005)
        with contextlib.redirect_stdout(io.StringIO()):
            assert doctor([], cache=True) == 0  # it is at work: nothing is taken away
        time.sleep(wait)
        process.send_signal(number)
        process.wait()
        tried.tried += 1
        with contextlib.redirect_stdout(io.StringIO()):
            assert doctor([], cache=True) == 0
        assert all(path.suffix == ".wav" for path in cache.rglob("*") if path.is_file())
        assert len(clips()) == 3
