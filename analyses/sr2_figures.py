"""Curves over iterations and figures over seeds of recurrent reasoners (SR², arXiv 2510.08222).

Exact (share of puzzles with every cell right) and cell (share of open cells right) never share an axis. Bands and bars are
95 % t-intervals over seeds; a dashed line marks the number of iterations that was trained.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from analyses.figures import (
    INK,
    MUTED,
    PALETTE,
    PAPER,
    SEQUENTIAL,
    band,
    empty,
    finish,
    legend_below,
    plain,
    series_style,
    translucent,
)
from analyses.sae_curves import training_curves
from analyses.sr2_frames import MEASURES

Frame = Any
ITERATION = "Iteration"
LIVE = {
    "loss": "Training loss",
    "validation_exact": f"{MEASURES['exact']}, validation",
    "validation_cell": f"{MEASURES['cell']}, validation",
}


def _mark(figure: go.Figure, place: int | None, words: str, dash: str = "dash", top: bool = True) -> None:
    """A labelled vertical line at an iteration; nothing when there is none."""
    if place is None:
        return
    figure.add_vline(x=place, line={"dash": dash, "color": INK, "width": 1.5})
    figure.add_annotation(
        x=place, y=1 if top else 0, yref="paper", text=words, showarrow=False, xanchor="left", xshift=4,
        yanchor="top" if top else "bottom", font={"size": 12}, bgcolor="rgba(255,255,255,0.8)",
    )  # fmt: skip


def training_figure(rows: Frame, metric: str) -> go.Figure:
    """Loss, or what is solved of the validation puzzles, while it is trained; `metric` is one of `LIVE`, `rows` are events."""
    figure = training_curves(rows, metric, LIVE[metric])
    if metric != "loss":
        figure.update_yaxes(tickformat=".0%")
    return legend_below(figure)


def accuracy_curves(frame: Frame, measure: str, trained: Mapping[str, int]) -> go.Figure:
    """A measure against iterations, a line an arm, dotted beyond what was trained; `frame` as `accuracy` makes it.

    `trained` holds each arm's number of trained iterations, marked by a diamond, and by a line where all are alike.
    """
    figure = go.Figure()
    for index, (arm, part) in enumerate(frame.groupby("arm", sort=False)):
        part = part.sort_values("iteration")
        style = series_style(index)
        known = part.dropna(subset=["low", "high"])
        if len(known):
            band(figure, known["iteration"], known["low"], known["high"], style["color"])
        within, last = part[part["trained"]], trained[str(arm)]
        beyond = part[part["iteration"] >= last]
        text = f"{plain(arm)}<br>iteration %{{x}}: %{{y:.1%}}"
        common: dict[str, Any] = {"legendgroup": str(arm), "customdata": part[["seeds"]]}
        figure.add_scatter(
            x=within["iteration"], y=within["mean"], mode="lines", line=style | {"width": 2.2}, name=plain(arm),
            hovertemplate=text + ", %{customdata[0]} seeds<extra></extra>", **common,
        )  # fmt: skip
        figure.add_scatter(
            x=beyond["iteration"], y=beyond["mean"], mode="lines", line={"color": style["color"], "dash": "dot", "width": 2.2},
            hovertemplate=text + ", more than trained<extra></extra>", showlegend=False, legendgroup=str(arm),
        )  # fmt: skip
        end = within[within["iteration"] == last]
        figure.add_scatter(
            x=end["iteration"], y=end["mean"], mode="markers", marker={"symbol": "diamond", "size": 10, "color": style["color"]},
            hoverinfo="skip", showlegend=False, legendgroup=str(arm),
        )  # fmt: skip
    numbers = set(trained.values())
    if len(numbers) == 1:
        last = next(iter(numbers))
        _mark(figure, last, f"trained: {last}", top=False)
    figure.update_xaxes(title_text=ITERATION)
    figure.update_yaxes(title_text=MEASURES[measure], range=[-0.03, 1.03], tickformat=".0%")
    figure.update_layout(showlegend=True)
    ends = "; ".join(f"{arm} {_at(frame, arm, trained[arm]):.1%}" for arm in trained)
    return finish(
        legend_below(figure),
        alt=f"{MEASURES[measure]} against iterations: {ends} after the last trained one.",
        title=MEASURES[measure],
        subtitle="diamond: last trained; dotted: more than trained",
        height=400,
    )


def _at(frame: Frame, arm: str, iteration: int) -> float:
    row = frame[(frame["arm"] == arm) & (frame["iteration"] == iteration)]
    return float(row["mean"].iloc[0]) if len(row) else float("nan")


def arms_figure(scores: Frame, models: Frame) -> go.Figure:
    """Puzzles solved exactly by every arm: a dot a seed (`models`: arm, seed, exact), mean and interval (`scores`)."""
    order = [plain(arm) for arm in scores["arm"]]
    figure = go.Figure()
    figure.add_scatter(
        x=models["exact"],
        y=[plain(arm) for arm in models["arm"]],
        mode="markers",
        marker={"size": 8, "color": PALETTE[5], "opacity": 0.8},
        customdata=models[["seed"]],
        hovertemplate="%{y}, seed %{customdata[0]}: %{x:.1%}<extra></extra>",
        name="seed",
    )
    middle = scores["exact"]
    figure.add_scatter(
        x=middle,
        y=order,
        mode="markers",
        marker={"size": 11, "symbol": "diamond", "color": PALETTE[0]},
        error_x={
            "type": "data",
            "array": (scores["high"] - middle).fillna(0),
            "arrayminus": (middle - scores["low"]).fillna(0),
            "color": PALETTE[0],
            "thickness": 2,
            "width": 5,
        },
        customdata=scores[["seeds"]],
        hovertemplate="%{y}: mean %{x:.1%} of %{customdata[0]} seeds<extra></extra>",
        name="mean, 95 % interval",
    )
    figure.update_xaxes(title_text=MEASURES["exact"], range=[-0.03, 1.03], tickformat=".0%")
    figure.update_yaxes(categoryorder="array", categoryarray=order[::-1], ticks="", showline=False)
    figure.update_layout(showlegend=True)
    best = scores.iloc[0]
    return finish(
        legend_below(figure),
        alt=f"Puzzles solved exactly by {len(order)} arms; {best['arm']} is best with {best['exact']:.1%}.",
        title="Exact by arm",
        subtitle="after the last trained iteration, weights chosen on validation puzzles",
        height=190 + 34 * len(order),
    )


def rules_curves(frame: Frame, at: int, trained: int | None, stacked: bool) -> go.Figure:
    """Broken rules of boards against iterations; `frame`: name, iteration, broken. `at` is what is shown.

    A line a name, or, `stacked`, kinds of rules on top of each other, so that the top is their sum.
    """
    figure = go.Figure()
    for index, (name, part) in enumerate(frame.groupby("name", sort=False)):
        style = series_style(index)
        area = {"stackgroup": "rules", "fillcolor": translucent(style["color"], 0.45)} if stacked else {}
        figure.add_scatter(
            x=part["iteration"], y=part["broken"], mode="lines", line=style | {"width": 2, "shape": "hv"}, name=plain(name),
            hovertemplate=f"{plain(name)}<br>iteration %{{x}}: %{{y}}<extra></extra>", **area,
        )  # fmt: skip
    now = frame[frame["iteration"] == at]["broken"].sum()
    words = f"{now} at iteration {at}" if stacked else "all kinds together"
    return _of_boards(figure, at, trained, "Rules broken", words)


def residual_curves(frame: Frame, at: int, trained: int | None) -> go.Figure:
    """How far the state of boards moved in each iteration, on a log axis; `frame`: name, iteration, residual."""
    figure = go.Figure()
    for index, (name, part) in enumerate(frame.groupby("name", sort=False)):
        figure.add_scatter(
            x=part["iteration"], y=part["residual"], mode="lines", line=series_style(index) | {"width": 2},
            name=plain(name), hovertemplate=f"{plain(name)}<br>iteration %{{x}}: %{{y:.3g}}<extra></extra>",
        )  # fmt: skip
    least, most = frame["residual"].min(), frame["residual"].max()
    ticks = {"dtick": 1} if most > 30 * max(least, 1e-300) else {}
    figure.update_yaxes(type="log", exponentformat="none", **ticks)
    words = "Residual ‖z<sub>t</sub> − z<sub>t−1</sub>‖"
    return _of_boards(figure, at, trained, words, "log scale; how far the whole state moves")


def _of_boards(figure: go.Figure, at: int, trained: int | None, words: str, subtitle: str) -> go.Figure:
    _mark(figure, trained, f"trained: {trained}")
    figure.add_vline(x=at, line={"color": INK, "width": 2})
    figure.update_xaxes(title_text=ITERATION)
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(showlegend=len(figure.data) > 1)
    bare = words.replace("<sub>", "").replace("</sub>", "")
    return finish(
        legend_below(figure), alt=f"{bare} against iterations: {subtitle}.", title=words, subtitle=subtitle, height=270 + 26 * len(figure.data)
    )  # fmt: skip


def likeness_figure(frame: Frame, trained: int) -> go.Figure:
    """How alike two seeds' states are at the end of every block, beside chance; `frame` as `likeness_by_block` makes it."""
    if not len(frame):
        return empty("One seed has nothing to be compared with; add seeds below.")
    figure = go.Figure()
    for index, (measure, part) in enumerate(frame.groupby("measure", sort=False)):
        style = series_style(index)
        if part["pairs"].max() > 1:
            band(figure, part["block"], part["low"], part["high"], style["color"])
        figure.add_scatter(
            x=part["block"], y=part["mean"], mode="lines+markers", line=style | {"width": 2.2}, name=str(measure),
            hovertemplate="block %{x}: %{y:.3f}<extra>%{fullData.name}</extra>",
        )  # fmt: skip
        if part["chance"].notna().any():
            name = f"{str(measure).split(' of ')[0]}, puzzles shuffled"
            line = {"color": translucent(style["color"], 0.8), "dash": "dash", "width": 1.5}
            figure.add_scatter(
                x=part["block"], y=part["chance"], mode="lines", line=line, name=name,
                hovertemplate="block %{x}: %{y:.3f}<extra>%{fullData.name}</extra>",
            )  # fmt: skip
    _mark(figure, trained, f"trained: {trained}", top=False)
    figure.update_xaxes(title_text="Alignment block", dtick=max(1, int(frame["block"].max()) // 12))
    figure.update_yaxes(title_text="Likeness of two seeds", range=[-0.03, 1.03])
    figure.update_layout(showlegend=True)
    pairs = int(frame["pairs"].max())
    return finish(
        legend_below(figure),
        alt=f"Likeness of the states of two seeds over {frame['block'].max()} blocks, {pairs} pairs, beside chance.",
        title="Are two seeds' states the same?",
        subtitle=f"{pairs} pair{'s' if pairs > 1 else ''} of seeds; band: smallest to largest pair",
        height=400,
    )


def paths_figure(paths: Frame, puzzle: int) -> go.Figure:
    """Where the states of one seed's stored puzzles move on their principal plane; that of `puzzle` is in front.

    `paths`: puzzle, iteration, x, y, explained_x, explained_y (shares of variance).
    """
    figure = go.Figure()
    others = paths[paths["puzzle"] != puzzle].sort_values(["puzzle", "iteration"])
    for place, (_, part) in enumerate(others.groupby("puzzle")):
        figure.add_scatter(
            x=part["x"], y=part["y"], mode="lines", line={"color": "#bdbdbd", "width": 1.2}, name="other stored puzzles",
            legendgroup="others", showlegend=place == 0, hoverinfo="skip",
        )  # fmt: skip
    mine = paths[paths["puzzle"] == puzzle].sort_values("iteration")
    last = np.arange(len(mine)) == len(mine) - 1
    figure.add_scatter(
        x=mine["x"], y=mine["y"], mode="lines+markers", line={"color": PALETTE[0], "width": 2}, name="this puzzle",
        marker={
            "size": np.where(last, 13, 7), "symbol": np.where(last, "diamond", "circle"), "color": mine["iteration"],
            "colorscale": SEQUENTIAL, "line": {"width": 1, "color": INK}, "showscale": True,
            "colorbar": {"title": {"text": "iteration", "side": "right", "font": {"size": 12}}, "thickness": 12, "outlinewidth": 0},
        },
        customdata=mine[["iteration"]], hovertemplate="iteration %{customdata[0]}<extra></extra>",
    )  # fmt: skip
    share = paths.iloc[0]
    figure.update_xaxes(title_text=f"First component ({share['explained_x']:.0%} of variance)")
    figure.update_yaxes(title_text=f"Second component ({share['explained_y']:.0%})")
    figure.update_layout(showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"Path of the state over {paths['iteration'].nunique()} iterations on its principal plane.",
        title="Path of the state",
        subtitle="mean over cells, principal plane; diamond: the end",
        height=420,
    )


def cell_timeline(cells: Frame, names: Sequence[str], signs: Mapping[int, str], at: int) -> go.Figure:
    """Every open cell (a row, called by `names`) over the iterations: its token written where it changes, coloured by confidence.

    `cells`: cell, iteration, token, confidence, changed, correct (or null), of the cells to be drawn.
    """
    order = list(dict.fromkeys(cells["cell"]))
    steps = sorted(cells["iteration"].unique())
    values = cells.pivot(index="cell", columns="iteration", values="confidence").reindex(order)
    figure = go.Figure(
        go.Heatmap(
            x=steps, y=list(range(len(order))), z=values.to_numpy(), zmin=0, zmax=1, colorscale=SEQUENTIAL,
            hoverinfo="skip", colorbar={"title": {"text": "confidence", "side": "right", "font": {"size": 12}}, "thickness": 12, "outlinewidth": 0},
        )
    )  # fmt: skip
    shown = cells[cells["changed"]]
    place = {cell: i for i, cell in enumerate(order)}
    wrong = shown["correct"].eq(False)
    known = cells["correct"].notna().any()
    looks = (
        (~wrong, PAPER, INK, "takes the right sign" if known else "takes a new sign"),
        (wrong, PALETTE[1], PAPER, "takes a wrong sign"),
    )
    for which, fill, ink, words in looks:
        part = shown[which]
        figure.add_scatter(
            x=part["iteration"], y=part["cell"].map(place), mode="markers+text", text=part["token"].map(signs),
            marker={"symbol": "square", "size": 15, "color": fill, "line": {"width": 0.5, "color": MUTED}},
            textfont={"size": 11, "color": ink}, hovertemplate="iteration %{x}: %{text}<extra></extra>", name=words,
            showlegend=bool(known or not len(part) or fill == PAPER),
        )  # fmt: skip
    figure.add_vline(x=at, line={"color": INK, "width": 2})
    figure.update_xaxes(title_text=ITERATION, showgrid=False, range=[steps[0] - 0.6, steps[-1] + 0.6])
    figure.update_yaxes(
        tickvals=list(range(len(order))), ticktext=[plain(n) for n in names], range=[len(order) - 0.5, -0.5],
        showgrid=False, ticks="", showline=False,
    )  # fmt: skip
    figure.update_layout(showlegend=True)
    changes = int(cells["changed"].sum()) - len(order)
    return finish(
        legend_below(figure),
        alt=f"{len(order)} open cells over {len(steps)} iterations: {changes} changes of mind after the first.",
        title="What it changes its mind about",
        subtitle=f"{changes} changes after the first answer; signs where they are taken",
        height=int(170 + max(9, min(20, 560 // len(order))) * len(order)),
    )
