"""The network of the shipped prior in torch, and its loss; the inference is in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from melexp.start.network import N_OUT, N_PLANES, PATCH

#: Channels of the shipped network.
CHANNELS = 48
#: Dilations along frequency, in patches: one block each.
DILATIONS = (1, 2, 4, 8, 1, 2)
#: Frames at either end of a crop that have no loss, because the crop cuts their sound.
EDGE = 2


class Block(nn.Module):
    """A residual: a dilated 3 x 3 convolution, ReLU and a pointwise layer."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=(dilation, 1), dilation=(dilation, 1))
        self.out = nn.Conv2d(channels, channels, 1)
        with torch.no_grad():
            self.out.weight *= 0.3
            self.out.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus the residual."""
        return x + self.out(torch.relu(self.conv(x)))


class Network(nn.Module):
    """From planes (n, N_PLANES, n_bins, n_frames) to (n, N_OUT, n_bins, n_frames).

    It has no normalisation, whose cost in training exceeds that of the convolutions.
    """

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(N_PLANES * PATCH, channels, 3, padding=1)
        self.blocks = nn.ModuleList([Block(channels, d) for d in DILATIONS])
        self.head = nn.Conv2d(channels, N_OUT * PATCH, 1)
        nn.init.zeros_(self.head.weight)  # the first output is that of no prior
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the output of the network."""
        n, p, n_bins, t = x.shape
        x = functional.pad(x, (0, 0, 0, -n_bins % PATCH))
        g = x.shape[2] // PATCH
        x = x.reshape(n, p, g, PATCH, t).transpose(2, 3).reshape(n, p * PATCH, g, t)
        x = self.stem(x.contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            x = block(x)
        x = self.head(x)
        x = x.reshape(n, N_OUT, PATCH, g, t).transpose(2, 3).reshape(n, N_OUT, g * PATCH, t)
        return x[:, :, :n_bins]


def weights_of(state: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """Return the arrays that ``melexp.start.network.forward`` reads."""
    arrays = {name: value.numpy() for name, value in state.items()}
    return arrays | {"dilations": np.array(DILATIONS, np.int64)}


def corrected(A: Tensor, c: Tensor, batch: dict[str, Any], floor: Tensor) -> Tensor:
    """Return A exp(c), refitted to the mel as ``melexp.start.prior.refitted`` does."""
    E, M, power = batch["E"], batch["M"], batch["power"]
    A = (A + floor) * torch.exp(c.clamp(-3, 3))
    total = E.sum(0)[None, :, None]
    for _ in range(2):
        ratio = M / (E[None] @ (A if power == 1 else A * A) + 1e-9)
        step = (E.T[None] @ ratio) / total.clamp_min(1e-12)
        A = A * (step if power == 1 else torch.sqrt(step + 1e-12))
    return A * (total > 0)


def losses(out: Tensor, batch: dict[str, Any]) -> dict[str, Tensor]:
    """Return the terms of the loss.

    Parameters
    ----------
    out : Tensor [shape=(n, N_OUT, n_bins, n_frames)]
        Log correction of the magnitude, log of its error + 1, corrections of both increments.
    batch : dict
        From ``data.draw_batch``.

    Returns
    -------
    terms : dict of Tensor
        Relative squared errors of the root of the magnitude ("root") and of the magnitude
        ("plain"), the negative log likelihood of the error ("error"), and 1 - cos of the error of
        the phase increments along time and frequency, weighted by magnitudes.
    """
    true = batch["X"].abs()
    floor = 1e-5 * batch["level"]
    A = corrected(batch["A"], out[:, 0], batch, floor)
    covered = (batch["E"].sum(0) > 0).float()[None, :, None]

    def share(x: Tensor, of: Tensor) -> Tensor:
        x, of = ((v * covered)[..., EDGE:-EDGE].sum((1, 2)) for v in (x, of))
        return x / (of + 1e-6)

    root, root_true = torch.sqrt(A + 0.1 * floor), torch.sqrt(true + 0.1 * floor)
    known = A.detach()
    squared = (root - root_true).detach() ** 2 / (known + true + floor)
    s = out[:, 1] - 1
    weight = true + known
    terms = {
        "root": share((root - root_true) ** 2, true).mean(),
        "plain": share((A - true) ** 2, true**2).clamp_max(2).mean(),
        "error": share((0.5 * squared * torch.exp(-2 * s) + s) * weight, weight).mean(),
    }
    for name, (error, size) in phase_errors(out, known, floor, batch).items():
        error, size = error[..., EDGE:-EDGE], size[..., EDGE:-EDGE]
        cost = ((1 - torch.cos(error)) * size).sum((1, 2)) / (size.sum((1, 2)) + 1e-6)
        terms[name] = cost.mean()
    return terms


def phase_errors(
    out: Tensor, A: Tensor, floor: Tensor, batch: dict[str, Any]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the error of each phase increment, and its weight, along time and frequency."""
    log = torch.log(A + 1e-4 * floor)
    rise, slope = torch.zeros_like(log), torch.zeros_like(log)
    rise[:, 1:-1] = (log[:, 2:] - log[:, :-2]) / 2
    slope[..., 1:-1] = (log[..., 2:] - log[..., :-2]) / 2
    along_t = batch["advance"][None, :, None] + batch["along_t"] * rise + out[:, 2]
    along_f = batch["along_f"] * slope - batch["delay"] + out[:, 3]
    angle, true = batch["X"].angle(), batch["X"].abs()
    return {
        "time": (
            angle.diff(dim=2) - (along_t[..., 1:] + along_t[..., :-1]) / 2,
            torch.sqrt(true[..., 1:] * true[..., :-1]),
        ),
        "frequency": (
            angle.diff(dim=1) - (along_f[:, 1:] + along_f[:, :-1]) / 2,
            torch.sqrt(true[:, 1:] * true[:, :-1]),
        ),
    }


def total(terms: dict[str, Tensor]) -> Tensor:
    """Return the loss."""
    phases = terms["time"] + terms["frequency"]
    return terms["root"] + 0.3 * terms["plain"] + 0.05 * terms["error"] + 0.1 * phases
