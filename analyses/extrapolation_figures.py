"""Pictures of extrapolation in a world: accuracy against distance, the plane with support and path, changed coordinates.

Frames are those of `analyses.extrapolation_frames` and of the tables `extra_…`. An arm has one colour everywhere; bands are 95 %
intervals over seeds.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analyses.extrapolation import (
    FEW,
    NEAR,
    NEAREST,
    SOURCE,
    TENT,
    TENT_BATCH,
    TTT,
    TTT_ENTROPY,
)
from analyses.figures import (
    GRID,
    INK,
    MUTED,
    PALETTE,
    SYMBOLS,
    band,
    empty,
    finish,
    legend_below,
    plain,
    translucent,
)

Frame = Any
RADIUS = 2.0
COLOURS = {
    SOURCE: MUTED,
    NEAREST: PALETTE[3],
    TENT: PALETTE[4],
    TENT_BATCH: PALETTE[5],
    NEAR: PALETTE[0],
    FEW: PALETTE[1],
    TTT: PALETTE[2],
    TTT_ENTROPY: PALETTE[6],
}
BEST_SHARE = [0, 1.03]


def arm_line(arm: str) -> dict[str, Any]:
    """Line of an arm; TENT, which often coincides with source only, is dashed, the arm that sees more than one sample dotted."""
    return {
        "color": COLOURS.get(arm, INK),
        "width": 2.2,
        "dash": {TENT: "dash", TENT_BATCH: "dot"}.get(arm, "solid"),
    }


def distance_figure(frame: Frame, regime: str, n_classes: int) -> go.Figure:
    """Accuracy against distance, a line an arm with its interval; `frame` as `by_distance` makes it."""
    if not len(frame):
        return empty("Choose an arm to draw.")
    figure, ends = go.Figure(), []
    distances = sorted(frame["distance"].unique())
    place = {distance: i for i, distance in enumerate(distances)}
    for arm, part in frame.groupby("arm", sort=False):
        line, x = arm_line(str(arm)), [place[one] for one in part["distance"]]
        if part["low"].notna().all():
            band(figure, x, part["low"], part["high"], line["color"])
        figure.add_scatter(
            x=x, y=part["mean"], mode="lines+markers", line=line, name=plain(arm), customdata=part[["distance", "low", "high"]],
            hovertemplate=f"{plain(arm)}<br>distance %{{customdata[0]:g}}: %{{y:.1%}} (%{{customdata[1]:.1%}} to %{{customdata[2]:.1%}})<extra></extra>",
        )  # fmt: skip
        ends.append(f"{arm} {part['mean'].iloc[-1]:.2f}")
    chance = 1 / n_classes
    figure.add_hline(y=chance, line={"dash": "dash", "color": INK, "width": 1.5})
    figure.add_annotation(
        x=0, y=chance, xanchor="left", yanchor="bottom", showarrow=False, text=f"chance {chance:.2f}", font={"size": 12},
        bgcolor="rgba(255,255,255,0.8)",
    )  # fmt: skip
    figure.update_xaxes(
        title_text="Distance beyond the support's rim (not to scale)",
        tickvals=list(place.values()),
        ticktext=[f"{one:g}" for one in distances],
    )
    figure.update_yaxes(title_text="Accuracy on targets", tickformat=".0%", range=BEST_SHARE)
    figure.update_layout(showlegend=True)
    seeds = int(frame["seeds"].max())
    return finish(
        legend_below(figure),
        alt=f"Accuracy against distance under {regime} shift, at {distances[-1]:g}: {'; '.join(ends)}.",
        title=f"{regime.capitalize()} shift",
        subtitle=f"{seeds} seed{'s' if seeds > 1 else ''}; bands: 95 % intervals",
        height=430,
    )


def changed_figure(frame: Frame, chosen: int, affected: int | None) -> go.Figure:
    """Accuracy of minimal change against how many coordinates may have changed, a line a distance."""
    figure = go.Figure()
    distances = sorted(frame["distance"].unique())
    for i, distance in enumerate(distances):
        part = frame[frame["distance"] == distance]
        shade = translucent(PALETTE[1], 0.35 + 0.65 * i / max(1, len(distances) - 1))
        figure.add_scatter(
            x=part["changed"], y=part["mean"], mode="lines+markers", name=f"distance {distance:g}", line={"color": shade, "width": 2},
            hovertemplate=f"distance {distance:g}, %{{x}} left out: %{{y:.1%}}<extra></extra>",
        )  # fmt: skip
    for value, words in ((chosen, "the run's q"), (affected, "truly affected")):
        if value is not None:
            dash = "dash" if words.startswith("the") else "dot"
            figure.add_vline(x=value, line={"dash": dash, "color": INK, "width": 1.5})
            figure.add_annotation(
                x=value, y=0.02 if dash == "dash" else 0.1, yref="paper", text=words, showarrow=False, xanchor="left", xshift=4,
                yanchor="bottom", font={"size": 12}, bgcolor="rgba(255,255,255,0.8)",
            )  # fmt: skip
    figure.update_xaxes(title_text="Coordinates q that may have changed")
    figure.update_yaxes(title_text="Accuracy on targets", tickformat=".0%", range=BEST_SHARE)
    figure.update_layout(showlegend=True)
    at = frame[frame["distance"] == distances[-1]]
    best = at.loc[at["mean"].idxmax()]
    return finish(
        legend_below(figure),
        alt=f"Accuracy of minimal change against left-out coordinates; at distance {distances[-1]:g} highest with {best['changed']:.0f}.",
        title="How many may have changed?",
        subtitle="minimal change; q is an assumption, not learnt",
        height=400,
    )


def plane_figure(points: Frame, target: Frame, paths: Frame, arm: str) -> go.Figure:
    """Source, support and class manifolds in two directions of x, one target and the way to what an arm takes it for.

    `points`: rows of `extra_points` of one world; `target` and `paths`: rows of one target.
    """
    figure = go.Figure()
    source, manifold = points[points["kind"] == "source"], points[points["kind"] == "manifold"]
    rim = manifold.loc[(manifold["radius"] - RADIUS).abs().idxmin(), "radius"]
    for k, part in manifold.groupby("class"):
        colour = PALETTE[int(k) % len(PALETTE)]
        for radius, ring in part[part["radius"] >= rim].groupby("radius"):
            ring = ring.sort_values("place")
            ring = ring.iloc[[*range(len(ring)), 0]]
            inner = radius == rim
            figure.add_scatter(
                x=ring["u"], y=ring["v"], mode="lines", line={"color": translucent(colour, 0.9 if inner else 0.3), "width": 2 if inner else 1},
                fill="toself" if inner else None, fillcolor=translucent(colour, 0.15), hoverinfo="skip", legendgroup=f"{k}",
                name=f"class {k}", showlegend=bool(inner),
            )  # fmt: skip
        mine = source[source["class"] == k]
        figure.add_scatter(
            x=mine["u"], y=mine["v"], mode="markers", marker={"size": 4, "color": translucent(colour, 0.5)}, hoverinfo="skip",
            legendgroup=f"{k}", showlegend=False,
        )  # fmt: skip
    words = _way(figure, target, paths, arm)
    figure.update_xaxes(
        title_text="x along its largest source variance (standard deviations)", showgrid=False
    )
    figure.update_yaxes(title_text="second largest", showgrid=False)
    figure.update_layout(showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"Plane of x with the source's support of {manifold['class'].nunique()} classes and a target. {words}",
        title="Off the support",
        subtitle="filled: a class' source support; thin rings: the same class further off; star: the target",
        height=520,
    )


def _way(figure: go.Figure, target: Frame, paths: Frame, arm: str) -> str:
    """Draw the target and the ways to its explanations; what they say in words."""
    row = target[target["arm"] == arm].iloc[0]
    label, answer = int(row["label"]), int(row["prediction"])
    for k, part in paths.groupby("class", sort=False):
        part = part.sort_values("step")
        chosen = int(k) == answer
        end = part.iloc[-1]
        name = f"as class {k}" + (", the answer" if chosen else ", the truth")
        figure.add_scatter(
            x=part["u"], y=part["v"], mode="lines+markers", marker={"size": 4}, name=name,
            line={"color": INK, "width": 2.2, "dash": "solid" if chosen else "dot"},
            customdata=part[["step", "beyond"]],
            hovertemplate=f"{name}<br>point %{{customdata[0]}}, %{{customdata[1]:.2f}} beyond the support<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=[end["u"], row["u"]], y=[end["v"], row["v"]], mode="lines", line={"color": INK, "width": 1, "dash": "dash"},
            hoverinfo="skip", showlegend=False,
        )  # fmt: skip
    figure.add_scatter(
        x=[row["u"]], y=[row["v"]], mode="markers", name=f"target, class {label}", hovertemplate="target<extra></extra>",
        marker={"symbol": "star", "size": 17, "color": PALETTE[label % len(PALETTE)], "line": {"color": INK, "width": 1.5}},
    )  # fmt: skip
    right = "rightly" if label == answer else f"wrongly, it is class {label},"
    return f"{arm} {right} takes it for class {answer}."


def coordinates_figure(rows: Frame, arm: str) -> go.Figure:
    """Each coordinate of a target and what an arm takes it to be; left-out and truly affected coordinates are marked."""
    rows = rows.sort_values("coordinate")
    figure = go.Figure()
    for x, out in zip(rows["coordinate"], rows["left_out"], strict=True):
        if out:
            figure.add_vrect(
                x0=x - 0.5, x1=x + 0.5, fillcolor=translucent(PALETTE[1], 0.16), line_width=0, layer="below"
            )
    gap = np.full(len(rows), np.nan)
    figure.add_scatter(
        x=np.stack([rows["coordinate"], rows["coordinate"], gap], axis=1).ravel(),
        y=np.stack([rows["x"], rows["rebuilt"], gap], axis=1).ravel(),
        mode="lines", line={"color": GRID, "width": 3}, hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    for column, name, colour, symbol in (
        ("rebuilt", f"as {arm} rebuilds it", COLOURS.get(arm, INK), SYMBOLS[1]),
        ("x", "the target", INK, SYMBOLS[0]),
    ):
        figure.add_scatter(
            x=rows["coordinate"], y=rows[column], mode="markers", name=name, marker={"size": 9, "color": colour, "symbol": symbol},
            hovertemplate=f"coordinate %{{x}}<br>{name} %{{y:.2f}}<extra></extra>",
        )  # fmt: skip
    affected = rows[rows["affected"].astype(bool)]["coordinate"]
    figure.update_xaxes(
        title_text="Coordinate of x (bold: truly acted on by s)",
        tickvals=list(rows["coordinate"]),
        ticktext=[f"<b>{i}</b>" if i in set(affected) else f"{i}" for i in rows["coordinate"]],
        showgrid=False,
    )
    figure.update_yaxes(title_text="Value (source standard deviations)")
    figure.update_layout(showlegend=True)
    out = list(rows[rows["left_out"].astype(bool)]["coordinate"])
    listed = ", ".join(map(str, out)) or "none"
    return finish(
        legend_below(figure),
        alt=f"A target's {len(rows)} coordinates and their values as {arm} rebuilds them; left out: {listed}.",
        title="What changed",
        subtitle=f"shaded: left out by {arm}" if out else f"{arm} leaves none out",
        height=360,
    )


def named(classes: Sequence[str]) -> list[str]:
    """Names of classes as figures show them."""
    return [plain(name) for name in classes]
