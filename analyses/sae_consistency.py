"""Pictures and summaries of SAE consistency, from tidy frames (pandas or Arrow) to plotly figures.

Definitions: arXiv 2505.20254. A frame holds one row a pair, a matched pair of features, an SAE or a step. SAEs are
named by columns `label_a`, `label_b` where a frame has them, else by `seed_a`, `seed_b` as "seed 0". Only pairs of
one `subset` ("alive" or "all") are drawn where a frame has that column.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analyses.figures import (
    CELL,
    GRID,
    INK,
    PALETTE,
    SEQUENTIAL,
    empty,
    finish,
    null_line,
    plain,
    series_style,
)
from analyses.sae_curves import LIVE_METRICS, training_curves, trajectory
from analyses.sae_frames import (
    METRICS,
    NO_PAIRS,
    Frame,
    claims_table,
    frequency_bins,
    labelled,
    pair_matrix,
    summary,
)

__all__ = [
    "LIVE_METRICS",
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
NAMED_PAIRS = 8


def _null_text(nulls: pd.Series) -> str:
    low, high = nulls.min(), nulls.max()
    return f"{low:.3f}" if f"{low:.3f}" == f"{high:.3f}" else f"{low:.3f} to {high:.3f}"


def _write_cells(figure: go.Figure, matrix: pd.DataFrame, floor: float) -> None:
    """The numbers in the cells, white on dark and ink on light."""
    digits, size = (3, 13) if len(matrix) <= 4 else (2, 11)
    for row, column in np.argwhere(matrix.notna().to_numpy()):
        value = float(matrix.iat[row, column])
        figure.add_annotation(
            name=CELL,
            x=int(column),
            y=int(row),
            text=f"{value:.{digits}f}",
            showarrow=False,
            font={"size": size, "color": "white" if (value - floor) / (1 - floor) < 0.5 else INK},
        )


def _cells(matrix: pd.DataFrame, compared: bool) -> go.Scatter:
    """Invisible squares over the cells, since a heat map itself cannot be selected from by a click.

    Those over empty cells (`compared` false) have no customdata: they keep a click from going to a neighbour.
    """
    names = list(matrix.index)
    places = np.argwhere(matrix.notna().to_numpy() == compared)
    data = [[names[row], names[column], matrix.iat[row, column]] for row, column in places]
    hover = "%{customdata[0]} with %{customdata[1]}<br>%{customdata[2]:.4f}<extra></extra>"
    return go.Scatter(
        x=[plain(names[column]) for _, column in places],
        y=[plain(names[row]) for row, _ in places],
        mode="markers",
        marker={"symbol": "square", "size": 34, "opacity": 0, "color": INK},
        selected={"marker": {"opacity": 0.25 if compared else 0}},
        unselected={"marker": {"opacity": 0}},
        customdata=data if compared else None,
        hovertemplate=hover if compared else None,
        hoverinfo="all" if compared else "none",
        showlegend=False,
    )


def _colour_bar(floor: float, metric: str) -> dict[str, Any]:
    ticks = [floor, *[tick for tick in (0.2, 0.4, 0.6, 0.8, 1.0) if tick > floor + 0.06]]
    return {
        "title": {"text": METRICS[metric], "side": "right", "font": {"size": 13}},
        "thickness": 14,
        "outlinewidth": 0,
        "tickvals": ticks,
        "ticktext": [f"{t:.2f} chance" if floor and t == floor else f"{t:.1f}" for t in ticks],
    }


def consistency_heatmap(
    pairs: Frame, labels: Sequence[str] | None = None, metric: str = "pw_mcc_abs", subset: str = "alive"
) -> go.Figure:
    """SAE × SAE matrix of `metric` (pw_mcc_abs, pw_mcc_signed or calibrated), colours from chance to 1.

    `labels` gives the SAEs and their order. The selectable points over the cells have customdata (label_a, label_b,
    value), a and b being row and column; the cells of the heat map itself (label_a, label_b).
    """
    table = labelled(pairs, subset)
    if table.empty:
        return empty(NO_PAIRS)
    matrix = pair_matrix(table, labels, metric)
    names = list(matrix.index)
    nulls = table["null_mean"].dropna() if "null_mean" in table else pd.Series(dtype=float)
    floor = min(float(nulls.min()), 0.95) if len(nulls) and metric == "pw_mcc_abs" else 0.0
    escaped = [plain(name) for name in names]
    figure = go.Figure(
        go.Heatmap(
            z=matrix.to_numpy(),
            x=escaped,
            y=escaped,
            customdata=[[[a, b] for b in names] for a in names],
            zmin=floor,
            zmax=1,
            colorscale=SEQUENTIAL,
            xgap=2,
            ygap=2,
            hoverinfo="skip",
            colorbar=_colour_bar(floor, metric),
        )
    )
    figure.add_traces([_cells(matrix, True), _cells(matrix, False)])
    if len(names) <= 12:
        _write_cells(figure, matrix, floor)
    look = {"title_text": "SAE", "showgrid": False, "type": "category", "showline": False, "ticks": ""}
    edges = [-0.5, len(names) - 0.5]
    figure.update_xaxes(**look, range=edges)
    figure.update_yaxes(**look, range=edges[::-1])
    figure.update_layout(plot_bgcolor=GRID, clickmode="event+select", dragmode=False, hoverdistance=-1)
    mean = float(np.nanmean(matrix)) if matrix.notna().any(axis=None) else float("nan")
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

    Beyond eight pairs the lines are thin and have no legend; pointing at one names it.

    A line keeps at most 600 of its points, evenly spaced by rank; their customdata is (label_a, label_b, feature_a,
    feature_b, cosine, lower frequency).
    """
    table = labelled(matches, subset)
    if table.empty:
        return empty(NO_PAIRS)
    figure = go.Figure()
    shares = []
    groups = _groups(table)
    named = len(groups) <= NAMED_PAIRS
    for index, (a, b, rows) in enumerate(groups):
        rows = rows.assign(similarity=rows["cosine"].abs()).sort_values(
            "similarity", ascending=False, kind="stable"
        )
        shares.append(100 * float((rows["similarity"] >= 0.7).mean()))
        kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), CURVE_POINTS)).round().astype(int))
        figure.add_scatter(
            x=100 * (kept + 1) / len(rows),
            y=rows["similarity"].to_numpy()[kept],
            mode="lines",
            line={**series_style(index), "width": 2 if named else 1},
            name=plain(f"{a} with {b}"),
            showlegend=named and len(groups) > 1,
            customdata=_pair_data(rows.iloc[kept]),
            hovertemplate="%{x:.1f} % of features<br>" + PAIR_HOVER,
        )
    figure.update_xaxes(title_text="Share of features, best matched first (%)", range=[0, 100])
    figure.update_yaxes(title_text="|cosine| of the matched pair", range=[0, 1.02])
    null_line(figure, null_level)
    share = f"{np.mean(shares):.0f} % of features have a partner of |cosine| 0.7 or more"
    share += "" if named else f"; {len(shares)} pairs"
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
        title_text="Lower frequency of the pair (share, log scale)",
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
