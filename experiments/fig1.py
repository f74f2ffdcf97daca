"""Fig. 1: SCM against lambda, and SCM, PESQ and ESTOI against rho, of ADMM on speech."""

import matplotlib.pyplot as plt
import pandas as pd

from melexp.report.figures import Drawing, draw_figure
from melexp.report.plots import WIDTH, band, clips_of, look, panel
from melexp.results.statistics import at_last, mean_table

PAPER = {"lam": 5000.0, "rho": 0.1}
SYMBOL = {"lam": r"$\lambda$", "rho": r"$\rho$"}
PANELS = [("lam", "scm"), ("rho", "scm"), ("rho", "pesq"), ("rho", "estoi")]


def draw(table: pd.DataFrame) -> Drawing:
    table, iterations = at_last(table)
    drawn = []
    figure, axes = plt.subplots(1, 4, figsize=(WIDTH, 1.9), layout="constrained")
    for ax, letter, (swept, metric) in zip(axes, "abcd", PANELS, strict=True):
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
        panel(ax, letter, metric)
        drawn.append(means.rename(columns={swept: "x"}).assign(swept=swept, metric=metric))
    caption = (
        f"ADMM after {iterations} iterations on {clips_of(table, 'speech')}: mean and 95 % "
        "interval. The dotted lines mark the paper's setting, lambda = 5000 and rho = 0.1: "
        f"{gap(drawn[0], 5000)} over lambda and {gap(drawn[1], 0.1)} over rho."
    )
    return Drawing(figure, pd.concat(drawn), caption)


def gap(means: pd.DataFrame, setting: float) -> str:
    """Return the distance of the paper's setting from the best mean of the sweep."""
    best = means.loc[means["mean"].idxmin()]
    behind = means.loc[means["x"] == setting, "mean"].item() - best["mean"]
    return f"{behind:.1f} dB from the best SCM (at {best['x']:g})"


if __name__ == "__main__":
    draw_figure(__file__)
