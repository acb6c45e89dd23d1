"""A puzzle's board as a picture: digits or path, what was given, what is wrong, coloured by an amount.

Every invisible square over a cell has customdata (cell), so that a click says which was meant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from analyses.figures import BELOW, INK, MUTED, PALETTE, PAPER, SEQUENTIAL, finish
from analyses.sr2_frames import BOXES, GOAL, MAZE, PATH, START, WALL, Puzzle, cell_name

Frame = Any
VERMILLION = PALETTE[1]
CHOSEN = PALETTE[3]
BOARD_HEIGHT, AROUND = 420, 120
PLATE = 0.33
GLYPHS = {WALL: "■", START: "S", GOAL: "G", PATH: "●"}
NEVER = 12
MISSING = "#d9d9d9"


@dataclass(frozen=True)
class Colour:
    """What colours a cell: a column of the cells' frame, its words, its range, and whether small values are bright."""

    column: str
    words: str
    low: float
    high: float | None
    reverse: bool = False
    ticks: dict[float, str] | None = None


COLOURS = {
    "Confidence": Colour("confidence", "confidence", 0, 1),
    "Last change": Colour(
        "since", "iterations since change", 0, NEVER, True,
        {0: "now", 4: "4", 8: "8", NEVER: f"{NEVER} +"},
    ),
    "Movement": Colour("residual", "‖z<sub>t</sub> − z<sub>t−1</sub>‖ of the cell", 0, None),
}  # fmt: skip


def board_figure(
    puzzle: Puzzle,
    cells: Frame,
    colour: Colour,
    *,
    title: str,
    subtitle: str,
    high: float | None = None,
    chosen: int | None = None,
    height: int = BOARD_HEIGHT,
) -> go.Figure:
    """A board at one iteration; `cells` has a row for each cell: cell, token, correct (or null) and the colour's column.

    Given clues stand on white plates; what is read wrongly, there too, has a vermillion frame, `chosen` a pink one; `high` ends the colours
    where `colour` leaves that open. `title` and `subtitle` are plotly text.
    """
    table = cells.sort_values("cell")
    tokens = table["token"].to_numpy(dtype=int)
    wrong = table["correct"].eq(False).to_numpy(dtype=bool)
    amounts = table[colour.column].to_numpy(dtype=float)
    top = colour.high if colour.high is not None else max(high or 0.0, 1e-9)
    figure = _coloured(puzzle, np.minimum(amounts, top), colour, top)
    _add_plates(figure, puzzle)
    pixels = (height - AROUND) / puzzle.side
    _add_signs(figure, puzzle, tokens, _bright(amounts / top, colour.reverse), pixels)
    _add_frames(figure, puzzle, wrong, chosen)
    _add_handles(figure, puzzle, [_words(puzzle, row) for row in table.to_dict("records")], pixels)
    _frame(figure, puzzle)
    state = subtitle or f"{int(wrong.sum())} wrong"
    known = "" if puzzle.solution is not None else ", solution not known"
    alt = f"{_kind(puzzle)} coloured by {colour.words}: {state}{known}."
    return finish(figure, alt=_bare(alt), title=title, subtitle=subtitle, height=height)


def attention_figure(
    puzzle: Puzzle, weights: Frame, tokens: Sequence[int], cell: int, *, title: str, subtitle: str
) -> go.Figure:
    """How strongly `cell` attends to every cell (`weights`: cell, weight, null where not stored), over the given tokens."""
    amounts = weights.sort_values("cell")["weight"].to_numpy(dtype=float)
    top = float(np.nanmax(amounts)) if np.isfinite(amounts).any() else 1.0
    figure = _coloured(puzzle, amounts, Colour("weight", "attention", 0, top), top)
    _add_plates(figure, puzzle)
    pixels = (BOARD_HEIGHT - AROUND) / puzzle.side
    bright = _bright(np.nan_to_num(amounts / top, nan=1.0), False)
    _add_signs(figure, puzzle, np.asarray(tokens), bright, pixels)
    _add_frames(figure, puzzle, None, cell)
    texts = [
        f"{cell_name(i, puzzle.side)}<br>"
        + ("not among the strongest" if np.isnan(weight) else f"weight {weight:.3f}")
        for i, weight in enumerate(amounts)
    ]
    _add_handles(figure, puzzle, texts, pixels)
    _frame(figure, puzzle)
    figure.update_layout(plot_bgcolor=MISSING)
    alt = f"Attention of the cell in {cell_name(cell, puzzle.side)}, at most {top:.3f}."
    return finish(figure, alt=alt, title=title, subtitle=subtitle, height=BOARD_HEIGHT)


def _kind(puzzle: Puzzle) -> str:
    return ("Maze" if puzzle.kind == MAZE else "Sudoku") + f" of {puzzle.side} by {puzzle.side} cells"


def _bare(text: str) -> str:
    return text.replace("<sub>", "").replace("</sub>", "")


def _bright(shares: NDArray[np.float64], reverse: bool) -> NDArray[np.bool_]:
    """Cells whose colour is light, so that what stands on them must be dark."""
    return np.asarray(shares < 0.45 if reverse else shares > 0.55)


def _places(puzzle: Puzzle, which: NDArray[np.bool_] | None = None) -> tuple[Any, Any]:
    cells = np.arange(puzzle.side**2) if which is None else np.flatnonzero(which)
    return cells % puzzle.side, cells // puzzle.side


def _coloured(puzzle: Puzzle, amounts: Any, colour: Colour, top: float) -> go.Figure:
    """The cells' colours; those without an amount are grey."""
    bar: dict[str, Any] = {
        "title": {"text": colour.words, "side": "right", "font": {"size": 12}},
        "thickness": 12,
        "outlinewidth": 0,
        "len": 1,
    }
    if colour.ticks:
        bar |= {"tickvals": list(colour.ticks), "ticktext": list(colour.ticks.values())}
    values = np.asarray(amounts, dtype=float).reshape(puzzle.side, puzzle.side)
    return go.Figure(
        go.Heatmap(
            z=values, zmin=colour.low, zmax=top, colorscale=SEQUENTIAL, reversescale=colour.reverse, xgap=1, ygap=1,
            hoverinfo="skip", colorbar=bar,
        )
    )  # fmt: skip


def _squares(columns: Any, rows: Any, half: float) -> tuple[list[Any], list[Any]]:
    """Outlines of squares around cells, with gaps between them."""
    x: list[Any] = []
    y: list[Any] = []
    for column, row in zip(columns, rows, strict=True):
        x += [column - half, column + half, column + half, column - half, column - half, None]
        y += [row - half, row - half, row + half, row + half, row - half, None]
    return x, y


def _add_plates(figure: go.Figure, puzzle: Puzzle) -> None:
    """White plates under what was given, dark squares for a maze's walls."""
    for which, half, fill in ((puzzle.is_wall, 0.48, "#333333"), (puzzle.is_given, PLATE, PAPER)):
        if which.any():
            x, y = _squares(*_places(puzzle, which), half)
            figure.add_scatter(
                x=x, y=y, mode="lines", fill="toself", fillcolor=fill, line={"width": 0}, hoverinfo="skip", showlegend=False
            )  # fmt: skip


def _add_signs(
    figure: go.Figure, puzzle: Puzzle, tokens: NDArray[Any], bright: NDArray[np.bool_], pixels: float
) -> None:
    """The digits, or what is walked; on plates what was given, in bold, whatever is read there."""
    size = float(np.clip(0.45 * pixels, 7, 30))
    x, y = _places(puzzle)
    given, walls = puzzle.is_given, puzzle.is_wall
    texts, colours = [], []
    for cell, token in enumerate(np.where(given, puzzle.given, tokens)):
        sign = GLYPHS.get(int(token), "") if puzzle.kind == MAZE else str(token) if token else ""
        if walls[cell] and token == WALL:
            sign = ""
        texts.append(f"<b>{sign}</b>" if given[cell] else sign)
        colours.append(PAPER if walls[cell] else INK if given[cell] or bright[cell] else PAPER)
    figure.add_scatter(
        x=x, y=y, mode="text", text=texts, textfont={"size": size, "color": colours}, hoverinfo="skip", showlegend=False
    )  # fmt: skip


def _add_frames(
    figure: go.Figure, puzzle: Puzzle, wrong: NDArray[np.bool_] | None, chosen: int | None
) -> None:
    """Frames around wrong cells (where that is a question) and the chosen one; the boxes' lines; a legend of all marks."""
    side = puzzle.side
    rows, columns = BOXES.get(side, (side, side)) if puzzle.kind != MAZE else (side, side)
    x: list[Any] = []
    y: list[Any] = []
    for edge in range(0, side + 1, columns):
        x, y = [*x, edge - 0.5, edge - 0.5, None], [*y, -0.5, side - 0.5, None]
    for edge in range(0, side + 1, rows):
        x, y = [*x, -0.5, side - 0.5, None], [*y, edge - 0.5, edge - 0.5, None]
    line = {"color": INK, "width": 2.5}
    figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)
    width, halo = (4, 2) if side <= 6 else (3, 1) if side <= 9 else (2, 0)
    picked = np.arange(side**2) == (-1 if chosen is None else chosen)
    for which, half, colour in ((wrong, 0.42, VERMILLION), (picked, 0.47, CHOSEN)):
        if which is not None and which.any():
            x, y = _squares(*_places(puzzle, which), half)
            for stroke, shade in ((width + halo, PAPER), (width, colour)):
                figure.add_scatter(
                    x=x, y=y, mode="lines", line={"color": shade, "width": stroke}, hoverinfo="skip", showlegend=False
                )  # fmt: skip
    legend = [("given", {"symbol": "square", "color": PAPER, "line": {"color": MUTED, "width": 1}})]
    legend += [("wall", {"symbol": "square", "color": "#333333"})] if puzzle.kind == MAZE else []
    legend += (
        []
        if wrong is None
        else [("wrong", {"symbol": "square-open", "color": VERMILLION, "line": {"width": 3}})]
    )
    legend += (
        []
        if chosen is None
        else [("chosen", {"symbol": "square-open", "color": CHOSEN, "line": {"width": 3}})]
    )
    for name, look in legend:
        figure.add_scatter(x=[None], y=[None], mode="markers", marker={"size": 12, **look}, name=name)


def _add_handles(figure: go.Figure, puzzle: Puzzle, texts: list[str], pixels: float) -> None:
    x, y = _places(puzzle)
    unseen = {"marker": {"opacity": 0}}
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        marker={
            "symbol": "square",
            "size": 0.85 * pixels,
            "opacity": 0,
            "color": INK,
        },
        customdata=[[cell] for cell in range(puzzle.side**2)],
        hovertext=texts,
        hoverinfo="text",
        showlegend=False,
        selected=unseen,
        unselected=unseen,
    )


def _words(puzzle: Puzzle, row: dict[str, Any]) -> str:
    cell = row["cell"]
    sign = GLYPHS.get(row["token"], "space") if puzzle.kind == MAZE else str(row["token"])
    lines = [f"{cell_name(cell, puzzle.side)}: <b>{sign}</b>"]
    if puzzle.is_given[cell] or puzzle.is_wall[cell]:
        lines[0] = f"{cell_name(cell, puzzle.side)}: given, read as <b>{sign}</b>"
    if pd.notna(row["correct"]):
        lines += ["right" if row["correct"] else "wrong"]
    lines += [
        f"confidence {row['confidence']:.3f}",
        f"entropy {row['entropy']:.3f} nats",
        f"moved by {row['residual']:.3f}",
    ]
    return "<br>".join(
        [*lines, f"last changed {row['since']} iterations ago" if row["since"] else "changed now"]
    )


def _frame(figure: go.Figure, puzzle: Puzzle) -> None:
    hidden = {"visible": False, "fixedrange": True}
    figure.update_xaxes(**hidden, range=[-0.55, puzzle.side - 0.45], constrain="domain")
    figure.update_yaxes(**hidden, range=[puzzle.side - 0.45, -0.55], scaleanchor="x", constrain="domain")
    figure.update_layout(
        clickmode="event+select",
        dragmode=False,
        showlegend=True,
        margin={"l": 8, "r": 8, "b": 34},
        legend={**BELOW, "itemsizing": "trace", "itemclick": False, "itemdoubleclick": False},
    )
