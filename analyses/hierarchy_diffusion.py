"""Concept levels of a diffusion model by timestep: match against injection, order of injection, Jacobian sparsity.

arXiv 2406.00519, section 7 and appendix: a concept of a higher level must be given at an earlier (noisier) step.
"""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.figures import BELOW, INK, MUTED, PALETTE, band, empty, finish, series_style
from analyses.matching import mean_interval

ENERGIES = {"natural": "Natural energies", "equal": "Equal energies (control)"}
CONCEPTS = ("high", "low")
ORDERS = ("high first", "low first")
EFFECTIVE = 0.9
NOTHING = "This run trained no diffusion model."


def shown_energies(frame: pd.DataFrame) -> list[str]:
    return [name for name in ENERGIES if name in set(frame["energies"])]


def last_effective(levels: pd.DataFrame, at_least: float = EFFECTIVE) -> pd.DataFrame:
    """The last injection at which the mean match over seeds is still `at_least`: energies, concept, start (NaN for none)."""
    rows = []
    for (energies, concept), part in levels.groupby(["energies", "concept"]):
        means = part.groupby("start")["match"].mean().sort_index()
        held = means[(means >= at_least).cummin()]
        rows.append(
            {"energies": energies, "concept": concept, "start": held.index[-1] if len(held) else np.nan}
        )
    return pd.DataFrame(rows, columns=["energies", "concept", "start"])


def levels_figure(levels: pd.DataFrame) -> go.Figure:
    """Match with the injected concept against the share of reverse steps before it, a panel for each kind of energies.

    Mean and 95 % band over seeds, a vertical tick at the last effective step.
    """
    kinds = shown_energies(levels) if len(levels) else []
    if not kinds:
        return empty(NOTHING)
    figure = make_subplots(
        1, len(kinds), shared_yaxes=True, subplot_titles=[ENERGIES[k] for k in kinds], horizontal_spacing=0.04
    )
    ends = last_effective(levels).set_index(["energies", "concept"])["start"]
    for column, kind in enumerate(kinds, 1):
        for index, concept in enumerate(CONCEPTS):
            part = levels[(levels["energies"] == kind) & (levels["concept"] == concept)]
            if part.empty:
                continue
            style = series_style(index)
            groups = part.groupby("start")["match"]
            means = groups.mean()
            limits = [mean_interval(v) if len(v) > 1 else (v.mean(), v.mean()) for _, v in groups]
            low, high = ([min(max(v, 0), 1) for v in side] for side in zip(*limits, strict=True))
            band(figure, means.index, low, high, style["color"], row=1, col=column)
            figure.add_scatter(
                x=means.index, y=means, mode="lines+markers", line=style, name=f"{concept}-level concept",
                legendgroup=concept, showlegend=column == 1, row=1, col=column,
                hovertemplate="injected after %{x:.0%} of the steps: %{y:.3f}<extra></extra>",
            )  # fmt: skip
            if pd.notna(end := ends.get((kind, concept), np.nan)):
                figure.add_scatter(
                    x=[end, end], y=[0, 0.1], mode="lines+text", line={"color": style["color"], "width": 3},
                    text=["", f"last effective {end:g}"], textposition="top right" if index else "top left",
                    textfont={"size": 11, "color": style["color"]}, showlegend=False, hoverinfo="skip", row=1, col=column,
                )  # fmt: skip
        chance = levels.loc[levels["energies"] == kind, "chance"].mean()
        figure.add_scatter(
            x=[0, 1], y=[chance, chance], mode="lines", line={"color": INK, "dash": "dash", "width": 1.5}, name="chance",
            legendgroup="chance", showlegend=column == 1, hoverinfo="skip", row=1, col=column,
        )  # fmt: skip
    figure.update_xaxes(title_text="Injected after this share of the reverse steps", range=[-0.03, 1.03])
    figure.update_yaxes(range=[-0.02, 1.04])
    figure.update_yaxes(title_text="Match with the injected concept", col=1)
    figure.update_layout(legend=BELOW)
    said = "; ".join(f"{k} {c} {v:g}" for (k, c), v in ends.items() if pd.notna(v)) or "none reaches the mark"
    finish(
        figure,
        alt=f"Match with the concept against the step at which it is injected, mean of {levels['seed'].nunique()} seeds; last "
        f"step with a match of at least {EFFECTIVE}: {said}.",
        height=430,
    )
    return figure.update_layout(margin={"t": 40, "b": 110})


def level_gap(levels: pd.DataFrame) -> pd.DataFrame:
    """How much longer the low concept can wait than the high one: energies, seed, gap.

    The gap is the area between the curves of match against injection (share of the reverse steps), −1 to 1.
    """
    rows = []
    for (energies, seed), part in levels.groupby(["energies", "seed"]):
        curves = part.pivot_table(index="start", columns="concept", values="match").dropna().sort_index()
        if set(CONCEPTS) <= set(curves):
            gap = float(np.trapezoid(curves["low"] - curves["high"], curves.index))
            rows.append({"energies": energies, "seed": seed, "gap": gap})
    return pd.DataFrame(rows, columns=["energies", "seed", "gap"])


def orders_figure(orders: pd.DataFrame) -> go.Figure:
    """Match with both concepts by the order in which they are injected, bars of means, one dot a seed."""
    kinds = shown_energies(orders) if len(orders) else []
    if not kinds:
        return empty(NOTHING)
    figure = make_subplots(
        1, len(kinds), shared_yaxes=True, subplot_titles=[ENERGIES[k] for k in kinds], horizontal_spacing=0.04
    )
    for column, kind in enumerate(kinds, 1):
        for index, concept in enumerate(CONCEPTS):
            part = orders[(orders["energies"] == kind) & (orders["concept"] == concept)]
            means = part.groupby("order")["match"].mean().reindex(ORDERS)
            shift = (index - 0.5) * 0.38
            figure.add_bar(
                x=[i + shift for i in range(len(ORDERS))], y=means, width=0.36, marker={"color": PALETTE[index], "opacity": 0.65},
                name=f"{concept}-level concept", legendgroup=concept, showlegend=column == 1, row=1, col=column,
                text=[f"{v:.2f}" for v in means], textposition="inside", insidetextanchor="start",
                hovertemplate="mean %{y:.3f}<extra></extra>",
            )  # fmt: skip
            figure.add_scatter(
                x=[ORDERS.index(order) + shift for order in part["order"]], y=part["match"], mode="markers",
                marker={"color": INK, "size": 5, "symbol": "circle-open"}, customdata=part[["seed"]], showlegend=False,
                hovertemplate="seed %{customdata[0]}: %{y:.3f}<extra></extra>", row=1, col=column,
            )  # fmt: skip
        chance = orders.loc[orders["energies"] == kind, "chance"].mean()
        figure.add_hline(y=chance, line={"color": INK, "dash": "dash", "width": 1.5}, row=1, col=column)
    figure.update_xaxes(tickvals=[0, 1], ticktext=list(ORDERS), showgrid=False, ticks="")
    figure.update_yaxes(range=[0, 1.04])
    figure.update_yaxes(title_text="Match at the end", col=1)
    figure.update_layout(legend=BELOW)
    means = orders.groupby(["energies", "order", "concept"])["match"].mean()
    said = "; ".join(f"{', '.join(key)} {value:.2f}" for key, value in means.items())
    finish(figure, alt=f"Match with both concepts by order of injection: {said}. Dashed: chance.", height=360)
    return figure.update_layout(margin={"t": 40, "b": 80})


def samples_figure(samples: pd.DataFrame) -> go.Figure:
    """Generated images in grey, a row for each order of injection; `samples` holds one seed and one kind of energies."""
    if samples.empty:
        return empty("No samples were stored.")
    side_y, side_x = int(samples["row"].max()) + 1, int(samples["column"].max()) + 1
    numbers = sorted(samples["sample"].unique())
    orders = [order for order in ORDERS if order in set(samples["order"])]
    step_y, step_x = side_y + 1, side_x + 1
    canvas = np.full((step_y * len(orders) - 1, step_x * len(numbers) - 1), np.nan)
    y = samples["order"].map(orders.index) * step_y + samples["row"]
    x = samples["sample"].map(numbers.index) * step_x + samples["column"]
    canvas[y.to_numpy(), x.to_numpy()] = samples["value"]
    figure = go.Figure(go.Heatmap(z=canvas, colorscale="gray", showscale=False, hoverinfo="skip"))
    middle = [i * step_y + (side_y - 1) / 2 for i in range(len(orders))]
    figure.update_xaxes(
        visible=False, range=[-0.5, canvas.shape[1] - 0.5], constrain="domain", constraintoward="left"
    )
    figure.update_yaxes(
        tickvals=middle, ticktext=orders, range=[canvas.shape[0] - 0.5, -0.5], showgrid=False, showline=False,
        ticks="", scaleanchor="x", constrain="domain",
    )  # fmt: skip
    alt = f"{len(numbers)} generated images of {side_y} × {side_x} pixels in a row for each order: {', '.join(orders)}."
    return finish(figure, alt=alt, height=230)


def jacobian_figure(sparsity: pd.DataFrame) -> go.Figure:
    """Share of small entries of the denoiser's input Jacobian against the timestep, mean and 95 % band over seeds."""
    kinds = shown_energies(sparsity) if len(sparsity) else []
    if not kinds:
        return empty("The Jacobian's sparsity was not measured.")
    figure = go.Figure()
    for index, kind in enumerate(kinds):
        style = series_style(index + 2)
        groups = sparsity[sparsity["energies"] == kind].groupby("timestep")["share_below"]
        means = groups.mean()
        limits = [mean_interval(v) if len(v) > 1 else (v.mean(), v.mean()) for _, v in groups]
        low, high = ([min(max(v, 0), 1) for v in side] for side in zip(*limits, strict=True))
        band(figure, means.index, low, high, style["color"])
        figure.add_scatter(
            x=means.index, y=means, mode="lines+markers", line=style, name=ENERGIES[kind],
            hovertemplate="timestep %{x}: %{y:.3f}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Timestep (0 clean, high noisy)", color=MUTED)
    figure.update_yaxes(title_text="Share of small entries of the Jacobian", rangemode="tozero")
    figure.update_layout(legend=BELOW, margin={"b": 100})
    first, last = sparsity["timestep"].min(), sparsity["timestep"].max()
    ends = sparsity.groupby("timestep")["share_below"].mean()
    alt = f"Share of small entries of the input Jacobian: {ends[first]:.3f} at timestep {first}, {ends[last]:.3f} at {last}."
    return finish(figure, alt=alt, height=380)
