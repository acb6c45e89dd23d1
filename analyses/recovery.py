"""Pictures of how well learnt latents recover true ones, or those of another seed.

Frames have the columns of the tables `latent_correlations`, `latent_scores` and `sparsity_path` (engine/schema.py).
MCC: mean |correlation| after linear assignment, which for a rotated Gaussian block has a floor far above 0 (for two
dimensions 2√2/π ≈ .90); R²: held-out share of a block that the other one predicts by kernel ridge (arXiv 2411.06518).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.figures import (
    CELL,
    INK,
    MUTED,
    PALETTE,
    PAPER,
    SEQUENTIAL,
    empty,
    finish,
    legend_below,
    plain,
)
from analyses.matching import mean_interval

Frame = Any
NO_TRUTH = "The true latents of these data are not known; compare the seeds with each other instead."
WRITTEN_UP_TO = 10
SCATTER_POINTS = 1000
PATH = {
    "held_out_log_likelihood": "Held-out log-likelihood",
    "mcc": "MCC",
    "n_edges": "Links",
}


def matrix_of(correlations: Frame, rows: Sequence[str], columns: Sequence[str], kind: str) -> pd.DataFrame:
    """|correlation| of true latents (`rows`) and learnt ones (`columns`); `kind` is "pearson" or "spearman"."""
    table = correlations.pivot_table(index="true_latent", columns="latent", values=kind, sort=False)
    return table.reindex(index=list(rows), columns=list(columns)).abs()


def correlation_heatmap(
    matrix: pd.DataFrame,
    row_modalities: Sequence[str],
    column_modalities: Sequence[str],
    *,
    row_words: str,
    column_words: str,
    title: str,
    subtitle: str = "",
    chosen: tuple[str, str] | None = None,
    words: str = "|correlation|",
) -> go.Figure:
    """|Correlation| (or what `words` says) of two sets of latents, with lines between modalities.

    Invisible selectable squares over the cells have customdata (row, column, value). `chosen` is outlined. The mean of
    the diagonal is MCC only where the columns are in the order of the matching.
    """
    if matrix.empty:
        return empty(NO_TRUTH)
    rows, columns = list(matrix.index), list(matrix.columns)
    values = matrix.to_numpy(dtype=float)
    figure = go.Figure(
        go.Heatmap(
            z=values,
            zmin=0,
            zmax=1,
            colorscale=SEQUENTIAL,
            xgap=1,
            ygap=1,
            hoverinfo="skip",
            colorbar={
                "title": {"text": words, "side": "right", "font": {"size": 13}},
                "thickness": 14,
                "outlinewidth": 0,
            },
        )
    )
    _add_cells(figure, values, rows, columns)
    if max(values.shape) <= WRITTEN_UP_TO:
        _write(figure, values)
    if chosen and chosen[0] in rows and chosen[1] in columns:
        x, y = columns.index(chosen[1]), rows.index(chosen[0])
        line = {"color": PALETTE[1], "width": 3}
        figure.add_shape(type="rect", x0=x - 0.5, x1=x + 0.5, y0=y - 0.5, y1=y + 0.5, line=line)
    _separate(figure, row_modalities, column_modalities)
    look = {"showgrid": False, "showline": False, "ticks": "", "zeroline": False}
    figure.update_xaxes(
        **look, title_text=column_words, tickvals=list(range(len(columns))), ticktext=[plain(c) for c in columns],
        range=[-0.5, len(columns) - 0.5],
    )  # fmt: skip
    figure.update_yaxes(
        **look, title_text=row_words, tickvals=list(range(len(rows))), ticktext=[plain(r) for r in rows],
        range=[len(rows) - 0.5, -0.5],
    )  # fmt: skip
    figure.update_layout(clickmode="event+select", dragmode=False)
    size = 38 if len(rows) <= WRITTEN_UP_TO else max(14, 380 // len(rows))
    return finish(
        figure,
        alt=f"Matrix of {words}: {len(rows)} {row_words.lower()} by {len(columns)} {column_words.lower()}.",
        title=title,
        subtitle=subtitle,
        height=max(330, 150 + size * len(rows)),
    )


def _add_cells(figure: go.Figure, values: Any, rows: list[str], columns: list[str]) -> None:
    places = np.argwhere(np.isfinite(values))
    figure.add_scatter(
        x=places[:, 1],
        y=places[:, 0],
        mode="markers",
        marker={"symbol": "square", "size": 24, "opacity": 0, "color": INK},
        customdata=[[rows[y], columns[x], float(values[y, x])] for y, x in places],
        hovertemplate="%{customdata[0]} with %{customdata[1]}<br>%{customdata[2]:.3f}<extra></extra>",
        selected={"marker": {"opacity": 0}},
        unselected={"marker": {"opacity": 0}},
        showlegend=False,
    )


def _write(figure: go.Figure, values: Any) -> None:
    for y, x in np.argwhere(np.isfinite(values)):
        figure.add_annotation(
            name=CELL,
            x=int(x),
            y=int(y),
            text=f"{values[y, x]:.2f}",
            showarrow=False,
            font={"size": 11, "color": PAPER if values[y, x] < 0.5 else INK},
        )


def _separate(figure: go.Figure, row_modalities: Sequence[str], column_modalities: Sequence[str]) -> None:
    line = {"color": PAPER, "width": 5}
    for place, (one, other) in enumerate(pairwise(row_modalities)):
        if one != other:
            figure.add_hline(y=place + 0.5, line=line)
    for place, (one, other) in enumerate(pairwise(column_modalities)):
        if one != other:
            figure.add_vline(x=place + 0.5, line=line)


MEASURES = {
    "mcc": ("mcc_spearman", "mcc_null", "MCC (Spearman)"),
    "r2": ("r2_true_from_learnt", "r2_null", "R², true from learnt"),
    "cross": ("cross_modal_r2", None, "Cross-modal R²"),
}


def score_rows(scores: Frame, methods: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """A row per method and measure over its seeds: mean, low, high (95 % t interval; NaN for one seed), null, n."""
    rows = []
    for measure in measures:
        column, null, _ = MEASURES[measure]
        for method in methods:
            part = scores[(scores["method"] == method) & scores[column].notna()]
            if len(part):
                low, high = mean_interval(part[column]) if len(part) > 1 else (np.nan, np.nan)
                chance = float(part[null].mean()) if null else np.nan
                rows.append((method, measure, float(part[column].mean()), low, high, chance, len(part)))
    return pd.DataFrame(rows, columns=["method", "measure", "mean", "low", "high", "null", "seeds"])


def score_dots(
    scores: Frame,
    methods: Sequence[str],
    measures: Sequence[str] = ("mcc", "r2"),
    title: str = "Methods beside each other",
) -> go.Figure:
    """Methods (rows) by MCC, R² or cross-modal R² (panels): a dot a seed, the mean with its interval, the null of each
    method, and for MCC the floor that a random rotation of the true blocks reaches. `scores`: overall rows only."""
    frame = score_rows(scores, methods, measures)
    if frame.empty:
        return empty(NO_TRUTH)
    shown = [measure for measure in measures if measure in set(frame["measure"])]
    names = [method for method in methods if method in set(frame["method"])]
    figure = make_subplots(
        cols=len(shown), shared_yaxes=True, horizontal_spacing=0.06,
    )  # fmt: skip
    for column, measure in enumerate(shown, 1):
        place = {"row": 1, "col": column}
        _add_dots(figure, scores, frame[frame["measure"] == measure], measure, place, column == 1)
        low = min(-0.02, float(frame["null"].min()))
        figure.update_xaxes(title_text=MEASURES[measure][2], range=[low, 1.03], **place)
        floor = scores["mcc_rotation_floor"].dropna()
        if measure == "mcc" and len(floor):
            figure.add_vline(
                x=float(floor.mean()), line={"dash": "dash", "color": INK, "width": 1.5}, **place
            )
            _entry(
                figure, "lines", f"random rotation {floor.mean():.3f}", line={"dash": "dash", "color": INK}
            )
    figure.update_yaxes(
        categoryorder="array", categoryarray=[plain(n) for n in names][::-1], ticks="", showline=False
    )
    figure.update_layout(showlegend=True)
    best = frame[frame["measure"] == shown[0]].iloc[0]
    return finish(
        legend_below(figure),
        alt=f"{' and '.join(MEASURES[m][2] for m in shown)} of {len(names)} rows; {best['method']} has "
        f"{best['mean']:.3f} over {best['seeds']} seeds.",
        title=title,
        subtitle="a dot a seed; diamond and bar: mean and 95 % interval",
        height=200 + 36 * len(names),
    )


def _add_dots(
    figure: go.Figure, scores: Frame, frame: Frame, measure: str, place: dict[str, int], named: bool
) -> None:
    column = MEASURES[measure][0]
    part = scores[scores["method"].isin(set(frame["method"])) & scores[column].notna()]
    figure.add_scatter(
        x=part[column],
        y=[plain(method) for method in part["method"]],
        mode="markers",
        marker={"size": 8, "color": PALETTE[5], "opacity": 0.8},
        customdata=part[["seed"]],
        hovertemplate="%{y}, seed %{customdata[0]}: %{x:.3f}<extra></extra>",
        name="seed",
        showlegend=named,
        **place,
    )
    half = (frame["high"] - frame["low"]).fillna(0) / 2
    figure.add_scatter(
        x=frame["mean"],
        y=[plain(method) for method in frame["method"]],
        mode="markers",
        marker={"size": 11, "symbol": "diamond", "color": PALETTE[0]},
        error_x={"type": "data", "array": half, "color": PALETTE[0], "thickness": 2, "width": 5},
        customdata=frame[["low", "high", "seeds"]],
        hovertemplate="%{y}: %{x:.3f}, 95 % %{customdata[0]:.3f} to %{customdata[1]:.3f}, "
        "%{customdata[2]} seeds<extra></extra>",
        name="mean",
        showlegend=named,
        **place,
    )
    known = frame.dropna(subset="null")
    if len(known):
        figure.add_scatter(
            x=known["null"],
            y=[plain(method) for method in known["method"]],
            mode="markers",
            marker={"size": 13, "symbol": "line-ns", "line": {"width": 2.5, "color": MUTED}},
            hovertemplate="%{y}: chance %{x:.3f}<extra></extra>",
            name="chance (rows permuted)",
            showlegend=named,
            **place,
        )


def _entry(figure: go.Figure, mode: str, name: str, **look: Any) -> None:
    """An entry of the legend without points."""
    figure.add_scatter(x=[None], y=[None], mode=mode, name=name, **look)


def pair_scatter(x: Any, y: Any, x_words: str, y_words: str) -> go.Figure:
    """Values of two latents on the same rows (at most 1,000 are drawn), with their Pearson and Spearman correlation."""
    frame = pd.DataFrame({"x": np.asarray(x, dtype=float), "y": np.asarray(y, dtype=float)}).dropna()
    if len(frame) < 3:
        return empty("This pair has no values on the same rows.")
    pearson, spearman = frame.corr().iat[0, 1], frame.corr("spearman").iat[0, 1]
    figure = go.Figure(
        go.Scatter(
            x=frame["x"][:SCATTER_POINTS],
            y=frame["y"][:SCATTER_POINTS],
            mode="markers",
            marker={"size": 4.5, "color": PALETTE[0], "opacity": 0.5},
            hovertemplate="%{x:.2f}, %{y:.2f}<extra></extra>",
        )
    )
    figure.update_xaxes(title_text=plain(x_words))
    figure.update_yaxes(title_text=plain(y_words))
    return finish(
        figure,
        alt=f"{y_words} against {x_words}: Pearson {pearson:.3f}, Spearman {spearman:.3f}.",
        title="The chosen pair",
        subtitle=f"Pearson {pearson:.3f}, Spearman {spearman:.3f}, {len(frame):,} held-out rows",
        height=420,
    )


def sparsity_path(path: Frame) -> go.Figure:
    """Held-out log-likelihood, MCC (known worlds) and number of links against λ, a line a seed; rings mark what
    was chosen, on the likelihood alone."""
    if not len(path):
        return empty("This run has one sparsity weight only; give several under New to see the path.")
    shown = [name for name in PATH if path[name].notna().any()]
    figure = make_subplots(rows=len(shown), shared_xaxes=True, vertical_spacing=0.06)
    weights = sorted(path["lambda_sparsity"].unique())
    place = {weight: index for index, weight in enumerate(weights)}
    for row, name in enumerate(shown, 1):
        for index, (seed, part) in enumerate(path.groupby("seed")):
            part = part.sort_values("lambda_sparsity")
            chosen = part["chosen"].astype(bool)
            figure.add_scatter(
                x=part["lambda_sparsity"].map(place),
                y=part[name],
                mode="lines+markers",
                line={"color": PALETTE[index % len(PALETTE)], "width": 1.8},
                marker={
                    "size": np.where(chosen, 12, 6),
                    "symbol": np.where(chosen, "circle-open-dot", "circle"),
                    "line": {"width": np.where(chosen, 2.5, 0.0)},
                },
                name=f"seed {seed}",
                legendgroup=str(seed),
                showlegend=row == 1,
                customdata=part[["lambda_sparsity"]],
                hovertemplate="λ %{customdata[0]:g}: %{y:.4g}<extra>%{fullData.name}</extra>",
                row=row,
                col=1,
            )
        figure.update_yaxes(title_text=PATH[name], row=row, col=1)
    figure.update_xaxes(tickvals=list(range(len(weights))), ticktext=[f"{weight:g}" for weight in weights])
    figure.update_xaxes(title_text="Sparsity weight λ", row=len(shown), col=1)
    figure.update_layout(showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"Sparsity path over {len(weights)} weights and {path['seed'].nunique()} seeds.",
        title="Sparsity path",
        subtitle="rings: chosen on held-out likelihood, never on the truth",
        height=160 + 150 * len(shown),
    )
