"""Fig. 1: SCM against lambda, and SCM, PESQ and ESTOI against rho, of ADMM on speech."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.report.plots import (
    STYLE,
    WIDTH,
    at_last,
    band,
    look,
    mean_table,
    metric_config,
    results_folder,
    save,
)
from melexp.results.tables import read_table

PAPER = {"lam": 5000.0, "rho": 0.1}
SYMBOL = {"lam": r"$\lambda$", "rho": r"$\rho$"}


def main() -> None:
    results = results_folder(__doc__)
    table, iterations = at_last(read_table(results, "fig1"))
    clips = table["clip"].nunique()

    panels = [("lam", "scm"), ("rho", "scm"), ("rho", "pesq"), ("rho", "estoi")]
    drawn = []
    plt.rcParams.update(STYLE)
    figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 1.9), layout="constrained")
    for ax, letter, (swept, metric) in zip(axes, "abcd", panels, strict=True):
        other = "rho" if swept == "lam" else "lam"
        rows = table[(table["metric"] == metric) & (table[other] == PAPER[other])]
        means = mean_table(rows, [swept]).sort_values(swept)
        style = look("ADMM")
        if len(means) > 12:
            style["marker"] = ""
        band(ax, means[swept], means, **style)
        ax.axvline(PAPER[swept], color="0.4", linestyle=":", linewidth=1)
        ax.set_xscale("log")
        ax.set_xlabel(f"{SYMBOL[swept]}  ({SYMBOL[other]} = {PAPER[other]:g})")
        ax.set_ylabel(metric_config(metric).label)
        ax.set_title(f"({letter})", loc="left")
        drawn.append(means.rename(columns={swept: "x"}).assign(swept=swept, metric=metric))

    save(
        figure,
        results,
        "fig1",
        drawn=pd.concat(drawn),
        caption=(
            f"ADMM after {iterations} iterations on {clips} clips of speech "
            f"({', '.join(table['dataset'].unique())}): mean and 95 % interval. The dotted lines "
            f"mark the paper's setting, lambda = 5000 and rho = 0.1: {gap(drawn[0], 5000)} over "
            f"lambda and {gap(drawn[1], 0.1)} over rho."
        ),
    )


def gap(means: pd.DataFrame, setting: float) -> str:
    """How far the paper's setting lies from the best mean of the sweep."""
    best = means.loc[means["mean"].idxmin()]
    behind = means.loc[means["x"] == setting, "mean"].item() - best["mean"]
    return f"{behind:.1f} dB from the best SCM (at {best['x']:g})"


if __name__ == "__main__":
    main()
