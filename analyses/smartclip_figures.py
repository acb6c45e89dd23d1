"""Figures of masks of captions: probes beside random masks, the sweep of sparsity, arms, sizes, training, seeds.

Frames are those of `analyses.smartclip_frames` or tables `smartclip_…`. Accuracies are normalised: 0 is chance, 1 all right.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.figures import (
    CELL,
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
from analyses.smartclip_frames import FIGURES, arm_name, in_order, shortened, square

Frame = Any
NO_MASKS = "This arm has no masks; choose one that has."
NO_ATTRIBUTES = (
    "What is true of these pictures is known by their captions alone, so no attribute can be probed."
)
ABREAST = 5
DASHES = ("dot", "dash", "dashdot", "longdash", "longdashdot")


def arm_style(arm: str) -> dict[str, str]:
    """The same colour for an arm in every picture; the sweep's weights have SmartCLIP's."""
    known = (
        "smartclip",
        "clip_long",
        "clip_short",
        "long_clip",
        "no_sparsity",
        "naive_negatives",
        "soft_mask",
    )
    if arm in known:
        return series_style(known.index(arm))
    if arm.startswith("lambda_"):
        return {"color": PALETTE[0]}
    return {"color": MUTED, "dash": "solid" if arm == "base" else "dash"}


def line_styles(arms: Sequence[str]) -> dict[str, dict[str, str]]:
    """Styles of the arms' lines, the sweep's weights told apart by their dashes."""
    swept = [arm for arm in in_order(arms) if arm.startswith("lambda_")]
    dashes = {arm: {"dash": DASHES[place % len(DASHES)]} for place, arm in enumerate(swept)}
    return {arm: arm_style(arm) | dashes.get(arm, {}) for arm in arms}


def arms_figure(figures: Frame, arms: Frame) -> go.Figure:
    """Small pictures, one a figure: a dot a seed, and the mean with its 95 % t interval, by arm (`arm_figures`, `with_gaps`)."""
    shown = [name for name in FIGURES if name in set(figures["measure"])]
    down = -(-len(shown) // ABREAST)
    across = -(-len(shown) // down)
    figure = make_subplots(
        down, across, shared_yaxes=True, subplot_titles=[plain(FIGURES[name]) for name in shown],
        horizontal_spacing=0.025, vertical_spacing=0.15,
    )  # fmt: skip
    order = in_order(list(arms["arm"]))
    places = {arm: index for index, arm in enumerate(order)}
    for index, name in enumerate(shown):
        place = {"row": index // across + 1, "col": index % across + 1}
        dots = arms.dropna(subset=[name])
        figure.add_scatter(
            x=dots[name], y=dots["arm"].map(places), mode="markers", customdata=dots[["seed"]],
            marker={"size": 6, "color": translucent(PALETTE[5], 0.8)},
            hovertemplate="seed %{customdata[0]}: %{x:.3f}<extra></extra>", **place,
        )  # fmt: skip
        for row in figures[figures["measure"] == name].itertuples():
            known = row.low is not None and bool(np.isfinite(float(row.low)))
            ends = (
                {"array": [row.high - row.mean], "arrayminus": [row.mean - row.low]}
                if known
                else {"array": [0]}
            )
            colour = arm_style(row.arm)["color"]
            figure.add_scatter(
                x=[row.mean], y=[places[row.arm]], mode="markers",
                marker={"size": 10, "symbol": "diamond", "color": colour},
                error_x={"type": "data", **ends, "color": colour, "thickness": 2, "width": 4, "visible": known},
                hovertemplate=f"{plain(row.name)}: %{{x:.3f}}<extra></extra>", **place,
            )  # fmt: skip
        figure.update_xaxes(nticks=3, tickangle=0, tickformat=".3~f", **place)
    figure.update_yaxes(
        tickvals=list(range(len(order))), ticktext=[plain(arm_name(arm)) for arm in order],
        range=[len(order) - 0.5, -0.5], showgrid=False,
    )  # fmt: skip
    figure.update_annotations(font={"size": 12})
    means = figures[figures["measure"] == "long_plain"].set_index("name")["mean"]
    found = ", ".join(f"{name} {value:.2f}" for name, value in means.items())
    return finish(
        figure.update_layout(showlegend=False),
        alt=f"Figures of {len(order)} arms on test pictures; recall at 1 of whole captions: {found}.",
        title="Arms on the same test pictures",
        caption="Diamonds: mean over seeds, bars: 95 % t interval, dots: seeds.",
        height=130 + down * (70 + 28 * len(order)),
    ).update_layout(margin={"t": 84})


def sweep_figure(frame: Frame, title: str) -> go.Figure:
    """Measures against the weight of sparsity λ on a log axis with 0 at its left; band: 95 % t interval over seeds."""
    if frame.empty:
        return empty("Only arms with masks are drawn here, and this run has none.")
    positive = [value for value in sorted(frame["lambda"].unique()) if value > 0]
    zero = (positive[0] if positive else 1.0) / 4
    figure = go.Figure()
    for index, (name, part) in enumerate(frame.groupby("name", sort=False)):
        part, style = part.sort_values("lambda"), series_style(index)
        x = part["lambda"].where(part["lambda"] > 0, zero)
        known = part["low"].notna()
        if known.sum() > 1:
            band(
                figure,
                x[known],
                part["low"][known].astype(float),
                part["high"][known].astype(float),
                style["color"],
            )
        figure.add_scatter(
            x=x, y=part["mean"], mode="lines+markers", line=style | {"width": 2.2}, marker={"size": 7}, name=plain(name),
            customdata=part[["lambda", "seeds"]],
            hovertemplate=f"{plain(name)}<br>λ %{{customdata[0]:g}}: %{{y:.3f}}, %{{customdata[1]}} seeds<extra></extra>",
        )  # fmt: skip
    shown = [zero, *positive] if (frame["lambda"] == 0).any() else positive
    words = [("0" if value == zero and value not in positive else f"{value:g}") for value in shown]
    figure.update_xaxes(
        title_text="Weight of sparsity λ (log scale)", type="log", tickvals=shown, ticktext=words
    )
    figure.update_yaxes(title_text="Figure on test pictures", rangemode="tozero")
    figure.update_layout(showlegend=True)
    ends = "; ".join(
        f"{name} {part['mean'].iloc[0]:.2f} to {part['mean'].iloc[-1]:.2f}"
        for name, part in frame.sort_values("lambda").groupby("name", sort=False)
    )
    return finish(
        legend_below(figure),
        alt=f"From λ {frame['lambda'].min():g} to {frame['lambda'].max():g}: {ends}.",
        title=title,
        subtitle="each weight is an arm of its own; band: 95 % interval over seeds",
        height=430,
    )


def probe_figure(table: Frame, attributes: Sequence[str], arm: str, second: str = "control") -> go.Figure:
    """Attributes read from each mask's dimensions (`probe_table`), beside random masks of the same size or what is left out."""
    if not len(attributes):
        return empty(NO_ATTRIBUTES)
    if not len(table[table["masked_by"] != "all"]):
        return empty(NO_MASKS)
    words = {"control": "random masks of its size", "outside": "the dimensions it leaves out"}[second]
    titles = ("the mask's dimensions", words)
    figure = make_subplots(1, 2, shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.04)
    sizes = table.drop_duplicates("masked_by").set_index("masked_by")["size"].reindex(list(attributes))
    names = [plain(name) for name in attributes]
    labels = [f"{name} ({sizes[raw]:.0f})" for name, raw in zip(names, attributes, strict=True)]
    for column, name in enumerate(("normalised", second), 1):
        values = square(table, name, attributes)
        figure.add_heatmap(
            z=values, x=names, y=labels, zmin=0, zmax=1, colorscale=SEQUENTIAL, showscale=column == 2,
            colorbar={"title": {"text": "0 chance, 1 all right", "side": "right", "font": {"size": 12}}, "thickness": 12, "outlinewidth": 0},
            hovertemplate="%{x} from the mask of %{y}: %{z:.2f}<extra></extra>", row=1, col=column,
        )  # fmt: skip
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                ink = PAPER if np.nan_to_num(value) < 0.55 else INK
                text = (
                    ""
                    if np.isnan(value)
                    else f"{max(value, 0):.2f}".replace("0.", ".", 1)
                    if value < 1
                    else "1"
                )
                figure.add_annotation(
                    x=names[j], y=labels[i], text=text, showarrow=False, name=CELL, font={"size": 11, "color": ink}, row=1, col=column,
                )  # fmt: skip
    figure.update_yaxes(autorange="reversed", title_text="Mask of (its size)", col=1)
    figure.update_annotations(font={"size": 13}, selector={"yanchor": "bottom"})
    figure.update_yaxes(showgrid=False, ticks="")
    figure.update_xaxes(showgrid=False, ticks="", tickangle=40, title_text="Attribute probed")
    own, other = _gap(square(table, "normalised", attributes))
    control = _gap(square(table, second, attributes))
    return finish(
        figure,
        alt=f"Attributes read from masks of {arm_name(arm)}: own {own:.2f}, others {other:.2f}; from {words} own {control[0]:.2f}, "
        f"others {control[1]:.2f}.",
        title="What a mask's dimensions tell",
        subtitle=f"own {own:.2f}, others {other:.2f}; beside it own {control[0]:.2f}, others {control[1]:.2f}",
        height=226 + 34 * len(names),
    ).update_layout(margin={"t": 100})


def _gap(values: np.ndarray) -> tuple[float, float]:
    own = np.eye(len(values), dtype=bool)
    return float(np.nanmean(values[own])), float(np.nanmean(values[~own])) if len(values) > 1 else float(
        "nan"
    )


def sizes_figure(frame: Frame, d: int) -> go.Figure:
    """Mask size against the number of sentences, by arm; band: quartiles over captions."""
    if frame.empty:
        return empty(NO_MASKS)
    figure = go.Figure()
    styles = line_styles(list(frame["arm"].unique()))
    for arm, part in frame.groupby("arm", sort=False):
        style = styles[str(arm)]
        band(figure, part["sentences"], part["low"], part["high"], style["color"])
        figure.add_scatter(
            x=part["sentences"], y=part["size"], mode="lines+markers", line=style | {"width": 2.2}, name=plain(arm_name(str(arm))),
            hovertemplate=f"{plain(arm_name(str(arm)))}<br>%{{x}} sentences: %{{y:.1f}} of {d}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Sentences in the caption", dtick=1)
    figure.update_yaxes(title_text=f"Dimensions kept, of {d}", range=[0, d * 1.03])
    ends = "; ".join(
        f"{arm_name(str(arm))} {part['size'].iloc[0]:.0f} to {part['size'].iloc[-1]:.0f}"
        for arm, part in frame.groupby("arm", sort=False)
    )
    return finish(
        legend_below(figure.update_layout(showlegend=True)),
        alt=f"Mask size from one to all sentences: {ends} of {d} dimensions.",
        title="Longer captions keep more",
        subtitle="mean over seeds; band: quartiles over captions",
        height=430,
    )


def curves_figure(frame: Frame, words: str) -> go.Figure:
    """A measure of training against the arm's steps; the band reaches from the lowest to the highest seed."""
    if frame.empty:
        return empty("No arm of this run has this measure.")
    figure = go.Figure()
    styles = line_styles(list(frame["arm"].unique()))
    for arm, part in frame.groupby("arm", sort=False):
        style = styles[str(arm)]
        if part["seeds"].max() > 1:
            band(figure, part["step"], part["low"], part["high"], style["color"])
        figure.add_scatter(
            x=part["step"], y=part["mean"], mode="lines+markers", line=style | {"width": 2}, marker={"size": 4},
            name=plain(arm_name(str(arm))), hovertemplate=f"{plain(arm_name(str(arm)))}<br>step %{{x}}: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Step of the arm")
    figure.update_yaxes(title_text=words, rangemode="tozero")
    ends = "; ".join(
        f"{arm_name(str(arm))} {part['mean'].iloc[-1]:.2f}" for arm, part in frame.groupby("arm", sort=False)
    )
    return finish(
        legend_below(figure.update_layout(showlegend=True)),
        alt=f"{words} at the end of each arm: {ends}.",
        title=words,
        subtitle="band: lowest to highest seed",
        height=420,
    )


LIKENESS = {
    "mcc": ("dimensions (MCC)", "mcc_null"),
    "masks": ("masks, dimensions matched", "masks_null"),
    "structure": ("overlaps between sentences", "structure_null"),
}


def agreement_figure(rows: Frame) -> go.Figure:
    """How alike two seeds are, by arm, a dot a pair; a line marks each arm's value by chance."""
    if rows.empty:
        return empty("One seed has nothing to be compared with; add seeds below.")
    order = in_order(list(rows["arm"]))
    places = {arm: index for index, arm in enumerate(order)}
    shown = [name for name in LIKENESS if rows[name].notna().any()]
    titles = [LIKENESS[name][0] for name in shown]
    figure = make_subplots(1, len(shown), shared_yaxes=True, subplot_titles=titles, horizontal_spacing=0.04)
    for column, name in enumerate(shown, 1):
        part = rows.dropna(subset=[name])
        null = part.groupby("arm")[LIKENESS[name][1]].mean()
        figure.add_scatter(
            x=null.to_numpy(), y=[places[arm] for arm in null.index], mode="markers", name="chance", showlegend=column == 1,
            marker={"symbol": "line-ns", "size": 16, "line": {"width": 2, "color": INK}},
            hovertemplate="chance %{x:.3f}<extra></extra>", row=1, col=column,
        )  # fmt: skip
        figure.add_scatter(
            x=part[name], y=part["arm"].map(places), mode="markers", name="a pair of seeds", showlegend=column == 1,
            marker={"size": 9, "opacity": 0.75, "color": [arm_style(arm)["color"] for arm in part["arm"]]},
            customdata=part[["seed_a", "seed_b"]],
            hovertemplate="seeds %{customdata[0]} and %{customdata[1]}: %{x:.3f}<extra></extra>", row=1, col=column,
        )  # fmt: skip
        figure.update_xaxes(range=[min(-0.1, float(part[name].min()) - 0.05), 1.05], row=1, col=column)
    figure.update_yaxes(
        tickvals=list(range(len(order))), ticktext=[plain(arm_name(arm)) for arm in order],
        range=[len(order) - 0.5, -0.5], showgrid=False,
    )  # fmt: skip
    figure.update_annotations(font={"size": 12})
    means = rows.groupby("arm")["mcc"].mean()
    found = ", ".join(f"{arm_name(arm)} {means[arm]:.2f}" for arm in order)
    return finish(
        legend_below(figure),
        alt=f"Agreement of dimensions between seeds: {found}.",
        title="Do two seeds agree?",
        subtitle="same test pictures and sentences; upright line: chance",
        height=214 + 30 * len(order),
    ).update_layout(margin={"t": 104})


def features_figure(frame: Frame, share: float, caption: str) -> go.Figure:
    """How much of each SAE feature's decoder direction a mask keeps (`frame`: feature, kept); `share` is what it keeps of a random one."""
    figure = go.Figure(
        go.Histogram(
            x=frame["kept"], xbins={"start": 0, "end": 1.0001, "size": 0.05}, marker={"color": PALETTE[0]},
            hovertemplate="%{x}: %{y} features<extra></extra>",
        )
    )  # fmt: skip
    figure.add_vline(x=share, line={"dash": "dash", "color": INK, "width": 1.5})
    figure.add_annotation(
        x=share,
        y=1,
        yref="paper",
        text=f"random direction {share:.2f}",
        showarrow=False,
        xanchor="left",
        xshift=4,
        yanchor="top",
        bgcolor=PAPER,
    )
    figure.update_xaxes(
        title_text="Share of the feature inside the mask", range=[-0.02, 1.02], tickformat=".0%"
    )
    figure.update_yaxes(title_text="Features")
    most = int((frame["kept"] >= 0.9).sum())
    return finish(
        figure,
        alt=f"{len(frame)} SAE features by how much of each the mask of “{caption}” keeps; {most} by nine tenths or more, a random direction {share:.2f}.",
        title="Features inside the mask",
        subtitle=f"“{plain(shortened(caption))}”: {most} of {len(frame)} features lie in its mask by 90 % or more",
        height=380,
    )
