"""The peer of torchaudio: its InverseMelScale and GriffinLim."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from threadpoolctl import threadpool_limits

from melexp.errors import MissingExtra, one_line
from melexp.methods._base import Peer
from melexp.problem import Problem


@dataclass(frozen=True, kw_only=True)
class Torchaudio(Peer):
    """`torchaudio.transforms.InverseMelScale` and `GriffinLim`, called and not rewritten.

    The least squares of InverseMelScale use the driver ``gelsd``, because the default ``gels``
    needs a filter bank of full rank. GriffinLim draws its own random phase. It pads its frames by
    reflection, so without padding the ends of the sound stay silent. It runs on one core.

    Parameters
    ----------
    momentum : float in [0, 1)
        As in `torchaudio.transforms.GriffinLim`.

    Raises
    ------
    ValueError
        If the momentum is out of range.
    """

    needs: ClassVar[tuple[str, ...]] = ("torchaudio", "torch", "torchaudio")

    momentum: float = 0.99

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1); got {self.momentum}")

    def check_installed(self) -> None:
        super().check_installed()
        try:
            import torchaudio  # noqa: F401
        except (ImportError, OSError) as error:
            raise MissingExtra(
                f"the peer Torchaudio cannot import torchaudio ({one_line(error)}); install the "
                "torchaudio that was built for the installed torch"
            ) from error

    def start(self, problem: Problem) -> Any:
        """Return the magnitude of InverseMelScale, a tensor [shape=(n_bins, n_frames)].

        Raises
        ------
        ValueError
            For filters with another normalisation than "slaney" or None.
        MissingExtra
            Without the packages of the extra ``torchaudio``.
        """
        self.check_installed()
        import torch
        from torchaudio.transforms import InverseMelScale

        t = problem.transform
        if t.norm not in ("slaney", None):
            raise ValueError(
                f"torchaudio has no filters with norm = {t.norm!r}; use another method"
            )
        to_magnitude = InverseMelScale(
            n_stft=t.n_fft // 2 + 1,
            n_mels=t.n_mels,
            sample_rate=round(t.sr),
            f_min=t.fmin,
            f_max=t.fmax,
            norm=t.norm,
            mel_scale="htk" if t.htk else "slaney",
            driver="gelsd",
        )
        with threadpool_limits(1), torch.inference_mode():
            return to_magnitude(torch.from_numpy(problem.mel.astype(np.float32)))

    def run(
        self, problem: Problem, rng: np.random.Generator, n_iter: int, start: Any
    ) -> np.ndarray:
        import torch
        from torchaudio.transforms import GriffinLim

        t = problem.transform
        window = torch.from_numpy(problem.stft.window.astype(np.float32))
        # Its first frame is centred on the first sample, its last frame ends the sound. Samples
        # before and after those of the frames stay silent.
        skipped = t.n_fft // 2 - t.padding
        length = min(problem.n_samples - skipped, t.hop_length * problem.mel.shape[1] - 1)
        to_waveform = GriffinLim(
            n_fft=t.n_fft,
            hop_length=t.hop_length,
            window_fn=lambda _: window,
            power=t.power,
            n_iter=n_iter,
            momentum=self.momentum,
            length=length,
        )
        with threadpool_limits(1), torch.inference_mode(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            y = to_waveform(start).numpy()
        y = np.pad(y, (skipped, problem.n_samples - skipped - length))
        return (y * problem.scale).astype(problem.dtype)
