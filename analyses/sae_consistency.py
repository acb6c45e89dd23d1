"""Pictures and summaries of SAE consistency, from tidy frames (pandas or Arrow) to plotly figures.

Definitions: arXiv 2505.20254. A frame holds one row a pair, a matched pair of features, an SAE or a step. SAEs are
named by columns `label_a`, `label_b` where a frame has them, else by `seed_a`, `seed_b` as "seed 0". Only pairs of
one `subset` ("alive" or "all") are drawn where a frame has that column.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analyses.figures import GRID, PALETTE, SEQUENTIAL, empty, finish, null_line, plain, series_style
from analyses.sae_frames import (
    Frame,
    as_pandas,
    claims_table,
    frequency_bins,
    labelled,
    pair_matrix,
    summary,
)

__all__ = [
    "claims_table",
    "consistency_heatmap",
    "cosine_histogram",
    "frequency_bins",
    "frequency_scatter",
    "matched_cosine_curve",
    "pair_matrix",
    "summary",
    "training_curves",
    "trajectory",
]

CURVE_POINTS = 600
SCATTER_POINTS = 4000
NO_PAIRS = "A comparison needs two SAEs; train another seed or choose more runs."
METRICS = {
    "pw_mcc_abs": "PW-MCC (|cosine|)",
    "pw_mcc_signed": "PW-MCC (signed cosine)",
    "calibrated": "calibrated PW-MCC",
}
LIVE_METRICS = {
    "loss": "Training loss (per activation)",
    "fvu": "Variance unexplained (share)",
    "l0": "Active features per activation (L0)",
    "dead_fraction": "Dead features (%)",
    "learning_rate": "Learning rate",
    "activations_per_second": "Speed (activations per second)",
    "pw_mcc_abs": "Mean PW-MCC (|cosine|)",
    "gt_mcc_abs": "GT-MCC (|cosine|)",
}


def _null_text(nulls: pd.Series) -> str:
    low, high = nulls.min(), nulls.max()
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"


def consistency_heatmap(
    pairs: Frame, labels: Sequence[str] | None = None, metric: str = "pw_mcc_abs", subset: str = "alive"
) -> go.Figure:
    """SAE × SAE matrix of `metric` (pw_mcc_abs, pw_mcc_signed or calibrated), colours from chance to 1.

    `labels` gives the SAEs and their order; a cell's customdata is (label_a, label_b).
    """
    table = labelled(pairs, subset)
    if table.empty:
        return empty(NO_PAIRS)
    matrix = pair_matrix(table, labels, metric)
    names = list(matrix.index)
    nulls = table["null_mean"].dropna() if "null_mean" in table else pd.Series(dtype=float)
    floor = float(nulls.min()) if len(nulls) and metric == "pw_mcc_abs" else 0.0
    shown = len(names) <= 12
    texts = [
        ["" if np.isnan(v) else f"{v:.2f}" if len(names) > 8 else f"{v:.3f}" for v in row]
        for row in matrix.values
    ]
    escaped = [plain(name) for name in names]
    bar = [floor, *[tick for tick in (0.2, 0.4, 0.6, 0.8, 1.0) if tick > floor + 0.06]]
    figure = go.Figure(
        go.Heatmap(
            z=matrix.values,
            x=escaped,
            y=escaped,
            customdata=[[[a, b] for b in names] for a in names],
            text=texts,
            texttemplate="%{text}" if shown else None,
            textfont={"size": 13 if len(names) <= 8 else 11},
            zmin=floor,
            zmax=1,
            colorscale=SEQUENTIAL,
            xgap=2,
            ygap=2,
            hoverongaps=False,
            hovertemplate=f"%{{y}} with %{{x}}<br>{METRICS[metric]} %{{z:.4f}}<extra></extra>",
            colorbar={
                "title": {"text": METRICS[metric], "side": "right"},
                "thickness": 14,
                "outlinewidth": 0,
                "tickvals": bar,
                "ticktext": [
                    f"{floor:.2f} chance" if floor and tick == floor else f"{tick:.1f}" for tick in bar
                ],
            },
        )
    )
    figure.update_xaxes(title_text="SAE", showgrid=False, type="category", showline=False, ticks="")
    figure.update_yaxes(
        title_text="SAE", showgrid=False, type="category", showline=False, ticks="", autorange="reversed"
    )
    figure.update_layout(plot_bgcolor=GRID)
    mean = float(np.nanmean(matrix.values)) if matrix.notna().any(axis=None) else float("nan")
    chance = f"chance {_null_text(nulls)}" if len(nulls) else "chance level not measured"
    return finish(
        figure,
        title=f"{METRICS[metric]} of every two SAEs",
        subtitle=f"mean {mean:.3f}, {chance}, {plain(subset)} features",
        alt=f"Heat map of {METRICS[metric]} between {len(names)} SAEs, {subset} features: mean {mean:.3f}, {chance}.",
        height=max(340, 180 + 34 * len(names)),
    )


def _groups(table: pd.DataFrame) -> list[tuple[str, str, pd.DataFrame]]:
    return [(a, b, rows) for (a, b), rows in table.groupby(["label_a", "label_b"], sort=False)]


def _pair_data(rows: pd.DataFrame) -> np.ndarray:
    """One (label_a, label_b, feature_a, feature_b, signed cosine, lower frequency) a point."""
    lower = rows[["frequency_a", "frequency_b"]].min(axis=1) if "frequency_a" in rows else np.nan
    columns = ["label_a", "label_b", "feature_a", "feature_b", "cosine"]
    return rows[columns].assign(lower=lower).to_numpy(dtype=object)


PAIR_HOVER = (
    "%{customdata[0]} feature %{customdata[2]}<br>%{customdata[1]} feature %{customdata[3]}"
    "<br>cosine %{customdata[4]:.3f}<br>lower frequency %{customdata[5]:.2g}<extra></extra>"
)


def matched_cosine_curve(matches: Frame, null_level: float | None = None, subset: str = "alive") -> go.Figure:
    """|cosine| of the matched features in falling order against their share (%), one line a pair of SAEs.

    A line keeps at most 600 of its points, evenly spaced by rank; their customdata is (label_a, label_b, feature_a,
    feature_b, cosine, lower frequency).
    """
    table = labelled(matches, subset)
    if table.empty:
        return empty(NO_PAIRS)
    figure = go.Figure()
    shares = []
    for index, (a, b, rows) in enumerate(_groups(table)):
        rows = rows.assign(similarity=rows["cosine"].abs()).sort_values(
            "similarity", ascending=False, kind="stable"
        )
        shares.append(100 * float((rows["similarity"] >= 0.7).mean()))
        kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), CURVE_POINTS)).round().astype(int))
        figure.add_scatter(
            x=100 * (kept + 1) / len(rows),
            y=rows["similarity"].to_numpy()[kept],
            mode="lines",
            line={**series_style(index), "width": 2},
            name=plain(f"{a} with {b}"),
            customdata=_pair_data(rows.iloc[kept]),
            hovertemplate="%{x:.1f} % of features<br>" + PAIR_HOVER,
        )
    figure.update_xaxes(title_text="Share of features, best matched first (%)", range=[0, 100])
    figure.update_yaxes(title_text="|cosine| of the matched pair", range=[0, 1.02])
    null_line(figure, null_level)
    share = f"{np.mean(shares):.0f} % of features have a partner of |cosine| 0.7 or more"
    return finish(
        figure,
        title="How alike the matched features are",
        subtitle=share,
        alt=f"Falling curves of matched |cosine| for {len(shares)} pairs of SAEs: {share}.",
    )


def cosine_histogram(
    matches: Frame, null_level: float | None = None, subset: str = "alive", bins: int = 50
) -> go.Figure:
    """Share (%) of matched pairs by |cosine|, all pairs of SAEs together; customdata (low, high, count)."""
    table = labelled(matches, subset)
    if table.empty:
        return empty(NO_PAIRS)
    counts, edges = np.histogram(table["cosine"].abs().clip(upper=1), bins=bins, range=(0, 1))
    figure = go.Figure(
        go.Bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=100 * counts / counts.sum(),
            width=1 / bins,
            marker={"color": PALETTE[0], "line": {"color": "white", "width": 1}},
            customdata=np.column_stack([edges[:-1], edges[1:], counts]),
            hovertemplate="|cosine| %{customdata[0]:.2f} to %{customdata[1]:.2f}<br>"
            "%{y:.1f} % of pairs (%{customdata[2]:.0f})<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="|cosine| of the matched pair", range=[0, 1])
    figure.update_yaxes(title_text="Share of matched pairs (%)", rangemode="tozero")
    null_line(figure, null_level, vertical=True)
    median = float(table["cosine"].abs().median())
    return finish(
        figure,
        title="Distribution of matched similarity",
        subtitle=f"{counts.sum():,} matched pairs, median {median:.3f}",
        alt=f"Histogram of |cosine| of {counts.sum():,} matched feature pairs, median {median:.3f}.",
    )


def frequency_scatter(matches: Frame, null_level: float | None = None, subset: str = "alive") -> go.Figure:
    """|cosine| of matched pairs against the lower of their two frequencies (log), with means of five bins.

    At most 4,000 points are drawn, evenly spaced in the frame; pairs with a feature that never fires are counted in
    the subtitle. customdata as in `matched_cosine_curve`.
    """
    table = labelled(matches, subset)
    if table.empty:
        return empty(NO_PAIRS)
    table["lower"] = table[["frequency_a", "frequency_b"]].min(axis=1)
    silent = int((table["lower"] <= 0).sum())
    bins = frequency_bins(table, subset=subset).query("low > 0 and count > 0")
    table = table[table["lower"] > 0]
    if table.empty:
        return empty("No matched feature fired on the held-out activations.")
    kept = np.unique(np.linspace(0, len(table) - 1, min(len(table), SCATTER_POINTS)).round().astype(int))
    rows = table.iloc[kept]
    figure = go.Figure()
    figure.add_scatter(
        x=rows["lower"],
        y=rows["cosine"].abs(),
        mode="markers",
        marker={"color": PALETTE[0], "size": 5, "opacity": 0.35},
        name="matched pair",
        customdata=_pair_data(rows),
        hovertemplate=PAIR_HOVER,
    )
    figure.add_scatter(
        x=np.sqrt(bins["low"] * bins["high"]),
        y=bins["mean"],
        error_y={"type": "data", "array": bins["sd"], "thickness": 1.5, "width": 5},
        mode="lines+markers",
        line={"color": PALETTE[1], "width": 2},
        marker={"size": 9},
        name="bin mean ± sd",
        customdata=bins[["low", "high", "count"]].to_numpy(),
        hovertemplate="%{customdata[2]:.0f} pairs, frequency %{customdata[0]:.1e} to %{customdata[1]:.1e}"
        "<br>mean |cosine| %{y:.3f}<extra></extra>",
    )
    figure.update_xaxes(
        type="log",
        title_text="Lower frequency of the pair (per token, log scale)",
        exponentformat="power",
        dtick=1,
    )
    figure.update_yaxes(title_text="|cosine| of the matched pair", range=[0, 1.02])
    null_line(figure, null_level)
    shown = (
        f"{len(rows):,} of {len(table):,} pairs drawn" if len(rows) < len(table) else f"{len(rows):,} pairs"
    )
    note = f"{shown}; {silent:,} with a feature that never fires left out" if silent else shown
    return finish(
        figure,
        title="Similarity and frequency",
        subtitle=note,
        alt=f"Scatter of matched |cosine| against activation frequency; bin means run from {bins['mean'].iloc[0]:.3f} "
        f"for the rarest to {bins['mean'].iloc[-1]:.3f} for the most frequent features.",
    )


def _log_steps(steps: Sequence[int]) -> tuple[Callable[[Any], np.ndarray], dict[str, Any]]:
    """Position of a step on a log axis that has room for step 0 at its left, and that axis."""
    positive = sorted({int(step) for step in steps if step > 0}) or [1]
    first, last = positive[0], positive[-1]
    zero = first / 3
    powers = [10**p for p in range(0, 10) if first <= 10**p <= last]
    ticks = powers if len(powers) >= 2 else sorted({first, last, *powers})
    axis = {
        "type": "log",
        "title": {"text": "Training step (log scale, 0 at the left)"},
        "tickvals": [zero, *ticks],
        "ticktext": ["0", *[f"{tick:,}" for tick in ticks]],
        "range": [np.log10(zero) - 0.1, np.log10(last) + 0.1],
    }
    return lambda values: np.where(np.asarray(values) > 0, np.asarray(values, dtype=float), zero), axis


def _add_family(
    figure: go.Figure,
    table: pd.DataFrame,
    keys: list[str],
    value: str,
    place: Callable[[Any], np.ndarray],
    color: str,
    name: str,
) -> float:
    """Thin lines of every member and a thick line of their mean; returns the last mean."""
    hover = f"step %{{customdata[0]:,}}<br>{name} %{{y:.4f}}<extra>%{{fullData.name}}</extra>"
    for key, rows in table.groupby(keys, sort=False):
        rows = rows.sort_values("step")
        figure.add_scatter(
            x=place(rows["step"]),
            y=rows[value],
            mode="lines",
            line={"color": color, "width": 1},
            opacity=0.45,
            name=plain(" with ".join(key)),
            showlegend=False,
            customdata=rows[["step", *keys]].to_numpy(dtype=object),
            hovertemplate=hover,
        )
    mean = table.groupby("step")[value].mean()
    figure.add_scatter(
        x=place(mean.index),
        y=mean.to_numpy(),
        mode="lines+markers",
        line={"color": color, "width": 3},
        marker={"size": 7},
        name=f"{name}, mean",
        customdata=mean.index.to_numpy()[:, None],
        hovertemplate=hover,
    )
    return float(mean.iloc[-1])


def trajectory(
    frame: Frame, null: float | None = None, gt: Frame | None = None, metric: str = "pw_mcc_abs"
) -> go.Figure:
    """PW-MCC against training step, a thin line a pair and their mean; `gt` (gt_trajectory) adds GT-MCC.

    The step axis is logarithmic with step 0 at its left end. customdata starts with the step.
    """
    table = labelled(frame)
    truth = as_pandas(gt) if gt is not None else pd.DataFrame()
    if table.empty and truth.empty:
        return empty(NO_PAIRS)
    place, axis = _log_steps([step for rows in (table, truth) if len(rows) for step in rows["step"]])
    figure, ends = go.Figure(), []
    if len(table):
        end = _add_family(figure, table, ["label_a", "label_b"], metric, place, PALETTE[0], "PW-MCC")
        ends.append(f"PW-MCC ends at {end:.3f}")
    if len(truth):
        truth = truth.assign(label=[f"seed {seed}" for seed in truth["seed"]])
        end = _add_family(figure, truth, ["label"], "gt_mcc_abs", place, PALETTE[1], "GT-MCC")
        ends.append(f"GT-MCC ends at {end:.3f}")
    figure.update_xaxes(axis)
    figure.update_yaxes(
        title_text="Mean |cosine| of matched features" if len(truth) else METRICS[metric], range=[0, 1.02]
    )
    null_line(figure, null)
    chance = "" if null is None else f", chance {null:.3f}"
    return finish(
        figure,
        title="Consistency during training",
        subtitle="; ".join(ends) + chance,
        alt=f"Lines against training step: {'; '.join(ends)}{chance}.",
    )


def training_curves(rows: Frame, metric: str) -> go.Figure:
    """A live metric against step, one line a seed; `rows` has `step`, `seed` and `metric` (events or a frame).

    `metric` is one of `LIVE_METRICS` or any other logged name. customdata is (step, seed).
    """
    table = as_pandas(rows)
    if table.empty or metric not in table or table[metric].dropna().empty:
        return empty("Nothing has been logged yet; the first values appear after a few steps.")
    table = table.dropna(subset=[metric]).sort_values("step", kind="stable")
    seeds = table["seed"] if "seed" in table else pd.Series(np.nan, index=table.index)
    factor = 100 if metric == "dead_fraction" else 1
    figure, last = go.Figure(), []
    for index, (seed, part) in enumerate(table.groupby(seeds, dropna=False)):
        name = "all seeds" if pd.isna(seed) else f"seed {int(seed)}"
        values = factor * part[metric].to_numpy(dtype=float)
        last.append(values[-1])
        figure.add_scatter(
            x=part["step"],
            y=values,
            mode="lines" if len(values) > 1 else "markers",
            line={**series_style(index), "width": 2},
            name=name,
            customdata=[[int(step), None if pd.isna(seed) else int(seed)] for step in part["step"]],
            hovertemplate="step %{x:,}<br>%{y:.4g}<extra>%{fullData.name}</extra>",
        )
    label = LIVE_METRICS.get(metric, plain(metric))
    positive = min(min(trace.y) for trace in figure.data) > 0
    wide = positive and max(max(trace.y) for trace in figure.data) > 30 * min(
        min(trace.y) for trace in figure.data
    )
    figure.update_xaxes(title_text="Training step", rangemode="tozero")
    figure.update_yaxes(
        title_text=label, type="log" if wide else "linear", rangemode="normal" if wide else "tozero"
    )
    figure.update_layout(showlegend=len(last) > 1)
    return finish(
        figure,
        alt=f"{label} against training step for {len(last)} seeds, last mean {np.mean(last):.4g}.",
        height=320,
    )
