"""The data sets: their lists, the embedded sounds, and the real recordings."""

import csv
import importlib
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import yaml
from sounds import sha256

from melexp import datasets
from melexp.datasets import Clip, available_datasets, limited, load_dataset

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / "melexp" / "datasets" / "demo"
EMBEDDED = ["demo_speech", "demo_foley"]
REMOTE = ["ljspeech", "esc10", "librispeech"]
COUNTS = {"demo_speech": 14, "demo_foley": 14, "ljspeech": 32, "esc10": 60, "librispeech": 42}
FOLEY = {
    "dog_bark",
    "footstep",
    "gunshot",
    "keyboard",
    "moving_motor_vehicle",
    "rain",
    "sneeze_cough",
}


# --- Discovery --------------------------------------------------------------------------------


def test_the_data_sets_are_the_modules_and_the_yaml_files() -> None:
    expected = {"demo_foley", "demo_speech", "esc10", "folder", "librispeech", "ljspeech"}
    assert expected <= set(available_datasets())
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
    with pytest.raises(
        ValueError, match=r"there is no data set 'esc50'; the data sets are demo_foley, .*ljspeech"
    ):
        load_dataset("esc50")
    with pytest.raises(ValueError, match="no data set '_clip'"):
        load_dataset("_clip")
    with pytest.raises(ValueError, match="no parameter subsets; its parameters are: subset"):
        load_dataset("esc10", subsets="full")
    with pytest.raises(ValueError, match="no parameter path; its parameters are: none"):
        load_dataset("demo_speech", path="x")
    with pytest.raises(ValueError, match="subset must be core or full; got 'tiny'"):
        load_dataset("esc10", subset="tiny")
    with pytest.raises(ValueError, match="subset must be core or train; got 'full'"):
        load_dataset("librispeech", subset="full")


def test_two_clips_under_one_id_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from melexp.datasets import demo_speech

    twice = [load_dataset("demo_speech")[0]] * 2
    monkeypatch.setattr(demo_speech, "clips", lambda: twice)
    with pytest.raises(ValueError, match="two clips with the same id"):
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
    counts = {name: len(load_dataset(name)) for name in [*EMBEDDED, *REMOTE]}
    assert counts == COUNTS
    full = load_dataset("esc10", subset="full")
    assert len(full) == 400
    assert set(Counter(clip.category for clip in full).values()) == {40}


def test_librispeech_has_many_speakers_and_tunes_on_others() -> None:
    core, train = (load_dataset("librispeech", subset=name) for name in ("core", "train"))
    speakers = Counter(clip.category for clip in core)
    assert sorted(speakers.values()) == [6] * 7
    assert len({clip.category for clip in train} - set(speakers)) == len(train) == 240
    assert {clip.licence for clip in [*core, *train]} == {"CC BY 4.0"}
    assert core[0].id == "1688-142285-0000"


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
    for name in [*EMBEDDED, *REMOTE]:
        for clip in load_dataset(name):
            assert clip.dataset == name
            assert all(clip.provenance().values())
            assert clip.id.replace("-", "").replace("_", "").isalnum()


def test_catalogue_has_a_row_per_clip() -> None:
    table = datasets.catalogue()
    columns = ["dataset", "id", "category", "licence", "author", "source", "sha256"]
    assert list(table.columns) == columns
    assert table.dataset.value_counts().to_dict() == COUNTS
    assert not table.duplicated(["dataset", "id"]).any()


# --- The embedded sounds ----------------------------------------------------------------------


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
    monkeypatch.syspath_prepend(ROOT / "tools" / "demo")
    return importlib.import_module("make_demo")


@pytest.mark.parametrize(
    "category",
    [
        pytest.param(name, marks=[pytest.mark.long] if name == "rain" else [])
        for name in sorted(FOLEY)
    ],
)
def test_foley_is_regenerated_sample_by_sample(make_demo: ModuleType, category: str) -> None:
    for variant in (0, 1):
        stored, _ = soundfile.read(DEMO / f"foley/{category}-{variant}.flac", dtype="int16")
        made = make_demo.make_foley(category, variant)
        # The last bit of a sine can differ between processors, by one step of the quantiser.
        difference = np.abs(stored.astype(int) - made)
        assert difference.max() <= 1
        assert np.count_nonzero(difference) <= 1e-4 * made.size
        np.testing.assert_array_equal(made, make_demo.make_foley(category, variant))


def test_a_missing_synthesiser_is_named(
    make_demo: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        SystemExit, match=r"flite is not installed; install the Debian packages flite and espeak"
    ):
        make_demo.version("flite")


# --- Real recordings --------------------------------------------------------------------------


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("name", "shortest", "longest"),
    [("ljspeech", 1.0, 10.2), ("esc10", 4.9, 5.1), ("librispeech", 2.0, 19.0)],
)
def test_recordings_load(real_data: Path, name: str, shortest: float, longest: float) -> None:
    for clip in load_dataset(name):
        assert clip.locate().is_relative_to(real_data)
        x = clip.load(22050)
        assert shortest < x.size / 22050 < longest, clip.id
        assert np.abs(x).max() > 0, clip.id


@pytest.mark.parametrize(("limit", "n_dogs"), [(None, 3), (1, 1), (2, 1), (3, 2), (5, 3)])
def test_a_spread_limit_takes_a_clip_of_each_category_in_turn(
    limit: int | None, n_dogs: int
) -> None:
    categories = ["dog", "dog", "dog", "rain", "rain"]
    facts = dict.fromkeys(("dataset", "sha256", "licence", "author", "source"), "")
    clips = [
        Clip(id=str(n), category=category, locate=Path, **facts)
        for n, category in enumerate(categories)
    ]
    chosen = limited(clips, limit, spread=True)
    assert chosen == sorted(chosen, key=clips.index)
    assert len(chosen) == (limit or 5)
    assert [clip.category for clip in chosen].count("dog") == n_dogs
    assert limited(clips, limit) == clips[:limit]
