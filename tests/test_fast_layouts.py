"""The fast engine against the portable one, for frames of any length, hop, window and padding."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from reference import error

from melexp import MelTransform
from melexp.fast.fft import factors
from melexp.methods import make_method
from melexp.problem import Problem

METHODS = ("gla", "fgla", "admm_gla", "ipalm", "admm")
LENGTHS = [n for n in range(16, 700, 2) if factors(n // 2)]


@st.composite
def transforms(draw: st.DrawFn) -> MelTransform:
    n_fft = draw(st.sampled_from(LENGTHS))
    win_length = draw(st.integers(max(n_fft // 4, 8), n_fft))
    center = draw(st.booleans())
    options: dict[str, Any] = {"center": center}
    if not center:
        options["pad"] = draw(st.integers(0, n_fft))
    try:
        return MelTransform(
            sr=16000,
            n_fft=n_fft,
            win_length=win_length,
            hop_length=draw(st.integers(max(win_length // 9, 1), max(win_length * 2 // 3, 1))),
            window=draw(st.sampled_from(["hann", "hamming", "boxcar"])),
            pad_mode=draw(st.sampled_from(["constant", "reflect", "edge", "symmetric", "wrap"])),
            n_mels=draw(st.integers(1, 40)),
            fmin=0.0,
            fmax=None,
            power=draw(st.sampled_from([1.0, 2.0])),
            empty_filters=True,
            **options,
        )
    except ValueError:  # the window leaves samples that no frame sees
        assume(False)
        raise


def states(
    transform: MelTransform, name: str, n_samples: int, weights: float, threads: int, floors: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return spectrogram and waveform after three iterations: exact, portable and fast."""
    rng = np.random.default_rng(0)
    mel = transform(rng.standard_normal(n_samples) * np.hanning(n_samples + 2)[1:-1])
    mask = rng.random(mel.shape) < 0.2 if floors else None
    found: list[tuple[np.ndarray, np.ndarray]] = []
    first: Any = None
    for dtype, engine in ((np.float64, "portable"), (np.float32, "portable"), (np.float32, "fast")):
        problem = Problem(
            mel,
            transform,
            length=n_samples,
            dtype=dtype,
            engine=engine,
            floored=mask,
            threads=threads,
        ).weighted(weights)
        method = make_method(name, magnitude="pinv", frame_weights=weights)
        if first is None:
            first = method.init(problem, rng)
        kind = np.result_type(dtype, np.complex64)
        start = {
            k: v.astype(kind if np.iscomplexobj(v) else dtype) if isinstance(v, np.ndarray) else v
            for k, v in vars(first).items()
        }
        state = method.advance(problem, type(first)(**start), 3)
        P = getattr(state, method.bins(problem).complex[0])
        found.append((P, method.signal(problem, state)))
    return found


@settings(max_examples=80)
@given(
    transform=transforms(),
    name=st.sampled_from(METHODS),
    extra=st.integers(0, 4000),
    weights=st.sampled_from([0.0, 0.0, 0.5]),
    threads=st.integers(1, 2),
    floors=st.booleans(),
)
def test_any_layout_is_that_of_the_portable_engine(
    transform: MelTransform, name: str, extra: int, weights: float, threads: int, floors: bool
) -> None:
    """Within a few times what float32 leaves of the portable engine's numbers."""
    assume(not (name == "ipalm" and transform.power == 2))
    exact, portable, fast = states(
        transform, name, transform.n_fft + extra, weights, threads, floors
    )
    for truth, reached, got in zip(exact, portable, fast, strict=True):
        assert np.isfinite(got).all()
        assert error(got, truth) < 5 * error(reached, truth) + 2e-5


@pytest.mark.parametrize("name", MelTransform.presets())
def test_every_preset_runs_in_the_fast_engine(name: str) -> None:
    transform = MelTransform.preset(name, compression=None)
    exact, portable, fast = states(transform, "admm", 3 * transform.n_fft + 77, 0.0, 1, False)
    for truth, reached, got in zip(exact, portable, fast, strict=True):
        assert error(got, truth) < 5 * error(reached, truth) + 2e-5


def test_other_lengths_fall_back(caplog: pytest.LogCaptureFixture) -> None:
    transform = MelTransform(n_fft=1103, hop_length=276, n_mels=40, sr=22050, fmin=0, fmax=None)
    mel = transform(np.random.default_rng(0).standard_normal(5000).astype(np.float32))
    with caplog.at_level("INFO", logger="melexp"):
        assert Problem(mel, transform).lanes is None
    assert "not 1103" in caplog.text
    with pytest.raises(ValueError, match="not 1103"):
        _ = Problem(mel, transform, engine="fast").lanes
