"""Pictures of one denoising trajectory: the token × step grid, the text at one step, and the order of commitment.

`frame` is what `analyses.sapo_frames.grid` makes. Confidence (of the argmax) colours a cell: cividis once committed, pale
after the step that committed it, grey while masked. Tokens are data and escaped.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analyses.figures import INK, MUTED, PALETTE, PAPER, SEQUENTIAL, empty, finish, plain, translucent
from analyses.sapo_frames import KEPT, MASKED, NOW, OLDER

Frame = Any
Parts = Mapping[str, tuple[int, int]]
WRITTEN = 26  # positions up to which tokens stand in the grid
ROW, MOST = 27, 640  # pixels of a step, and of all steps
ACROSS, MORE, LONG = 8, 12, 128  # tokens in a line of text; in one of a text beyond so many tokens
LETTERS = 110  # of a line of text, all tokens together
GREYS = ((0.0, "#ffffff"), (1.0, "#b5b5b5"))
FILLED = "#dfe3e8"
NO_STEPS = "No steps of this rollout are stored; only its text is known."
COMMITTED = PALETTE[1]


def step_grid(frame: Frame, step: int, parts: Parts, *, title: str, subtitle: str = "") -> go.Figure:
    """Positions across, steps downwards; the row of `step` is outlined, later ones are faint.

    `parts` names spans of positions, written above. Cells carry what was predicted there in their hover text.
    """
    if frame.empty:
        return empty(NO_STEPS)
    steps, positions = sorted(frame["step"].unique()), sorted(frame["position"].unique())
    written = len(positions) <= WRITTEN
    figure = go.Figure()
    _layers(figure, frame, steps, positions)
    _outline(figure, frame, written)
    if written:
        _write(figure, frame)
    _now(figure, step, steps, positions)
    top = _name_parts(figure, parts, steps[0])
    height = min(ROW * (len(steps) + bool(parts)), MOST) + 140
    look = {"showgrid": False, "showline": False, "ticks": ""}
    figure.update_xaxes(**look, title_text="Position", range=[positions[0] - 0.5, positions[-1] + 0.5])
    figure.update_yaxes(**look, title_text="Denoising step", range=[steps[-1] + 0.5, top])
    if len(steps) <= 20:
        figure.update_yaxes(tickvals=steps)
    _number_positions(figure, positions)
    figure.update_layout(clickmode="event+select", dragmode=False, hoverdistance=20)
    left = int((frame.loc[frame["step"] == step, "status"] == MASKED).sum())
    return finish(
        figure,
        alt=f"Token by step grid of {len(positions)} positions and {len(steps)} steps; {left} masked after step {step}.",
        title=title,
        subtitle=subtitle,
        height=height,
    )


def _number_positions(figure: go.Figure, positions: list[int]) -> None:
    """Positions are counted from 1: all of them, or every tenth where they are many."""
    shown = positions if len(positions) <= WRITTEN else [one for one in positions if (one + 1) % 10 == 0]
    figure.update_xaxes(tickvals=shown, ticktext=[str(one + 1) for one in shown])


def _layers(figure: go.Figure, frame: Frame, steps: list[int], positions: list[int]) -> None:
    """One heatmap of each status, in colours of its own; a flat one where no confidence is known."""
    known = frame["shown"].notna().any()
    looks = {
        MASKED: (GREYS, 1.0),
        OLDER: (SEQUENTIAL if known else [[0, "#8fa3bd"], [1, "#8fa3bd"]], 0.42 if known else 1.0),
        NOW: (SEQUENTIAL if known else [[0, COMMITTED], [1, COMMITTED]], 1.0),
        KEPT: ([[0, FILLED], [1, FILLED]], 1.0),
    }
    hover = _hover(frame)
    for status, (scale, opacity) in looks.items():
        chosen = frame["status"] == status
        if not chosen.any():
            continue
        values = frame["shown"].where(chosen) if known and status != KEPT else chosen.map({True: 0.25})
        figure.add_heatmap(
            z=_matrix(frame, values, steps, positions),
            x=positions,
            y=steps,
            customdata=_matrix(frame, hover, steps, positions),
            zmin=0,
            zmax=1,
            colorscale=scale,
            opacity=opacity,
            xgap=1,
            ygap=1,
            hovertemplate="%{customdata}<extra></extra>",
            showscale=bool(known and status == NOW),
            colorbar={
                "title": {"text": "confidence", "side": "right", "font": {"size": 12}},
                "thickness": 10,
                "outlinewidth": 0,
                "tickformat": ".0%",
                "x": 1.01,
            },
        )


def _matrix(frame: Frame, values: Any, steps: list[int], positions: list[int]) -> Any:
    table = frame.assign(value=values).pivot(index="step", columns="position", values="value")
    return table.reindex(index=steps, columns=positions).to_numpy()


def _hover(frame: Frame) -> list[str]:
    texts = []
    for row in frame.itertuples():
        token = f"<b>{plain(row.token)}</b>" if row.token else "masked"
        lines = [f"{token}, position {row.position + 1}, step {row.step}: {row.status}"]
        if isinstance(row.argmax, str) and row.status in (MASKED, NOW):
            lines.append(
                f"predicted {plain(row.argmax)} at {row.confidence:.1%}, entropy {row.entropy:.2f} nats"
            )
        if row.flipped:
            lines.append("another prediction than a step before")
        texts.append("<br>".join(lines))
    return texts


def _outline(figure: go.Figure, frame: Frame, written: bool) -> None:
    """An orange frame round every cell at the step that commits it."""
    if not written:
        return
    for row in frame[frame["status"] == NOW].itertuples():
        figure.add_shape(
            type="rect", x0=row.position - 0.46, x1=row.position + 0.46, y0=row.step - 0.46, y1=row.step + 0.46,
            line={"color": COMMITTED, "width": 2},
        )  # fmt: skip


def _write(figure: go.Figure, frame: Frame) -> None:
    """Tokens: committed ones in full, the prediction of a masked one small and grey."""
    for status, size in ((MASKED, 10), (NOW, 13), (OLDER, 12), (KEPT, 12)):
        rows = frame[frame["status"] == status]
        if rows.empty:
            continue
        words = rows["argmax"].where(rows["status"] == MASKED, rows["token"]).fillna("")
        dark = (rows["shown"].fillna(1) < 0.5) & (status == NOW)
        colours = np.where(dark, PAPER, MUTED if status == MASKED else INK)
        figure.add_scatter(
            x=rows["position"],
            y=rows["step"],
            mode="text",
            text=[_short(word) for word in words],
            textfont={"size": size, "color": list(colours)},
            customdata=rows[["step"]],
            hoverinfo="skip",
            showlegend=False,
        )


def _short(word: str, most: int = 9) -> str:
    clean = str(word).replace("\n", "⏎")
    return plain(clean if len(clean) <= most else clean[: most - 1] + "…")


def _now(figure: go.Figure, step: int, steps: list[int], positions: list[int]) -> None:
    """An outline of the step's row, and a veil over those that are still to come."""
    left, right = positions[0] - 0.5, positions[-1] + 0.5
    if step < steps[-1]:
        figure.add_shape(
            type="rect", x0=left, x1=right, y0=step + 0.5, y1=steps[-1] + 0.5, line={"width": 0},
            fillcolor=translucent(PAPER, 0.78),
        )  # fmt: skip
    if step in steps:
        line = {"color": INK, "width": 2.5}
        figure.add_shape(type="rect", x0=left, x1=right, y0=step - 0.5, y1=step + 0.5, line=line)


def _name_parts(figure: go.Figure, parts: Parts, first_row: float) -> float:
    """Names of the parts over the columns, in a row of their own; where the axis has to begin."""
    for name, (first, last) in parts.items():
        y, line = first_row - 0.62, {"color": MUTED, "width": 1.5}
        figure.add_shape(type="line", x0=first - 0.4, x1=last + 0.4, y0=y, y1=y, line=line)
        figure.add_annotation(
            x=(first + last) / 2, y=y, yanchor="bottom", text=plain(name), showarrow=False,
            font={"size": 12, "color": MUTED},
        )  # fmt: skip
    return first_row - (1.5 if parts else 0.5)


def state_text(frame: Frame, step: int, *, title: str, half: bool = False) -> go.Figure:
    """A long text as it stands after `step`, over the page or `half` of it; masked places are grey, long tokens are cut."""
    now = frame[frame["step"] == step].sort_values("position")
    if now.empty:
        return empty(NO_STEPS)
    parts = 2 if half else 1
    across = (ACROSS if len(now) <= LONG else MORE) // parts
    place = np.arange(len(now))
    colours = {MASKED: "#d0d0d0", NOW: "#f0b98f", OLDER: "#eef2f7", KEPT: FILLED}
    order = list(colours)
    figure = go.Figure(
        go.Heatmap(
            x=place % across, y=place // across, z=[order.index(status) for status in now["status"]], zmin=-0.5,
            zmax=len(order) - 0.5, colorscale=_stepped(list(colours.values())), showscale=False, xgap=3, ygap=3,
            customdata=_hover(now), hovertemplate="%{customdata}<extra></extra>",
        )
    )  # fmt: skip
    figure.add_scatter(
        x=place % across,
        y=place // across,
        mode="text",
        text=[_short(token, LETTERS // parts // across) if token else "" for token in now["token"]],
        textfont={"size": 11, "color": INK},
        hoverinfo="skip",
        showlegend=False,
    )
    lines = -(-len(now) // across)
    figure.update_xaxes(visible=False, range=[-0.6, across - 0.4])
    figure.update_yaxes(visible=False, range=[lines - 0.4, -0.6])
    figure.update_layout(dragmode=False)
    left = int((now["status"] == MASKED).sum())
    return finish(
        figure,
        alt=f"Text after step {step}: {left} of {len(now)} tokens still masked.",
        title=title,
        subtitle=f"{left} of {len(now)} masked; orange: committed now",
        height=110 + 26 * lines,
    )


def _stepped(colours: list[str]) -> list[tuple[float, str]]:
    """A colour scale without transitions."""
    n = len(colours)
    return [(edge / n, colour) for place, colour in enumerate(colours) for edge in (place, place + 1)]


def order_map(frame: Frame, chosen: int | None, parts: Parts, *, title: str, subtitle: str = "") -> go.Figure:
    """When each position was committed: a row a rollout (`frame` as `analyses.sapo_frames.orders`), dark first."""
    if frame.empty or frame["committed_at"].isna().all():
        return empty(NO_STEPS)
    table = frame.pivot(index="rollout", columns="position", values="committed_at")
    rows = list(range(len(table)))
    written = table.shape[1] <= WRITTEN and table.size <= WRITTEN * 12
    places = [[(rollout + 1, position + 1) for position in table.columns] for rollout in table.index]
    figure = go.Figure(
        go.Heatmap(
            z=table.to_numpy(dtype=float),
            x=list(table.columns),
            y=rows,
            colorscale=SEQUENTIAL,
            xgap=1,
            ygap=1,
            text=[[f"{value:.0f}" if pd.notna(value) else "" for value in row] for row in table.to_numpy()],
            texttemplate="%{text}" if written else None,
            textfont={"size": 11},
            customdata=places,
            hovertemplate="rollout %{customdata[0]}, position %{customdata[1]}: step %{z}<extra></extra>",
            colorbar={
                "title": {"text": "step", "side": "right", "font": {"size": 12}},
                "thickness": 10,
                "outlinewidth": 0,
                "x": 1.01,
                "dtick": max(
                    1,
                    round(float(table.max(axis=None) - table.min(axis=None)) / (6 if len(table) > 5 else 2)),
                ),
            },
        )
    )
    if chosen in table.index:
        at = list(table.index).index(chosen)
        figure.add_shape(
            type="rect", x0=table.columns[0] - 0.5, x1=table.columns[-1] + 0.5, y0=at - 0.5, y1=at + 0.5,
            line={"color": COMMITTED, "width": 2.5},
        )  # fmt: skip
    top = _name_parts(figure, parts, 0)
    look = {"showgrid": False, "showline": False, "ticks": ""}
    figure.update_xaxes(**look, title_text="Position")
    figure.update_yaxes(**look, title_text="Rollout", range=[len(rows) - 0.5, top])
    _number_positions(figure, list(table.columns))
    figure.update_yaxes(tickvals=rows, ticktext=[str(one + 1) for one in table.index])
    return finish(
        figure,
        alt=f"Commit order of {len(table)} rollouts over {table.shape[1]} positions.",
        title=title,
        subtitle=subtitle,
        height=150 + min(max(22 * (len(rows) + bool(parts)), 60), 440),
    )
