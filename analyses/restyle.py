"""A kept figure in another size, font and palette, and the table behind it in LaTeX."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analyses.figures import ONE_COLUMN, PALETTE, TWO_COLUMNS, sized
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
ROWS = 60


def restyled(figure: go.Figure, format: str, font: str, palette: str) -> go.Figure:
    """A copy with the width of `format`, the font family and the palette. Raises KeyError for an unknown one.

    Only colours of the house palette are exchanged; scales of amounts and colours that mean something else stay.
    """
    exchange = {old.lower(): new for old, new in zip(PALETTE, PALETTES[palette], strict=True)}
    exchange |= {_rgb(old): _rgb(new) for old, new in zip(PALETTE, PALETTES[palette], strict=True)}
    copy = go.Figure(_exchanged(figure.to_plotly_json(), exchange))
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


def _rgb(color: str) -> str:
    return "rgba(" + ",".join(str(int(color[i : i + 2], 16)) for i in (1, 3, 5)) + ","


def _exchanged(value: Any, exchange: dict[str, str]) -> Any:
    """The plotly JSON with every colour of the palette exchanged, also in its translucent form."""
    if isinstance(value, dict):
        return {name: _exchanged(part, exchange) for name, part in value.items()}
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
