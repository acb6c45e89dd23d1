"""Which features come back, what they are worth, and whether they mean the same: pictures of one run's seeds.

Definitions: arXiv 2505.20254 and, for stability and ablations, Gerasimov et al., arXiv 2606.12138. Frames are the
tables `matches` and `features` (pandas or Arrow); SAEs are told apart by seed.
"""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from analyses.dictionaries import feature_stability, log_spaced_bins
from analyses.figures import INK, PALETTE, band, empty, finish, legend_below, null_line
from analyses.sae_frames import NO_PAIRS, Frame, as_pandas, labelled
from analyses.sae_functional import (
    ablation_figure,
    alignment_histogram,
    dictionary_table,
    explanation_figure,
    stabilisation_figure,
)

__all__ = [
    "ablation_figure",
    "alignment_histogram",
    "code_figure",
    "contribution_figure",
    "dictionary_table",
    "explanation_figure",
    "one_to_one_figure",
    "stabilisation_figure",
    "stability_frame",
    "stability_histogram",
]

POINTS = 2000
THIRDS = {
    "never fires": "#c8c8c8",
    "rarest third": "#fdd835",
    "middle third": "#7c7b78",
    "most frequent third": "#00306f",
}
PAIRS_OF_SEEDS = ["seed_a", "seed_b"]


def _thinned(table: pd.DataFrame, most: int = POINTS) -> pd.DataFrame:
    """At most `most` rows, evenly spaced in the frame."""
    return table.iloc[np.unique(np.linspace(0, len(table) - 1, min(len(table), most)).round().astype(int))]


def stability_frame(matches: Frame, threshold: float = 0.7, subset: str = "alive") -> pd.DataFrame:
    """One row a seed and feature that has a partner in another seed, sorted by both.

    Columns seed, feature, stability (share of the other seeds with a one-to-one partner of |cosine| ≥ threshold),
    mean_cosine (mean |cosine| with its partners) and frequency (share of held-out vectors it fires on).
    """
    table = labelled(matches, subset)
    columns = ["seed", "feature", "stability", "mean_cosine", "frequency"]
    if table.empty:
        return pd.DataFrame(columns=columns, dtype=float)
    found = pd.DataFrame(feature_stability(table.assign(subset=subset), threshold, subset))
    sides = [
        pd.DataFrame(
            {
                "seed": table[f"seed_{side}"],
                "feature": table[f"feature_{side}"],
                "mean_cosine": table["cosine"].abs(),
                "frequency": table[f"frequency_{side}"],
            }
        )
        for side in "ab"
    ]
    rest = pd.concat(sides).groupby(["seed", "feature"], as_index=False).mean()
    return found.merge(rest, on=["seed", "feature"], validate="one_to_one")[columns]


def stability_histogram(frame: pd.DataFrame, threshold: float = 0.7) -> go.Figure:
    """Share of features (%) by the number of other seeds they come back in, stacked by thirds of frequency.

    `frame` as `stability_frame` makes it. customdata (level, features, third): level counts the other seeds.
    """
    if frame.empty:
        return empty(NO_PAIRS)
    others = max(frame["seed"].nunique() - 1, 1)
    level = (frame["stability"] * others).round().astype(int)
    names = _thirds(frame["frequency"])
    counts = pd.crosstab(level, names).reindex(index=range(others + 1), fill_value=0)
    ticks = [f"{i} of {others}" for i in range(others + 1)]
    figure = go.Figure()
    for name, color in THIRDS.items():
        if name not in counts:
            continue
        figure.add_bar(
            x=ticks,
            y=100 * counts[name] / len(frame),
            marker={
                "color": color,
                "line": {"color": "white", "width": 1},
                "pattern": {"shape": "/" if name == "never fires" else ""},
            },
            name=name,
            customdata=[[i, int(count), name] for i, count in enumerate(counts[name])],
            hovertemplate="%{customdata[1]:,} features (%{y:.1f} %), %{customdata[2]}<br>back in %{x} other seeds"
            "<extra></extra>",
        )
    totals = 100 * counts.sum(axis=1) / len(frame)
    figure.add_scatter(
        x=ticks,
        y=totals,
        mode="text",
        text=[f"{share:.1f} %" for share in totals],
        textposition="top center",
        showlegend=False,
        hoverinfo="skip",
        customdata=[[i] for i in range(others + 1)],
    )
    figure.update_xaxes(title_text="Other seeds in which the feature comes back", type="category")
    figure.update_yaxes(title_text="Share of features (%)", range=[0, 1.12 * float(totals.max())])
    figure.update_layout(barmode="stack", bargap=0.3, legend_traceorder="normal", clickmode="event+select")
    words = f"{totals.iloc[0]:.0f} % come back in no other seed, {totals.iloc[-1]:.0f} % in every one"
    return legend_below(
        finish(
            figure,
            title="How many features come back",
            subtitle=f"partner of |cosine| ≥ {threshold:g}; {words}",
            alt=f"Bars: {words} of {others}, of {len(frame):,} features, |cosine| ≥ {threshold:g}.",
        )
    )


def _thirds(frequency: pd.Series) -> pd.Series:
    """Name of each feature's third by rank of frequency, among those that fire."""
    ranks = frequency.where(frequency > 0).rank(pct=True)
    words = list(THIRDS)
    place = np.ceil(3 * ranks.fillna(0) - 1e-9).astype(int)
    return place.map(dict(enumerate(words)))


def contribution_figure(matches: Frame, null: float | None = None, subset: str = "alive") -> go.Figure:
    """PW-MCC split by frequency (paper, figure on contributions): bars that add up to it, and their running sum.

    Bins are those of `frequency_bins` (never-firing pairs apart, five log-spaced bins), all pairs of SAEs together, every
    pair of SAEs counting alike. The dashed line is the share of matched features in each bin, on the same axis: the bar
    reaches it where all are identical. customdata (low, high, count, mean, sd, share in %) of |cosine|.
    """
    table = labelled(matches, subset)
    if table.empty:
        return empty(NO_PAIRS)
    bins = _contributions(table)
    total = float(bins["contribution"].sum())
    rows = zip(bins["low"], bins["high"], bins["contribution"], strict=True)
    ticks = [f"{_range_text(low, high)}<br>+{part:.3f}" for low, high, part in rows]
    data = bins[["low", "high", "count", "mean", "sd", "percent"]].to_numpy()
    hover = (
        "frequency %{customdata[0]:.2g} to %{customdata[1]:.2g}<br>%{customdata[2]:,.0f} pairs "
        "(%{customdata[5]:.1f} %)<br>|cosine| %{customdata[3]:.3f} ± %{customdata[4]:.3f} (mean ± sd)<br>"
    )
    figure = go.Figure(
        go.Bar(
            x=ticks,
            y=bins["contribution"],
            marker={"color": PALETTE[0]},
            name="contribution",
            customdata=data,
            hovertemplate=hover + "contribution %{y:.4f}<extra></extra>",
        )
    )
    figure.add_scatter(
        x=ticks,
        y=bins["contribution"].cumsum(),
        mode="lines+markers",
        line={"color": PALETTE[1], "width": 2.5},
        marker={"size": 8},
        name="running sum, ends at PW-MCC",
        customdata=data,
        hovertemplate="up to here %{y:.4f}<extra></extra>",
    )
    figure.add_scatter(
        x=ticks,
        y=bins["percent"] / 100,
        mode="lines+markers",
        line={"color": PALETTE[2], "dash": "dash", "width": 2},
        marker={"size": 7, "symbol": "diamond"},
        name="share of features",
        customdata=data,
        hovertemplate=hover + "<extra></extra>",
    )
    figure.update_xaxes(title_text="Lower frequency (% of vectors), + what it adds", type="category")
    top = max(total, float(bins["percent"].max()) / 100, null or 0)
    figure.update_yaxes(title_text="Part of PW-MCC, share of features", range=[0, 1.12 * top])
    null_line(figure, null)
    pairs = len(table.drop_duplicates(["label_a", "label_b"]))
    words = f"PW-MCC {total:.3f} over {pairs} pair{'s' if pairs > 1 else ''} of SAEs"
    parts = ", ".join(f"{value:.3f}" for value in bins["contribution"])
    return legend_below(
        finish(
            figure,
            title="What each frequency adds to PW-MCC",
            subtitle=words,
            alt=f"Bars of contributions by frequency, never-firing first: {parts}; they add up to {words}.",
            height=460,
        )
    )


def _contributions(table: pd.DataFrame) -> pd.DataFrame:
    """low, high, count, mean, sd, percent and contribution of each bin; each pair of SAEs has the same weight."""
    similarity = table["cosine"].abs().to_numpy(dtype=np.float64)
    groups = table.groupby(["label_a", "label_b"])["cosine"]
    weight = 1 / (groups.transform("size").to_numpy() * groups.ngroups)
    edges, place = log_spaced_bins(table[["frequency_a", "frequency_b"]].min(axis=1))
    n = max(len(edges), 1)
    stats = pd.Series(similarity).groupby(place).agg(["size", "mean"]).reindex(range(n))
    return pd.DataFrame(
        {
            "low": np.concatenate([[0.0], edges[:-1]]),
            "high": np.concatenate([[0.0], edges[1:]]),
            "count": stats["size"].fillna(0).astype(int),
            "mean": stats["mean"],
            "sd": pd.Series(similarity).groupby(place).std(ddof=0).reindex(range(n)),
            "percent": 100 * np.bincount(place, weight, n),
            "contribution": np.bincount(place, weight * similarity, n),
        }
    )


def _range_text(low: float, high: float) -> str:
    """A frequency range in per cent with two digits, on two lines."""
    if high == 0:
        return "never<br>fires"
    first, last = (
        np.format_float_positional(100 * v, precision=2, fractional=False, trim="-") for v in (low, high)
    )
    return f"{first}<br>to {last}"


def one_to_one_figure(features: Frame, matches: Frame, subset: str = "alive") -> go.Figure:
    """One-to-one |cosine| of each feature against its best |cosine| with any feature, both means over other seeds.

    The first is from `matches`, the second is `max_cosine` of `features`, over all features of the other seed. A point
    below the diagonal is a feature whose nearest neighbour went to another one: the distance is the signature of
    redundancy. At most 4,000 points are drawn; customdata (seed, feature, frequency, distance).
    """
    found = stability_frame(matches, subset=subset)
    own = as_pandas(features)
    if found.empty or own.empty:
        return empty(NO_PAIRS)
    table = found.merge(own[["seed", "feature", "max_cosine"]], on=["seed", "feature"]).dropna(
        subset=["max_cosine"]
    )
    if table.empty:
        return empty("The best |cosine| with any feature was not measured for this run.")
    table["gap"] = table["max_cosine"] - table["mean_cosine"]
    rows = _thinned(table)
    figure = go.Figure()
    figure.add_scatter(
        x=rows["max_cosine"],
        y=rows["mean_cosine"],
        mode="markers",
        marker={"color": PALETTE[0], "size": 5, "opacity": 0.35},
        name="feature",
        customdata=rows[["seed", "feature", "frequency", "gap"]].to_numpy(dtype=object),
        hovertemplate="seed %{customdata[0]} feature %{customdata[1]}<br>one-to-one %{y:.3f}, best %{x:.3f}"
        "<br>distance %{customdata[3]:.3f}, frequency %{customdata[2]:.2g}<extra></extra>",
    )
    figure.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line={"color": INK, "width": 1, "dash": "dash"},
        hoverinfo="skip",
        customdata=[[None], [None]],
        name="equal",
    )
    figure.update_xaxes(title_text="Best |cosine| with any feature (mean over other seeds)", range=[0, 1.02])
    figure.update_yaxes(title_text="One-to-one |cosine| (mean over other seeds)", range=[0, 1.02])
    figure.update_layout(showlegend=False)
    mean, wide = float(table["gap"].mean()), 100 * float((table["gap"] > 0.1).mean())
    words = f"mean distance {mean:.3f}, above 0.1 for {wide:.0f} % of features"
    return finish(
        figure,
        title="One partner each, or many to one",
        subtitle=words,
        alt=f"Scatter of one-to-one against best |cosine| of {len(table):,} features: {words}.",
        height=440,
    )


CODES = {"code_correlation": "Correlation of codes", "support_jaccard": "Jaccard of supports"}


def code_figure(matches: Frame, subset: str = "alive") -> go.Figure:
    """Do matched features also fire alike? Correlation of codes and Jaccard of supports against |cosine|.

    Points are matched pairs (at most 1,500 a panel), the lines means in ten equal bins of |cosine| with the 10th to
    90th percentile as a band, where a bin has five pairs or more. customdata of a point (label_a, label_b, feature_a,
    feature_b), of a mean (low, high, count).
    """
    table = labelled(matches, subset)
    if table.empty:
        return empty(NO_PAIRS)
    known = [name for name in CODES if name in table and table[name].notna().any()]
    if not known:
        return empty(
            "No matched pair has codes to compare: its features never fired on the held-out vectors."
        )
    figure = make_subplots(cols=len(known), shared_yaxes=True, horizontal_spacing=0.06)
    words = []
    for column, name in enumerate(known, start=1):
        rows = table.dropna(subset=[name]).assign(similarity=lambda t: t["cosine"].abs())
        _add_codes(figure, rows, name, column)
        figure.update_xaxes(title_text="|cosine| of decoders", range=[0, 1.02], col=column)
        words.append(f"{CODES[name]}, mean {rows[name].mean():.3f}")
        figure.add_annotation(
            text=words[-1],
            x=0.02,
            xref=f"x{column if column > 1 else ''} domain",
            y=1,
            yref="paper",
            xanchor="left",
            yanchor="bottom",
            showarrow=False,
        )
    lowest = min(0.0, *(float(table[name].min()) for name in known))
    figure.update_yaxes(range=[1.05 * lowest, 1.02])
    figure.update_yaxes(title_text="Agreement of codes", col=1)
    return finish(
        figure,
        title="Do matched features fire alike?",
        subtitle="line: mean, band: 10th to 90th percentile, points: matched pairs",
        alt=f"Scatter of agreement of codes against |cosine| of {len(table):,} matched pairs: {'; '.join(words)}.",
    ).update_layout(showlegend=False, margin_t=92, title={"y": 0.96, "yanchor": "top"})


def _add_codes(figure: go.Figure, rows: pd.DataFrame, name: str, column: int) -> None:
    points = _thinned(rows, 1500)
    color = PALETTE[column - 1]
    place: dict[str, Any] = {"row": 1, "col": column}
    figure.add_scatter(
        x=points["similarity"],
        y=points[name],
        mode="markers",
        marker={"color": color, "size": 4, "opacity": 0.3},
        customdata=points[["label_a", "label_b", "feature_a", "feature_b"]].to_numpy(dtype=object),
        hovertemplate="%{customdata[0]} feature %{customdata[2]}<br>%{customdata[1]} feature %{customdata[3]}"
        "<br>|cosine| %{x:.3f}, " + CODES[name] + " %{y:.3f}<extra></extra>",
        **place,
    )
    bins = _binned(rows["similarity"].to_numpy(), rows[name].to_numpy())
    if bins.empty:
        return
    band(figure, bins["x"], bins["p10"], bins["p90"], color, **place)
    figure.add_scatter(
        x=bins["x"],
        y=bins["mean"],
        mode="lines+markers",
        line={"color": INK, "width": 2},
        marker={"color": color, "size": 8, "line": {"color": "white", "width": 1}},
        customdata=bins[["low", "high", "count"]].to_numpy(),
        hovertemplate="|cosine| %{customdata[0]:.2f} to %{customdata[1]:.2f}<br>mean %{y:.3f} "
        "(%{customdata[2]:.0f} pairs)<extra></extra>",
        **place,
    )


def _binned(x: NDArray[np.float64], y: NDArray[np.float64], bins: int = 10, least: int = 5) -> pd.DataFrame:
    """x (mean), mean, p10 and p90 of y, low, high and count of equal bins of x in [0, 1] with `least` values."""
    place = np.minimum((x * bins).astype(int), bins - 1)
    groups = pd.DataFrame({"x": x, "y": y}).groupby(place)
    found = pd.DataFrame(
        {
            "x": groups["x"].mean(),
            "mean": groups["y"].mean(),
            "p10": groups["y"].quantile(0.1),
            "p90": groups["y"].quantile(0.9),
            "count": groups["y"].size(),
        }
    )
    found["low"], found["high"] = found.index / bins, (found.index + 1) / bins
    return found[found["count"] >= least]
