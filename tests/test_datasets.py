"""The data sets: what is listed, what a clip loads, and what happens to bad files."""

import csv
import hashlib
import http.server
import importlib
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import yaml

from melexp import datasets
from melexp.datasets import Clip, ClipError, _registry, available_datasets, load_dataset

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "melexp" / "datasets" / "demo"
EMBEDDED = ["demo_speech", "demo_foley"]
FOLEY = {
    "dog_bark",
    "footstep",
    "gunshot",
    "keyboard",
    "moving_motor_vehicle",
    "rain",
    "sneeze_cough",
}


def sine(freq: float, sr: int, seconds: float = 0.5, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * freq * np.arange(int(seconds * sr)) / sr)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def one_line(error: pytest.ExceptionInfo[BaseException]) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


# --- Discovery ------------------------------------------------------------------------------


def test_the_data_sets_are_the_modules_and_the_yaml_files() -> None:
    assert {"demo_foley", "demo_speech", "esc10", "folder", "ljspeech"} <= set(available_datasets())
    documents = {
        p.stem: yaml.safe_load(p.read_text()) for p in (ROOT / "conf/dataset").glob("*.yaml")
    }
    # The data sets of a profile are names for others: `defaults: [<name>]` and nothing else.
    named = {key for key, conf in documents.items() if set(conf) != {"defaults"}}
    assert available_datasets() == sorted(named)
    assert all(documents[key]["defaults"][0] in named for key in set(documents) - named)


@pytest.mark.parametrize("name", available_datasets())
def test_yaml_gives_every_parameter_and_its_default(name: str) -> None:
    conf = yaml.safe_load((ROOT / f"conf/dataset/{name}.yaml").read_text())
    assert conf.pop("name") == name
    assert isinstance(conf.pop("speech"), bool)
    required = {key for key, value in conf.items() if value == "???"}
    optional = {key: value for key, value in conf.items() if value != "???"}
    if required:
        with pytest.raises(ValueError, match=f"needs the parameter {', '.join(sorted(required))}"):
            load_dataset(name, **optional)
    else:
        assert load_dataset(name, **optional) == load_dataset(name)


def test_unknown_names_and_parameters_say_what_exists() -> None:
    with pytest.raises(ValueError, match=r"no data set 'esc50'.*demo_foley.*ljspeech"):
        load_dataset("esc50")
    with pytest.raises(ValueError, match="no data set '_clip'"):
        load_dataset("_clip")
    with pytest.raises(ValueError, match="no parameter subsets; it takes: subset"):
        load_dataset("esc10", subsets="full")
    with pytest.raises(ValueError, match="no parameter path; it takes: none"):
        load_dataset("demo_speech", path="x")
    with pytest.raises(ValueError, match="must be core or full; got 'tiny'"):
        load_dataset("esc10", subset="tiny")


def test_two_clips_under_one_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from melexp.datasets import demo_speech

    twice = [load_dataset("demo_speech")[0]] * 2
    monkeypatch.setattr(demo_speech, "clips", lambda: twice)
    with pytest.raises(ValueError, match="two clips under one id"):
        load_dataset("demo_speech")


def test_import_and_listing_are_light() -> None:
    code = (
        "import sys; from melexp import datasets as d; d.available_datasets();"
        "assert not any(f'melexp.datasets.{n}' in sys.modules for n in d.available_datasets());"
        "d.load_dataset('esc10');"
        "print([m for m in ('librosa', 'pandas', 'pooch', 'torch') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True, text=True
    )
    assert run.stdout.strip() == "[]"


def test_listing_touches_neither_network_nor_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("opened a sound or a connection")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr(soundfile, "SoundFile", refuse)
    counts = {name: len(load_dataset(name)) for name in [*EMBEDDED, "ljspeech", "esc10"]}
    assert counts == {"demo_speech": 14, "demo_foley": 14, "ljspeech": 32, "esc10": 60}
    full = load_dataset("esc10", subset="full")
    assert len(full) == 400
    assert set(Counter(clip.category for clip in full).values()) == {40}


def test_ids_and_provenance() -> None:
    assert load_dataset("ljspeech")[0].id == "LJ001-0001"
    clip = load_dataset("esc10")[0]
    assert clip.id == "dog_bark-1-100032-A"
    assert clip.provenance() == {
        "dataset": "esc10",
        "id": "dog_bark-1-100032-A",
        "category": "dog_bark",
        "licence": "CC0",
        "author": "nfrae",
        "source": "http://www.freesound.org/people/nfrae/sounds/100032/",
        "sha256": "8c69a6a4ce37f4c686de49490ef396614b977809b750bfa2dced83705c7c81e2",
    }
    for name in [*EMBEDDED, "ljspeech", "esc10"]:
        for clip in load_dataset(name):
            assert clip.dataset == name
            assert all(clip.provenance().values())
            assert clip.id.replace("-", "").replace("_", "").isalnum()


def test_catalogue_has_a_row_per_clip() -> None:
    table = datasets.catalogue()
    columns = ["dataset", "id", "category", "licence", "author", "source", "sha256"]
    assert list(table.columns) == columns
    assert table.dataset.value_counts().to_dict() == {
        "demo_speech": 14,
        "demo_foley": 14,
        "ljspeech": 32,
        "esc10": 60,
    }
    assert not table.duplicated(["dataset", "id"]).any()


# --- The embedded sounds --------------------------------------------------------------------


@pytest.mark.parametrize("clip", [c for name in EMBEDDED for c in load_dataset(name)])
def test_embedded_clip_is_a_sound_fit_for_use(clip: Clip) -> None:
    assert sha256(clip.locate()) == clip.sha256
    info = soundfile.info(clip.locate())
    assert (info.samplerate, info.channels, info.subtype) == (22050, 1, "PCM_16")
    x = clip.load(22050)
    assert x.dtype == np.float32
    assert x.ndim == 1
    assert 2 * 22050 <= x.size <= 4 * 22050
    assert np.isfinite(x).all()
    assert 0.5 < np.abs(x).max() < 0.99
    assert np.sqrt(np.mean(x**2)) > 0.01
    power = np.abs(np.fft.rfft(x)) ** 2
    hz = np.fft.rfftfreq(x.size, 1 / 22050)
    # No pure tones: every octave from 125 Hz up to 8 kHz is within 60 dB of the whole.
    for low in (125, 250, 500, 1000, 2000, 4000):
        assert power[(hz >= low) & (hz < 2 * low)].sum() > 1e-6 * power.sum()


def test_embedded_speech_has_as_many_sentences_and_voices_as_clips() -> None:
    rows = list(csv.DictReader((DEMO / "registry.csv").open(newline="")))
    speech = [row for row in rows if row["dataset"] == "demo_speech"]
    assert len({row["text"] for row in speech}) == len(speech) >= 12
    assert len({row["author"] for row in speech}) == len(speech)
    assert {row["source"] for row in speech} == {
        "http://cmuflite.org",
        "https://github.com/espeak-ng/espeak-ng",
    }


def test_embedded_foley_has_two_clips_per_class() -> None:
    assert Counter(c.category for c in load_dataset("demo_foley")) == dict.fromkeys(FOLEY, 2)


def test_embedded_files_are_the_registered_ones_and_small() -> None:
    files = {path.relative_to(DEMO).as_posix(): path for path in DEMO.glob("*/*.flac")}
    rows = list(csv.DictReader((DEMO / "registry.csv").open(newline="")))
    assert {row["path"]: row["sha256"] for row in rows} == {n: sha256(p) for n, p in files.items()}
    assert sum(path.stat().st_size for path in files.values()) < 3_000_000


@pytest.fixture
def make_demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "tools" / "demo")  # as where it is run
    return importlib.import_module("make_demo")


@pytest.mark.parametrize("category", sorted(FOLEY))
def test_foley_is_regenerated_sample_by_sample(make_demo: ModuleType, category: str) -> None:
    for variant in (0, 1):
        stored, _ = soundfile.read(DEMO / f"foley/{category}-{variant}.flac", dtype="int16")
        made = make_demo.make_foley(category, variant)
        # One step where the last bit of a sine differs between processors, else nothing.
        difference = np.abs(stored.astype(int) - made)
        assert difference.max() <= 1
        assert np.count_nonzero(difference) <= 1e-4 * made.size
        np.testing.assert_array_equal(made, make_demo.make_foley(category, variant))


def test_a_missing_synthesiser_is_named(
    make_demo: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit, match=r"flite is not installed .Debian packages: flite, espeak"):
        make_demo.version("flite")


# --- Registered files: mirror, cache, network -----------------------------------------------

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


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "made.wav"
    soundfile.write(path, sine(440, 16000), 16000)
    return path


class Server(http.server.ThreadingHTTPServer):
    """Serves one body; the first ``failures`` requests are answered 503."""

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


def test_a_mirror_that_is_no_folder_is_named(
    registered: Registered, wav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MELEXP_DATA_MIRROR", "/no/such/mirror")
    with pytest.raises(ClipError, match="MELEXP_DATA_MIRROR=/no/such/mirror is not a folder"):
        registered(sha256(wav)).load(16000)


def test_a_file_is_fetched_once_and_kept(
    registered: Registered, wav: Path, server: Server, tmp_path: Path
) -> None:
    server.body = wav.read_bytes()
    clip = registered(sha256(wav), url=url_of(server))
    assert server.requests == 0
    first = clip.load(16000)
    np.testing.assert_array_equal(clip.load(16000), first)
    assert server.requests == 1
    assert [sha256(path) for path in cached(tmp_path)] == [sha256(wav)]

    cached(tmp_path)[0].write_bytes(b"cut short")  # a corrupt cache repairs itself
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
def test_a_failed_fetch_is_explained_and_leaves_nothing(
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
