"""A kept figure in another size, font and palette, and the table behind it in LaTeX."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analyses.figures import ONE_COLUMN, PALETTE, SYMBOLS, TWO_COLUMNS, sized
from analyses.latex import latex_table

SLIDE_WIDTH, SLIDE_FONT = 1120, 22
FORMATS = ("one column", "two columns", "slide")
FONTS = {
    "Sans": "Arial, Helvetica, 'DejaVu Sans', sans-serif",
    "Serif": "'Times New Roman', 'DejaVu Serif', serif",
    "Monospace": "'DejaVu Sans Mono', monospace",
}
# Okabe & Ito (2008); Tol's "bright" and "muted" (2021), all distinguishable with the common colour-blindnesses; greys for print.
PALETTES = {
    "Okabe-Ito": PALETTE,
    "Tol bright": ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377", "#000000"),
    "Tol muted": ("#332288", "#CC6677", "#117733", "#DDCC77", "#88CCEE", "#882255", "#44AA99"),
    "Grey": ("#000000", "#595959", "#8c8c8c", "#404040", "#737373", "#a6a6a6", "#262626"),
}
# short enough for a legend, and neither "dash" nor "dot", which pictures use themselves
GREY_DASHES = (
    "solid", "10px,3px", "8px,2px,2px,2px", "4px,8px", "4px,2px", "12px,2px,4px,2px", "8px,2px,2px,2px,2px,2px",
)  # fmt: skip
ROWS = 60


def restyled(figure: go.Figure, format: str, font: str, palette: str) -> go.Figure:
    """A copy with the width of `format`, the font family and the palette. Raises KeyError for an unknown one.

    Only colours of the house palette are exchanged; scales of amounts and colours that mean something else stay. Where greys
    take their place, dashes and symbols tell the series apart too.
    """
    exchange = {old.lower(): new for old, new in zip(PALETTE, PALETTES[palette], strict=True)}
    exchange |= {_rgb(old): _rgb(new) for old, new in zip(PALETTE, PALETTES[palette], strict=True)}
    told_apart = _marked(figure) if palette == "Grey" else figure
    copy = go.Figure(_exchanged(told_apart.to_plotly_json(), exchange))
    copy.update_layout(font={"family": FONTS[font]}, colorway=list(PALETTES[palette]))
    if format == "one column":
        copy = sized(copy, 1)
    elif format == "two columns":
        copy = sized(copy, 2)
    elif format == "slide":
        copy = _slide(copy)
    else:
        raise KeyError(format)
    return copy.update_layout(font={"family": FONTS[font]})


def width(format: str) -> int:
    """Pixels at 96 an inch."""
    return {"one column": ONE_COLUMN, "two columns": TWO_COLUMNS, "slide": SLIDE_WIDTH}[format]


def _slide(figure: go.Figure) -> go.Figure:
    grow = SLIDE_WIDTH / TWO_COLUMNS
    figure.update_layout(
        width=SLIDE_WIDTH,
        height=round((figure.layout.height or 400) * grow),
        font={"size": SLIDE_FONT},
        legend={"font": {"size": SLIDE_FONT}},
        margin={"l": 110, "r": 40, "t": 110 if figure.layout.title.text else 40, "b": 100},
    )
    figure.update_xaxes(title_font_size=SLIDE_FONT, tickfont_size=SLIDE_FONT - 2)
    figure.update_yaxes(title_font_size=SLIDE_FONT, tickfont_size=SLIDE_FONT - 2)
    figure.update_annotations(font={"size": SLIDE_FONT - 4})
    if figure.layout.title.text:
        figure.update_layout(
            title={"font": {"size": SLIDE_FONT + 4}, "subtitle": {"font": {"size": SLIDE_FONT - 2}}}
        )
    return figure


def _marked(figure: go.Figure) -> go.Figure:
    """A copy with a symbol and a dash for each colour of the palette; other symbols and dashes, which mean something, stay.

    Where a colour has solid lines beside dashed ones, solid means something too: the lines get symbols in place of dashes.
    """
    copy = go.Figure(figure)
    series = {
        place: found for place, trace in enumerate(copy.data) if (found := _series(trace, place)) is not None
    }
    lines = [place for place in series if _is_line(copy.data[place])]
    solid = [place for place in lines if copy.data[place].line.dash in (None, "solid")]
    means = {series[place] for place in solid} & {series[place] for place in lines if place not in solid}
    for place, index in series.items():
        trace = copy.data[place]
        if str(trace.marker.symbol) in ("None", "circle"):
            trace.marker.symbol = SYMBOLS[index]
        if means and place in lines:
            trace.mode = "lines+markers"
        elif place in solid:
            trace.line.dash = GREY_DASHES[index]
    return copy


def _is_line(trace: Any) -> bool:
    return trace.type == "scatter" and "lines" in (trace.mode or "lines") and trace.fill in (None, "none")


def _series(trace: Any, place: int) -> int | None:
    """The palette's number of a scatter trace's one colour, which is the `place`-th where none is given."""
    if trace.type not in ("scatter", "scattergl"):
        return None
    first, second = (trace.marker, trace.line) if trace.mode == "markers" else (trace.line, trace.marker)
    given = [color for color in (first.color, second.color) if color is not None]
    color = given[0] if given else PALETTE[place % len(PALETTE)]
    return PALETTE.index(color.upper()) if isinstance(color, str) and color.upper() in PALETTE else None


def _rgb(color: str) -> str:
    return "rgba(" + ",".join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5)) + ","


def _exchanged(value: Any, exchange: dict[str, str]) -> Any:
    """The plotly JSON with every colour of the palette exchanged, also in its translucent form, but for scales of amounts."""
    if isinstance(value, dict):
        return {
            name: part if name == "colorscale" else _exchanged(part, exchange) for name, part in value.items()
        }
    if isinstance(value, list | tuple):
        return [_exchanged(part, exchange) for part in value]
    if isinstance(value, str):
        if value.lower() in exchange:
            return exchange[value.lower()]
        for old, new in exchange.items():
            if old.startswith("rgba") and value.startswith(old):
                return new + value.removeprefix(old)
    return value


def numbers_table(frame: pd.DataFrame, caption: str) -> str:
    """The numbers behind a figure as a LaTeX table of at most `ROWS` rows; the caption says when there are more."""
    if len(frame) > ROWS:
        caption = f"{caption} (the first {ROWS} of {len(frame):,} rows)"
    return latex_table(frame.head(ROWS), caption)
