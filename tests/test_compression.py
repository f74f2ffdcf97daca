"""Compressed mels: the libraries' numbers, the way back, and the floor as a bound."""

import dataclasses
import json

import librosa
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melexp.inversion.invert import invert
from melexp.methods._base import mel_residual
from melexp.metrics import score
from melexp.problem import Problem
from melexp.transforms.compression import Compression
from melexp.transforms.mel import MelTransform

CASES = {
    "ln": Compression(unit="ln", floor=1e-5),
    "log10": Compression(unit="log10", floor=1e-10),
    "epsilon": Compression(unit="ln", floor=0, epsilon=1e-6),
    "dB": Compression(unit="power_db", floor=1e-10, range=80),
    "dB of the largest": Compression(unit="power_db", floor=1e-10, ref="max", range=80),
    "amplitude dB": Compression(unit="amplitude_db", ref=20.0),
    "whisper": Compression(unit="log10", floor=1e-10, range=8, gain=0.25, offset=1),
}


def mels() -> np.ndarray:
    return np.random.default_rng(0).exponential(size=(20, 30)) ** 8


def test_it_is_librosas_decibel() -> None:
    M = mels()
    for ref in (1.0, 0.3):
        expected = librosa.power_to_db(M, ref=ref)
        found = Compression(unit="power_db", floor=1e-10, ref=ref, range=80).compress(M)
        np.testing.assert_allclose(found, expected, atol=1e-9)
        expected = librosa.amplitude_to_db(M, ref=ref)
        found = Compression(unit="amplitude_db", floor=1e-5, ref=ref, range=80).compress(M)
        np.testing.assert_allclose(found, expected, atol=1e-9)
    expected = librosa.power_to_db(M, ref=np.max, top_db=60)
    found = Compression(unit="power_db", floor=1e-10, ref="max", range=60).compress(M)
    np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
@pytest.mark.parametrize("name", CASES)
def test_the_way_back(name: str, dtype: type) -> None:
    compression, M = CASES[name], mels()
    M[0, 0] = 0
    if compression.ref == "max":
        M = M / M.max()
    compressed = compression.compress(M)
    back, floored = compression.expand(compressed.astype(dtype))
    floored = np.zeros(M.shape, bool) if floored is None else floored
    least = compression.expand(np.full((1, 1), compressed.min()))[0].item()
    error = {np.float64: 1e-9, np.float32: 1e-4, np.float16: 0.1}[dtype]
    rounding = 20 * compression.epsilon * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(back[~floored], M[~floored], rtol=error, atol=rounding)
    if compression.epsilon == 0:
        # A bound, and no bin that is clearly above it is taken for one.
        assert floored[0, 0]
        assert (M[floored] <= back[floored] * (1 + error)).all()
        assert not floored[least * (1 + 4 * error) < M].any()
    else:
        assert not floored.any()


def test_what_a_model_emits_below_the_floor_is_on_it() -> None:
    M, floored = CASES["ln"].expand(np.array([[-20.0, 0.0]]))
    np.testing.assert_allclose(M, [[1e-5, 1.0]])
    assert floored is not None
    assert floored.tolist() == [[True, False]]


@given(gain=st.floats(0.01, 10), offset=st.floats(-5, 5), unit=st.sampled_from(["ln", "power_db"]))
def test_scale_and_shift(gain: float, offset: float, unit: str) -> None:
    M = mels() + 1e-3
    compression = Compression(unit=unit, floor=1e-4, gain=gain, offset=offset)
    back, floored = compression.expand(compression.compress(M))
    np.testing.assert_allclose(back, M, rtol=1e-6)
    assert floored is None


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({"unit": "dB"}, "unit"),
        ({"floor": 0}, "floor"),
        ({"floor": -1}, "floor"),
        ({"ref": "min"}, "ref"),
        ({"ref": 0}, "ref"),
        ({"range": -80}, "range"),
        ({"gain": 0}, "gain"),
    ],
)
def test_refused_arguments(arguments: dict[str, object], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Compression(**arguments)  # type: ignore[arg-type]


def test_a_linear_mel_is_not_taken_for_a_logarithm() -> None:
    with pytest.raises(ValueError, match="far too large"):
        CASES["ln"].expand(np.array([[3.0, 200.0]]))


# --- In the transform and the problem -------------------------------------------------------


def test_the_transform_compresses_each_mel_by_itself(speech: np.ndarray) -> None:
    transform = MelTransform.preset("paper", power=2, compression=CASES["whisper"])
    both = transform(np.stack([speech, 0.01 * speech]))
    np.testing.assert_array_equal(both[1], transform(0.01 * speech))
    np.testing.assert_allclose(both[1] + 1, both[0], atol=1e-4)  # 40 dB are 4 / 4


def test_it_is_given_as_in_yaml_and_hashed_as_json() -> None:
    transform = MelTransform.preset("paper", compression={"unit": "ln", "floor": 1e-5})  # type: ignore[arg-type]
    assert transform.compression == Compression(unit="ln", floor=1e-5)
    assert json.loads(json.dumps(transform.settings()))["compression"]["floor"] == 1e-5
    plain = MelTransform.preset("paper")
    # Stages that are not used are left out, so that stored results keep their identity.
    unused = {"preemphasis": 0.0, "mel_triangles": False}
    assert plain.settings() | unused == dataclasses.asdict(plain)
    assert transform.settings() != plain.settings()


@pytest.mark.parametrize("name", ["ln", "epsilon", "dB"])
def test_inverting_is_as_with_the_linear_mel(speech: np.ndarray, name: str) -> None:
    power = 2.0 if name == "dB" else 1.0
    linear, transform = (
        MelTransform.preset("paper", power=power, compression=c) for c in (None, CASES[name])
    )
    mel = transform(speech)
    start = {"magnitude": "kl", "phase": "pghi", "n_iter": 60, "length": len(speech)}
    scores = [
        score("scm", speech, invert(m, t, **start), transform=linear).value  # type: ignore[arg-type]
        for m, t in ((linear(speech), linear), (mel, transform))
    ]
    assert scores[1] < max(-30, scores[0] + 3)


def test_the_floor_is_a_bound(speech: np.ndarray) -> None:
    # A high floor: read as values, a third of the bins would ask for what is not there.
    compression = Compression(unit="ln", floor=0.02)
    transform, linear = (
        MelTransform.preset("paper", compression=compression),
        MelTransform.preset("paper"),
    )
    mel = transform(speech)
    problem = Problem(mel, transform, length=len(speech))
    assert problem.floored is not None
    assert problem.floored.mean() > 0.3
    error = mel_residual(problem, np.zeros((513, mel.shape[1]), np.float32))
    assert (error[problem.floored] == 0).all()
    np.testing.assert_array_equal(error[~problem.floored], problem.mel[~problem.floored])
    loud = mel_residual(problem, np.full((513, mel.shape[1]), 1e3, np.float32))
    assert (loud[problem.floored] < 0).all()
    assert problem.lanes is not None  # the fast engine has bounds too

    start = {"magnitude": "kl", "phase": "pghi", "n_iter": 60, "length": len(speech)}
    bound = invert(mel, transform, **start)  # type: ignore[arg-type]
    value = invert(compression.expand(mel)[0], linear, **start)  # type: ignore[arg-type]
    quiet = [linear(y)[problem.floored].mean() for y in (speech, bound, value)]
    assert quiet[1] < quiet[2]
    scores = [score("sc", speech, y, transform=linear).value for y in (bound, value)]
    assert scores[0] < scores[1]


def test_bounds_of_a_linear_mel(speech: np.ndarray) -> None:
    compression = CASES["ln"]
    compressed, linear = (
        MelTransform.preset("paper", compression=compression),
        MelTransform.preset("paper"),
    )
    mel, floored = compression.expand(compressed(1e-3 * speech))
    assert floored is not None
    one = Problem(compressed(1e-3 * speech), compressed, length=len(speech))
    other = Problem(mel, linear, length=len(speech), floored=floored)
    np.testing.assert_array_equal(one.mel, other.mel)
    np.testing.assert_array_equal(one.floored, other.floored)
    with pytest.raises(ValueError, match="floored"):
        Problem(mel, linear, floored=floored[:, 1:])


def test_empty_filters_say_nothing() -> None:
    arguments = {"sr": 16000, "n_fft": 400, "hop_length": 200, "n_mels": 128, "htk": True}
    with pytest.raises(ValueError, match="empty"):
        MelTransform.preset("paper", **arguments)  # type: ignore[arg-type]
    transform = MelTransform.preset(
        "paper",
        **arguments,  # type: ignore[arg-type]
        empty_filters=True,
        power=2,
        compression=Compression(unit="power_db", floor=1e-10),
    )
    y = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    problem = Problem(transform(y), transform, length=8000)
    assert len(problem.filters.empty) > 0
    assert (problem.mel[problem.filters.empty] == 0).all()
    for magnitude in ("pinv", "nnls", "kl"):
        z = invert(transform(y), transform, n_iter=5, length=8000, magnitude=magnitude)
        assert np.isfinite(z).all()
