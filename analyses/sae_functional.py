"""What features are worth and mean, what a dictionary looks like, and where agreement comes from.

The rest of `sae_stability`, which hands these names on. Definitions: arXiv 2505.20254; ablations after Gerasimov et
al., arXiv 2606.12138; stability and stabilisation after Brzozowski & Chung, arXiv 2606.02061.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.dictionaries import log_spaced_bins
from analyses.figures import (
    DASHES,
    INK,
    PALETTE,
    SYMBOLS,
    band,
    empty,
    finish,
    legend_below,
    log_steps,
    null_line,
    plain,
    series_style,
)
from analyses.matching import mean_interval
from analyses.sae_frames import METRICS, Frame, as_pandas, labelled

GROUPS = {
    "stable": PALETTE[0],
    "unstable": PALETTE[1],
    "frequency-matched": PALETTE[2],
    "random": "#8c8c8c",
}
LOSSES = {
    "fvu_change": "Change of FVU<br>(share)",
    "cross_entropy_change": "Change of cross-<br>entropy (nats)",
    "kl": "KL from the<br>original (nats)",
}
NO_ABLATIONS = "No features were ablated in this run: that needs a language model, two seeds and functional_tokens above 0."
NO_EXPLANATIONS = (
    "No pairs were compared in meaning in this run: that needs text, two seeds and explained_pairs above 0."
)


def ablation_figure(ablations: Frame) -> go.Figure:
    """What the language model loses when a group of features is set to 0: FVU, cross-entropy and KL (nats).

    Three panels, a bar a group: mean over seeds, line: range over seeds. FVU and cross-entropy are changes against the
    whole SAE, KL is from the original model. `ablated` names the group, its mean size stands under it. customdata
    (group, features, low, high).
    """
    table = as_pandas(ablations)
    if table.empty or table[list(LOSSES)].isna().all(axis=None):
        return empty(NO_ABLATIONS)
    names = [name for name in GROUPS if name in set(table["ablated"])][::-1]
    groups = table.groupby("ablated")
    sizes = groups["n_features"].mean()
    ticks = [f"{name}<br>{sizes[name]:,.0f} features" for name in names]
    figure = make_subplots(cols=len(LOSSES), shared_yaxes=True, horizontal_spacing=0.05)
    for column, (loss, title) in enumerate(LOSSES.items(), start=1):
        mean, low, high = (groups[loss].agg(how).reindex(names) for how in ("mean", "min", "max"))
        figure.add_bar(
            x=mean,
            y=ticks,
            orientation="h",
            marker={"color": [GROUPS[name] for name in names]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": (high - mean).fillna(0),
                "arrayminus": (mean - low).fillna(0),
                "color": INK,
                "thickness": 1.2,
                "width": 4,
            },
            customdata=[[name, sizes[name], low[name], high[name]] for name in names],
            hovertemplate="<b>%{customdata[0]}</b>, %{customdata[1]:,.0f} features<br>"
            + title.replace("-<br>", "-").replace("<br>", " ")
            + " %{x:.4f}<br>%{customdata[2]:.4f} to %{customdata[3]:.4f} over seeds<extra></extra>",
            showlegend=False,
            row=1,
            col=column,
        )
        ends = np.fmax(high.to_numpy(), 0)
        figure.add_scatter(
            x=ends,
            y=ticks,
            mode="text",
            text=["" if np.isnan(value) else f" {value:.2g}" for value in mean],
            textposition="middle right",
            hoverinfo="skip",
            customdata=[[name] for name in names],
            showlegend=False,
            row=1,
            col=column,
        )
        least, most = min(0.0, float(np.nanmin(low))), max(float(np.nanmax(ends)), 1e-6)
        figure.update_xaxes(
            title_text=title, range=[1.1 * least, most + 0.6 * (most - least)], nticks=4, col=column
        )
    figure.update_yaxes(showgrid=False, ticks="", type="category")
    seeds = table["seed"].nunique()
    words = "; ".join(
        f"{name} {groups['kl'].mean()[name]:.3f}" for name in names[::-1] if groups["kl"].count()[name]
    )
    return finish(
        figure,
        title="What the model loses without these features",
        subtitle=f"mean and range of {seeds} seed{'s' if seeds > 1 else ''}; groups differ in size",
        alt=f"Three panels of bars: change of FVU, change of cross-entropy and KL by ablated group. KL in nats: {words}.",
        height=340,
    )


def explanation_figure(explanations: Frame, subset: str = "alive") -> go.Figure:
    """Agreement of meaning of sampled matched pairs by |cosine|: mean and 95 % interval in five log-spaced bins.

    The dashed line is chance, the same features re-paired at random; thin points are the pairs. The bins are the paper's,
    the method is named in the subtitle. Only alive features are sampled; `subset` matters where the frame has that column.
    customdata of a mean (low, high, count, interval's ends), of a point (label_a, label_b, feature_a, feature_b).
    """
    table = labelled(explanations, subset)
    table = table.dropna(subset=["agreement"]) if len(table) else table
    if table.empty:
        return empty(NO_EXPLANATIONS)
    method = str(table["method"].mode().iloc[0])
    table = table[table["method"] == method].assign(similarity=lambda t: t["cosine"].abs())
    bins = _meaning_bins(table)
    figure = go.Figure()
    figure.add_scatter(
        x=table["similarity"],
        y=table["agreement"],
        mode="markers",
        marker={"color": PALETTE[0], "size": 5, "opacity": 0.3},
        name="matched pair",
        customdata=table[["label_a", "label_b", "feature_a", "feature_b"]].to_numpy(dtype=object),
        hovertemplate="%{customdata[0]} feature %{customdata[2]}<br>%{customdata[1]} feature %{customdata[3]}"
        "<br>|cosine| %{x:.3f}, agreement %{y:.3f}<extra></extra>",
    )
    figure.add_scatter(
        x=np.sqrt(bins["low"] * bins["high"]),
        y=bins["mean"],
        error_y={
            "type": "data",
            "symmetric": False,
            "array": bins["upper"] - bins["mean"],
            "arrayminus": bins["mean"] - bins["lower"],
            "thickness": 1.5,
            "width": 6,
        },
        mode="lines+markers",
        line={"color": PALETTE[1], "width": 2},
        marker={"size": 10},
        name="bin mean, 95 % interval",
        customdata=bins[["low", "high", "count", "lower", "upper"]].to_numpy(),
        hovertemplate="|cosine| %{customdata[0]:.2f} to %{customdata[1]:.2f}, %{customdata[2]:.0f} pairs<br>"
        "mean %{y:.3f} (%{customdata[3]:.3f} to %{customdata[4]:.3f})<extra></extra>",
    )
    low, high = max(float(table["similarity"].min()), 1e-3), float(table["similarity"].max())
    ticks = [
        tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1) if low / 1.1 <= tick <= high * 1.1
    ]
    figure.update_xaxes(
        type="log",
        title_text="|cosine| of the matched pair (log scale)",
        range=[np.log10(low / 1.08), np.log10(high * 1.08)],
        **({"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]} if len(ticks) > 1 else {}),
    )
    scale = "rating, 1 to 10" if "1 to 10" in method else "cosine of embeddings"
    figure.update_yaxes(title_text=f"Agreement ({scale})")
    chance = table["chance"].mean()
    null_line(figure, chance)
    ends = f"{bins['mean'].iloc[0]:.2f} in the lowest to {bins['mean'].iloc[-1]:.2f} in the highest bin"
    return legend_below(
        finish(
            figure,
            title="Do matched features mean the same?",
            subtitle=f"{len(table):,} pairs, by {plain(method)}",
            alt=f"Agreement of meaning against |cosine| of {len(table):,} matched pairs by {method}: {ends}, "
            f"chance {chance:.2f}.",
        )
    )


def _meaning_bins(table: pd.DataFrame) -> pd.DataFrame:
    """low, high, count, mean, lower and upper (95 % t) of the bins that hold a pair; a lone pair has no interval."""
    edges, place = log_spaced_bins(table["similarity"])
    place = np.maximum(place, 1)
    rows = []
    for index in np.unique(place):
        values = table["agreement"].to_numpy()[place == index]
        lower, upper = mean_interval(values) if len(values) > 1 else (values[0], values[0])
        low, high = (edges[index - 1], edges[index]) if len(edges) else (1e-3, 1e-3)
        row = {"low": low, "high": high, "count": len(values), "mean": values.mean()}
        rows.append({**row, "lower": lower, "upper": upper})
    return pd.DataFrame(rows)


def alignment_histogram(features: Frame) -> go.Figure:
    """Share of features (%) by the cosine of their encoder and decoder rows, alive and dead apart.

    Each of the two adds up to 100 %, so few dead features show too. Bins are 0.05 wide; customdata (low, high, features).
    """
    table = as_pandas(features)
    if table.empty or table["encoder_alignment"].isna().all():
        return empty("The cosine of encoder and decoder rows was not measured for this run.")
    table = table.dropna(subset=["encoder_alignment"])
    edges = np.linspace(-1, 1, 41)
    edges = edges[max(int(np.searchsorted(edges, table["encoder_alignment"].min(), "right")) - 2, 0) :]
    figure, words = go.Figure(), []
    alive = table["alive"].astype(bool)
    for name, rows, color in (("alive", table[alive], PALETTE[0]), ("dead", table[~alive], PALETTE[1])):
        if rows.empty:
            continue
        counts, _ = np.histogram(rows["encoder_alignment"].clip(-1, 1), bins=edges)
        figure.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=100 * counts / len(rows),
            marker={"color": color},
            name=f"{name} ({len(rows):,})",
            customdata=np.column_stack([edges[:-1], edges[1:], counts]),
            hovertemplate="cosine %{customdata[0]:.2f} to %{customdata[1]:.2f}<br>%{customdata[2]:,.0f} features, "
            "%{y:.1f} % of the " + name + "<extra></extra>",
        )
        words.append(f"{name}: {len(rows):,} features, mean {rows['encoder_alignment'].mean():.3f}")
    figure.update_xaxes(title_text="Cosine of encoder and decoder row", range=[edges[0], 1])
    figure.update_yaxes(title_text="Share of features (%)", rangemode="tozero")
    figure.update_layout(barmode="group", bargap=0.1, showlegend=True)
    return legend_below(
        finish(
            figure,
            title="Do features read what they write?",
            subtitle="; ".join(words),
            alt=f"Histogram of the cosine between encoder and decoder rows; {'; '.join(words)}.",
        )
    )


TABLE_COLUMNS = {
    "seed": "Seed",
    "n_alive": "Alive (features)",
    "uniqueness": "Uniqueness (share)",
    "n_near_duplicates": "Near duplicates (features)",
    "mutual_coherence": "Mutual coherence (largest |cosine|)",
    "encoder_alignment": "Encoder–decoder cosine (mean)",
    "round_trip_support": "Round trip: support kept (share)",
    "round_trip_error": "Round trip: error (relative)",
    "cross_entropy": "Cross-entropy, no SAE (nats)",
    "cross_entropy_sae": "Cross-entropy, with SAE (nats)",
    "kl_sae": "KL, with SAE (nats)",
}


def dictionary_table(saes: Frame) -> pd.DataFrame:
    """The geometry of each seed's dictionary and its cost in the language model; columns without a value are left out."""
    table = as_pandas(saes)
    known = [column for column in TABLE_COLUMNS if column in table and table[column].notna().any()]
    return table[known].rename(columns=TABLE_COLUMNS).reset_index(drop=True)


def stabilisation_figure(trajectories: Mapping[str, Frame], null: float | None = None) -> go.Figure:
    """PW-MCC against training step (log, step 0 at the left) of runs whose seeds differ in different things.

    `trajectories`: that table by name of the run. Independent starts that converge show stabilisation, equal starts that
    drift apart show stability. Lines are means over pairs, bands the range of the pairs. customdata (step, low, high, pairs).
    """
    known = {
        name: table
        for name, frame in trajectories.items()
        if len(table := as_pandas(frame)) and table["pw_mcc_abs"].notna().any()
    }
    if not known:
        return empty(
            "No run has measured PW-MCC during training; that needs two seeds and n_match_points above 0."
        )
    place, axis = log_steps([step for table in known.values() for step in table["step"]])
    figure, words = go.Figure(), []
    for index, (name, table) in enumerate(known.items()):
        steps = table.groupby("step")["pw_mcc_abs"].agg(["mean", "min", "max", "count"])
        style = series_style(index)
        x = place(steps.index)
        band(figure, x, steps["min"], steps["max"], style["color"])
        data: Any = steps.reset_index()[["step", "min", "max", "count"]].to_numpy()
        figure.add_scatter(
            x=x,
            y=steps["mean"],
            mode="lines+markers",
            line={"color": style["color"], "dash": DASHES[index % len(DASHES)], "width": 2.5},
            marker={"size": max(12 - 2 * index, 6), "symbol": SYMBOLS[index % len(SYMBOLS)]},
            name=plain(name),
            customdata=data,
            hovertemplate="step %{customdata[0]:,.0f}<br>PW-MCC %{y:.4f} (%{customdata[1]:.4f} to "
            "%{customdata[2]:.4f}, %{customdata[3]:.0f} pairs)<extra>%{fullData.name}</extra>",
        )
        words.append(f"{name} {steps['mean'].iloc[0]:.2f} → {steps['mean'].iloc[-1]:.2f}")
    figure.update_xaxes(axis)
    figure.update_yaxes(title_text=METRICS["pw_mcc_abs"], range=[0, 1.04])
    figure.update_layout(showlegend=True)
    null_line(figure, null)
    return legend_below(
        finish(
            figure,
            title="Starts that converge, starts that drift apart",
            subtitle=plain("; ".join(words)),
            alt=f"PW-MCC against training step, first to last: {'; '.join(words)}.",
        )
    )
