"""Kept figures in other sizes, fonts and palettes; tables in LaTeX."""

from types import ModuleType

import pandas as pd
import plotly.graph_objects as go
import pytest

from analyses import extrapolation_pictures, label_shift_figures, latent_details
from analyses.figures import ONE_COLUMN, PALETTE, TWO_COLUMNS, band, finish, series_style
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


@pytest.mark.parametrize("module", [extrapolation_pictures, label_shift_figures, latent_details])
@pytest.mark.parametrize("palette", ["Grey", "Tol bright"])
def test_scales_of_signed_amounts_stay(module: ModuleType, palette: str) -> None:
    chart = go.Figure().add_heatmap(z=[[-1, 1]], colorscale=module.DIVERGING)
    chart.add_scatter(x=[0], y=[0], marker={"color": [0.5], "colorscale": module.DIVERGING, "symbol": ["x"]})
    made = restyled(finish(chart, alt="a signed map"), "two columns", "Sans", palette)
    assert made.data[0].colorscale == chart.data[0].colorscale
    assert made.data[1].marker.colorscale == chart.data[1].marker.colorscale
    assert list(made.data[1].marker.symbol) == ["x"]


@pytest.mark.parametrize("colored", [True, False])
def test_seven_grey_lines_differ_in_dash_and_symbol(colored: bool) -> None:
    chart = go.Figure()
    for index in range(7):
        style = {"line": series_style(index)} if colored else {}
        chart.add_scatter(x=[0, 1], y=[index, index], mode="lines+markers", **style)
    chart.add_scattergl(x=[0], y=[0], mode="markers", marker={"color": PALETTE[2]})
    made = restyled(finish(chart, alt="seven lines"), "one column", "Sans", "Grey").data
    assert len({trace.line.dash for trace in made[:7]}) == len({trace.marker.symbol for trace in made}) == 7
    assert made[7].marker.symbol == made[2].marker.symbol
    assert restyled(chart, "one column", "Sans", "Tol bright").data[1].line.dash in (None, "solid")


def test_a_grey_line_keeps_a_dash_that_means_something_and_other_colours_their_looks() -> None:
    chart = figure().add_scatter(x=[0, 1], y=[0, 1], line={"color": PALETTE[2], "dash": "dot"})
    made = restyled(chart, "two columns", "Sans", "Grey").data
    assert made[4].line.dash == "dot" and made[1].line.dash not in (None, "solid", "dot", "dash")
    assert made[2].line.dash is None and made[2].marker.symbol is None and made[1].mode is None


def test_grey_lines_get_symbols_where_solid_means_something_beside_dashed() -> None:
    chart = figure()
    for index in range(7):
        for dash in ("solid", "dash"):
            chart.add_scatter(x=[0], y=[0], mode="lines", line={"color": PALETTE[index], "dash": dash})
    made = restyled(chart, "two columns", "Sans", "Grey").data
    assert [trace.line.dash for trace in made[4:]] == ["solid", "dash"] * 7
    assert {trace.mode for trace in made[4:]} == {"lines+markers"} and made[0].mode == "lines"
    assert len({trace.marker.symbol for trace in made[4:]}) == 7


def test_an_unknown_size_is_refused() -> None:
    with pytest.raises(KeyError):
        restyled(figure(), "poster", "Sans", "Grey")


def test_the_table_says_when_it_is_cut() -> None:
    text = numbers_table(pd.DataFrame({"x_1": [0.123456] * 100, "name": ["50%"] * 100}), "All & more")
    assert text.count(r"0.123 & 50\%") == 60 and "the first 60 of 100 rows" in text and r"x\_1" in text
