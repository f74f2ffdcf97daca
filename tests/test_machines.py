"""Odd machines: no shared memory, read-only installations, closed streams, lost terminals."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from sounds import sine

import melexp
from melexp.commands.invert_files import _several
from melexp.datasets import ClipError, load_dataset
from melexp.results.tables import read_table

ROOT = Path(__file__).resolve().parents[1]
QUICK = ("method=gla", "checkpoints=[1]", "metric=[sc]", "limit=2")
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="POSIX only")
LONG = pytest.mark.long


def not_ignored() -> None:
    """Let SIGHUP through, which an earlier test in this process may have left blocked."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def command(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "melexp", *map(str, arguments)],
        **{"capture_output": True, "text": True, "check": False, "cwd": ROOT, **options},
    )


# --- Shared memory ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("workers", [pytest.param(1, marks=LONG), 2])
def test_a_run_needs_no_shared_memory(tmp_path: Path, workers: int) -> None:
    """This variable makes joblib find what it finds without semaphores."""
    environment = os.environ | {"JOBLIB_MULTIPROCESSING": "0"}
    done = command("run", *QUICK, f"workers={workers}", f"results={tmp_path}", env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("melexp: one worker instead of several") == workers - 1
    assert len(read_table(tmp_path, "run")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [pytest.param(1, marks=LONG), 2])
def test_invert_needs_no_shared_memory(tmp_path: Path, wav: Path, jobs: int) -> None:
    (wav.parent / "in").mkdir()
    for name in ("a.wav", "b.wav"):
        (wav.parent / "in" / name).write_bytes(wav.read_bytes())
    environment = os.environ | {"JOBLIB_MULTIPROCESSING": "0"}
    done = command(
        *("invert", wav.parent / "in", tmp_path / "out", "--preset", "paper", "--method", "gla"),
        *("--n-iter", 1, "--jobs", jobs),
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert "Assertion" not in done.stderr
    assert len(list((tmp_path / "out").iterdir())) == 2


# --- A read-only installation -------------------------------------------------------------------


@POSIX
def test_compiled_code_gets_a_private_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nonexistent")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    melexp._keep_compiled_code()
    folder = Path(os.environ["NUMBA_CACHE_DIR"])
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "set NUMBA_CACHE_DIR to a folder that lasts" in caplog.text
    assert len(caplog.text.splitlines()) == 1
    folder.chmod(0o777)  # others could plant code in it
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    melexp._keep_compiled_code()
    other = Path(os.environ["NUMBA_CACHE_DIR"])
    assert other != folder
    assert stat.S_IMODE(other.stat().st_mode) == 0o700


def test_a_writable_cache_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    melexp._keep_compiled_code()
    assert os.environ["NUMBA_CACHE_DIR"] == ""


# --- Unreadable files ---------------------------------------------------------------------------


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for name in ("a.wav", "b/c.wav", "b/d.wav"):
        path = tmp_path / "sounds" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, sine(440, 4000), 22050)
    return tmp_path / "sounds"


def test_an_unreadable_file_fails_alone(sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path.open

    def refusing(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == "c.wav":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", refusing)
    clips = {clip.id: clip for clip in load_dataset("folder", path=str(sounds))}
    assert set(clips) == {"a", "b-c", "b-d"}
    assert clips["b-c"].sha256 == ""
    with pytest.raises(ClipError, match=r"c\.wav: Permission denied"):
        clips["b-c"].load(22050)
    assert len(clips["a"].load(22050)) > 0


def test_an_unreadable_folder_is_named(
    sounds: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path)

    monkeypatch.setattr(os, "scandir", refusing)
    assert [clip.id for clip in load_dataset("folder", path=str(sounds))] == ["a"]
    said = capsys.readouterr().err
    assert f"warning: {sounds / 'b'} cannot be read (Permission denied)" in said


# --- Signals and streams ------------------------------------------------------------------------


def living(group: int) -> list[str]:
    """Return the processes of a group that have not ended."""
    listed = subprocess.run(
        ["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    return [row[2] for row in rows if int(row[0]) == group and not row[1].startswith("Z")]


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [pytest.param(False, marks=LONG), True])
def test_a_lost_terminal_ends_a_run_with_its_table(tmp_path: Path, whole_group: bool) -> None:
    """SIGHUP to the run, or to its workers too; the terminal itself is gone."""
    import pty

    results, (ours, theirs) = tmp_path / "r", pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "melexp", "run", "method=gla", "checkpoints=[100000]", "limit=4",
         "metric=[sc]", "workers=2", f"results={results}"],
        cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        preexec_fn=not_ignored,
    )  # fmt: skip
    os.close(theirs)
    end = time.monotonic() + 120
    while not list(results.glob("tasks/*.lock")):
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.1)
    os.close(ours)
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGHUP)
    assert process.wait(timeout=60) == 128 + signal.SIGHUP
    assert len(read_table(results, "run")) == 4
    end = time.monotonic() + 10
    while left := living(process.pid):
        assert time.monotonic() < end, left
        time.sleep(0.1)


@POSIX
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "arguments", ["methods", "--help", pytest.param("doctor results/core --dry-run", marks=LONG)]
)
def test_closed_streams_change_nothing(arguments: str, closed: str) -> None:
    shell = f'"{sys.executable}" -m melexp {arguments} {closed}'
    done = subprocess.run(
        ["sh", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@POSIX
@pytest.mark.parametrize(
    "arguments",
    [
        "methods",
        "data list",
        pytest.param("doctor results/core --dry-run", marks=LONG),
        pytest.param("compare results/core results/core --all --experiment fig4", marks=LONG),
    ],
)
def test_a_reader_that_ends_early_is_no_error(arguments: str) -> None:
    shell = f'"{sys.executable}" -m melexp {arguments} | head -1'
    done = subprocess.run(
        ["sh", "-c", shell], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.slow
@POSIX
@pytest.mark.parametrize("unbuffered", [pytest.param("", marks=LONG), "1"])
def test_a_reader_that_ends_early_does_not_cost_a_table(tmp_path: Path, unbuffered: str) -> None:
    shell = (
        f'"{sys.executable}" -m melexp run {" ".join(QUICK)} workers=1 results={tmp_path}; '
        "echo $? >&2"
    )
    done = subprocess.run(
        ["sh", "-c", f"( {shell} ) | true"], cwd=ROOT, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
    )  # fmt: skip
    *said, status = done.stderr.splitlines()
    assert status == "1"
    assert all(re.match(r"2 tasks in 1 jobs", line) for line in said)
    assert len(read_table(tmp_path, "run")) == 2


# --- Devices ------------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no /dev/zero")
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("inspect /dev/zero", "/dev/zero"),
        ("inspect -", "-"),
        ("invert /dev/zero out.wav", "/dev/zero"),
        ("invert - out.wav", "-"),
        ("invert mel.npy out.wav --stats /dev/zero", "/dev/zero"),
    ],
)
def test_a_device_without_end_is_refused(tmp_path: Path, arguments: str, name: str) -> None:
    np.save(tmp_path / "mel.npy", np.ones((80, 9), np.float32))
    with Path("/dev/zero").open("rb") as endless:
        began = time.monotonic()
        options = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
        limit = "ulimit -v 8000000; exec"  # kB of addresses, in case it is read
        done = subprocess.run(
            ["sh", "-c", f'{limit} "{sys.executable}" -m melexp {arguments}'],
            stdin=endless, capture_output=True, text=True, check=False, **options,
        )  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert done.returncode == 2
    assert f"{name}: the input is a device or a terminal; give a file or a pipe" in line
    assert time.monotonic() - began < 60


# --- Folders with other things than files -------------------------------------------------------


@POSIX
def test_only_files_of_a_folder_are_inverted(sounds: Path) -> None:
    os.mkfifo(sounds / "pipe.wav")  # reading it would wait for a writer
    (sounds / "folder.wav").mkdir()
    for given in (str(sounds), f"{sounds}/**", f"{sounds}/**/?.wav"):
        found = {str(below) for _, below in _several(given) or ()}
        assert found == {"a.wav", "b/c.wav", "b/d.wav"}


@POSIX
def test_a_glob_follows_no_link_to_a_folder(sounds: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):  # otherwise there are 2^40 paths
        (sounds / "b" / name).symlink_to(sounds)
    (sounds / ".hidden").mkdir()
    (sounds / ".hidden" / "a.wav").write_bytes(b"")
    monkeypatch.chdir(sounds.parent)
    for given, wanted in (
        ("**/*.wav", {"a.wav", "b/c.wav", "b/d.wav"}),
        ("sounds/**/b/**/c.wav", {"c.wav"}),
        ("soun*/**", {"a.wav", "b/c.wav", "b/d.wav"}),
        ("sounds/b/one/*.wav", {"a.wav"}),
    ):
        assert {str(below) for _, below in _several(given) or ()} == wanted


# --- Optional packages --------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["torch", pytest.param("array_api_compat", marks=LONG)])
@pytest.mark.parametrize("how", ["absent", "refused", "odd"])
def test_all_names_can_be_imported_without_torch(missing: str, how: str) -> None:
    code = f"""
import sys, types
from inspect import getmembers
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "{missing}":
            raise ModuleNotFoundError(name)
if "{how}" == "refused":
    sys.meta_path.insert(0, Refuse())
else:
    sys.modules["{missing}"] = None if "{how}" == "absent" else types.ModuleType("{missing}")
from melexp import *
import melexp
assert "invert_batch" not in dir(melexp)
assert {{name for name, _ in getmembers(melexp)}} >= {{"invert", "MelTransform"}}
"""
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
