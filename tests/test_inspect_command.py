"""`melexp inspect`, and what `melexp invert` says of a mel that is not what it is said to be."""

import sys
from pathlib import Path

import librosa
import numpy as np
import pytest
from test_invert_command import Run, hifigan, run

from melexp import __main__ as cli
from melexp.datasets import load_dataset
from melexp.transforms.mel import MelTransform

__all__ = ["hifigan", "run"]  # fixtures


def mel_of(preset: str) -> np.ndarray:
    transform = MelTransform.preset(preset)
    return transform(load_dataset("demo_speech")[0].load(round(transform.sr)))


def command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["melexp", "inspect", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("mel.npy", mel_of("hifigan").T)
    code, out, _ = command(monkeypatch, capsys, "mel.npy")
    assert code == 0
    assert out.startswith("mel.npy: 80 bands, ")
    assert "(frames first in the file)" in out
    assert "1. ln of magnitude, floor 1e-05: preset hifigan, tacotron2" in out
    assert "melexp invert mel.npy out.wav --preset hifigan\n" in out
    assert "dB per octave" in out
    np.savez("two.npz", a=np.zeros(3), b=mel_of("paper"))
    assert (
        "linear magnitude: preset paper" in command(monkeypatch, capsys, "two.npz", "--key", "b")[1]
    )


def test_errors_of_the_command(
    wav: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for source, reason in ((str(wav), "the file is sound, not a mel"), ("missing.npy", "No such")):
        code, out, err = command(monkeypatch, capsys, source)
        assert (code, out) == (2, "")
        assert reason in err
        assert len(err.splitlines()) == 1


def test_a_list_of_kaldi_names_files_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kaldiio = pytest.importorskip("kaldiio", reason="needs the extra 'files'")
    kaldiio.save_ark(str(tmp_path / "feats.ark"), {"a": mel_of("hifigan").T})
    (tmp_path / "feats.scp").write_text("a feats.ark:2\n")
    code, out, err = command(monkeypatch, capsys, str(tmp_path / "feats.scp"))
    assert (code, err) == (0, "")
    assert "80 bands" in out


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_huge_values_leave_no_warning_of_numpy(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0).random((80, 50))
    for factor in (1e45, 1e300, 1e308, -1e308, np.longdouble("1e4000")):
        np.save("mel.npy", factor * noise)
        for code, _, err in (
            command(monkeypatch, capsys, "mel.npy"),
            run("mel.npy", "out.wav", "--preset", "paper"),
        ):
            assert len(err.splitlines()) == (1 if code else 0)


# --- melexp invert --------------------------------------------------------------------------


def test_it_says_what_a_mel_looks_like(run: Run, speech: np.ndarray) -> None:
    np.save("mel.npy", MelTransform.preset("paper")(speech))
    _, out, _ = run("mel.npy", "out.wav", "--preset", "hifigan")
    assert "warning: the values do not look like ln of magnitude" in out
    assert "but linear magnitude: give --preset paper" in out
    _, out, err = run("mel.npy", "out.wav", "--preset", "paper")
    assert "warning" not in out + err


def test_an_error_says_what_a_mel_looks_like(
    run: Run, speech: np.ndarray, hifigan: MelTransform
) -> None:
    np.save("mel.npy", hifigan(speech))
    code, _, err = run("mel.npy", "out.wav", "--preset", "paper")
    assert code == 2
    assert "values are negative" in err
    assert "give --preset hifigan" in err
    np.save("mel.npy", librosa.feature.mfcc(y=speech, n_mfcc=20))
    for preset in ("paper", "hifigan"):
        code, _, err = run("mel.npy", "out.wav", "--preset", preset, "--n-mels", "20")
        assert code == 2
        assert "an MFCC is not a mel-spectrogram: use melexp.mfcc_to_audio" in err
        assert len(err.splitlines()) == 1


def test_a_poor_result_is_pointed_out(run: Run, speech: np.ndarray) -> None:
    np.save("mel.npy", MelTransform.preset("librosa")(speech))
    wrong = ["--preset", "paper", "--n-fft", 2048, "--hop-length", 512, "--n-mels", 128]
    _, out, _ = run("mel.npy", "out.wav", *wrong, "--n-iter", 100)
    assert "the SCM is above -20 dB: the front end is probably another one" in out
    _, out, _ = run("mel.npy", "out.wav", "--preset", "librosa", "--n-iter", 100)
    assert "warning" not in out
