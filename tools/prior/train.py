"""Train the network of the shipped prior, melexp/start/prior.npz (needs torch).

    python tools/prior/train.py out/prior

It writes ``out/prior.npz``, the averaged weights; ``out/prior.pt``, from which ``--resume``
continues; ``out/prior.csv``, the loss; and ``out/prior.clips.csv``, the sounds. One thread trains.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from data import Sounds, draw_batch
from model import CHANNELS, Network, losses, total, weights_of

#: Steps between two rows of the table of losses.
EVERY = 100


def tensors(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch with tensors in place of arrays."""
    return {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in batch.items()}


def rate(step: int, steps: int, largest: float) -> float:
    """Return the learning rate: a rise over 100 steps, then half a cosine down to 3 %."""
    cosine = 0.5 * (1 + np.cos(np.pi * step / steps))
    return float(largest * min(1, (step + 1) / 100) * (0.97 * cosine + 0.03))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--channels", type=int, default=CHANNELS)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--resume", type=Path)
    a = parser.parse_args()
    a.out.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    sounds = Sounds()
    pd.DataFrame([c.provenance() for c in sounds.clips]).to_csv(
        a.out.with_suffix(".clips.csv"), index=False
    )
    print(f"{len(sounds.speech)} clips of speech, {len(sounds.foley)} of foley", flush=True)
    if sounds.missing:
        print(f"without {len(sounds.missing)} clips: {', '.join(sounds.missing)}", flush=True)
    net = Network(a.channels).to(memory_format=torch.channels_last)
    opt = torch.optim.AdamW(net.parameters(), weight_decay=1e-2, betas=(0.9, 0.98))
    first = 0
    if a.resume:
        stored = torch.load(a.resume, weights_only=True)
        net.load_state_dict(stored["net"])
        opt.load_state_dict(stored["opt"])
        first = stored["step"]
    rng = np.random.default_rng([a.seed, first])
    average = {k: v.clone() for k, v in net.state_dict().items()}
    rows: list[dict[str, Any]] = []
    saved = time.time()
    for step in range(first, a.steps):
        for group in opt.param_groups:
            group["lr"] = rate(step, a.steps, a.rate)
        batch = tensors(draw_batch(sounds, rng, a.batch))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = net(batch["planes"])
        terms = losses(out.float(), batch)
        opt.zero_grad()
        total(terms).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        opt.step()
        decay = min(0.998, (step - first + 1) / (step - first + 20))
        with torch.no_grad():
            for name, value in net.state_dict().items():
                average[name].lerp_(value, 1 - decay)
        numbers = {name: float(value.detach()) for name, value in terms.items()}
        rows.append({"step": step // EVERY * EVERY, "layout": batch["name"], **numbers})
        last = step + 1 == a.steps
        if last or time.time() - saved > 120:
            saved = time.time()
            torch.save(
                {"net": net.state_dict(), "opt": opt.state_dict(), "step": step + 1},
                a.out.with_suffix(".pt"),
            )
            np.savez(a.out.with_suffix(".npz"), **weights_of(average))
            table = pd.DataFrame(rows).groupby(["step", "layout"], as_index=False).mean()
            table.round(5).to_csv(a.out.with_suffix(".csv"), index=False)
            print(f"step {step + 1}: {table.iloc[-1].to_dict()}", flush=True)


if __name__ == "__main__":
    main()
