"""Fig. 4 on all recordings of ESC-10: SC of iPALM and ADMM, with paired tests."""

from dataclasses import replace

import fig4
import pandas as pd

from melexp.report.figures import Drawing, draw_figure


def draw(table: pd.DataFrame) -> Drawing:
    drawing = fig4.draw(table)
    (text,) = drawing.texts.values()
    return replace(drawing, texts={"fig4_all.md": text})


if __name__ == "__main__":
    draw_figure(__file__)
