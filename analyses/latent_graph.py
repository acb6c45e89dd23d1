"""The picture of a causal graph over learnt latents: one column a modality, links by how sure they are.

arXiv 2411.06518 draws latents by modality; the overlay of truth and estimate is ours. What is found and true is solid,
what is found and not true dashed vermillion, what is missed dotted grey. Opacity and width are the share of seeds or
bootstraps that found a link.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analyses.figures import (
    INK,
    MUTED,
    PALETTE,
    PAPER,
    SYMBOLS,
    empty,
    finish,
    legend_below,
    plain,
    translucent,
)
from analyses.latent_frames import BOTH, FOUND, ONLY_FOUND, ONLY_REFERENCE, REFERENCE
from analyses.latent_layout import STEPS, curves, joined, positions

VERMILLION = PALETTE[1]
NODE_COLOURS = (PALETTE[0], PALETTE[4], PALETTE[2], PALETTE[3], PALETTE[5])
BINS = 5
HALO = "-1px -1px 0 #fff, 1px -1px 0 #fff, -1px 1px 0 #fff, 1px 1px 0 #fff, 0 0 4px #fff"
FADED = 0.12
UNTOUCHED = {"selected": {"marker": {"opacity": 1}}, "unselected": {"marker": {"opacity": 1}}}
NO_NODES = "This run holds no latents of the chosen method; choose another."


@dataclass(frozen=True)
class Look:
    """How the links of one status are drawn."""

    colour: str
    dash: str
    words: str


LOOKS = {
    FOUND: Look(PALETTE[0], "solid", "found"),
    REFERENCE: Look(INK, "solid", "in the reference"),
    BOTH: Look(PALETTE[0], "solid", "found, and in the reference"),
    ONLY_FOUND: Look(VERMILLION, "dash", "found, not in the reference"),
    ONLY_REFERENCE: Look("#8c8c8c", "dot", "in the reference, not found"),
}


@dataclass(frozen=True)
class Scale:
    """Sizes in pixels for the tallest column's number of nodes."""

    row: int
    node: int
    font: int
    arrow: int

    @classmethod
    def of(cls, rows: int) -> "Scale":
        if rows <= 5:
            return cls(78, 30, 13, 13)
        if rows <= 10:
            return cls(50, 20, 12, 11)
        return cls(27, 12, 11, 8) if rows <= 24 else cls(19, 9, 10, 7)


def graph_figure(
    nodes: Any,
    edges: Any,
    *,
    title: str,
    subtitle: str = "",
    words: Mapping[str, str] | None = None,
    of: str = "seeds",
    selected: str | None = None,
    fade_others: bool = False,
    directed: bool = True,
) -> go.Figure:
    """The graph of `nodes` (name, modality) and `edges` (source, target, share, strength, seeds, status).

    `words` renames statuses in the legend, `of` says what `share` counts. The node `selected` is ringed, and with
    `fade_others` links that do not touch it are pale; without `directed` links have no arrow heads. The node points have
    customdata (name, modality). `title` and `subtitle` are plotly text.
    """
    if not len(nodes):
        return empty(NO_NODES)
    places = positions(nodes)
    edges = edges[edges["source"].isin(places.index) & edges["target"].isin(places.index)]
    scale = Scale.of(round(places["y"].max() - places["y"].min()) + 1)
    points = curves(places, edges["source"], edges["target"])
    figure = go.Figure()
    _add_links(figure, edges, points, scale, selected if fade_others else None, directed)
    _add_handles(figure, edges, points, of)
    _add_nodes(figure, nodes, places, edges, scale, selected)
    _add_legend(figure, edges, words or {}, of)
    _frame(figure, nodes, places, points, scale)
    height = int(scale.row * np.ptp(figure.layout.yaxis.range) + 120)
    counts = ", ".join(f"{n} {_words(status, words)}" for status, n in edges["status"].value_counts().items())
    alt = f"Causal graph of {len(nodes)} latents in {nodes['modality'].nunique()} columns: {counts or 'no link'}."
    return finish(legend_below(figure), alt=alt, title=title, subtitle=subtitle, height=max(height, 280))


def _words(status: str, words: Mapping[str, str] | None) -> str:
    return (words or {}).get(status, LOOKS[status].words)


def _add_links(
    figure: go.Figure, edges: Any, points: Any, scale: Scale, selected: str | None, directed: bool
) -> None:
    """For every status, width and fading one trace of lines with gaps and one of arrow heads at their ends."""
    bins = np.clip(np.ceil(edges["share"].to_numpy(dtype=float) * BINS), 1, BINS).astype(int)
    ends = edges[["source", "target"]].to_numpy(dtype=object)
    faded = np.zeros(len(edges), dtype=bool) if selected is None else ~(ends == selected).any(axis=1)
    status = edges["status"].to_numpy(dtype=object)
    for key in sorted({*zip(status, bins, faded, strict=True)}, key=lambda key: (not key[2], key[1])):
        mine = points[(status == key[0]) & (bins == key[1]) & (faded == key[2])]
        look, share = LOOKS[key[0]], key[1] / BINS
        colour = translucent(look.colour, FADED if key[2] else 0.25 + 0.75 * share)
        x, y = joined(mine)
        line = {"color": colour, "width": 0.8 + 2.2 * share, "dash": look.dash}
        figure.add_scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", showlegend=False)
        if not directed:
            continue
        x, y = joined(mine[:, -2:])
        heads = {
            "symbol": "arrow",
            "size": np.tile([0, scale.arrow, 0], len(mine)),
            "angleref": "previous",
            "standoff": scale.node / 2 + 1,
            "color": colour,
            "opacity": 1,
            "line": {"width": 0},
        }
        figure.add_scatter(
            x=x, y=y, mode="markers", marker=heads, hoverinfo="skip", showlegend=False, **UNTOUCHED
        )


def _add_handles(figure: go.Figure, edges: Any, points: Any, of: str) -> None:
    """Invisible points in the middle of every link that say what it is."""
    if not len(edges):
        return
    middle = points[:, STEPS // 2]
    rows = zip(
        edges["source"], edges["target"], edges["share"], edges["strength"], edges["status"], strict=True
    )
    texts = []
    for source, target, share, strength, status in rows:
        lines = [f"<b>{plain(source)} → {plain(target)}</b>"]
        lines += [f"{share:.0%} of {of}"] if status not in (ONLY_REFERENCE, REFERENCE) else []
        lines += [f"strength {strength:.3f}"] if pd.notna(strength) else []
        texts.append("<br>".join([*lines, LOOKS[status].words]))
    figure.add_scatter(
        x=middle[:, 0],
        y=middle[:, 1],
        mode="markers",
        marker={"size": 12, "opacity": 0, "color": INK},
        hovertext=texts,
        hoverinfo="text",
        showlegend=False,
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
    )


def _add_nodes(
    figure: go.Figure, nodes: Any, places: pd.DataFrame, edges: Any, scale: Scale, selected: str | None
) -> None:
    names, modalities = list(nodes["name"]), list(dict.fromkeys(nodes["modality"]))
    style = [modalities.index(modality) for modality in nodes["modality"]]
    inside = scale.node >= 30 and max(map(len, names)) <= 3
    out, into = edges["source"].value_counts(), edges["target"].value_counts()
    hover = [
        f"<b>{plain(name)}</b><br>{plain(modality)}<br>{into.get(name, 0)} links in, {out.get(name, 0)} out"
        for name, modality in zip(names, nodes["modality"], strict=True)
    ]
    figure.add_scatter(
        x=places["x"],
        y=places["y"],
        mode="markers+text",
        text=[
            "" if name == modality else plain(name)
            for name, modality in nodes[["name", "modality"]].to_numpy()
        ],
        textposition="middle center" if inside else _beside(places["x"], scale),
        textfont={
            "size": scale.font,
            "color": PAPER if inside else INK,
            **({} if inside else {"shadow": HALO}),
        },
        marker={
            "size": scale.node + 6 if inside else scale.node,
            "color": [NODE_COLOURS[i % len(NODE_COLOURS)] for i in style],
            "symbol": [SYMBOLS[i // len(NODE_COLOURS) % len(SYMBOLS)] for i in style],
            "opacity": 1,
            "line": {
                "color": INK,
                "width": [3.5 if name == selected else 0.8 for name in names],
            },
        },
        customdata=nodes[["name", "modality"]].to_numpy(dtype=object),
        hovertext=hover,
        hoverinfo="text",
        cliponaxis=False,
        showlegend=False,
        **UNTOUCHED,
    )


def _beside(columns: Any, scale: Scale) -> list[str]:
    """Names above large nodes; beside small ones, outwards at the first and the last column."""
    if scale.row >= 50:
        return ["top center"] * len(columns)
    return ["middle left" if x == columns.min() else "middle right" for x in columns]


def _add_legend(figure: go.Figure, edges: Any, words: Mapping[str, str], of: str) -> None:
    """A legend that is always there: every status with its count, and what the width means."""
    counts = edges["status"].value_counts()
    shown = [status for status in LOOKS if status in counts or status in words]
    for status in shown:
        look = LOOKS[status]
        name = f"{_words(status, words)} ({counts.get(status, 0)})"
        figure.add_scatter(
            x=[None], y=[None], mode="lines", line={"color": look.colour, "width": 2.6, "dash": look.dash}, name=name
        )  # fmt: skip
    if any(status in (FOUND, BOTH, ONLY_FOUND) for status in shown):
        for share in (1 / BINS, 1.0):
            line = {"color": translucent(INK, 0.25 + 0.75 * share), "width": 0.8 + 2.2 * share}
            figure.add_scatter(x=[None], y=[None], mode="lines", line=line, name=f"{share:.0%} of {of}")
    figure.update_layout(showlegend=True, legend={"itemclick": False, "itemdoubleclick": False})


def _extent(places: pd.DataFrame, points: Any) -> tuple[Any, Any]:
    """The span of nodes and curves in columns and in rows."""
    every = np.concatenate([points.reshape(-1, 2), places[["x", "y"]].to_numpy()])
    return every[:, 0], every[:, 1]


def _frame(figure: go.Figure, nodes: Any, places: pd.DataFrame, points: Any, scale: Scale) -> None:
    """Ranges, and the modality's name over each column."""
    xs, ys = _extent(places, points)
    heading = ys.min() - (scale.node / 2 + 26) / scale.row
    last = places["x"].max()
    hidden = {"visible": False, "fixedrange": False}
    figure.update_xaxes(**hidden, range=[min(xs.min(), 0) - 0.45, max(xs.max(), last) + 0.45])
    figure.update_yaxes(
        **hidden, range=[ys.max() + (scale.node / 2 + 12) / scale.row, heading - 14 / scale.row]
    )
    for place, modality in enumerate(dict.fromkeys(nodes["modality"])):
        figure.add_annotation(
            x=place,
            y=heading,
            showarrow=False,
            text=f"<b>{plain(modality)}</b>",
            font={"size": 13, "color": MUTED},
        )
    figure.update_layout(clickmode="event+select", dragmode="pan", hoverdistance=24)
