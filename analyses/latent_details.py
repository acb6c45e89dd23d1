"""Pictures about one learnt latent: what it is tied to, how measured variables follow it, and what setting it changes.

Frames have the columns of the tables `latent_loadings`, `partial_dependence` and `latent_interventions`, one seed and
one latent each.
"""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analyses.figures import (
    GRID,
    INK,
    MUTED,
    PALETTE,
    empty,
    finish,
    legend_below,
    plain,
    series_style,
)
from analyses.latent_graph import NODE_COLOURS

Frame = Any
MOST_BARS, MOST_LINES = 24, 7
ROW = 22
HALF_PAGE = 440  # pixels
DIVERGING = [[0.0, "#0072B2"], [0.5, "#f7f7f7"], [1.0, "#D55E00"]]
NO_LOADINGS = "This run stored no loadings of this latent on measured variables."
NO_CHANGE = "This run stored no intervention on this latent."


def _colours(modalities: Any, order: list[str]) -> list[str]:
    places = [order.index(modality) for modality in modalities]
    return [NODE_COLOURS[place % len(NODE_COLOURS)] for place in places]


def _legend_rows(names: Any) -> int:
    """Rows more than one that a legend below half a page needs."""
    across = max(1, int(HALF_PAGE // (48 + 7 * max(map(len, names)))))
    return -(-len(names) // across) - 1


def loadings_bar(loadings: Frame, order: list[str], name: str) -> go.Figure:
    """Correlation of a latent with measured variables, the largest |correlation| first, coloured by modality.

    `order` holds the modalities in the order of their columns in the graph, which fixes their colours.
    """
    if not len(loadings):
        return empty(NO_LOADINGS)
    size = loadings["correlation"].abs().to_numpy()
    shown = loadings.iloc[np.argsort(-size, kind="stable")[:MOST_BARS]]
    figure = go.Figure()
    for modality in [one for one in order if one in set(shown["modality"])]:
        rows = shown[shown["modality"] == modality]
        figure.add_bar(
            x=rows["correlation"],
            y=[plain(variable) for variable in rows["variable"]],
            orientation="h",
            marker={"color": _colours([modality], order)[0], "line": {"width": 0}},
            name=plain(modality),
            hovertemplate="%{y}: %{x:.3f}<extra>%{fullData.name}</extra>",
        )
    figure.update_yaxes(
        categoryorder="array", categoryarray=[plain(v) for v in shown["variable"]][::-1], showgrid=False,
        ticks="", showline=False, dtick=1,
    )  # fmt: skip
    figure.update_xaxes(
        range=[-1, 1], title_text="Correlation with the latent", zeroline=True, zerolinecolor=MUTED
    )
    figure.update_layout(bargap=0.25, showlegend=len(figure.data) > 1)
    left = f" (of {len(loadings)})" if len(loadings) > len(shown) else ""
    best = shown.iloc[0]
    return finish(
        legend_below(figure),
        alt=f"Correlation of {name} with {len(shown)} measured variables{left}; the largest is {best['variable']} "
        f"with {best['correlation']:.2f}.",
        title=f"What {plain(name)} is tied to",
        subtitle=f"{len(shown)} measured variables{left}, held-out rows",
        height=170 + ROW * (len(shown) + _legend_rows(shown["modality"].unique())),
    )


def dependence_lines(dependence: Frame, loadings: Frame, name: str) -> go.Figure:
    """Mean of the measured variables against the latent's value, those with the largest |loading| first."""
    if not len(dependence):
        return empty("This run stored no partial dependence of this latent.")
    ranked = loadings.assign(size=loadings["correlation"].abs()).sort_values(
        "size", ascending=False, kind="stable"
    )
    known = set(dependence["variable"])
    order = [v for v in dict.fromkeys([*ranked["variable"], *dependence["variable"]]) if v in known]
    figure = go.Figure()
    for index, variable in enumerate(order[:MOST_LINES]):
        rows = dependence[dependence["variable"] == variable].sort_values("x")
        figure.add_scatter(
            x=rows["x"],
            y=rows["y"],
            mode="lines",
            line={**series_style(index), "width": 2.2},
            name=plain(variable),
            hovertemplate="latent %{x:.2f}: %{y:.2f}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title_text=f"Value of {plain(name)} (standard deviations)")
    figure.update_yaxes(title_text="Mean (standard deviations)")
    figure.update_layout(showlegend=True)
    drawn = min(len(order), MOST_LINES)
    return finish(
        legend_below(figure),
        alt=f"How {drawn} measured variables follow {name}.",
        title=f"How measured variables follow {plain(name)}",
        subtitle=f"partial dependence of the {drawn} most loaded variables",
        height=400 + ROW * _legend_rows(order[:MOST_LINES]),
    )


def intervention_bars(changes: Frame, name: str, value: float, words: str) -> go.Figure:
    """What do(latent = value) changes: a bar per target and kind ("model", "world"), targets grouped by modality.

    `changes` has target, kind, modality, change. `words` says what a target is.
    """
    if not len(changes):
        return empty(NO_CHANGE)
    order = list(dict.fromkeys(changes["target"]))
    size = changes.groupby("target")["change"].agg(lambda values: values.abs().max())
    kept = set(size.sort_values(ascending=False, kind="stable").index[:MOST_BARS])
    shown = changes[changes["target"].isin(kept)]
    place = dict(zip(shown["target"], shown["modality"], strict=True))
    axis = [target for target in order if target in kept]
    figure = go.Figure()
    looks = {"model": (PALETTE[0], ""), "world": ("#bdbdbd", "/")}
    for index, kind in enumerate(dict.fromkeys(shown["kind"])):
        rows = shown[shown["kind"] == kind]
        colour, pattern = looks.get(kind, (PALETTE[(index + 2) % len(PALETTE)], ""))
        figure.add_bar(
            y=[[plain(place[t]) for t in rows["target"]], [plain(t) for t in rows["target"]]],
            x=rows["change"],
            orientation="h",
            name=plain(kind),
            marker={
                "color": colour,
                "pattern": {"shape": pattern, "fgcolor": INK, "size": 4},
                "line": {"width": 0},
            },
            hovertemplate="%{y}: %{x:+.3f}<extra>%{fullData.name}</extra>",
        )
    figure.update_xaxes(title_text="Change of the mean (sd)", zeroline=True, zerolinecolor=MUTED)
    figure.update_xaxes(nticks=6, tickangle=0)
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", dividercolor=GRID)
    figure.update_layout(barmode="group", bargap=0.3, showlegend=True)
    strongest = shown.loc[shown["change"].abs().idxmax()]
    return finish(
        legend_below(figure),
        alt=f"Setting {name} to {value:+.1f} changes {len(axis)} {words}; the most {strongest['target']}, by "
        f"{strongest['change']:+.2f}.",
        title=f"do({plain(name)} = {value:+.1f})",
        height=190 + ROW * len(axis),
    )


def intervention_map(changes: Frame, name: str, words: str, value: float | None = None) -> go.Figure:
    """Change of every target (rows) for every value the latent is set to (columns), one kind; `value` is outlined."""
    if not len(changes):
        return empty(NO_CHANGE)
    matrix = changes.pivot_table(index="target", columns="value", values="change", sort=False)
    matrix = matrix.reindex(columns=sorted(matrix.columns))
    reach = float(np.nanmax(np.abs(matrix.to_numpy()))) or 1.0
    columns = [float(one) for one in matrix.columns]
    figure = go.Figure(
        go.Heatmap(
            z=matrix.to_numpy(),
            x=[f"{one:+g}" for one in columns],
            y=[plain(target) for target in matrix.index],
            zmin=-reach,
            zmax=reach,
            colorscale=DIVERGING,
            xgap=2,
            colorbar={"title": {"text": "change (sd)", "side": "right"}, "thickness": 14, "outlinewidth": 0},
            hovertemplate="%{y} at %{x}: %{z:+.3f}<extra></extra>",
        )
    )
    if value in columns:
        at, line = columns.index(value), {"color": INK, "width": 2}
        figure.add_shape(
            type="rect",
            x0=at - 0.5,
            x1=at + 0.5,
            y0=0,
            y1=1,
            yref="paper",
            line=line,
            fillcolor="rgba(0,0,0,0)",
        )
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", showline=False, dtick=1)
    figure.update_xaxes(title_text=f"{plain(name)} is set to (sd)", showgrid=False, type="category")
    return finish(
        figure,
        alt=f"Change of {len(matrix)} {words} for {len(columns)} values of {name}.",
        title=f"Every value of do({plain(name)})",
        subtitle="the model's change: blue down, vermillion up",
        height=190 + ROW * len(matrix),
    )


def values_of(interventions: pd.DataFrame) -> list[float]:
    """The values that a latent is set to, in order."""
    return sorted(float(value) for value in interventions["value"].unique())
