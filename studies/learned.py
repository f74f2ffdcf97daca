"""The shipped prior against no prior, on voices and sounds that it was not trained on.

    python studies/learned.py --clips 14    # makes results/prior/
    python studies/learned.py --clips 7 --weights 0 0.7 --truth 0 0.2 0.4 1 --layouts librosa \
        torchaudio "1024 / 512" --output results/prior/limit
    python studies/learned.py --clips 7 --truth 0 1 --bands 0 500 1000 3000 12000 \
        --layouts librosa "1024 / 512" --output results/prior/bands
    python studies/learned.py --clips 14 --network out/prior.npz --output results/prior/seed1

The second and third ask what a better network could give: its magnitude moves towards the true one,
at all frequencies or in a band. The fourth tries other weights of the network.

Each run has 100 iterations of `admm_ramp` on the first seconds of a clip. The rows have the results
without a prior and with the network, and what the test of `melexp.start.prior.guarded` compares.
The table applies the test afterwards, because a dropped guess is no prior. `--table` makes it again
from the rows.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from melexp import MelTransform, Problem, make_method, solve
from melexp.datasets import Clip, load_dataset
from melexp.files.atomic import write_text
from melexp.metrics import score
from melexp.results.provenance import provenance
from melexp.start import kl, prior
from melexp.start.magnitude import magnitude_of

LAYOUTS = {
    "1024 / 512": MelTransform.preset("paper", hop_length=512),
    **{
        name: MelTransform.preset(name)
        for name in ("torchaudio", "librosa", "librosa_db", "clap", "audioldm", "hifigan", "paper")
    },
}
#: Data sets, and the metrics of each. None of the clips is in the training data.
SETS = {
    "librispeech": ("pesq", "estoi", "sc", "scm", "dnsmos", "zimtohrli"),
    "ljspeech": ("pesq", "estoi", "sc", "scm", "dnsmos", "zimtohrli"),
    "esc10": ("sc", "scm", "zimtohrli"),
}
DIGITS = {"pesq": 3, "estoi": 4, "sc": 2, "scm": 1, "dnsmos": 2, "zimtohrli": 3}
NAMES = dict(zip(DIGITS, ["PESQ", "ESTOI", "SC dB", "SCM dB", "DNSMOS", "Zimtohrli"], strict=True))
HEAD = "| layout | data | clips | used | metric | no prior | change | worst | better |"
KEYS = ["layout", "dataset", "clip"]


def relative_error(A: np.ndarray, true: np.ndarray) -> float:
    """Return the distance of a magnitude from the true one, in dB."""
    return float(20 * np.log10(np.linalg.norm(A - true) / np.linalg.norm(true)))


def rows_of(
    clip: Clip,
    layout: str,
    dataset: str,
    *,
    seconds: float,
    n_iter: int,
    weights: list[float],
    truth: list[float],
    bands: list[tuple[float, float]],
) -> Iterator[dict[str, object]]:
    """Yield a row for the run without a prior, and for each weight, share of the truth and band."""
    transform = LAYOUTS[layout]
    x = clip.load(round(transform.sr))[: round(seconds * transform.sr)]
    problem = Problem(transform(x), transform, length=len(x))
    A = magnitude_of(kl(problem), transform.power)
    guess, inconsistency = prior.with_better_phase(prior.of_network(A, problem), problem)
    true = np.abs(problem.stft.forward(x / np.float32(problem.scale)))
    facts = {
        "layout": layout,
        "dataset": dataset,
        "clip": clip.id,
        "kl_error": relative_error(A, true),
        "prior_error": relative_error(guess.magnitude, true),
        "ratio": inconsistency / prior.start_errors(A, None, problem)[0],
    }
    runs: dict[str, dict[str, object]] = {"none": {}}
    frequency = transform.sr / transform.n_fft * np.arange(len(A))[:, None]
    for weight, share, (low, high) in itertools.product(weights, truth, bands):
        part = np.float32(share) * ((frequency >= low) & (frequency < high))
        magnitude = guess.magnitude + part * (true - guess.magnitude)
        moved = dataclasses.replace(guess, magnitude=magnitude)
        name = f"{weight}, {share:.0%} of the truth" if share else str(weight)
        name += f", {low:g} to {high:g} Hz" if share and high < np.inf else ""
        runs[name] = {"prior": lambda *_, moved=moved: moved, "prior_weight": weight}
    for name, params in runs.items():
        method = make_method("admm_ramp", **params).for_budget(n_iter)
        (last,) = solve(method, problem, checkpoints=[n_iter])
        values = {m: score(m, x, last.signal, transform=transform).value for m in SETS[dataset]}
        yield facts | {"weight": name} | values


def interval(d: pd.Series) -> str:
    """Return the mean and its normal 95 % interval."""
    half = 1.96 * d.std(ddof=1) / np.sqrt(len(d)) if len(d) > 1 else np.nan
    digits = DIGITS[str(d.name)]
    return f"{d.mean():+.{digits}f} [{d.mean() - half:+.{digits}f}, {d.mean() + half:+.{digits}f}]"


def used(rows: pd.DataFrame) -> pd.Series:
    """Return whether the shipped prior uses its network for each row."""
    return rows["ratio"] < prior.MARGIN


def markdown(table: pd.DataFrame) -> str:
    """Return the changes by the prior: mean, interval, worst clip and share of better clips."""
    base = table[table["weight"] == "none"].set_index(KEYS)
    lines = []
    for weight in sorted(set(table["weight"]) - {"none"}):
        for tested in (False,) if "truth" in weight else (True, False):
            title = "The shipped prior" if tested else "The network always"
            lines += [f"**{title}, weight {weight}**", "", HEAD]
            lines += ["| --- | --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |"]
            found = table[table["weight"] == weight].set_index(KEYS)
            for (layout, dataset), rows in found.groupby(["layout", "dataset"], sort=False):
                kept = used(rows)
                for metric in SETS[str(dataset)]:
                    if rows[metric].isna().all():  # its package was missing
                        continue
                    before = base.loc[rows.index, metric]
                    change = rows[metric] - before
                    change = change.where(kept | (not tested), 0)
                    sign = -1 if metric in ("sc", "scm") else 1
                    worst = change.min() if sign > 0 else change.max()
                    lines.append(
                        f"| {layout} | {dataset} | {len(rows)} | {kept.sum()} | "
                        f"{NAMES[metric]} | {before.mean():.{DIGITS[metric]}f} | "
                        f"{interval(change)} | {worst:+.{DIGITS[metric]}f} | "
                        f"{(sign * change > 0).mean():.0%} |"
                    )
            lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=7, help="clips of each data set")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--n-iter", type=int, default=100)
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0])
    parser.add_argument("--truth", type=float, nargs="+", default=[0.0], help="shares, 0 to 1")
    parser.add_argument("--bands", type=float, nargs="+", default=[], help="edges of bands in Hz")
    parser.add_argument("--network", type=Path, help="weights in place of the shipped ones")
    parser.add_argument("--layouts", nargs="+", choices=LAYOUTS, default=list(LAYOUTS))
    parser.add_argument("--output", type=Path, default=Path("results/prior"))
    parser.add_argument("--table", action="store_true", help="only make the table again")
    a = parser.parse_args()
    if a.table:
        write_text(a.output / "prior.md", markdown(pd.read_csv(a.output / "prior.csv")))
        return
    if a.network:
        prior.WEIGHTS = a.network
    bands = [(0.0, np.inf), *itertools.pairwise(a.bands)]
    sets = {name: load_dataset(name) for name in SETS}
    rows: list[dict[str, object]] = []
    for n in range(a.clips):
        for dataset, clips in sets.items():
            clip = clips[n * len(clips) // a.clips]  # spread over speakers and categories
            for layout in a.layouts:
                rows += rows_of(
                    clip,
                    layout,
                    dataset,
                    seconds=a.seconds,
                    n_iter=a.n_iter,
                    weights=a.weights,
                    truth=a.truth,
                    bands=bands,
                )
            a.output.mkdir(parents=True, exist_ok=True)
            table = pd.DataFrame(rows)
            write_text(a.output / "prior.csv", table.round(4).to_csv(index=False))
            write_text(a.output / "prior.md", markdown(table))
            network = a.network.stem if a.network else "shipped"
            command = vars(a) | {"output": "", "network": network}
            notes = {"command": command, **provenance()}
            write_text(a.output / "prior.provenance.json", json.dumps(notes, indent=1, default=str))
            print(n, dataset, len(rows), flush=True)


if __name__ == "__main__":
    main()
