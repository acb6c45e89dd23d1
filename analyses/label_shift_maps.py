"""Pictures of a mechanism and of choices: learnt beside true effects, candidates now and after the world has answered."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.figures import INK, MUTED, PALETTE, empty, finish, legend_below, plain
from analyses.label_shift_figures import DIVERGING, MOST_NAMED
from analyses.label_shift_frames import over_seeds

Frame = Any
TITLES = 28  # pixels for the titles of the two halves


def mechanism_figure(
    learnt: Frame, truth: Frame, names: Sequence[str], usual: bool, subtitle: str
) -> go.Figure:
    """The learnt mechanism beside the true one, on one colour scale: rows the class that is met, columns whose accuracy moves."""
    both = {"learnt by the adapter": learnt.to_numpy(), "true": truth.to_numpy()}
    most = max(float(np.abs(values).max()) for values in both.values()) or 1.0
    figure = make_subplots(rows=1, cols=2, subplot_titles=list(both), horizontal_spacing=0.12)
    words = [plain(name) for name in names]
    every = max(1, -(-len(words) // MOST_NAMED))
    places = list(range(len(words)))
    labels = [[[words[j], words[i]] for j in places] for i in places]
    for place, values in enumerate(both.values(), start=1):
        figure.add_heatmap(
            z=values, x=places, y=places, zmin=-most, zmax=most, colorscale=DIVERGING, customdata=labels, showscale=place == 2,
            hovertemplate="accuracy of %{customdata[0]} → share of %{customdata[1]}<br>%{z:+.3f}<extra></extra>",
            colorbar={"title": {"text": "d log p", "side": "right"}, "thickness": 12, "outlinewidth": 0},
            row=1, col=place,
        )  # fmt: skip
    ticks = {"tickvals": places[::every], "ticktext": words[::every], "showgrid": False}
    figure.update_xaxes(title_text="Accuracy of", **ticks)
    figure.update_yaxes(autorange="reversed", **ticks)
    figure.update_yaxes(title_text="Share of", row=1, col=1)
    figure.update_yaxes(showticklabels=False, row=1, col=2)
    height = 340 + 8 * min(len(names), 30) + TITLES
    per = "for one standard deviation of each accuracy" if usual else "for an accuracy from 0 to 1"
    finish(
        figure,
        alt=f"Learnt and true effect of class accuracies on class shares, {len(names)} classes, {per}; {subtitle}.",
        title="What the world is taken to do",
        subtitle=subtitle,
        height=height,
    )
    figure.update_layout(margin={"t": figure.layout.margin.t + TITLES})
    return figure.update_layout(
        title={"yref": "container", "y": 1 - 14 / figure.layout.height, "yanchor": "top"}
    )


def candidates_figure(rows: Frame, shown: bool) -> go.Figure:
    """Candidates of one decision: accuracy now, forecast after deployment, and, once `shown`, what it came to."""
    figure = go.Figure()
    columns = [
        ("present", "accuracy now", MUTED, "circle"),
        ("by_adapter", "forecast", PALETTE[0], "diamond"),
    ]
    if shown:
        columns.append(("revealed", "after deployment", PALETTE[1], "square"))
    names = [plain(name) for name in rows["candidate"]]
    for column, words, colour, symbol in columns:
        best = rows[column] == rows[column].max()
        figure.add_scatter(
            x=rows[column], y=names, mode="markers", name=words,
            marker={
                "size": np.where(best, 15, 9), "color": colour, "symbol": symbol,
                "line": {"width": np.where(best, 2, 0), "color": INK},
            },
            hovertemplate=f"%{{y}}<br>{words} %{{x:.1%}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Accuracy", tickformat=".0%")
    figure.update_yaxes(categoryorder="array", categoryarray=names[::-1], ticks="", showline=False)
    figure.update_layout(showlegend=True)
    best_now, forecast = (
        rows.loc[rows[column].idxmax(), "candidate"] for column in ("present", "by_adapter")
    )
    return finish(
        legend_below(figure),
        alt=f"{len(rows)} candidates: {best_now} is best now, {forecast} by forecast.",
        title="Which one to deploy?",
        subtitle="outlined: the highest of its kind",
        height=200 + 34 * len(rows),
    )


def answer_figure(rows: Frame, names: Sequence[str], candidate: str, shown: bool) -> go.Figure:
    """Class shares that a candidate is forecast to bring about and, once `shown`, those it did."""
    figure = go.Figure()
    labels = [plain(name) for name in names]
    columns = [("p_forecast", "forecast share", PALETTE[0])] + (
        [("p_revealed", "true share", MUTED)] if shown else []
    )
    for column, words, colour in columns:
        figure.add_bar(
            x=list(range(len(labels))), y=rows[column], name=words, marker={"color": colour}, customdata=labels,
            hovertemplate=f"%{{customdata}}<br>{words} %{{y:.1%}}<extra></extra>",
        )  # fmt: skip
    every = max(1, -(-len(labels) // MOST_NAMED))
    figure.update_xaxes(tickvals=list(range(0, len(labels), every)), ticktext=labels[::every])
    figure.update_yaxes(title_text="Share of the next round", tickformat=".0%")
    figure.update_layout(barmode="group", showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"Class shares after deploying {candidate}: forecast{' and true' if shown else ''}, {len(labels)} classes.",
        title="What the world would answer",
        subtitle=f"to {plain(candidate)}",
        height=380,
    )


def regret_figure(frame: Frame) -> go.Figure:
    """Accuracy lost against the best candidate by each rule: a dot a seed, mean and 95 % interval."""
    if not len(frame):
        return empty("This run compared no candidates; set decisions above 0.")
    figure = go.Figure()
    rules = list(dict.fromkeys(frame["rule"]))
    figure.add_scatter(
        x=frame["regret"], y=frame["rule"], mode="markers", marker={"size": 8, "color": PALETTE[5], "opacity": 0.8},
        customdata=frame[["seed"]], hovertemplate="%{y}, seed %{customdata[0]}: %{x:.2%}<extra></extra>", name="seed",
    )  # fmt: skip
    middle = [over_seeds(frame.loc[frame["rule"] == rule, "regret"]) for rule in rules]
    means, lows, highs = (np.array(values) for values in zip(*middle, strict=True))
    figure.add_scatter(
        x=means, y=rules, mode="markers", marker={"size": 11, "symbol": "diamond", "color": PALETTE[0]}, name="mean, 95 % interval",
        error_x={
            "type": "data", "array": np.nan_to_num(highs - means), "arrayminus": np.nan_to_num(means - np.maximum(lows, 0)), "color": PALETTE[0],
            "thickness": 2, "width": 5,
        },
        hovertemplate="%{y}: mean %{x:.2%}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(
        title_text="Accuracy lost against the best candidate", tickformat=".1%", rangemode="tozero"
    )
    figure.update_yaxes(categoryorder="array", categoryarray=rules[::-1], ticks="", showline=False)
    figure.update_layout(showlegend=True)
    words = "; ".join(f"{rule} {mean:.2%}" for rule, mean in zip(rules, means, strict=True))
    return finish(
        legend_below(figure),
        alt=f"Accuracy lost by choosing after: {words}.",
        title="Regret of the choice",
        subtitle="mean over decisions, against the best afterwards",
        height=200 + 40 * len(rules),
    )
