"""Curves and figures of denoising policies: V(t) and its gains, reinforcement, arms beside each other, seeds compared.

Frames are those of `analyses.sapo_frames` or tables `sapo_…`. Solved exactly and cells right are always told apart. None
of the figures is defined in arXiv 2510.01544; `analyses.sapo` defines them.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.figures import (
    INK,
    MUTED,
    PALETTE,
    band,
    empty,
    finish,
    legend_below,
    plain,
    series_style,
    translucent,
)
from analyses.sapo_frames import BOUNDS, FIGURES, MEASURES, SHARES, arm_name, in_order

Frame = Any
STEP = "Denoising steps done"
ABREAST = 5
NO_VALUES = "Value curves are made with weights; imported generations have none."
NO_CURVES = "Nothing was reinforced in this run."
NO_MEASURE = "This task has no such figure."
FEW = 10  # iterations, each of which has a tick
PASSES = "Forward passes of rollouts"


def value_curves(curves: dict[str, Frame], step: int | None = None) -> go.Figure:
    """V(t) with its Wilson band, and dotted the share of all rollouts already right by argmax; a colour a policy.

    `curves` maps a policy's words to its rows of `sapo_steps`. A vertical line marks `step`.
    """
    curves = {name: rows for name, rows in curves.items() if len(rows)}
    if not curves:
        return empty(NO_VALUES)
    figure, colours = go.Figure(), _colours(curves)
    for name, rows in curves.items():
        rows, colour = rows.sort_values("step"), colours[name]
        band(figure, rows["step"], rows["low"], rows["high"], colour)
        figure.add_scatter(
            x=rows["step"], y=rows["value"], mode="lines+markers", name=plain(name), line={"color": colour, "width": 2.2},
            marker={"size": 6}, customdata=rows[["low", "high", "n"]],
            hovertemplate="V(%{x}) = %{y:.1%}, %{customdata[0]:.1%} to %{customdata[1]:.1%}, %{customdata[2]} tries<extra></extra>",
        )  # fmt: skip
        figure.add_scatter(
            x=rows["step"], y=rows["already_right"], mode="lines", line={"color": colour, "width": 1.6, "dash": "dot"},
            showlegend=False, hovertemplate="already right %{y:.1%}<extra></extra>",
        )  # fmt: skip
    _mark(figure, step)
    figure.update_xaxes(title_text=STEP)
    figure.update_yaxes(title_text="Solved exactly", range=[-0.03, 1.03], tickformat=".0%")
    ends = "; ".join(
        f"{name} {rows['value'].iloc[0]:.0%} to {rows['value'].iloc[-1]:.0%}" for name, rows in curves.items()
    )
    return finish(
        legend_below(figure.update_layout(showlegend=True)),
        alt=f"Value curve V(t): {ends}.",
        title="V(t): success from each step",
        subtitle="of rollouts that end right; band: 95 % Wilson; dotted: argmax already right, all",
        height=420,
    )


def step_gains_figure(curves: dict[str, Frame], step: int | None = None) -> go.Figure:
    """V(s) − V(s − 1) of every step, bars side by side for several policies."""
    curves = {name: rows for name, rows in curves.items() if len(rows)}
    if not curves:
        return empty(NO_VALUES)
    figure, colours = go.Figure(), _colours(curves)
    for name, rows in curves.items():
        rows = rows.sort_values("step").dropna(subset=["gain"])
        figure.add_bar(
            x=rows["step"], y=rows["gain"], name=plain(name), marker={"color": colours[name]},
            hovertemplate="step %{x}: %{y:+.1%}<extra></extra>",
        )  # fmt: skip
    _mark(figure, step)
    figure.update_xaxes(title_text="Denoising step")
    figure.update_yaxes(title_text="Gain in V", tickformat="+.0%", zeroline=True, zerolinecolor=INK)
    largest = "; ".join(
        f"{name} most at step {int(rows.loc[rows['gain'].idxmax(), 'step'])}"
        for name, rows in curves.items()
        if rows["gain"].notna().any()
    )
    return finish(
        legend_below(figure.update_layout(barmode="group", showlegend=True)),
        alt=f"Gain of each denoising step: {largest}.",
        title="What each step adds",
        subtitle="of rollouts that end right; a step near zero decided nothing",
        height=420,
    )


def _mark(figure: go.Figure, step: int | None) -> None:
    if step is not None:
        figure.add_vline(x=step, line={"dash": "dash", "color": INK, "width": 1.5})


def reinforcement(
    frame: Frame, measure: str, words: str, split: str, *, against: str = "iteration"
) -> go.Figure:
    """A measure over iterations or forward passes, by arm; the band reaches from the lowest to the highest seed."""
    if frame.empty:
        return empty(NO_MEASURE if measure not in ("reward", "exact", "cell") else NO_CURVES)
    figure = go.Figure()
    arms = in_order(list(frame["arm"]))
    for arm in arms:
        rows, style = frame[frame["arm"] == arm], arm_style(arm)
        if rows["seeds"].max() > 1:
            band(figure, rows["x"], rows["low"], rows["high"], style["color"])
        figure.add_scatter(
            x=rows["x"], y=rows["mean"], mode="lines+markers" if split == "validation" else "lines",
            name=plain(arm_name(arm)), line={**style, "width": 2.2}, marker={"size": 5}, customdata=rows[["seeds"]],
            hovertemplate="%{x}: %{y:.3f}, mean of %{customdata[0]} seeds<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Iteration" if against == "iteration" else PASSES)
    if against == "iteration" and frame["x"].max() <= FEW:
        figure.update_xaxes(dtick=1)
    figure.update_yaxes(title_text=words)
    if measure in SHARES:
        figure.update_yaxes(tickformat=".0%", minallowed=-0.03, maxallowed=1.03)
    ends = "; ".join(
        f"{arm_name(arm)} {rows['mean'].iloc[0]:.2f} to {rows['mean'].iloc[-1]:.2f}"
        for arm in arms
        if len(rows := frame[frame["arm"] == arm])
    )
    which = "training rollouts" if split == "training" else "validation prompts"
    several = "; band: lowest to highest seed" if frame["seeds"].max() > 1 else ""
    return finish(
        legend_below(figure.update_layout(showlegend=True)),
        alt=f"{words} by arm: {ends}.",
        title=words,
        subtitle=f"{which}{several}",
        height=400,
    )


def arm_style(arm: str) -> dict[str, str]:
    """The same colour for an arm in every picture."""
    known = ("diffu_grpo", "sapo", "grpo_longer", "grpo_wider", "sapo_no_indicator", "process_only")
    order = (0, 1, 2, 4, 3, 5)
    return series_style(order[known.index(arm)]) if arm in known else {"color": MUTED, "dash": "solid"}


def _colours(curves: dict[str, Frame]) -> dict[str, str]:
    """A colour of each policy: its arm's, or one of its own where two have the same arm."""
    arms = [str(rows["arm"].iloc[0]) for rows in curves.values()]
    if len(set(arms)) == len(arms):
        return {name: arm_style(arm)["color"] for name, arm in zip(curves, arms, strict=True)}
    return dict(zip(curves, PALETTE, strict=False))


def arms_figure(figures: Frame, arms: Frame, words: dict[str, str]) -> go.Figure:
    """Small pictures, one a figure: a dot a seed, and the mean with its interval, by arm (`arm_figures`)."""
    shown = [name for name in FIGURES if name in set(figures["figure"])]
    if not shown:
        return empty(NO_CURVES)
    down = -(-len(shown) // ABREAST)
    across = -(-len(shown) // down)
    figure = make_subplots(
        down, across, shared_yaxes=True, subplot_titles=[_two_lines(words.get(name, FIGURES[name])) for name in shown],
        horizontal_spacing=0.055, vertical_spacing=0.24 if down > 1 else 0,
    )  # fmt: skip
    order = in_order(list(arms["arm"]))
    for index, name in enumerate(shown):
        place = {"row": index // across + 1, "col": index % across + 1}
        _panel(figure, figures[figures["figure"] == name], arms, name, order, place)
    names = [plain(arm_name(arm)) for arm in order]
    figure.update_yaxes(
        tickvals=list(range(len(order))), ticktext=names, range=[len(order) - 0.5, -0.5], showgrid=False
    )
    figure.update_annotations(font={"size": 12})
    means = figures[figures["figure"] == "exact"].set_index("name")["mean"]
    solved = ", ".join(f"{name} {value:.1%}" for name, value in means.items())
    several = arms["seed"].nunique() > 1
    return finish(
        figure.update_layout(showlegend=False),
        alt=f"Figures of {len(order)} arms on test prompts; solved exactly: {solved or 'not scored'}.",
        title="Arms on the same test prompts",
        caption="Bars: 95 % t interval over seeds."
        if several
        else "Bars: 95 % Wilson interval over test prompts.",
        height=130 + down * (86 + 30 * len(order)),
    ).update_layout(margin={"t": 100})


def _two_lines(words: str) -> str:
    return "<br>".join(plain(line) for line in textwrap.wrap(words, 17))


def _panel(
    figure: go.Figure, rows: Frame, arms: Frame, name: str, order: Sequence[str], place: dict[str, int]
) -> None:
    places = {arm: index for index, arm in enumerate(order)}
    dots = arms.dropna(subset=[name]) if name in arms else arms.iloc[:0]
    if arms["seed"].nunique() > 1:
        figure.add_scatter(
            x=dots[name], y=dots["arm"].map(places), mode="markers", customdata=dots[["seed"]],
            marker={"size": 6, "color": translucent(PALETTE[5], 0.8)},
            hovertemplate="seed %{customdata[0]}: %{x:.3f}<extra></extra>", **place,
        )  # fmt: skip
    for row in rows.itertuples():
        bounded = bool(np.isfinite(row.low))
        ends = (
            {"array": [row.high - row.mean], "arrayminus": [row.mean - row.low]}
            if bounded
            else {"array": [0]}
        )
        colour = arm_style(row.arm)["color"]
        figure.add_scatter(
            x=[row.mean], y=[places[row.arm]], mode="markers",
            marker={"size": 10, "symbol": "diamond", "color": colour},
            error_x={"type": "data", **ends, "color": colour, "thickness": 2, "width": 4, "visible": bounded},
            hovertemplate=f"{plain(row.name)}: %{{x:.3f}}<extra></extra>", **place,
        )  # fmt: skip
    bounds: dict[str, Any] = {"range": [-0.04, 1.04], "tickvals": [0, 0.5, 1]}
    if name in BOUNDS:
        bounds = {"tickvals": _ticks([*rows["mean"], *rows["low"], *rows["high"], *dots[name]])}
    figure.update_xaxes(**bounds, tickformat=".0%", tickangle=0, **place)


def _ticks(values: Sequence[float]) -> list[float]:
    """Zero, and one round value on each side that is reached."""
    known = np.array([value for value in values if np.isfinite(value)])
    extent = float(np.abs(known).max()) if known.any() else 1.0
    power = 10 ** np.floor(np.log10(extent))
    step = float(power * max(factor for factor in (1, 2, 5) if factor * power <= extent))
    return [tick for tick in (-step, 0.0, step) if tick == 0 or known.min() <= tick <= known.max()]


def spans_figure(rows: Frame, words: str) -> go.Figure:
    """Success after a span of finished rollouts is masked and denoised again, with Wilson bars; a bar a span and arm."""
    rows = rows.dropna(subset=["success"])
    if rows.empty:
        return empty("No rollout of the chosen policies was exact, so no span was masked again.")
    figure = go.Figure()
    for arm, part in rows.groupby("arm", sort=False):
        figure.add_bar(
            x=part["success"], y=[plain(span) for span in part["span"]], orientation="h", name=plain(arm_name(str(arm))),
            marker={"color": arm_style(str(arm))["color"]}, customdata=part[["n", "drop"]],
            error_x={
                "type": "data", "array": part["high"] - part["success"], "arrayminus": part["success"] - part["low"],
                "color": INK, "thickness": 1.5, "width": 4,
            },
            hovertemplate="%{y}: %{x:.1%} of %{customdata[0]} tries, %{customdata[1]:.1%} below the first<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text=words, range=[0, 1.03], tickformat=".0%")
    figure.update_yaxes(autorange="reversed", showgrid=False)
    shown = "; ".join(
        f"{arm_name(row.arm)}, {row.span}: {row.success:.0%}" for row in rows.itertuples(index=False)
    )
    return finish(
        legend_below(figure.update_layout(barmode="group", showlegend=True)),
        alt=f"Success after masking a span again: {shown}.",
        title="Which span matters",
        subtitle="exact rollouts, the rest kept; 95 % Wilson",
        height=170 + 44 * rows["span"].nunique() * max(1, rows["arm"].nunique() // 2),
    )


def agreement_figure(rows: Frame) -> go.Figure:
    """Rank correlation of two seeds' commit orders, by arm, a dot a pair; grey: permuted orders up to their 97.5 %."""
    if rows.empty:
        return empty("One seed has nothing to be compared with; add seeds below.")
    order = in_order(list(rows["arm"]))
    places = {arm: index for index, arm in enumerate(order)}
    figure = go.Figure()
    for arm, part in rows.groupby("arm"):
        y, null = places[str(arm)], part["null_high"].max()
        figure.add_scatter(
            x=[min(-null, 0), null], y=[y, y], mode="lines", line={"color": "#c9c9c9", "width": 9},
            hovertemplate=f"chance up to {null:.3f}<extra></extra>", name="chance (permuted positions)",
            legendgroup="chance", showlegend=y == 0,
        )  # fmt: skip
        figure.add_scatter(
            x=part["spearman"], y=[y] * len(part), mode="markers", customdata=part[["seed_a", "seed_b", "same_tokens"]],
            marker={"size": 10, "color": arm_style(str(arm))["color"], "opacity": 0.8},
            hovertemplate="seeds %{customdata[0]} and %{customdata[1]}: %{x:.3f}; same tokens %{customdata[2]:.1%}<extra></extra>",
            name="a pair of seeds", legendgroup="pair", showlegend=y == 0,
        )  # fmt: skip
    figure.update_xaxes(title_text="Spearman of commit orders", range=[-0.25, 1.05])
    figure.update_yaxes(
        tickvals=list(range(len(order))), ticktext=[plain(arm_name(arm)) for arm in order],
        range=[len(order) - 0.5, -0.5], showgrid=False,
    )  # fmt: skip
    means = rows.groupby("arm")["spearman"].mean()
    shown = ", ".join(f"{arm_name(arm)} {means[arm]:.2f}" for arm in order)
    return finish(
        legend_below(figure),
        alt=f"Agreement of commit orders between seeds: {shown}.",
        title="Commit order between seeds",
        subtitle="greedy denoising of the same test prompts",
        height=190 + 30 * len(order),
    )


def measure_words(task_cells: str) -> dict[str, str]:
    """Words of every measure, cells called what they are in the task."""
    return {**MEASURES, "cell": task_cells}
