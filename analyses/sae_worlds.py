"""Learned dictionaries against the true one: recovery by frequency, redundancy, allocation of latents.

Definitions: arXiv 2505.20254 (cosine decay, capacity allocation). Frames are the tables `features`, `gt_features` and
`saes` of a run in a world with known features (pandas or Arrow).
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analyses.dictionaries import log_spaced_bins
from analyses.figures import INK, PALETTE, SYMBOLS, empty, finish, legend_below, series_style
from analyses.ground_truth import allocation_exponent
from analyses.sae_frames import Frame, as_pandas

NO_TRUTH = "The true features are unknown here; train in a world to compare with them."
CURVE_POINTS = 600
RANK_GROUPS = 10
PAPER_EXPONENT = 1.4


def cosine_decay(features: Frame, n_true_features: int) -> go.Figure:
    """Best |cosine| of each learned feature with a true one, in falling order, a line a seed (paper, cosine decay).

    The vertical line is at the number of true features: what lies high to its right is redundant, what lies low to its
    left is not recovered. A line keeps at most 600 points; customdata (seed, feature, true feature, frequency).
    """
    table = as_pandas(features)
    table = table.dropna(subset=["gt_cosine"]) if len(table) else table
    if table.empty:
        return empty(NO_TRUTH)
    figure, longest, levels = go.Figure(), 0, []
    for index, (seed, rows) in enumerate(table.groupby("seed")):
        rows = rows.sort_values("gt_cosine", ascending=False, kind="stable")
        kept = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), CURVE_POINTS)).round().astype(int))
        longest = max(longest, len(rows))
        levels.append(float(rows["gt_cosine"].iloc[min(n_true_features, len(rows)) - 1]))
        shown = rows.iloc[kept]
        figure.add_scatter(
            x=kept + 1,
            y=shown["gt_cosine"],
            mode="lines",
            line={**series_style(index), "width": 2},
            name=f"seed {seed}",
            customdata=shown[["seed", "feature", "gt_feature", "frequency"]].to_numpy(dtype=object),
            hovertemplate="rank %{x:,}: |cosine| %{y:.3f}<br>feature %{customdata[1]}, nearest to true feature "
            "%{customdata[2]}<br>frequency %{customdata[3]:.2g}<extra>seed %{customdata[0]}</extra>",
        )
    figure.update_xaxes(title_text="Learned feature, best first (rank)", range=[0, 1.02 * longest])
    figure.update_yaxes(title_text="Best |cosine| with a true feature", range=[0, 1.03])
    figure.update_layout(showlegend=len(levels) > 1)
    level = float(np.mean(levels))
    if n_true_features <= longest:
        figure.add_vline(x=n_true_features, line={"dash": "dash", "color": INK, "width": 1.5})
        right = n_true_features > longest / 2
        figure.add_annotation(
            x=n_true_features,
            y=0.03,
            text=f"{n_true_features:,} true features",
            xanchor="right" if right else "left",
            yanchor="bottom",
            xshift=-4 if right else 4,
            showarrow=False,
            bgcolor="rgba(255,255,255,0.8)",
        )
        words = f"|cosine| {level:.3f} at rank {n_true_features:,}, the number of true features"
    else:
        words = (
            f"{longest:,} learned for {n_true_features:,} true features; the last has |cosine| {level:.3f}"
        )
    return legend_below(
        finish(
            figure,
            title="How the nearest true feature fades",
            subtitle=words,
            alt=f"Falling curves of the best |cosine| with the truth for {len(levels)} seeds: {words}.",
        )
    )


def recovery_by_frequency(gt_features: Frame) -> go.Figure:
    """Matched |cosine| and F1 of true features by how often they are active: means of five log-spaced bins.

    A true feature without a latent counts 0 in both. Bars are the range over seeds; thin points are the |cosine| of
    features, at most 4,000. customdata of a mean (low, high, true features), of a point (seed, true feature, latent).
    """
    table = as_pandas(gt_features)
    if table.empty:
        return empty(NO_TRUTH)
    table = table.assign(similarity=table["cosine"].abs().fillna(0), score=table["f1"].fillna(0))
    edges, place = log_spaced_bins(table["gt_frequency"])
    figure = go.Figure()
    rows = table.iloc[np.unique(np.linspace(0, len(table) - 1, min(len(table), 4000)).round().astype(int))]
    figure.add_scatter(
        x=rows["gt_frequency"],
        y=rows["similarity"],
        mode="markers",
        marker={"color": PALETTE[0], "size": 4, "opacity": 0.25},
        showlegend=False,
        customdata=rows[["seed", "gt_feature", "feature"]].to_numpy(dtype=object),
        hovertemplate="true feature %{customdata[1]}, latent %{customdata[2]}<br>frequency %{x:.2g}, "
        "|cosine| %{y:.3f}<extra>seed %{customdata[0]}</extra>",
    )
    ends = []
    for index, (column, name) in enumerate((("similarity", "|cosine|"), ("score", "F1"))):
        seeds = table.groupby([place, "seed"])[column].mean().groupby(level=0)
        mean, low, high = seeds.mean(), seeds.min(), seeds.max()
        bins = mean.index.to_numpy()
        groups = table.groupby(place)
        counts = groups["gt_feature"].nunique()
        spans = groups["gt_frequency"].agg(["min", "max"])
        figure.add_scatter(
            x=np.sqrt(spans["min"] * spans["max"]),
            y=mean,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": high - mean,
                "arrayminus": mean - low,
                "thickness": 1.5,
                "width": 5,
            },
            mode="lines+markers",
            line={"color": PALETTE[index], "width": 2.5},
            marker={"size": 10, "symbol": SYMBOLS[index], "line": {"color": "white", "width": 1}},
            name=f"{name}, bin mean",
            customdata=[[spans["min"][i], spans["max"][i], counts[i]] for i in bins],
            hovertemplate=f"mean {name} %{{y:.3f}}<br>%{{customdata[2]:,}} true features of frequency "
            "%{customdata[0]:.2g} to %{customdata[1]:.2g}<extra></extra>",
        )
        first, last = float(mean.iloc[0]), float(mean.iloc[-1])
        ends.append(f"{name} {last:.2f}" if len(mean) == 1 else f"{name} {first:.2f} → {last:.2f}")
    low_end, high_end = table["gt_frequency"].min(), table["gt_frequency"].max()
    figure.update_xaxes(
        type="log",
        title_text="Frequency of the true feature (share, log scale)",
        range=[np.log10(low_end / 1.4), np.log10(min(high_end * 1.4, 1.1))] if low_end > 0 else None,
        **_frequency_ticks(float(low_end), float(high_end)),
    )
    figure.update_yaxes(title_text="|cosine| and F1", range=[-0.03, 1.04])
    unmatched = int(table["feature"].isna().sum()) // max(table["seed"].nunique(), 1)
    note = f"; {unmatched:,} unmatched as 0" if unmatched else ""
    order = "" if len(edges) == 0 or low_end == high_end else "rare to frequent: "
    return legend_below(
        finish(
            figure,
            title="Which true features are found",
            subtitle=order + ", ".join(ends) + note,
            alt=f"Recovery of true features against their frequency, {order}{', '.join(ends)}{note}.",
        )
    )


def _frequency_ticks(low: float, high: float) -> dict[str, object]:
    """Plain numbers 1, 2, 5 · 10ⁿ where the range is short, plotly's own powers of ten where it is long."""
    if low <= 0 or high / low > 300:
        return {"dtype": 1, "exponentformat": "power"}
    ticks = [
        m * 10.0**p for p in range(-8, 1) for m in (1, 2, 5) if low / 1.4 <= m * 10.0**p <= min(1.4 * high, 1)
    ]
    ticks = ticks if len(ticks) > 1 and high > low else sorted({low, high})
    return {"tickvals": ticks, "ticktext": [f"{tick:.2g}" for tick in ticks]}


def allocation_figure(gt_features: Frame) -> go.Figure:
    """Latents nearest to each frequency group of true features, most frequent first (paper, capacity allocation).

    The groups are those of the world where all members of a group are active equally often (gt_group), else ten equal
    groups by rank of frequency. Bars are means over seeds with their range, the line is latents ∝ frequency^α fitted to
    the groups that have a latent. customdata (group, mean frequency, low, high, true features).
    """
    table = as_pandas(gt_features)
    if table.empty:
        return empty(NO_TRUTH)
    table = table.assign(group=_frequency_groups(table))
    frequency = table.groupby("group")["gt_frequency"].mean()
    sizes = table.groupby("group")["gt_feature"].nunique()
    latents = table.pivot_table(index="group", columns="seed", values="n_latents", aggfunc="sum")
    mean, low, high = latents.mean(axis=1), latents.min(axis=1), latents.max(axis=1)
    ticks = [f"{100 * share:.2g}" for share in frequency]
    names = [f"{number}<br>{tick} %" for number, tick in enumerate(ticks, start=1)]
    figure = go.Figure(
        go.Bar(
            x=names,
            y=mean,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": high - mean,
                "arrayminus": mean - low,
                "color": INK,
                "thickness": 1.2,
                "width": 5,
            },
            marker={"color": PALETTE[0]},
            name="latents (mean, range over seeds)",
            customdata=[[i + 1, *row] for i, row in enumerate(zip(frequency, low, high, sizes, strict=True))],
            hovertemplate="group %{customdata[0]}: %{customdata[4]} true features, frequency %{customdata[1]:.2g}"
            "<br>%{y:.1f} latents (%{customdata[2]:.0f} to %{customdata[3]:.0f})<extra></extra>",
        )
    )
    exponents = [allocation_exponent(latents[seed], frequency)[0] for seed in latents]
    exponents = [value for value in exponents if np.isfinite(value)]
    used = (mean > 0) & (frequency > 0)
    if exponents:
        alpha = float(np.mean(exponents))
        scale = np.exp((np.log(mean[used]) - alpha * np.log(frequency[used])).mean())
        figure.add_scatter(
            x=names,
            y=scale * frequency**alpha,
            mode="lines+markers",
            line={"color": PALETTE[1], "width": 2, "dash": "dash"},
            marker={"size": 6},
            name="latents ∝ frequency<sup>α</sup>",
            customdata=[[i + 1] for i in range(len(names))],
            hovertemplate="fit %{y:.1f} latents<extra></extra>",
        )
        spread = f" ({min(exponents):.2f} to {max(exponents):.2f} over seeds)" if len(exponents) > 1 else ""
        words = f"fitted α = {alpha:.2f}{spread}, paper ≈ {PAPER_EXPONENT}"
    else:
        words = "no exponent: the groups do not differ in frequency, or one alone has latents"
    figure.update_xaxes(title_text="Group of true features and its mean frequency", type="category")
    figure.update_yaxes(title_text="Latents nearest to the group", rangemode="tozero")
    listed = ", ".join(f"{value:.0f}" for value in mean)
    return legend_below(
        finish(
            figure,
            title="Where the latents go",
            subtitle=words,
            alt=f"Bars of latents per frequency group, most frequent first: {listed}; {words}.",
        )
    )


def _frequency_groups(table: pd.DataFrame) -> pd.Series:
    """Number of each row's group, 0 the most frequent."""
    own = table.groupby("gt_group")["gt_frequency"].agg(["min", "max"])
    if 2 <= len(own) <= 3 * RANK_GROUPS and np.allclose(own["min"], own["max"], rtol=1e-6, atol=0):
        order = own["max"].rank(ascending=False, method="first").astype(int) - 1
        return table["gt_group"].map(order)
    features = table.drop_duplicates("gt_feature").set_index("gt_feature")["gt_frequency"]
    rank = features.rank(ascending=False, method="first") - 1
    groups = min(RANK_GROUPS, len(features))
    return table["gt_feature"].map((rank * groups // len(features)).astype(int))


TABLE_COLUMNS = {
    "seed": "Seed",
    "gt_mcc_abs": "GT-MCC (|cosine|)",
    "gt_mcc_signed": "GT-MCC (signed cosine)",
    "gt_f1": "F1 (mean over true features)",
    "gt_uniqueness": "Uniqueness (true features per latent)",
}


def truth_table(saes: Frame) -> pd.DataFrame:
    """GT-MCC, F1 and uniqueness of each seed; no rows where the truth is unknown."""
    table = as_pandas(saes)
    known = [column for column in TABLE_COLUMNS if column in table]
    rows = table[known].dropna(subset=["gt_mcc_abs"]) if "gt_mcc_abs" in known else table.head(0)[known]
    return rows.rename(columns=TABLE_COLUMNS).reset_index(drop=True)
