"""The map of triplets: what lies together says and shows similar things; coloured by type, truth, verdict or score."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analyses.feature_map import NO_POLYGON, Polygon, inside
from analyses.figures import INK, MUTED, PALETTE, SEQUENTIAL, SYMBOLS, empty, finish, legend_below, plain

COLOURS = {"type": "Type", "truth": "Right or wrong", "kept": "Kept or left out", "value": "Score"}
STYLES = {
    "right": PALETTE[2], "wrong": PALETTE[1], "not known": "#b3b3b3", "kept": PALETTE[0], "left out": "#b3b3b3",
}  # fmt: skip
FAR_APART = (
    "Neighbours say and show similar things: topics of the words of Q and A, and the image at 12 × 12. Distances between far groups, "
    "their sizes and the axes mean little: UMAP (arXiv 1802.03426) keeps neighbourhoods."
)
HEIGHT = 560
ORDERED = ("not known", "left out")
MOST_TYPES = len(PALETTE) * len(SYMBOLS)


def triplet_map(frame: pd.DataFrame, colour: str, note: str = "", lasso: Polygon = NO_POLYGON) -> go.Figure:
    """Scatter of triplets (columns triplet, x, y, type, right, kept, value), coloured by one of `COLOURS`; the lasso outlined."""
    if frame.empty:
        return empty("No triplet that passes these filters is on the map.")
    chosen = inside(frame["x"], frame["y"], lasso) if len(lasso) else None
    figure = go.Figure()
    size = float(np.clip(8.5 - 1.3 * np.log10(len(frame)), 2.8, 7))
    if colour == "value":
        bar = {"title": {"text": "score"}, "thickness": 14, "outlinewidth": 0}
        _points(
            figure,
            frame,
            chosen,
            "",
            {"size": size, "color": frame["value"], "colorscale": SEQUENTIAL, "colorbar": bar},
        )
    else:
        names = groups(frame, colour)
        kinds = sorted(set(names), key=lambda name: (name not in ORDERED, name))
        for place, name in enumerate(kinds):
            style = {
                "color": STYLES.get(name, PALETTE[place % len(PALETTE)]),
                "symbol": SYMBOLS[place // len(PALETTE) % len(SYMBOLS)],
            }
            mine = names == name
            _points(
                figure,
                frame[mine],
                None if chosen is None else chosen[mine],
                f"{name} ({int(mine.sum()):,})",
                {"size": size, **style},
            )
    if len(lasso):
        path = "M" + "L".join(f"{x:.3f},{y:.3f}" for x, y in lasso) + "Z"
        figure.add_shape(type="path", path=path, line={"color": INK, "width": 2})
    hidden: dict[str, Any] = {"showticklabels": False, "ticks": "", "showgrid": False}
    figure.update_xaxes(title_text="UMAP 1 (arbitrary units)", **hidden)
    figure.update_yaxes(title_text="UMAP 2 (arbitrary units)", **hidden)
    return finish(
        legend_below(figure.update_layout(showlegend=colour != "value", dragmode="lasso")),
        alt=f"Map of {len(frame):,} triplets by what they say and show, coloured by {COLOURS[colour].lower()}.",
        title=f"Triplets by {COLOURS[colour].lower()}",
        subtitle=note,
        height=HEIGHT,
    )


def groups(frame: pd.DataFrame, colour: str) -> "np.ndarray[Any, np.dtype[np.object_]]":
    """The group of every triplet under a colouring; the rarest types beyond the palette are together."""
    if colour == "truth":
        return np.select([frame["right"] == 1, frame["right"] == 0], ["right", "wrong"], "not known").astype(
            object
        )
    if colour == "kept":
        return np.where(frame["kept"], "kept", "left out").astype(object)
    most = frame["type"].value_counts().index[: MOST_TYPES - 1]
    return frame["type"].where(frame["type"].isin(most), "other").to_numpy(object)


def _points(figure: go.Figure, rows: pd.DataFrame, chosen: Any, name: str, marker: dict[str, Any]) -> None:
    figure.add_scattergl(
        x=rows["x"].to_numpy(np.float32), y=rows["y"].to_numpy(np.float32), mode="markers", name=plain(name), showlegend=bool(name),
        marker={"opacity": 0.75, "line": {"width": 0}, **marker}, customdata=rows["triplet"].to_numpy(np.int64),
        text=[plain(kind) for kind in rows["type"]], hovertemplate="no. %{customdata}, %{text}<extra></extra>",
    )  # fmt: skip
    if chosen is not None:
        figure.data[-1].update(
            selectedpoints=np.flatnonzero(chosen).tolist(),
            unselected={"marker": {"opacity": 0.15, "color": MUTED}},
        )
