"""The look every picture shares: one plotly template, alternative text, journal widths, export of the numbers.

Colours: Okabe & Ito (2008) for groups, cividis for amounts; both survive colour-blindness and grey print.
"""

import base64
import html
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
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
BELOW = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0, "xanchor": "left"}
SUBTITLE_WIDTH, SUBTITLE_LINE = 56, 22
HEIGHT = 400
PLOTLY_CONFIG = {"displaylogo": False, "showSendToCloud": False}  # plotly.js offers uploads by default
CELL = "cell"
ONE_COLUMN_CELLS = 36
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
        "title": {"standoff": 10, "font": {"size": 13}},
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


def in_order(found: Sequence[str], known: Sequence[str]) -> list[str]:
    """The different names found, in the order of those known, others after them."""
    return sorted(dict.fromkeys(found), key=lambda name: known.index(name) if name in known else len(known))


SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")


def translucent(color: str, alpha: float) -> str:
    """A hex colour such as "#0072B2" with opacity `alpha`, as plotly takes it."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def band(figure: go.Figure, x: Any, low: Any, high: Any, color: str, **place: Any) -> None:
    """Fill from `low` to `high` over `x` in a light `color`, without hover or legend; `place` may hold row and col."""
    figure.add_scatter(
        x=[*x, *reversed(list(x))],
        y=[*high, *reversed(list(low))],
        fill="toself",
        fillcolor=translucent(color, 0.18),
        line={"width": 0, "color": color},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        **place,
    )


def legend_below(figure: go.Figure) -> go.Figure:
    """Put the legend in rows under the axes, so that a narrow column keeps its width for the data."""
    return figure.update_layout(legend={**BELOW, "itemsizing": "trace"})


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
        lines = textwrap.wrap(subtitle, SUBTITLE_WIDTH) or [""]
        figure.update_layout(title={"text": title, "subtitle": {"text": "<br>".join(lines)}})
        more = SUBTITLE_LINE * (len(lines) - 1)
        figure.update_layout(margin={"t": TEMPLATE.layout.margin.t + more}, height=height + more)
    else:
        figure.update_layout(margin={"t": 24})
    return figure


def empty(message: str) -> go.Figure:
    """A figure that only says why there is nothing to draw."""
    figure = go.Figure()
    text = "<br>".join(plain(line) for line in textwrap.wrap(message, 60))
    figure.add_annotation(text=text, showarrow=False, x=0.5, y=0.5, xref="paper", yref="paper")
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
    rows = _legend_rows(copy, size)
    copy.update_layout(
        width=ONE_COLUMN,
        height=round(ONE_COLUMN * 0.85 + rows * size * 1.7),
        title=None,
        font={"size": size},
        margin={"l": 44, "r": 16, "t": 12, "b": round(44 + rows * size * 1.7)},
        legend={**BELOW, "font": {"size": size}},
    )
    copy.update_xaxes(title_font_size=size, title_standoff=6)
    copy.update_yaxes(title_font_size=size, title_standoff=6)
    copy.update_traces(colorbar_title_font_size=size, selector={"type": "heatmap"})
    cells = [note for note in copy.layout.annotations if note.name == CELL]
    crowded = len(cells) > ONE_COLUMN_CELLS
    copy.layout.annotations = [n for n in copy.layout.annotations if not (crowded and n.name == CELL)]
    copy.update_annotations(font={"size": size})
    copy.update_annotations(selector={"name": CELL}, font={"size": 0.85 * size})
    return copy


def _legend_rows(figure: go.Figure, size: float) -> int:
    """Rows a horizontal legend needs in one column, where plotly gives every entry the widest one's width."""
    names = [trace.name for trace in figure.data if trace.name and trace.showlegend is not False]
    if len(names) < 2 or figure.layout.showlegend is False:
        return 0
    across = max(1, int((ONE_COLUMN - 60) // (40 + 0.55 * size * max(map(len, names)))))
    return -(-len(names) // across)


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


def log_steps(steps: Sequence[int]) -> tuple[Callable[[Any], np.ndarray], dict[str, Any]]:
    """Position of a step on a log axis that has room for step 0 at its left, and that axis."""
    positive = sorted({int(step) for step in steps if step > 0}) or [1]
    first, last = positive[0], positive[-1]
    zero = first / 3
    powers = [10**p for p in range(0, 10) if first <= 10**p <= last]
    ticks = powers if len(powers) >= 2 else sorted({first, last, *powers})
    axis = {
        "type": "log",
        "title": {"text": "Training step (log scale, 0 at the left)"},
        "tickvals": [zero, *ticks],
        "ticktext": ["0", *[f"{tick:,}" for tick in ticks]],
        "range": [np.log10(zero) - 0.1, np.log10(last) + 0.1],
    }
    return lambda values: np.where(np.asarray(values) > 0, np.asarray(values, dtype=float), zero), axis


def webgl_traces(spec: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    """The WebGL traces of plotly JSON, each with its number of points (`x` is a list, or base64 with its type)."""
    found = []
    for trace in spec["data"]:
        if trace.get("type") == "scattergl":
            x = trace.get("x", ())
            coded = isinstance(x, dict)
            size = len(base64.b64decode(x["bdata"])) // np.dtype(x["dtype"]).itemsize if coded else len(x)
            found.append((trace, size))
    return found


def to_csv(frame: Any) -> bytes:
    """UTF-8 CSV of the numbers behind a figure (pandas or Arrow), floats to full precision."""
    table = frame if isinstance(frame, pd.DataFrame) else frame.to_pandas()
    return bytes(table.to_csv(index=False).encode())
