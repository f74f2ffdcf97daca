"""Texts and corrections of p-values, and the comparison beside Fig. 4."""

from pathlib import Path

import numpy as np
import pytest

from melexp.results.statistics import holm, p_text
from melexp.results.tables import read_table

CORE = Path(__file__).resolve().parents[1] / "results" / "core"


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.17321, "0.17"),
        (1.0, "1.00"),
        (0.0996, "0.10"),
        (0.0432, "0.043"),
        (0.001, "0.001"),
        (9.9e-4, "< 0.001"),
        (0.0, "< 0.001"),
        (None, ""),
        (float("nan"), ""),
    ],
)
def test_a_p_value_is_a_decimal_number_of_two_digits(p: float | None, text: str) -> None:
    assert p_text(p) == text


def test_holm_multiplies_by_the_number_of_tests_that_are_left() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.6]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_the_comparison_beside_fig_4_is_that_of_its_table() -> None:
    table = read_table(CORE, "fig4")
    table = table[(table["metric"] == "sc") & (table["iteration"] == table["iteration"].max())]
    values = table.pivot_table(index="clip", columns="label", values="value")
    rows = [line for line in (CORE / "fig4.md").read_text().splitlines() if line.startswith("| ")]
    found = {cells[1].strip(): cells for cells in (row.split("|") for row in rows[2:])}
    assert set(found) == {"iPALM", "iPALM (tuned)", "ADMM, ramped"}
    for label, cells in found.items():
        gain = values[label] - values["ADMM"]
        assert float(cells[2]) == pytest.approx(gain.mean(), abs=0.0051)
        assert cells[6].strip() == f"{100 * np.mean(gain < 0):.0f} %"
