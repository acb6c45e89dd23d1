"""The look every picture shares: one plotly template, alternative text, journal widths, export of the numbers.

Colours: Okabe & Ito (2008) for groups, cividis for amounts; both survive colour-blindness and grey print.
"""

import html
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import plotly.io as pio

INK, MUTED, GRID, PAPER = "#1a1a1a", "#595959", "#e6e6e6", "#ffffff"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("solid", "dash", "dot", "dashdot")
SEQUENTIAL = "cividis"
PIXELS_PER_INCH = 96
ONE_COLUMN = round(3.35 * PIXELS_PER_INCH)
TWO_COLUMNS = round(6.9 * PIXELS_PER_INCH)
HEIGHT = 400
ONE_COLUMN_FONT = 8 / 72 * PIXELS_PER_INCH


def _axis() -> dict[str, Any]:
    return {
        "showline": True,
        "linecolor": MUTED,
        "linewidth": 1,
        "ticks": "outside",
        "ticklen": 4,
        "tickcolor": MUTED,
        "gridcolor": GRID,
        "zeroline": False,
        "automargin": True,
        "title": {"standoff": 10},
    }


TEMPLATE = go.layout.Template(
    layout={
        "font": {"family": "Arial, Helvetica, 'DejaVu Sans', sans-serif", "size": 13, "color": INK},
        "title": {
            "font": {"size": 15},
            "subtitle": {"font": {"size": 12, "color": MUTED}},
            "x": 0,
            "xref": "paper",
            "xanchor": "left",
        },
        "colorway": list(PALETTE),
        "colorscale": {"sequential": SEQUENTIAL},
        "paper_bgcolor": PAPER,
        "plot_bgcolor": PAPER,
        "margin": {"l": 64, "r": 20, "t": 64, "b": 56},
        "xaxis": _axis(),
        "yaxis": _axis(),
        "hoverlabel": {"bgcolor": PAPER, "bordercolor": MUTED, "font": {"color": INK}, "align": "left"},
        "legend": {"font": {"size": 12}, "itemsizing": "constant"},
    }
)
pio.templates["concordance"] = TEMPLATE


def plain(text: Any) -> str:
    """`text` as literal characters in a figure: no mark-up and no formula is read into it."""
    return html.escape(str(text), quote=False).replace("$", "&#36;")


def series_style(index: int) -> dict[str, str]:
    """Colour and dash of the `index`-th series; the dash changes when the palette starts again."""
    return {
        "color": PALETTE[index % len(PALETTE)],
        "dash": DASHES[index // len(PALETTE) % len(DASHES)],
    }


def finish(
    figure: go.Figure,
    *,
    alt: str,
    title: str = "",
    subtitle: str = "",
    caption: str = "",
    height: int = HEIGHT,
) -> go.Figure:
    """Apply the template, title and height, and store alternative text and caption in `layout.meta`.

    `title` and `subtitle` are plotly text: escape data in them with `plain`.
    """
    figure.update_layout(template=TEMPLATE, height=height, meta={"alt": alt, "caption": caption or alt})
    if title:
        figure.update_layout(title={"text": title, "subtitle": {"text": subtitle}})
    else:
        figure.update_layout(margin={"t": 24})
    return figure


def empty(message: str) -> go.Figure:
    """A figure that only says why there is nothing to draw."""
    figure = go.Figure()
    figure.add_annotation(text=plain(message), showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return finish(figure, alt=message, height=160)


def sized(figure: go.Figure, columns: int) -> go.Figure:
    """A copy at journal width: `columns` 1 (3.35 in) or 2 (6.9 in), at 96 pixels an inch.

    One column has 8-point text, no title (the caption in `layout.meta` says it) and its legend below the axes.
    Raises ValueError for another number of columns.
    """
    if columns not in (1, 2):
        raise ValueError(f"columns must be 1 or 2, got {columns}.")
    copy = go.Figure(figure)
    if columns == 2:
        return copy.update_layout(width=TWO_COLUMNS)
    size = ONE_COLUMN_FONT
    copy.update_layout(width=ONE_COLUMN, height=round(ONE_COLUMN * 0.85), title=None, font={"size": size})
    copy.update_layout(
        margin={"l": 44, "r": 10, "t": 12, "b": 40},
        legend={
            "orientation": "h",
            "y": -0.3,
            "yanchor": "top",
            "x": 0,
            "xanchor": "left",
            "font": {"size": size},
        },
    )
    copy.update_annotations(font={"size": size})
    return copy


def null_line(figure: go.Figure, level: float | None, *, vertical: bool = False) -> go.Figure:
    """Draw the chance level as a labelled dashed line on the value axis; nothing when there is none."""
    if level is None or pd.isna(level):
        return figure
    line = {"line": {"dash": "dash", "color": INK, "width": 1.5}}
    text = {
        "text": f"chance {level:.3f}",
        "font": {"size": 12, "color": INK},
        "bgcolor": "rgba(255,255,255,0.8)",
    }
    if vertical:
        figure.add_vline(x=level, **line)
        figure.add_annotation(
            x=level, y=1, yref="paper", xanchor="left", yanchor="top", showarrow=False, xshift=4, **text
        )
    else:
        figure.add_hline(y=level, **line)
        figure.add_annotation(
            y=level, x=1, xref="paper", xanchor="right", yanchor="bottom", showarrow=False, **text
        )
    return figure


def to_csv(frame: Any) -> bytes:
    """UTF-8 CSV of the numbers behind a figure (pandas or Arrow), floats to full precision."""
    table = frame if isinstance(frame, pd.DataFrame) else frame.to_pandas()
    return bytes(table.to_csv(index=False).encode())
