"""The prompt lab's pictures: which features are active on which tokens, and what an intervention does to the next token.

Frames are made of the engine's events (`engine.lab.Lab.ask`). Token texts are model text and are shown as text only.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analyses.feature_text import one_line
from analyses.figures import GRID, INK, PALETTE, SEQUENTIAL, empty, finish, legend_below, plain

COLUMNS = {"baseline": "#7c7b78", "intervention": PALETTE[1], "control": PALETTE[5]}
NAMES = {"baseline": "baseline", "intervention": "intervention", "control": "random direction"}
MOST_FEATURES, MOST_TOKENS = 30, 48
STEEP_FROM = 24  # tokens whose names stand upright
SHOWN_TOKENS = 10
ROW, AXES = 19, 150  # pixels
WIDTH = 760  # pixels the cells have, about
START = "⟨start⟩"
NOTHING_ACTIVE = "No feature is active on these tokens."


def token_names(tokens: Sequence[str], width: int = 14) -> list[str]:
    """Tokens on one line each, the first as the start token it is."""
    return [START, *(one_line(token, width) or "␀" for token in tokens[1:])]


def activation_frame(tokens: Sequence[str], features: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """One row an active feature of a token: position, token, feature, activation; strongest first in each token."""
    frame = pd.DataFrame(
        {
            "position": np.asarray(features["token"], dtype=int),
            "feature": np.asarray(features["feature"], dtype=int),
            "activation": np.asarray(features["value"], dtype=float),
        }
    )
    frame.insert(1, "token", [tokens[place] for place in frame["position"]])
    return frame.sort_values(["position", "activation"], ascending=[True, False], ignore_index=True)


def strongest(frame: pd.DataFrame, most: int = MOST_FEATURES, keep: Sequence[int] = ()) -> list[int]:
    """The features of the largest activations, largest first, at most `most`; those in `keep` are always among them."""
    peaks = frame.groupby("feature")["activation"].max().sort_values(ascending=False, kind="stable")
    first = sorted(peaks.index, key=lambda feature: feature not in keep)[:most]
    return [int(feature) for feature in peaks.index if feature in set(first)]


def activation_figure(
    frame: pd.DataFrame,
    tokens: Sequence[str],
    read: Sequence[bool],
    window: tuple[int, int] | None = None,
    labels: Mapping[int, str] | None = None,
    keep: Sequence[int] = (),
) -> go.Figure:
    """Features × tokens, coloured by activation; rows by largest activation in the `window` of positions [first, end).

    `frame` as `activation_frame` makes it. Grey columns are tokens the SAE does not read. The selectable points over
    active cells have customdata (position, feature, activation, token, label).
    """
    first, end = window or (0, len(tokens))
    part = frame[(frame["position"] >= first) & (frame["position"] < end)]
    if part.empty:
        return empty(NOTHING_ACTIVE)
    names, labels = token_names(tokens), labels or {}
    rows = strongest(part, keep=keep)
    part = part[part["feature"].isin(rows)]
    matrix = part.pivot(index="feature", columns="position", values="activation")
    matrix = matrix.reindex(index=rows, columns=range(first, end))
    top = float(part["activation"].max())
    figure = go.Figure(
        go.Heatmap(
            z=matrix.to_numpy(),
            x=list(range(first, end)),
            y=list(range(len(rows))),
            zmin=0,
            zmax=top,
            colorscale=SEQUENTIAL,
            reversescale=True,
            xgap=1,
            ygap=1,
            hoverinfo="skip",
            colorbar={
                "title": {"text": "Activation", "side": "right", "font": {"size": 13}},
                "thickness": 14,
                "outlinewidth": 0,
            },
        )
    )
    figure.add_trace(_cells(part, rows, names, labels, min(24, max(5, WIDTH // (end - first)))))
    for place in range(first, end):
        if not read[place]:
            figure.add_vrect(x0=place - 0.5, x1=place + 0.5, fillcolor=GRID, line_width=0, layer="below")
    figure.update_xaxes(
        title_text="Token of the prompt",
        tickvals=list(range(first, end)),
        ticktext=[plain(name) for name in names[first:end]],
        tickangle=-60 if end - first <= STEEP_FROM else -90,
        tickfont_size=11,
        range=[first - 0.5, end - 0.5],
        showgrid=False,
        ticks="",
    )
    figure.update_yaxes(
        title_text="Feature",
        tickvals=list(range(len(rows))),
        ticktext=[_row_name(feature, labels.get(feature, "")) for feature in rows],
        tickfont_size=11,
        range=[len(rows) - 0.5, -0.5],
        showgrid=False,
        ticks="",
    )
    figure.update_layout(clickmode="event+select", dragmode=False, hoverdistance=-1)
    total = frame["feature"].nunique()
    best = part.loc[part["activation"].idxmax()]
    return finish(
        figure,
        title="Features active on the prompt",
        subtitle=f"{len(rows)} of {total:,} active features; grey: not read by the SAE",
        alt=f"Heat map of {len(rows)} features by {end - first} tokens. The largest activation is {best['activation']:.1f}, "
        f"of feature {best['feature']} at position {best['position']}.",
        height=max(220, AXES + ROW * len(rows)),
    )


def _row_name(feature: int, label: str) -> str:
    return f"{plain(one_line(label, 22))}  {feature}" if label else str(feature)


def _cells(
    part: pd.DataFrame, rows: list[int], names: list[str], labels: Mapping[int, str], size: int
) -> go.Scatter:
    """Invisible squares over the active cells, since a heat map itself cannot be selected from by a click."""
    place = {feature: index for index, feature in enumerate(rows)}
    return go.Scatter(
        x=part["position"],
        y=part["feature"].map(place),
        mode="markers",
        marker={"symbol": "square", "size": size, "opacity": 0, "color": INK},
        selected={"marker": {"opacity": 0.3}},
        unselected={"marker": {"opacity": 0}},
        customdata=[
            [int(row.position), int(row.feature), row.activation, plain(names[row.position]),
             plain(one_line(labels.get(row.feature, ""), 40))]
            for row in part.itertuples()
        ],
        hovertemplate="<b>feature %{customdata[1]}</b> %{customdata[4]}<br>token %{customdata[0]}: %{customdata[3]}<br>"
        "activation %{customdata[2]:.2f}<extra></extra>",
        showlegend=False,
    )  # fmt: skip


def prediction_frame(
    predictions: Mapping[str, Sequence[Mapping[str, Any]]], rows: Sequence[Mapping[str, Any]] = ()
) -> pd.DataFrame:
    """The next token's probabilities: id, token, column, probability. `rows` of a change, or without any the top tokens."""
    found = [
        {"id": row["id"], "token": row["token"], "column": column, "probability": row[column]}
        for row in rows
        for column in COLUMNS
    ]
    if not rows:
        found = [
            {
                "id": token["id"],
                "token": token["token"],
                "column": column,
                "probability": token["probability"],
            }
            for column, tokens in predictions.items()
            for token in tokens
        ]
    return pd.DataFrame(found, columns=["id", "token", "column", "probability"])


def prediction_figure(frame: pd.DataFrame, most: int = SHOWN_TOKENS) -> go.Figure:
    """Bars of the next token's probability (%), a group a token, a colour a column; most probable tokens first.

    `frame` as `prediction_frame` makes it. customdata (column, token).
    """
    if frame.empty:
        return empty("No prediction has been computed.")
    peaks = frame.groupby("id", sort=False).agg({"token": "first", "probability": "max"})
    top = peaks.sort_values("probability", ascending=False, kind="stable").head(most)
    shown = list(top["token"])
    figure = go.Figure()
    present = [column for column in COLUMNS if column in set(frame["column"])]
    for column in present:
        values = 100 * frame[frame["column"] == column].set_index("id")["probability"].reindex(top.index)
        figure.add_bar(
            x=values,
            y=list(range(len(shown))),
            orientation="h",
            name=NAMES[column],
            marker={"color": COLUMNS[column]},
            customdata=[[column, plain(one_line(token))] for token in shown],
            hovertemplate=f"%{{customdata[1]}}<br>{NAMES[column]} %{{x:.2f}} %<extra></extra>",
            showlegend=len(present) > 1,
        )
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=[plain(one_line(token, 18)) for token in shown],
        range=[len(shown) - 0.5, -0.5],
        showgrid=False,
        ticks="",
    )
    figure.update_xaxes(title_text="Probability of the next token (%)", rangemode="tozero")
    figure.update_layout(barmode="group", bargap=0.25, bargroupgap=0.05, legend_traceorder="normal")
    return legend_below(
        finish(
            figure,
            title="The next token",
            alt=f"Bars: probability of the next token, {', '.join(NAMES[column] for column in present)}; "
            + "; ".join(_top_words(frame, column) for column in present)
            + ".",
            height=120 + (34 if len(present) > 1 else 22) * len(shown),
        )
    )


def _top_words(frame: pd.DataFrame, column: str) -> str:
    mine = frame[frame["column"] == column]
    best = mine.loc[mine["probability"].idxmax()]
    return f"{NAMES[column]} {one_line(best['token'])} {best['probability']:.0%}"


def change_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Tokens by how much the intervention changes their probability: token, the three columns, and the two changes."""
    table = pd.DataFrame(rows, columns=["token", *COLUMNS])
    table["token"] = [one_line(token) for token in table["token"]]
    table["change"] = table["intervention"] - table["baseline"]
    table["control_change"] = table["control"] - table["baseline"]
    order = table["change"].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[order].reset_index(drop=True)


def verdict(change: Mapping[str, Any]) -> str:
    """One sentence: whether the intervention does more than random directions of the same size."""
    kl, controls = change["kl"], change["kl_controls"]
    if not change["changed"]:
        return "Nothing was changed in the prompt, so nothing could follow from it."
    larger, n = sum(kl > other for other in controls), len(controls)
    if larger == n:
        times = kl / max(float(np.mean(controls)), 1e-12)
        more = f", {times:.1f} times their mean" if times < 1000 else ""
        return f"The next token changes more than with each of {n} random directions of the same size{more}."
    if larger == 0:
        return f"The next token changes no more than with any of {n} random directions of the same size."
    return (
        f"The next token changes more than with {larger} of {n} random directions of the same size, and less than with the "
        "rest."
    )
