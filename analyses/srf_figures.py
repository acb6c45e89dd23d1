"""Figures of triplets: scores by type with the cut, precision against the share kept, similarities, arms, rounds, the toy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.figures import (
    INK,
    MUTED,
    PALETTE,
    SEQUENTIAL,
    band,
    empty,
    finish,
    legend_below,
    plain,
    series_style,
    translucent,
)
from analyses.srf import SCORES, SHORT
from analyses.srf_frames import PAPER_NOISE, arm_name

ABREAST = 3
CUT = {"color": INK, "width": 2, "dash": "dash"}
NOW = "kept now"
KINDS = {"right": PALETTE[2], "wrong": PALETTE[1], "unknown": "#b3b3b3"}
LINES = {
    "random": {"color": MUTED, "dash": "dot"},
    "oracle": {"color": INK, "dash": "dash"},
    "confidence_answer": {"color": PALETTE[1], "dash": "solid"},
    "confidence_generation": {"color": PALETTE[4], "dash": "solid"},
}
BASIS = {
    "exact": "exact: an oracle knows every triplet",
    "verdicts": "estimated from {known:,} human verdicts; Wilson's 95 % interval",
    "mixed": "exact where an oracle knows, else from human verdicts ({known:,} known)",
}


def filter_name(name: str) -> str:
    """A filter in words."""
    return {**SHORT, "oracle": "Oracle"}.get(name, name)


def histogram_figure(
    histograms: Mapping[str, Any], types: Sequence[Mapping[str, Any]], score: str
) -> go.Figure:
    """Scores of every type, right, wrong and unknown stacked, with the cut as a line; `types` are rows of a summary."""
    found = drawn_types(histograms, types)
    if not found:
        return empty("No triplet passes these filters.")
    edges = np.array(histograms["edges"])
    across = min(ABREAST, len(found))
    down = -(-len(found) // across)
    figure = make_subplots(
        down, across, subplot_titles=[_title(row) for row in found], horizontal_spacing=0.09, vertical_spacing=0.44 / down,
    )  # fmt: skip
    shown = {"x": (edges[:-1] + edges[1:]) / 2, "width": np.diff(edges)}
    named: set[str] = set()
    bars = []
    for place, row in enumerate(found):
        axes = {"xaxis": _axis("x", place), "yaxis": _axis("y", place)}
        for kind, counts in histograms["types"][row["type"]].items():
            if any(counts):
                look = {
                    "marker": {"color": KINDS[kind], "line": {"width": 0}},
                    "legendgroup": kind,
                    "showlegend": kind not in named,
                }
                hover = f"%{{y:,}} {kind}, score %{{x:.2f}}<extra></extra>"
                bars.append(go.Bar(y=counts, name=kind, hovertemplate=hover, **shown, **look, **axes))
                named.add(kind)
    figure.add_traces(bars)
    figure.update_xaxes(range=[edges[0], edges[-1] + (edges[-1] - edges[0]) * 0.01])
    figure.update_yaxes(nticks=4, fixedrange=True)
    figure.update_xaxes(title_text=plain(SCORES[score]), row=down)
    figure.update_annotations(font={"size": 12})
    figure.update_layout(
        barmode="stack", bargap=0, dragmode="select", selectdirection="h", showlegend=len(named) > 1
    )
    finish(
        legend_below(figure),
        alt="",
        title="Scores by type",
        subtitle="dashed: the cut; drag over a type to move its own",
        height=198 + 190 * down,
    ).update_layout(margin={"t": 140})
    return move_cuts(figure, histograms, types)


def drawn_types(histograms: Mapping[str, Any], types: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The rows of types that `histogram_figure` draws, in the order of its panels."""
    return [row for row in types if row["type"] in histograms["types"]]


def move_cuts(
    figure: go.Figure, histograms: Mapping[str, Any], types: Sequence[Mapping[str, Any]]
) -> go.Figure:
    """Put the cuts of a drawn `histogram_figure` elsewhere, its titles and alternative text with them; quicker than anew."""
    found = drawn_types(histograms, types)
    if not found:
        return figure
    lines = []
    for place, row in enumerate(found):
        figure.layout.annotations[place].text = _title(row)
        if row["at"] is not None:
            where = {
                "xref": _axis("x", place),
                "yref": f"{_axis('y', place)} domain",
                "x0": row["at"],
                "x1": row["at"],
            }
            lines.append({"type": "line", "y0": 0, "y1": 1, "line": CUT, **where})
    figure.layout.shapes = lines
    told = "; ".join(f"{row['type']} keeps {row['kept']:,} of {row['n']:,}" for row in found)
    figure.layout.meta = {"alt": f"Scores by type: {told}.", "caption": f"Scores by type: {told}."}
    return figure


def _axis(letter: str, place: int) -> str:
    """The name of a panel's axis: x, x2, …"""
    return letter if place == 0 else f"{letter}{place + 1}"


def _title(row: Mapping[str, Any]) -> str:
    return f"{plain(row['type'])}<br>{row['kept']:,} of {row['n']:,} kept"


def curve_figure(
    curve: pd.DataFrame, score: str, basis: str, keep: float | None, here: float | None
) -> go.Figure:
    """Precision of the best share of every type against that share (`precision_curve`, with column filter).

    `keep` and `here` are the share kept now and its precision, verdicts of reviewers included.
    """
    known = int(curve["known"].max()) if len(curve) else 0
    if not known:
        return empty(
            "Nobody knows yet which triplets are right: these images have no oracle. Keep or reject those of the queue “A random 100 + 100” below."
        )
    figure = go.Figure()
    for name, part in curve.groupby("filter", sort=False):
        style = {"color": PALETTE[0], "dash": "solid"} if name == score else LINES[str(name)]
        if name == score and part["low"].notna().any():
            sure = part[part["low"].notna()]
            band(figure, sure["share"], sure["low"], sure["high"], style["color"])
        figure.add_scatter(
            x=part["share"], y=part["precision"], mode="lines", name=plain(filter_name(str(name))),
            line={**style, "width": 3 if name == score else 2}, customdata=part[["kept", "known"]],
            hovertemplate=f"{plain(filter_name(str(name)))}<br>best %{{x:.0%}}: %{{y:.1%}} right"
            "<br>%{customdata[0]:,} kept, %{customdata[1]:,} known<extra></extra>",
        )  # fmt: skip
    figure.add_scatter(
        x=[None], y=[None], mode="markers", name=NOW, marker={"size": 11, "color": INK, "symbol": "diamond"},
        hovertemplate=f"{NOW}: best %{{x:.1%}}, %{{y:.1%}} right<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title_text="Share kept of every type", tickformat=".0%", range=[0.03, 1.02])
    figure.update_yaxes(title_text="Share right of what is kept", tickformat=".2~%")
    finish(
        legend_below(figure),
        alt="",
        title="Precision of what is kept",
        subtitle=BASIS[basis].format(known=known),
        height=480,
    )
    return mark_cut(figure, curve, score, keep, here)


def mark_cut(
    figure: go.Figure, curve: pd.DataFrame, score: str, keep: float | None, here: float | None
) -> go.Figure:
    """Put the mark of what is kept now elsewhere on a drawn `curve_figure`."""
    if not len(figure.data):
        return figure
    figure.data[-1].update(x=[keep], y=[here])
    figure.layout.shapes = (
        []
        if keep is None
        else [{"type": "line", "x0": keep, "x1": keep, "yref": "paper", "y0": 0, "y1": 1, "line": CUT}]
    )
    mine = curve[curve["filter"] == score].set_index("share")["precision"].dropna()
    now = (
        "nothing is known of what is kept now"
        if here is None or keep is None
        else f"{here:.1%} right of the {keep:.0%} kept now"
    )
    alt = f"Precision against the share kept by {filter_name(score)}: {now}, {mine.iloc[-1]:.1%} of all."
    figure.layout.meta = {"alt": alt, "caption": alt}
    return figure


def plane_figure(plane: pd.DataFrame) -> go.Figure:
    """Sim(Q, Q′) against Sim(A, A′): area is the number of triplets, colour the share right of those known."""
    if plane.empty:
        return empty("No type of this choice compares both questions and answers.")
    share = (plane["right"] / plane["known"]).where(plane["known"] > 0)
    size = 4 + 36 * np.sqrt(plane["n"] / plane["n"].max())
    figure = go.Figure()
    for known in (True, False):
        rows = share.notna() == known
        if rows.any():
            bar = {"title": {"text": "share right"}, "tickformat": ".0%", "thickness": 12, "outlinewidth": 0}
            style = (
                {"color": share[rows], "colorscale": SEQUENTIAL, "cmin": 0, "cmax": 1, "colorbar": bar}
                if known
                else {"color": KINDS["unknown"]}
            )
            figure.add_scatter(
                x=plane["question"][rows], y=plane["answer"][rows], mode="markers",
                marker={"size": size[rows], "line": {"width": 0}, "opacity": 0.85, **style},
                customdata=np.stack([plane["n"][rows], share[rows].fillna(0)], axis=1),
                hovertemplate="questions %{x:.2f}, answers %{y:.2f}<br>%{customdata[0]:,} triplets"
                + (", %{customdata[1]:.0%} right" if known else "") + "<extra></extra>",
            )  # fmt: skip
    figure.update_xaxes(title_text="Similarity of Q and Q′", range=[-0.06, 1.06])
    figure.update_yaxes(title_text="Similarity of A and A′", range=[-0.06, 1.06])
    corner = plane[(plane["question"] == 1) & (plane["answer"] == 1)]["n"].sum()
    return finish(
        figure.update_layout(showlegend=False),
        alt=f"Similarities of questions and answers: {corner:,} of {plane['n'].sum():,} triplets have both at 1.",
        title="Both similarities",
        subtitle=f"area: triplets; {corner:,} of {plane['n'].sum():,} stand at the upper right corner",
        height=430,
    )


def deltas_figure(frame: pd.DataFrame, title: str, against: str) -> go.Figure:
    """Accuracy less that of `against`, a dot a seed and the mean with its interval; frame as `srf_frames.deltas`."""
    if frame.empty:
        return empty("No arm was retrained beside another here.")
    arms = list(dict.fromkeys(frame["arm"]))
    places = {arm: place for place, arm in enumerate(arms)}
    panels = list(dict.fromkeys(frame["test"]))
    figure = make_subplots(
        1,
        len(panels),
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[plain(name) for name in panels],
    )
    for column, test in enumerate(panels, 1):
        part = frame[frame["test"] == test]
        dots = part.explode("each")
        cell = {"row": 1, "col": column}
        figure.add_scatter(
            x=dots["each"].astype(float), y=dots["arm"].map(places), mode="markers", hoverinfo="x",
            marker={"size": 6, "color": translucent(PALETTE[5], 0.8)}, **cell,
        )  # fmt: skip
        sure = part["low"].notna()
        figure.add_scatter(
            x=part["mean"], y=part["arm"].map(places), mode="markers", marker={"size": 10, "symbol": "diamond", "color": PALETTE[0]},
            error_x={
                "type": "data", "array": (part["high"] - part["mean"]).where(sure, 0), "color": PALETTE[0], "thickness": 2,
                "arrayminus": (part["mean"] - part["low"]).where(sure, 0), "width": 4,
            },
            customdata=part[["seeds"]], hovertemplate="%{x:+.3f}, %{customdata[0]} seeds<extra></extra>", **cell,
        )  # fmt: skip
        figure.add_vline(x=0, line={"color": INK, "dash": "dash", "width": 1.5}, **cell)
    figure.update_xaxes(tickformat="+.2~f", nticks=4, title_text=plain(f"less {against.split(',')[0]}"))
    figure.update_annotations(font={"size": 12})
    figure.update_yaxes(
        tickvals=list(places.values()),
        ticktext=[plain(arm_name(arm)) for arm in arms],
        range=[len(arms) - 0.5, -0.5],
        showgrid=False,
    )
    first = frame[frame["test"] == panels[0]]
    told = "; ".join(f"{arm_name(row.arm)} {row.mean:+.3f}" for row in first.itertuples())
    return finish(
        figure.update_layout(showlegend=False),
        alt=f"Accuracy less that of {against}: {told}.",
        title=title,
        subtitle="diamond: mean with 95 % t interval; dots: seeds",
        height=180 + 30 * len(arms),
    ).update_layout(margin={"t": 100})


def rounds_figure(frame: pd.DataFrame) -> go.Figure:
    """What each round adds: gain over the round's base by arm (`srf_frames.gains`), beside precision kept."""
    if frame.empty:
        return empty("No round was retrained.")
    figure = go.Figure()
    for place, (arm, part) in enumerate(frame.groupby("arm", sort=False)):
        style = series_style(place)
        sure = part["low"].notna()
        figure.add_scatter(
            x=part["round"] + 0.02 * place, y=part["mean"], mode="lines+markers", name=plain(arm_name(str(arm))), line=style,
            marker={"size": 8},
            error_y={"type": "data", "array": (part["high"] - part["mean"]).where(sure, 0), "color": style["color"], "width": 4,
                     "arrayminus": (part["mean"] - part["low"]).where(sure, 0)},
            customdata=part[["round", "seeds"]],
            hovertemplate=f"{plain(arm_name(str(arm)))}, round %{{customdata[0]}}: %{{y:+.3f}}, %{{customdata[1]}} seeds<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": INK, "dash": "dash", "width": 1.5})
    figure.update_xaxes(title_text="Round", dtick=1)
    figure.update_yaxes(title_text="Accuracy less that of the round's base", tickformat="+.2~f")
    told = "; ".join(
        f"{arm_name(str(arm))} " + ", ".join(f"{m:+.3f}" for m in part["mean"])
        for arm, part in frame.groupby("arm", sort=False)
    )
    return finish(
        legend_below(figure.update_layout(showlegend=True)),
        alt=f"Gain of each round over its base: {told}.",
        title="What each round adds",
        subtitle="mean over seeds with 95 % t interval",
        height=420,
    )


def fractions_figure(frame: pd.DataFrame, against: str) -> go.Figure:
    """Gain against the share kept (`srf_frames.fractions`); the paper has an inverted U."""
    if frame["share"].nunique() < 3:
        return empty("This run retrained with fewer than three shares; set sweep under Learn it again.")
    figure = go.Figure()
    for place, (test, part) in enumerate(frame.groupby("test", sort=False)):
        style = series_style(place)
        sure = part[part["low"].notna()]
        if len(sure) > 1:
            band(figure, sure["share"], sure["low"], sure["high"], style["color"])
        figure.add_scatter(
            x=part["share"], y=part["mean"], mode="lines+markers", name=plain(str(test)), line=style, marker={"size": 8},
            customdata=part[["seeds"]], hovertemplate="best %{x:.0%}: %{y:+.3f}, %{customdata[0]} seeds<extra></extra>",
        )  # fmt: skip
    figure.add_hline(y=0, line={"color": INK, "dash": "dash", "width": 1.5})
    figure.update_xaxes(title_text="Share kept of every type", tickformat=".0%", range=[0, 1.03])
    figure.update_yaxes(title_text=plain(f"Accuracy less that of {against}"), tickformat="+.2~f")
    first = frame[frame["test"] == frame["test"].iloc[-1]]
    told = ", ".join(f"{row.share:.0%} {row.mean:+.3f}" for row in first.itertuples())
    return finish(
        legend_below(figure),
        alt=f"Gain by share kept: {told}.",
        title="How much to keep",
        subtitle="mean over seeds, band: 95 % t interval",
        height=420,
    )


def noise_figure(noise: pd.DataFrame) -> go.Figure:
    """R² of appendix E's regression by arm, a dot a seed and the mean; the paper's two figures as lines."""
    if noise.empty:
        return empty("This run did not train the regression of appendix E.")
    arms = list(dict.fromkeys(noise["arm"]))
    means = noise.groupby("arm")["r2"].mean()
    figure = go.Figure()
    places = {arm: place for place, arm in enumerate(arms)}
    figure.add_scatter(
        x=noise["r2"], y=noise["arm"].map(places), mode="markers", marker={"size": 7, "color": translucent(PALETTE[5], 0.8)},
        customdata=noise[["seed"]], hovertemplate="seed %{customdata[0]}: %{x:.3f}<extra></extra>", name="seeds",
    )  # fmt: skip
    figure.add_scatter(
        x=[means[arm] for arm in arms], y=list(places.values()), mode="markers", name="mean",
        marker={"size": 11, "symbol": "diamond", "color": PALETTE[0]}, hovertemplate="mean %{x:.3f}<extra></extra>",
    )  # fmt: skip
    for name, value in PAPER_NOISE.items():
        figure.add_vline(x=value, line={"color": INK, "dash": "dot", "width": 1.5})
        figure.add_annotation(
            x=value,
            y=-0.45,
            text=f"paper, {name}",
            showarrow=False,
            xanchor="right",
            xshift=-4,
            font={"size": 12},
        )
    figure.update_xaxes(title_text="R² on test data")
    figure.update_yaxes(
        tickvals=list(places.values()), ticktext=[plain(str(arm).replace("_", " ")) for arm in arms],
        range=[len(arms) - 0.4, -0.7], showgrid=False,
    )  # fmt: skip
    told = ", ".join(f"{arm} {means[arm]:.3f}" for arm in arms)
    return finish(
        figure.update_layout(showlegend=False),
        alt=f"R² of the toy regression: {told}.",
        title="The regression of appendix E",
        subtitle="diamond: mean, dots: seeds",
        height=150 + 34 * len(arms),
    )
