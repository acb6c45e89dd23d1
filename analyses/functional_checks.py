"""What a run's SAEs are good for: loss recovered, and probes on a few of their features, in numbers and a picture.

Loss recovered as sae-lens defines it; sparse probing after Gurnee et al., arXiv 2305.01610. A frame here is the table
`checks` or `probes` of a feature_cards run.
"""

from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.figures import (
    INK,
    MUTED,
    SYMBOLS,
    band,
    empty,
    finish,
    legend_below,
    plain,
    series_style,
)
from analyses.sae_frames import Frame, as_pandas

DENSE = 0
SHOWN_K = 5
LOSS = "loss recovered"
NO_PROBES = (
    "No texts were probed in these feature cards: that needs probe_documents above 0 and a labelled corpus."
)
COLUMNS = {
    "seed": "Seed",
    "cross_entropy": "Cross-entropy (nats)",
    "cross_entropy_sae": "with the SAE",
    "cross_entropy_zero": "with zeros",
    "loss_recovered": "Loss recovered",
    "kl_sae": "KL with the SAE (nats)",
    "kl_zero": "KL with zeros",
    "kl_recovered": "KL recovered",
    "n_tokens": "Tokens",
}


def check_columns(checks: Frame, probes: Frame) -> dict[str, float]:
    """A run's figures for a table of runs, means over seeds: loss recovered, and each task's accuracy on 5 features.

    Keys "loss recovered" and "probe: TASK", the task without what stands in brackets; those computed alone.
    """
    losses, found = as_pandas(checks), as_pandas(probes)
    values = {LOSS: losses["loss_recovered"]} if len(losses) else {}
    for task in dict.fromkeys(found["task"]) if len(found) else ():
        rows = found[(found["task"] == task) & (found["k"] == SHOWN_K)]
        values[f"probe: {task.partition(' (')[0]}"] = rows["accuracy"]
    return {name: float(column.mean()) for name, column in values.items() if column.notna().any()}


def checks_table(checks: Frame) -> pd.DataFrame:
    """Loss recovered, a row a seed, with titles for a reader."""
    table = as_pandas(checks)
    return (
        table[list(COLUMNS)].rename(columns=COLUMNS)
        if len(table)
        else pd.DataFrame(columns=[*COLUMNS.values()])
    )


def probe_figure(probes: Frame) -> go.Figure:
    """Accuracy on test against the number of features k, a panel a task, a line a seed with 95 % intervals.

    The solid line with a band is the probe on the raw activations and its interval, the dashed one the share of the
    majority class. customdata of a point (seed, k, low, high).
    """
    table = as_pandas(probes)
    if table.empty:
        return empty(NO_PROBES)
    tasks, seeds = list(dict.fromkeys(table["task"])), sorted(set(table["seed"]))
    figure = make_subplots(
        cols=len(tasks), shared_yaxes=True, horizontal_spacing=0.06, subplot_titles=[plain(t) for t in tasks]
    )
    for column, task in enumerate(tasks, start=1):
        rows = table[table["task"] == task]
        ks = sorted(set(rows["k"]) - {DENSE})
        _reference_lines(figure, rows, len(ks), column)
        for index, seed in enumerate(seeds):
            shift = 0.08 * (index - (len(seeds) - 1) / 2)
            _seed_line(figure, rows[rows["seed"] == seed], ks, index, shift, column)
        figure.update_xaxes(
            title_text="Features the probe reads (k)",
            tickvals=list(range(len(ks))),
            ticktext=[str(k) for k in ks],
            range=[-0.4, len(ks) - 0.6],
            col=column,
        )
    figure.update_yaxes(range=[0, 1.02])
    figure.update_yaxes(title_text="Accuracy (share of test texts)", col=1)
    finish(
        legend_below(figure),
        title="Labels read from a few features",
        subtitle=f"{_one_or_range(table['n_test'])} test texts; bars and bands: 95 % intervals",
        alt=f"Accuracy against number of features by task, a line a seed. {_words(table, tasks)}",
        height=460,
    )
    figure.update_annotations(font={"size": 13})
    return figure.update_layout(margin={"t": 96, "b": 110})


def _one_or_range(values: pd.Series) -> str:
    low, high = int(values.min()), int(values.max())
    return f"{low:,}" if low == high else f"{low:,}–{high:,}"


def _reference_lines(figure: go.Figure, rows: pd.DataFrame, n_ticks: int, column: int) -> None:
    """The dense probe with its interval, and chance, over the whole panel."""
    ends = [-0.4, n_ticks - 0.6]
    once = {"row": 1, "col": column}
    dense = rows[rows["k"] == DENSE]
    if len(dense):
        value, low, high = (float(dense[name].iloc[0]) for name in ("accuracy", "low", "high"))
        band(figure, ends, [low] * 2, [high] * 2, MUTED, **once)
        figure.add_scatter(
            x=ends, y=[value] * 2, mode="lines", line={"color": INK, "width": 1.5}, name="raw activations",
            legendgroup="dense", showlegend=column == 1, customdata=[[DENSE, low, high]] * 2,
            hovertemplate=f"raw activations: {value:.3f} ({low:.3f} to {high:.3f})<extra></extra>", **once,
        )  # fmt: skip
    chance = float(rows["chance"].iloc[0])
    figure.add_scatter(
        x=ends, y=[chance] * 2, mode="lines", line={"color": INK, "width": 1.5, "dash": "dash"}, name="chance",
        legendgroup="chance", showlegend=column == 1,
        hovertemplate=f"majority class: {chance:.3f}<extra></extra>", **once,
    )  # fmt: skip


def _seed_line(
    figure: go.Figure, rows: pd.DataFrame, ks: list[int], index: int, shift: float, column: int
) -> None:
    found = rows[rows["k"] != DENSE].sort_values("k")
    if found.empty:
        return
    seed = int(found["seed"].iloc[0])
    style = series_style(index)
    figure.add_scatter(
        x=[ks.index(k) + shift for k in found["k"]],
        y=found["accuracy"],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": found["high"] - found["accuracy"],
            "arrayminus": found["accuracy"] - found["low"],
            "thickness": 1.2,
            "width": 3,
        },
        mode="lines+markers",
        line=style,
        marker={"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 7},
        name=f"seed {seed}",
        legendgroup=f"seed {seed}",
        showlegend=column == 1,
        customdata=found[["seed", "k", "low", "high"]].to_numpy(),
        hovertemplate="<b>seed %{customdata[0]}</b>, k = %{customdata[1]}<br>accuracy %{y:.3f} "
        "(%{customdata[2]:.3f} to %{customdata[3]:.3f})<extra></extra>",
        row=1,
        col=column,
    )


def _words(table: pd.DataFrame, tasks: list[str]) -> str:
    """Every task's figures in a sentence, means over seeds."""
    parts: list[str] = []
    for task in tasks:
        rows = table[table["task"] == task]
        means: dict[Any, float] = rows.groupby("k")["accuracy"].mean().to_dict()
        known = [f"{'raw activations' if k == DENSE else f'k {k}'} {value:.2f}" for k, value in means.items()]
        parts.append(f"{task}: {', '.join(known)}, chance {rows['chance'].iloc[0]:.2f}.")
    return " ".join(parts)
