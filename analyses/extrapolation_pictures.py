"""Pictures of extrapolation on pictures: scope × severity, accuracy against severity, one sample with its patches."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.extrapolation_figures import BEST_SHARE
from analyses.figures import (
    CELL,
    INK,
    PALETTE,
    SEQUENTIAL,
    band,
    empty,
    finish,
    legend_below,
    plain,
    translucent,
)

Frame = Any
DIVERGING = [[0.0, PALETTE[1]], [0.5, "#ffffff"], [1.0, PALETTE[0]]]
KINDS = ("as it was", "as it is met", "changed patches filled in")
DARK = 0.55


def map_figure(frame: Frame, words: str, arm: str, signed: bool) -> go.Figure:
    """Scope × severity, a number a cell; `frame` as `corruption_map` makes it, `signed` for a difference of two arms."""
    frame = frame.assign(scope_=frame["scope"], severity_=frame["severity"])
    wide = frame.pivot(index="scope", columns="severity", values="value")
    if wide.empty:
        return empty("Nothing was corrupted in this run.")
    values = wide.to_numpy()
    most = max(float(np.nanmax(np.abs(values))), 0.01) if signed else 1.0
    figure = go.Figure(
        go.Heatmap(
            x=list(range(values.shape[1])), y=list(range(values.shape[0])), z=values, zmin=-most if signed else 0,
            zmax=most, colorscale=DIVERGING if signed else SEQUENTIAL,
            customdata=np.stack([frame.pivot(index="scope", columns="severity", values=c).to_numpy() for c in ("scope_", "severity_", "low", "high")], -1),
            hovertemplate="block %{customdata[0]:.0%} of the side, severity %{customdata[1]:g}<br>%{z:.1%} (%{customdata[2]:.1%} to %{customdata[3]:.1%})<extra></extra>",
            colorbar={"title": {"text": words, "side": "right"}, "tickformat": ".0%", "thickness": 12, "outlinewidth": 0},
        )
    )  # fmt: skip
    for i, j in np.ndindex(values.shape):
        bright = signed or values[i, j] > DARK
        figure.add_annotation(
                x=j, y=i, text=f"{values[i, j]:+.0%}" if signed else f"{values[i, j]:.0%}",
                showarrow=False, name=CELL, font={"size": 12, "color": INK if bright else "#ffffff"},
            )  # fmt: skip
    severities, scopes = [f"{one:g}" for one in wide.columns], [f"{one:.0%}" for one in wide.index]
    figure.update_xaxes(
        title_text="Severity: standard deviation of the noise",
        tickvals=list(range(len(severities))),
        ticktext=severities,
        showgrid=False,
    )
    figure.update_yaxes(
        title_text="Scope: side of the block",
        tickvals=list(range(len(scopes))),
        ticktext=scopes,
        showgrid=False,
    )
    seeds = int(frame["seeds"].max())
    return finish(
        figure,
        alt=f"{words} of {arm} by scope and severity: {values[0, 0]:.0%} under the smallest and mildest, {values[-1, -1]:.0%} under the largest and most severe.",
        title=plain(arm),
        subtitle=f"{words}; mean of {seeds} seed{'s' if seeds > 1 else ''}",
        height=380,
    )


def severity_figure(frame: Frame, words: str, arm: str) -> go.Figure:
    """Accuracy against severity, a line a scope with its interval: flat under small blocks, falling under large ones?"""
    figure, ends = go.Figure(), []
    severities = sorted(frame["severity"].unique())
    place = {severity: i for i, severity in enumerate(severities)}
    for i, (scope, part) in enumerate(frame.groupby("scope")):
        colour, x = PALETTE[i % len(PALETTE)], [place[one] for one in part["severity"]]
        if part["low"].notna().all():
            band(figure, x, part["low"].clip(lower=0), part["high"].clip(upper=1), colour)
        figure.add_scatter(
            x=x, y=part["value"], mode="lines+markers", name=f"block {scope:.0%}", line={"color": colour, "width": 2.2},
            customdata=part[["severity"]],
            hovertemplate=f"block {scope:.0%}, severity %{{customdata[0]:g}}: %{{y:.1%}}<extra></extra>",
        )  # fmt: skip
        ends.append(f"block {scope:.0%} {part['value'].iloc[-1]:.2f}")
    figure.update_xaxes(
        title_text="Severity (not to scale)",
        tickvals=list(place.values()),
        ticktext=[f"{one:g}" for one in severities],
    )
    figure.update_yaxes(title_text=words, tickformat=".0%", range=BEST_SHARE)
    figure.update_layout(showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"{words} of {arm} against severity, at {severities[-1]:g}: {'; '.join(ends)}.",
        title="Scope against severity",
        subtitle=f"{plain(arm)}; bands: 95 % intervals over seeds",
        height=380,
    )


def sample_figure(images: Frame, patches: Frame) -> go.Figure:
    """One picture as it was, as it is met, and with its changed patches filled in; then the error of every patch.

    `images` and `patches`: rows of `extra_images` and `extra_patches` of one picture under one corruption.
    """
    source = dict(zip(images["kind"], images["image"], strict=True))
    titles = [*KINDS, "error of each patch"]
    figure = make_subplots(rows=1, cols=4, subplot_titles=titles, horizontal_spacing=0.03)
    for column, kind in enumerate(KINDS, 1):
        figure.add_trace(go.Image(source=source[kind], hoverinfo="skip"), row=1, col=column)
        figure.update_xaxes(visible=False, row=1, col=column)
        figure.update_yaxes(visible=False, row=1, col=column)
    patches = patches.sort_values("patch")
    side = round(len(patches) ** 0.5)
    error = patches["error"].to_numpy(dtype=float).reshape(side, side)
    told = np.where(patches["corrupted"], "truly changed", "as it was").reshape(side, side)
    figure.add_trace(
        go.Heatmap(
            z=np.log10(np.maximum(error, 1e-2)), colorscale=SEQUENTIAL, zmin=-1, zmax=2, customdata=np.stack([error.astype(str), told], -1),
            hovertemplate="%{customdata[0]:.3s} times the usual error, %{customdata[1]}<extra></extra>",
            colorbar={"title": {"text": "times the usual", "side": "right"}, "tickvals": [-1, 0, 1, 2], "ticktext": ["0.1", "1", "10", "100"], "thickness": 12, "outlinewidth": 0},
        ),
        row=1, col=4,
    )  # fmt: skip
    for p, hidden in zip(patches["patch"], patches["hidden"], strict=True):
        if hidden:
            y, x = divmod(int(p), side)
            figure.add_shape(
                type="rect", x0=x - 0.46, x1=x + 0.46, y0=y - 0.46, y1=y + 0.46, line={"color": PALETTE[1], "width": 2}, row=1, col=4
            )  # fmt: skip
    figure.update_xaxes(visible=False, row=1, col=4)
    figure.update_yaxes(visible=False, autorange="reversed", scaleanchor="x4", row=1, col=4)
    figure.update_annotations(font={"size": 12})
    hidden, changed = int(patches["hidden"].sum()), int(patches["corrupted"].sum())
    both = int((patches["hidden"].astype(bool) & patches["corrupted"].astype(bool)).sum())
    return finish(
        figure,
        alt=f"A picture before and after corruption: {hidden} of {len(patches)} patches are judged changed, {both} of the {changed} that truly are.",
        title=f"{hidden} of {len(patches)} patches judged changed",
        subtitle=f"frames: judged changed; {both} of the {changed} that truly are",
        height=330,
    ).update_layout(margin={"t": 96, "b": 16, "l": 16})


def choices_figure(frame: Frame) -> go.Figure:
    """Accuracy on validation pictures of every setting tried, the chosen ones filled; `frame`: rows of `extra_choices`."""
    if not len(frame):
        return empty("Nothing was chosen: the pictures have no classes.")
    figure = go.Figure()
    for i, (arm, part) in enumerate(frame.groupby("arm", sort=False)):
        means = part.groupby("value", as_index=False).agg(
            accuracy=("accuracy", "mean"), chosen=("chosen", "sum")
        )
        colour = PALETTE[i % len(PALETTE)]
        figure.add_scatter(
            x=[f"{one:g}" for one in means["value"]], y=means["accuracy"], mode="lines+markers", name=plain(arm),
            line={"color": translucent(colour, 0.6)},
            marker={"size": 6 + 3 * means["chosen"], "color": colour},
            customdata=means[["chosen"]],
            hovertemplate=f"{plain(arm)} %{{x}}: %{{y:.1%}}, chosen by %{{customdata[0]}} seeds<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Learning rate, or quantile of usual errors", type="category")
    figure.update_yaxes(title_text="Accuracy, validation", tickformat=".0%")
    figure.update_layout(showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"Accuracy on validation pictures of {len(frame)} settings tried; larger marks were chosen by more seeds.",
        title="How settings were chosen",
        subtitle="validation pictures under a covered square, never measured; larger: chosen by more seeds",
        height=380,
    )
