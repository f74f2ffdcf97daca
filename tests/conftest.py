"""What the tests share: how hypothesis draws, a short clip, small transforms, the real clips.

And runs beside an undisturbed one (see `faults`).
"""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from crashing import Forge, shared_forge
from faults import RUN, SWEEP, Bench, Tried
from hypothesis import settings
from sounds import sine

from melexp.datasets import load_dataset
from melexp.transforms.mel import MelTransform

ROOT = Path(__file__).resolve().parents[1]

# The same examples on every machine and in every run, however slow it is.
settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run the tests marked long")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out long tests unless they are asked for, also beside another -m."""
    left_out = {"torture", "long"} - {"long" if config.option.long else ""}
    left_out = {name for name in left_out if name not in config.option.markexpr}
    if left_out:
        asked = [i for i in items if not left_out & {mark.name for mark in i.iter_markers()}]
        config.hook.pytest_deselected(items=[item for item in items if item not in asked])
        items[:] = asked


@pytest.fixture(scope="session")
def speech() -> np.ndarray:
    """One second of an embedded utterance at 22.05 kHz [shape=(22050,), float32]."""
    samples = load_dataset("demo_speech")[0].load(22050)[:22050]
    samples.setflags(write=False)
    return samples


@pytest.fixture(scope="session")
def paper() -> MelTransform:
    """The transform of the paper."""
    return MelTransform.preset("paper")


@pytest.fixture(scope="session")
def small() -> MelTransform:
    """A transform that is quick to invert."""
    return MelTransform.preset("paper", sr=8000, n_fft=128, hop_length=32, n_mels=12, fmax=4000)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """A sound file: half a second of a sine at 16 kHz."""
    path = tmp_path / "made.wav"
    soundfile.write(path, sine(440, 16000), 16000)
    return path


@pytest.fixture
def real_data(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real clips, as the data sets' mirror; where there is none, a skip."""
    folder = Path(os.environ.get("MELEXP_DATA_MIRROR") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no recordings: set MELEXP_DATA_MIRROR to a folder that holds them")
    monkeypatch.setenv("MELEXP_DATA_MIRROR", str(folder))
    return folder


@pytest.fixture
def fuzz() -> Callable[[list[bytes], Callable[[bytes], object]], int]:
    """Calls a function with damaged bytes for MELEXP_FUZZ_SECONDS (60); the number of calls.

    A random seed would find more in the long run; this one finds the same everywhere, and another
    can be chosen with MELEXP_FUZZ_SEED.
    """

    def run(seeds: list[bytes], attack: Callable[[bytes], object]) -> int:
        rng = np.random.default_rng(int(os.environ.get("MELEXP_FUZZ_SEED", "0")))
        end = time.monotonic() + float(os.environ.get("MELEXP_FUZZ_SECONDS", "60"))
        count = 0
        while time.monotonic() < end:
            attack(_damaged(seeds[rng.integers(len(seeds))], rng))
            count += 1
        return count

    return run


def _damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Up to eight bytes set, or short runs cut, repeated or inserted; headers most of all."""
    data = bytearray(whole)
    for _ in range(rng.integers(1, 9)):
        at = int(rng.integers(len(data) + 1) * rng.choice([1, 0.05]))
        run, how = int(rng.geometric(0.2)), rng.integers(5)
        if how < 2:
            data[at : at + 1] = rng.choice([rng.bytes(1), b"\0", b"\xff", b"\x7f", b"\x80"])
        elif how == 2:
            del data[at : at + run]
        elif how == 3:
            data[at:at] = data[at : at + run]
        else:
            data[at:at] = rng.bytes(run)
    return bytes(data)


@pytest.fixture
def tried(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> Iterator[Tried]:
    """The counts of the test; printed when it has ended."""
    counts = Tried(request.node.name)
    yield counts
    with capsys.disabled():
        print(f"\n{counts.fault}: {counts.tried} tried, {counts.lost} lost, "
              f"{counts.changed} changed, {counts.unclear} unclear")  # fmt: skip


@pytest.fixture(scope="session")
def forge() -> Forge:
    return shared_forge()


@pytest.fixture(scope="session")
def bench(tmp_path_factory: pytest.TempPathFactory, forge: Forge) -> Bench:
    """Of one configuration."""
    return Bench(tmp_path_factory.mktemp("run"), forge, *RUN)


@pytest.fixture(scope="session")
def sweep(tmp_path_factory: pytest.TempPathFactory, forge: Forge) -> Bench:
    """Of two jobs, with six tasks in all."""
    return Bench(tmp_path_factory.mktemp("sweep"), forge, *SWEEP, "workers=1")
