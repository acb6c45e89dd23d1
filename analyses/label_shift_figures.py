"""Pictures of deployments: trajectories, class shares, what few rounds teach (arXiv 2410.04499).

Frames are those of `analyses.label_shift_frames`. An arm has one colour everywhere; arms that need something of the round
itself are dotted. Bands reach from the smallest to the largest seed.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.figures import (
    GRID,
    INK,
    MUTED,
    PALETTE,
    SEQUENTIAL,
    band,
    empty,
    finish,
    legend_below,
    plain,
)
from analyses.label_shift import ADAPTER, BBSE, BINS, EM, FINE_TUNE, LAST, NONE, ORACLE, TAU
from analyses.label_shift_frames import MEASURES, OTHER, OWN, SHARES

Frame = Any
COLOURS = {
    NONE: MUTED,
    LAST: PALETTE[1],
    TAU: PALETTE[2],
    ADAPTER: PALETTE[0],
    EM: PALETTE[3],
    BBSE: PALETTE[4],
    ORACLE: INK,
    FINE_TUNE: PALETTE[5],
}
NOW = (EM, BBSE, ORACLE, FINE_TUNE)
DIVERGING = [[0.0, PALETTE[1]], [0.5, "#ffffff"], [1.0, PALETTE[0]]]
ROUND = "Round"
MOST_NAMED = 24


def arm_style(arm: str, width: float = 2.0) -> dict[str, Any]:
    """Line of an arm; others than the study's get the palette's last colour."""
    return {"color": COLOURS.get(arm, PALETTE[6]), "dash": "dot" if arm in NOW else "solid", "width": width}


def _measure_axis(figure: go.Figure, measure: str) -> None:
    figure.update_yaxes(title_text=MEASURES[measure], tickformat=".0%" if measure in SHARES else None)


def _swap(figure: go.Figure, swap: int | None) -> None:
    """A marker line where another backbone takes over; nothing when none does."""
    if swap is None:
        return
    figure.add_vline(x=swap - 0.5, line={"dash": "dash", "color": INK, "width": 1.5})
    figure.add_annotation(
        x=swap - 0.5, y=1, yref="paper", text="backbone swapped", showarrow=False, xanchor="right", xshift=-4,
        yanchor="top", font={"size": 12}, bgcolor="rgba(255,255,255,0.8)",
    )  # fmt: skip


def trajectories(frame: Frame, measure: str, window: int, swap: int | None) -> go.Figure:
    """A running mean of a measure against rounds, a line an arm; `frame` as `running` makes it."""
    if not len(frame):
        return empty("Choose an arm to draw.")
    figure, ends = go.Figure(), []
    for arm, part in frame.groupby("arm", sort=False):
        style = arm_style(str(arm))
        known = part.dropna(subset=["low", "high"])
        if len(known):
            band(figure, known["round"], known["low"], known["high"], style["color"])
        figure.add_scatter(
            x=part["round"], y=part["mean"], mode="lines", line=style, name=plain(arm), customdata=part[["seeds"]],
            hovertemplate=f"{plain(arm)}<br>round %{{x}}: %{{y:.4f}}, %{{customdata[0]}} seeds<extra></extra>",
        )  # fmt: skip
        ends.append(f"{arm} {part['mean'].iloc[-1]:.3f}")
    _swap(figure, swap)
    figure.update_xaxes(title_text=ROUND)
    _measure_axis(figure, measure)
    figure.update_layout(showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"{MEASURES[measure]} against rounds, at the end: {'; '.join(ends)}.",
        title=MEASURES[measure],
        subtitle=f"{f'mean of the last {window} rounds; ' if window > 1 else ''}band: smallest to largest seed",
        height=430,
    )


def deployments(frame: Frame, measure: str, seeds: int) -> go.Figure:
    """Round by round: dashed, the world answers the last correction; solid, the arm adapts. `frame` as `steps` makes it."""
    if not len(frame):
        return empty("Choose an arm to draw.")
    figure = go.Figure()
    for arm, part in frame.groupby("arm", sort=False):
        style, rounds = arm_style(str(arm), 2.4), part["round"].to_numpy(dtype=float)
        before, after = part["before"].to_numpy(dtype=float), part["after"].to_numpy(dtype=float)
        gap = np.full(len(rounds), np.nan)
        adapt_x = np.stack([rounds, rounds + 0.5, gap], axis=1).ravel()
        adapt_y = np.stack([before, after, gap], axis=1).ravel()
        react_x = np.stack([rounds[:-1] + 0.5, rounds[1:], gap[1:]], axis=1).ravel()
        react_y = np.stack([after[:-1], before[1:], gap[1:]], axis=1).ravel()
        figure.add_scatter(
            x=react_x, y=react_y, mode="lines", line=style | {"dash": "dash", "width": 1.4}, legendgroup=str(arm),
            showlegend=False, hoverinfo="skip",
        )  # fmt: skip
        figure.add_scatter(
            x=adapt_x, y=adapt_y, mode="lines", line=style | {"dash": "solid"}, legendgroup=str(arm), name=plain(arm),
            hovertemplate=f"{plain(arm)}<br>%{{y:.4f}}<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=rounds + 0.5, y=after, mode="markers", marker={"size": 6, "color": style["color"]}, showlegend=False,
            legendgroup=str(arm), customdata=part[["round"]],
            hovertemplate=f"{plain(arm)}<br>round %{{customdata[0]}}, adapted: %{{y:.4f}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text=ROUND)
    _measure_axis(figure, measure)
    figure.update_layout(showlegend=True)
    first, last = int(frame["round"].min()), int(frame["round"].max())
    return finish(
        legend_below(figure),
        alt=f"{MEASURES[measure]} before and after adapting in rounds {first} to {last}, {frame['arm'].nunique()} arms.",
        title="Deploy, react, adapt",
        subtitle=f"dashed: world reacts; solid: arm adapts; {seeds} seed{'s' if seeds > 1 else ''}",
        height=430,
    )


def share_heat(frame: Frame, what: str, names: Sequence[str], at: int, arm: str) -> go.Figure:
    """Classes × rounds: true shares, the forecast, or forecast less truth; `at` is the round shown beside it."""
    signed = what == "difference"
    most = float(np.nanmax(np.abs(frame.to_numpy()))) or 1.0
    figure = go.Figure(
        go.Heatmap(
            x=list(frame.columns), y=list(range(len(frame))), z=frame.to_numpy(), zmin=-most if signed else 0, zmax=most,
            colorscale=DIVERGING if signed else SEQUENTIAL, customdata=[[plain(name)] * frame.shape[1] for name in names],
            hovertemplate="%{customdata}<br>round %{x}: %{z:.1%}<extra></extra>",
            colorbar={"title": {"text": "share", "side": "right"}, "tickformat": ".0%", "thickness": 12, "outlinewidth": 0},
        )
    )  # fmt: skip
    figure.add_vline(x=at, line={"color": PALETTE[1], "width": 2})
    every = max(1, -(-len(names) // MOST_NAMED))
    places = list(range(0, len(names), every))
    figure.update_xaxes(title_text=ROUND, showgrid=False)
    figure.update_yaxes(
        tickvals=places,
        ticktext=[plain(names[i]) for i in places],
        showgrid=False,
        autorange="reversed",
        title_text="Class",
    )
    words = {
        "true": "True class shares",
        "forecast": "Forecast class shares",
        "difference": "Forecast less truth",
    }[what]
    return finish(
        figure,
        alt=f"{words} of {len(names)} classes over {frame.shape[1]} rounds in the world of {arm}; largest {most:.1%}.",
        title=words,
        subtitle=f"the world of {arm}; line: round {at}",
        height=220 + 14 * min(len(names), 30),
    )


def kl_curve(rounds: Frame, at: int, swap: int | None, arm: str) -> go.Figure:
    """Forecast error of one arm and seed in every round, on a log axis."""
    figure = go.Figure()
    values = rounds["kl"].clip(lower=1e-8)
    figure.add_scatter(
        x=rounds["round"], y=values, mode="lines", line=arm_style(arm), name=plain(arm),
        hovertemplate="round %{x}: %{y:.2g} nats<extra></extra>",
    )  # fmt: skip
    _swap(figure, swap)
    figure.add_vline(x=at, line={"color": PALETTE[1], "width": 2})
    figure.update_xaxes(title_text=ROUND)
    figure.update_yaxes(title_text="KL(p ‖ forecast), nats", type="log", exponentformat="power")
    figure.update_layout(showlegend=False)
    return finish(
        figure,
        alt=f"Forecast error of {arm} over {len(rounds)} rounds, median {rounds['kl'].median():.3g} nats.",
        title="Forecast error",
        subtitle=f"median {rounds['kl'].median():.2g} nats",
        height=300,
    )


def round_bars(frame: Frame, names: Sequence[str], arm: str) -> go.Figure:
    """One round by class: true and believed shares, and the class accuracies that the world answered."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.6, 0.4], vertical_spacing=0.08)
    labels = [plain(name) for name in names]
    places = list(range(len(labels)))
    for column, words, colour in (
        ("p_true", "true share", MUTED),
        ("p_forecast", "believed share", COLOURS.get(arm, INK)),
    ):
        figure.add_bar(
            x=places, y=frame[column], name=words, marker={"color": colour}, customdata=labels,
            hovertemplate=f"%{{customdata}}<br>{words} %{{y:.1%}}<extra></extra>", row=1, col=1,
        )  # fmt: skip
    figure.add_bar(
        x=places, y=frame["answered"], name="accuracy in the round before", marker={"color": PALETTE[2]}, customdata=labels,
        hovertemplate="%{customdata}<br>accuracy %{y:.1%}<extra></extra>", row=2, col=1,
    )  # fmt: skip
    every = max(1, -(-len(labels) // MOST_NAMED))
    figure.update_xaxes(tickvals=places[::every], ticktext=labels[::every], row=2, col=1)
    figure.update_yaxes(title_text="Share", tickformat=".0%", row=1, col=1)
    figure.update_yaxes(title_text="S", tickformat=".0%", range=[0, 1.05], row=2, col=1)
    figure.update_layout(barmode="group", showlegend=True)
    number, worst = int(frame["round"].iloc[0]), float((frame["p_true"] - frame["p_forecast"]).abs().max())
    return finish(
        legend_below(figure),
        alt=f"Round {number} by class: true and believed shares differ by {worst:.1%} at most; accuracies before.",
        title=f"Round {number}",
        subtitle=f"largest difference {worst:.1%}",
        height=430,
    )


def few_shot_figure(frame: Frame, of: str) -> go.Figure:
    """Forecast error against pairs seen, both axes logarithmic; `frame` as `few_shot` makes it."""
    mine = frame[frame["of"] == of]
    if not len(mine):
        return empty("This run has too few rounds to tell.")
    figure, ends = go.Figure(), []
    for method, part in mine.groupby("method", sort=False):
        part = part.sort_values("pairs")
        style = arm_style(str(method))
        known = part.dropna(subset=["low", "high"])
        if len(known) > 1:
            band(
                figure,
                known["pairs"],
                known["low"].clip(lower=1e-6),
                known["high"].clip(lower=1e-6),
                style["color"],
            )
        figure.add_scatter(
            x=part["pairs"], y=part["mean"].clip(lower=1e-6), mode="lines+markers", line=style, name=plain(method),
            customdata=part[["seeds"]],
            hovertemplate=f"{plain(method)}<br>%{{x}} pairs: %{{y:.3g}} nats, %{{customdata[0]}} seeds<extra></extra>",
        )  # fmt: skip
        ends.append(f"{method} {part['mean'].iloc[-1]:.3g}")
    figure.update_xaxes(
        title_text="Pairs of accuracies and shares seen", type="log", dtick=1, minor={"ticks": "outside"}
    )
    figure.update_yaxes(title_text="KL(p ‖ forecast), nats", type="log", exponentformat="power", dtick=1)
    figure.update_layout(showlegend=True)
    words = {OWN: "On its own next rounds", OTHER: "On rounds it did not cause"}[of]
    return finish(
        legend_below(figure),
        alt=f"Forecast error against pairs seen, {of}: at the end {'; '.join(ends)} nats.",
        title=words,
        subtitle=f"{'' if of == OWN else 'oracle arm, second half; '}band: range over seeds",
        height=400,
    )


def error_by_shift_figure(frame: Frame) -> go.Figure:
    """Forecast error against how far the shares are from uniform, a line an arm."""
    if not len(frame):
        return empty("Choose an arm to draw.")
    figure = go.Figure()
    for arm, part in frame.groupby("arm", sort=False):
        figure.add_scatter(
            x=part["shift"], y=part["kl"].clip(lower=1e-6), mode="lines+markers", line=arm_style(str(arm)), name=plain(arm),
            customdata=part[["rounds"]],
            hovertemplate=f"{plain(arm)}<br>shift %{{x:.2f}}: %{{y:.3g}} nats, %{{customdata[0]}} rounds<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="KL(p ‖ uniform) of the round, nats")
    figure.update_yaxes(title_text="KL(p ‖ forecast), nats", type="log", exponentformat="power", dtick=1)
    figure.update_layout(showlegend=True)
    worst = frame.loc[frame["kl"].idxmax()]
    return finish(
        legend_below(figure),
        alt=f"Forecast error by size of shift for {frame['arm'].nunique()} arms; largest for {worst['arm']}.",
        title="Error by size of shift",
        subtitle="all rounds of all seeds, in bins of equal number",
        height=400,
    )


def _reliable(rows: Frame) -> Frame:
    """Confidence and accuracy of the bins of all seeds together, those with less than 0.5 % of the rows left out."""
    place = (rows["confidence"] * BINS).astype(int)
    weight = rows["weight"].groupby(place).sum()
    sums = rows[["confidence", "accuracy"]].mul(rows["weight"], axis=0).groupby(place).sum()
    return sums.div(weight, axis=0)[weight >= 0.005 * weight.sum()]


def reliability(frame: Frame) -> go.Figure:
    """Accuracy against confidence before (open) and after (filled) the temperature; `frame`: rows of `shift_calibration`."""
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", line={"color": GRID, "width": 2}, hoverinfo="skip", showlegend=False
    )
    for place, (backbone, part) in enumerate(frame.groupby("backbone", sort=False)):
        for scaled in (False, True):
            means = _reliable(part[part["scaled"] == scaled])
            name = f"{plain(backbone)}, {'temperature-scaled' if scaled else 'as fitted'}"
            figure.add_scatter(
                x=means["confidence"], y=means["accuracy"], mode="lines+markers", name=name,
                line={"color": PALETTE[place % 6], "dash": "solid" if scaled else "dot", "width": 2},
                marker={"size": 7, "symbol": "circle" if scaled else "circle-open"},
                hovertemplate=f"{name}<br>confidence %{{x:.0%}}: right %{{y:.0%}}<extra></extra>",
            )  # fmt: skip
    figure.update_xaxes(title_text="Confidence", tickformat=".0%", range=[0, 1.02])
    figure.update_yaxes(title_text="Accuracy", tickformat=".0%", range=[0, 1.02])
    figure.update_layout(showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"Accuracy against confidence of {frame['backbone'].nunique()} backbones before and after temperature scaling.",
        title="Calibration",
        subtitle="test rows of all seeds, classes alike",
        height=420,
    )
