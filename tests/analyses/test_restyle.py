"""Kept figures in other sizes, fonts and palettes; tables in LaTeX."""

import pandas as pd
import plotly.graph_objects as go
import pytest

from analyses.figures import ONE_COLUMN, PALETTE, TWO_COLUMNS, band, finish
from analyses.restyle import FONTS, PALETTES, SLIDE_WIDTH, numbers_table, restyled


def figure() -> go.Figure:
    chart = go.Figure()
    band(chart, [0, 1], [0.1, 0.2], [0.3, 0.4], PALETTE[1])
    chart.add_scatter(x=[0, 1], y=[0.2, 0.3], name="a", line={"color": PALETTE[1]})
    chart.add_scatter(x=[0, 1], y=[0.5, 0.5], name="b", line={"color": "#123456"})
    chart.add_heatmap(z=[[0, 1]], colorscale="Cividis")
    return finish(chart, alt="two lines", title="Title")


@pytest.mark.parametrize(
    ("format", "wide"), [("one column", ONE_COLUMN), ("two columns", TWO_COLUMNS), ("slide", SLIDE_WIDTH)]
)
def test_width_and_font_are_those_asked_for(format: str, wide: int) -> None:
    made = restyled(figure(), format, "Serif", "Okabe-Ito")
    assert made.layout.width == wide and made.layout.font.family == FONTS["Serif"]
    assert made.layout.meta["alt"] == "two lines"


def test_only_colours_of_the_house_palette_change() -> None:
    made = restyled(figure(), "two columns", "Sans", "Tol bright")
    new = PALETTES["Tol bright"][1]
    assert made.data[1].line.color == new and made.data[2].line.color == "#123456"
    red, green, blue = (int(new[i : i + 2], 16) for i in (1, 3, 5))
    assert made.data[0].fillcolor == f"rgba({red},{green},{blue},0.18)"
    assert made.data[3].colorscale == figure().data[3].colorscale


def test_the_house_palette_changes_nothing_but_the_size() -> None:
    first, made = figure(), restyled(figure(), "two columns", "Sans", "Okabe-Ito")
    assert [trace.to_plotly_json() for trace in made.data] == [trace.to_plotly_json() for trace in first.data]


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(KeyError):
        restyled(figure(), "poster", "Sans", "Grey")


def test_the_table_says_when_it_is_cut() -> None:
    text = numbers_table(pd.DataFrame({"x_1": [0.123456] * 100, "name": ["50%"] * 100}), "All & more")
    assert text.count(r"0.123 & 50\%") == 60 and "the first 60 of 100 rows" in text and r"x\_1" in text
