"""Downloads from a failing server: a clear message, and never a partial file."""

import contextlib
import csv
import hashlib
import http.server
import io
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hydra import compose, initialize_config_dir

from melexp.datasets import Clip, ClipError, _registry, load_dataset
from melexp.discovery import conf_dir
from melexp.results.tables import write_table
from melexp.runs.hydra_app import register
from melexp.runs.runner import run

ROOT = Path(__file__).resolve().parents[1]
SOUND = np.random.default_rng(0).standard_normal(20000).astype(np.float32) / 10


def _wav() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, SOUND, 16000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


BODY = _wav()


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers each request with the next fault of the server; repeats the last fault."""

    server: "Server"

    def do_GET(self) -> None:
        place = min(len(self.server.paths), len(self.server.faults) - 1)
        self.server.paths.append(self.path)
        getattr(self, self.server.faults[place])()

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def whole(self) -> None:
        self.head(Content_Length=len(BODY))
        self.wfile.write(BODY)

    def wrong(self) -> None:
        self.head(Content_Length=len(BODY))
        self.wfile.write(BODY[:-1] + b"?")

    def page(self) -> None:
        self.head(Content_Length=17)
        self.wfile.write(b"<html>log in here")

    def empty(self) -> None:
        self.head(Content_Length=0)

    def truncated(self) -> None:
        self.head(Content_Length=len(BODY))
        self.wfile.write(BODY[: len(BODY) // 2])

    def truncated_without_length(self) -> None:
        self.head()
        self.wfile.write(BODY[: len(BODY) // 2])

    def truncated_chunks(self) -> None:
        self.head(Transfer_Encoding="chunked")
        self.wfile.write(b"400\r\n" + BODY[:1024] + b"\r\n400\r\nhalf")

    def no_gzip(self) -> None:
        self.head(Content_Length=len(BODY), Content_Encoding="gzip")
        self.wfile.write(BODY)

    def missing(self) -> None:
        self.head(404, Content_Length=0)

    def broken(self) -> None:
        self.head(500, Content_Length=0)

    def busy(self) -> None:
        self.head(503, Content_Length=0)

    def moved(self) -> None:
        self.head(302, Location="/elsewhere/made.wav", Content_Length=0)

    def slow(self) -> None:
        self.head(Content_Length=len(BODY))
        for k in range(0, len(BODY), len(BODY) // 20):  # takes longer than the timeout in total
            self.wfile.write(BODY[k : k + len(BODY) // 20])
            time.sleep(0.05)

    def stalled(self) -> None:
        self.head(Content_Length=len(BODY))
        self.wfile.write(BODY[:40000])
        self.wfile.flush()
        self.server.over.wait(20)

    def silent(self) -> None:
        self.server.over.wait(20)

    def reset(self) -> None:
        self.head(Content_Length=len(BODY))
        self.wfile.write(BODY[:40000])
        self.wfile.flush()
        time.sleep(0.05)
        # With no time to linger, the connection is reset instead of closed.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.detach()  # otherwise the server shuts it down first
        os.close(self.connection_number)

    def setup(self) -> None:
        super().setup()
        self.connection_number = self.connection.fileno()

    def finish(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed by the client or by `reset`
            super().finish()

    def hung_up(self) -> None:
        pass  # the connection ends without an answer

    def nonsense(self) -> None:
        self.wfile.write(b"\x00\xffnot HTTP at all\r\n\r\n")

    def log_message(self, *args: object) -> None:
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults = ["whole"]
        self.paths: list[str] = []
        self.over = threading.Event()

    def handle_error(self, *args: object) -> None:
        pass  # the client has closed the connection

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        if request.fileno() >= 0:
            super().shutdown_request(request)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.over.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def clip(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Clip]:
    """Registers one file of the server, with two attempts, an empty cache and no mirror."""
    monkeypatch.setattr(_registry, "REMOTE", tmp_path / "registry.csv")
    monkeypatch.setattr(_registry, "RETRIES", 1)
    monkeypatch.setattr(_registry, "TIMEOUT", 0.5)
    monkeypatch.setenv("MELEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MELEXP_DATA_MIRROR", raising=False)

    def register(*faults: str, url: str = "") -> Clip:
        server.faults = list(faults)
        url = url or f"http://127.0.0.1:{server.server_port}/made.wav"
        row = {"dataset": "ljspeech", "path": "made.wav", "category": "speech", "subset": "core"}
        row |= {"sha256": hashlib.sha256(BODY).hexdigest(), "url": url}
        row |= {"licence": "MIT", "author": "me", "source": "here"}
        with (tmp_path / "registry.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(row))
            table.writeheader()
            table.writerow(row)
        return load_dataset("ljspeech")[0]

    return register


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the waits between attempts and skips them."""
    seconds: list[float] = []
    sleep = time.sleep
    here = threading.get_ident()

    def note(wanted: float) -> None:
        seconds.append(wanted) if threading.get_ident() == here else sleep(wanted)

    monkeypatch.setattr("time.sleep", note)
    return seconds


def cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


FAULTS = {
    "wrong": "hash",
    "page": "hash",
    "empty": "hash",
    "truncated": "",
    "truncated_without_length": "hash",
    "truncated_chunks": "",
    "no_gzip": "gzip",
    "missing": "404",
    "broken": "500",
    "busy": "503",
    "stalled": "timed out",
    "silent": "timed out",
    "reset": "",
    "hung_up": "",
    "nonsense": "",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_permanent_fault_is_explained(
    clip: Callable[..., Clip], server: Server, tmp_path: Path, waits: list[float], fault: str
) -> None:
    message = r"made\.wav: the file could not be downloaded from http"
    with pytest.raises(ClipError, match=message) as error:
        clip(fault).load(16000)
    assert "\n" not in str(error.value)
    assert FAULTS[fault] in str(error.value)
    assert "try again, or set MELEXP_DATA_MIRROR" in str(error.value)
    assert len(server.paths) == 2  # one further attempt
    assert cached(tmp_path) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_temporary_fault_is_survived(
    clip: Callable[..., Clip], server: Server, tmp_path: Path, waits: list[float], fault: str
) -> None:
    np.testing.assert_array_equal(clip(fault, "whole").load(16000), SOUND)
    assert [path.read_bytes() for path in cached(tmp_path)] == [BODY]
    assert len(server.paths) == 2


def test_attempts_wait_longer_and_longer(
    clip: Callable[..., Clip], waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_registry, "RETRIES", 3)
    assert len(clip("broken", "reset", "truncated", "whole").load(16000)) == len(SOUND)
    assert waits == [1, 2, 3]


def test_a_redirect_is_followed_but_a_loop_is_not(
    clip: Callable[..., Clip], server: Server, tmp_path: Path, waits: list[float]
) -> None:
    assert len(clip("moved", "whole").load(16000)) == len(SOUND)
    assert server.paths == ["/made.wav", "/elsewhere/made.wav"]
    cached(tmp_path)[0].unlink()
    with pytest.raises(ClipError, match="could not be downloaded") as error:
        clip("moved").load(16000)
    assert "redirects" in str(error.value)
    assert cached(tmp_path) == []


@pytest.mark.parametrize("place", ["file:///etc/hostname", "ftp://127.0.0.1/x", "//", "http://["])
def test_a_redirect_to_elsewhere_is_not_followed(
    clip: Callable[..., Clip],
    tmp_path: Path,
    waits: list[float],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    monkeypatch.setattr(
        Handler, "moved", lambda self: self.head(302, Location=place, Content_Length=0)
    )
    with pytest.raises(ClipError, match="could not be downloaded") as error:
        clip("moved").load(16000)
    assert "\n" not in str(error.value)
    assert cached(tmp_path) == []


def test_a_failed_download_does_not_stop_the_other_clips(
    clip: Callable[..., Clip], server: Server, tmp_path: Path, waits: list[float]
) -> None:
    clip("missing", "missing", "whole")
    registry = tmp_path / "registry.csv"
    rows = registry.read_text().splitlines()
    other = rows[1].replace("made.wav", "other.wav")
    rows[1] = rows[1].replace(hashlib.sha256(BODY).hexdigest(), "0" * 64)
    registry.write_text("\n".join([*rows, other]))
    register()
    overrides = ["dataset=ljspeech", "checkpoints=[2]", "metric=[scm]", "workers=1"]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        (line,) = run(compose("config", [*overrides, f"results={tmp_path / 'r'}"]))
    assert "made.wav: the file could not be downloaded" in line
    assert "404" in line
    table = write_table(tmp_path / "r", "run").set_index("clip")
    assert table["value"].notna().to_dict() == {"made": False, "other": True}
    assert "404" in table.loc["made", "reason"]


def test_a_slow_server_is_waited_for(clip: Callable[..., Clip], server: Server) -> None:
    began = time.perf_counter()
    np.testing.assert_array_equal(clip("slow").load(16000), SOUND)
    assert time.perf_counter() - began > _registry.TIMEOUT
    assert len(server.paths) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/made.wav", "http://nowhere.invalid/made.wav"])
def test_no_network(
    clip: Callable[..., Clip], tmp_path: Path, waits: list[float], url: str
) -> None:
    with pytest.raises(ClipError, match="could not be downloaded") as error:
        clip("whole", url=url).load(16000)
    assert "\n" not in str(error.value)
    assert cached(tmp_path) == []


def test_a_cache_that_cannot_be_written(
    clip: Callable[..., Clip], tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MELEXP_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ClipError, match="could not be downloaded") as error:
        clip("whole").load(16000)
    assert "\n" not in str(error.value)


def test_two_threads_download_one_file(clip: Callable[..., Clip], tmp_path: Path) -> None:
    made = clip("slow")
    with ThreadPoolExecutor(2) as pool:
        for samples in pool.map(made.load, [16000] * 2):
            np.testing.assert_array_equal(samples, SOUND)
    assert [path.read_bytes() for path in cached(tmp_path)] == [BODY]


def test_a_killed_download_leaves_no_partial_file(
    clip: Callable[..., Clip], server: Server, tmp_path: Path
) -> None:
    made = clip("stalled", "whole")
    code = (
        "from pathlib import Path; import sys; from melexp.datasets import _registry, load_dataset;"
        "_registry.REMOTE = Path(sys.argv[1]); load_dataset('ljspeech')[0].load(16000)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "registry.csv")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        for _ in range(600):
            if any(path.stat().st_size for path in cached(tmp_path)):
                break
            time.sleep(0.05)
        process.kill()
    assert [path.name for path in cached(tmp_path)] != ["made.wav"]
    np.testing.assert_array_equal(made.load(16000), SOUND)
