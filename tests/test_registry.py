"""Registered files: found in the mirror or the cache, otherwise downloaded."""

import csv
import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sounds import one_line, sha256, sine

from melexp.datasets import Clip, ClipError, _registry, load_dataset

Registered = Callable[..., Clip]


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registered:
    """Registers one ljspeech file, with an empty cache, no mirror and no second attempt."""
    monkeypatch.setattr(_registry, "REMOTE", tmp_path / "registry.csv")
    monkeypatch.setattr(_registry, "RETRIES", 0)
    monkeypatch.setenv("MELEXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MELEXP_DATA_MIRROR", raising=False)

    def register(
        digest: str, path: str = "deep/a b.wav", url: str = "http://127.0.0.1:9/x"
    ) -> Clip:
        row = {"dataset": "ljspeech", "path": path, "category": "speech", "subset": "core"}
        row |= {"sha256": digest, "url": url, "licence": "MIT", "author": "me", "source": "here"}
        with (tmp_path / "registry.csv").open("w", newline="") as file:
            table = csv.DictWriter(file, list(row))
            table.writeheader()
            table.writerow(row)
        return load_dataset("ljspeech")[0]

    return register


class Server(http.server.ThreadingHTTPServer):
    """Serves one body, after answering the first ``failures`` requests with 503."""

    body = b""
    status = 200
    failures = 0
    requests = 0


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests += 1
        failing = self.server.requests <= self.server.failures
        self.send_response(503 if failing else self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def url_of(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_port}/made.wav"


def cached(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_mirror_is_used_before_the_network(
    registered: Registered, wav: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirrored = tmp_path / "mirror/ljspeech/deep/a b.wav"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(wav.read_bytes())
    monkeypatch.setenv("MELEXP_DATA_MIRROR", str(tmp_path / "mirror"))
    clip = registered(sha256(wav))
    assert clip.id == "a b"
    np.testing.assert_allclose(clip.load(16000), sine(440, 16000), atol=1e-4)
    assert cached(tmp_path) == []

    clip = registered("0" * 64)
    with pytest.raises(ClipError, match="SHA-256") as error:
        clip.load(16000)
    assert str(mirrored) in one_line(error)
    assert sha256(wav) in str(error.value)


def test_a_mirror_without_the_file_leads_to_the_network(
    registered: Registered,
    wav: Path,
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.body = wav.read_bytes()
    (tmp_path / "mirror").mkdir()
    monkeypatch.setenv("MELEXP_DATA_MIRROR", str(tmp_path / "mirror"))
    assert registered(sha256(wav), url=url_of(server)).load(16000).size == 8000
    assert cached(tmp_path) == [tmp_path / "cache/ljspeech/deep/a b.wav"]


def test_a_mirror_that_is_not_a_folder_is_named(
    registered: Registered, wav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELEXP_DATA_MIRROR", "/no/such/mirror")
    with pytest.raises(ClipError, match="MELEXP_DATA_MIRROR=/no/such/mirror is not a folder"):
        registered(sha256(wav)).load(16000)


def test_a_file_is_downloaded_once_and_kept(
    registered: Registered, wav: Path, server: Server, tmp_path: Path
) -> None:
    server.body = wav.read_bytes()
    clip = registered(sha256(wav), url=url_of(server))
    assert server.requests == 0
    first = clip.load(16000)
    np.testing.assert_array_equal(clip.load(16000), first)
    assert server.requests == 1
    assert [sha256(path) for path in cached(tmp_path)] == [sha256(wav)]

    cached(tmp_path)[0].write_bytes(b"cut short")  # a corrupt file of the cache is downloaded again
    np.testing.assert_array_equal(clip.load(16000), first)
    assert server.requests == 2


def test_a_failed_request_is_repeated(
    registered: Registered, wav: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_registry, "RETRIES", 2)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    server.body, server.failures = wav.read_bytes(), 2
    assert registered(sha256(wav), url=url_of(server)).load(16000).size == 8000
    assert server.requests == 3


@pytest.mark.parametrize("trouble", ["wrong hash", "404", "no server"])
def test_a_failed_download_is_explained_and_leaves_nothing(
    registered: Registered, wav: Path, server: Server, tmp_path: Path, trouble: str
) -> None:
    server.body = wav.read_bytes()
    server.status = 404 if trouble == "404" else 200
    digest = "0" * 64 if trouble == "wrong hash" else sha256(wav)
    url = "http://127.0.0.1:9/made.wav" if trouble == "no server" else url_of(server)
    with pytest.raises(ClipError, match="could not be downloaded from http") as error:
        registered(digest, url=url).load(16000)
    assert "ljspeech/deep/a b.wav" in one_line(error)
    assert "MELEXP_DATA_MIRROR" in str(error.value)
    if trouble == "404":
        assert "404" in str(error.value)
    assert cached(tmp_path) == []


@pytest.mark.parametrize(
    "path", ["../x.wav", "/etc/x.wav", "a/../../x.wav", "C:\\x.wav", "..\\x", ""]
)
def test_a_path_out_of_the_folder_is_refused(registered: Registered, path: str) -> None:
    with pytest.raises(ClipError, match="leads out of its folder"):
        registered("0" * 64, path=path)


def test_a_row_without_a_hash_is_refused(registered: Registered) -> None:
    with pytest.raises(ClipError, match="no valid SHA-256"):
        registered("")
