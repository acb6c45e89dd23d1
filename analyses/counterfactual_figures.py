"""Pictures of content and style: recovery, counterfactuals, influence, divergences, scores of texts (arXiv 2402.15309).

Frames are those of `analyses.counterfactual_frames`. An arm has one colour everywhere. Bands reach from the smallest to the
largest seed; small dots are seeds.
"""

from typing import Any

import numpy as np
import plotly.graph_objects as go

from analyses.counterfactual_frames import ARMS, ERRORS, RECOVERY, arm_name
from analyses.counterfactual_text import COLLAPSED, SUPPORT, Supports
from analyses.figures import GRID, INK, MUTED, PALETTE, SEQUENTIAL, band, empty, finish, legend_below, plain

Frame = Any
COLOURS = dict(zip(ARMS, (PALETTE[0], PALETTE[2], PALETTE[4], PALETTE[3], PALETTE[1], MUTED), strict=True))
BLOCKS = {"content": PALETTE[0], "style": PALETTE[1], "style noise": PALETTE[2]}
MOST_LINES = 60


def by_arm_figure(frame: Frame, kind: str, null: float | None = None) -> go.Figure:
    """Seeds as dots and their mean as a line for every measure, arms side by side; `kind` is "recovery" or "errors"."""
    if not len(frame):
        return empty("This run has no world whose truth is known.")
    figure, means = go.Figure(), []
    arms = list(dict.fromkeys(frame["arm"]))
    measures = list(dict.fromkeys(frame["measure"]))
    for place, arm in enumerate(arms):
        mine = frame[frame["arm"] == arm]
        shift = (place - (len(arms) - 1) / 2) * 0.8 / len(arms)
        x = np.array([measures.index(one) for one in mine["measure"]]) + shift
        name, colour = plain(arm_name(arm)), COLOURS.get(arm, INK)
        figure.add_scatter(
            x=x, y=mine["value"], mode="markers", name=name, marker={"color": colour, "size": 6, "opacity": 0.55},
            customdata=mine[["seed", "measure"]],
            hovertemplate=f"{name}<br>%{{customdata[1]}}<br>seed %{{customdata[0]}}: %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
        average = mine.groupby("measure", sort=False)["value"].mean()
        centres = np.array([measures.index(str(one)) for one in average.index]) + shift
        figure.add_scatter(
            x=centres, y=average, mode="markers", marker={"color": colour, "size": 16, "symbol": "line-ew", "line": {"color": colour, "width": 3}},
            showlegend=False, hovertemplate=f"{name}: mean %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
        means.append(f"{arm_name(arm)} {average.iloc[0]:.2f}")
    if kind == "errors":
        figure.add_hline(y=1, line={"dash": "dash", "color": INK, "width": 1.5})
        figure.add_annotation(
            x=1, xref="paper", xanchor="right", y=1, yanchor="bottom", showarrow=False, text="leaving it as it is",
            bgcolor="rgba(255,255,255,0.8)",
        )  # fmt: skip
        title, axis = "Counterfactual error", "Squared error, relative"
    else:
        title, axis = "Recovery of the truth", "R²"
        if null is not None and np.isfinite(null):
            figure.add_hline(y=null, line={"dash": "dash", "color": MUTED, "width": 1.5})
    words = [str(one).replace(" from ", "<br>from<br>").replace(" (", "<br>(") for one in measures]
    figure.update_xaxes(
        tickvals=list(range(len(words))),
        ticktext=words,
        tickangle=0,
        tickfont={"size": 11},
        range=[-0.6, len(words) - 0.4],
    )
    figure.update_yaxes(title_text=axis, rangemode="tozero")
    figure.update_layout(showlegend=True)
    names = ", ".join((ERRORS if kind == "errors" else RECOVERY).values())
    return finish(
        legend_below(figure),
        alt=f"{title} ({names}) of {len(arms)} arms; {measures[0]}: {'; '.join(means)}.",
        title=title,
        subtitle="dots: seeds; line: their mean" + ("; dashed: rows shuffled" if kind == "recovery" else ""),
        height=430,
    )


def example_figure(rows: Frame) -> go.Figure:
    """One row's outputs: as seen, the true counterfactual, and both predictions. `rows` of one pair of `cf_examples`."""
    if not len(rows):
        return empty("This run kept no examples.")
    rows = rows.sort_values("output")
    figure, x = go.Figure(), rows["output"] + 1
    lines = (
        ("factual", "as seen", MUTED, "dot"),
        ("truth", "true counterfactual", INK, "solid"),
        ("by_noise", "predicted through s̃", PALETTE[0], "dash"),
        ("by_style", "by swapping s", PALETTE[1], "dash"),
    )
    for column, name, colour, dash in lines:
        figure.add_scatter(
            x=x, y=rows[column], mode="lines+markers", name=name, line={"color": colour, "dash": dash, "width": 2},
            hovertemplate=f"{name}<br>output %{{x}}: %{{y:.2f}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Output")
    figure.update_yaxes(title_text="Value (standard deviations)")
    figure.update_layout(showlegend=True)
    off = {
        name: float((rows[name] - rows["truth"]).abs().mean()) for name in ("factual", "by_noise", "by_style")
    }
    return finish(
        legend_below(figure),
        alt=f"Outputs of one row; mean distance to the true counterfactual: as seen {off['factual']:.2f}, through s̃ "
        f"{off['by_noise']:.2f}, by swapping s {off['by_style']:.2f}.",
        title="What if its style noise were another row's",
        subtitle=f"{rows['domain'].iloc[0]}, noise of a row of {rows['donor_domain'].iloc[0]}",
        height=400,
    )


def influence_figure(table: Frame, found: Supports, outputs: str) -> go.Figure:
    """Influence of every latent on every output; `table` and `found` as `influence_map` gives them."""
    values = table.to_numpy(dtype=float)
    figure = go.Figure()
    figure.add_heatmap(
        z=values, x=list(table.columns), y=list(range(len(table))), customdata=np.repeat(table.index.to_numpy()[:, None] + 1, values.shape[1], axis=1),
        colorscale=SEQUENTIAL, hovertemplate="%{x} on output %{customdata}: %{z:.3f}<extra></extra>",
        colorbar={"title": {"text": "|J| × σ", "side": "right"}, "thickness": 12, "outlinewidth": 0},
    )  # fmt: skip
    first_style = next(place for place, name in enumerate(table.columns) if str(name).startswith("s"))
    figure.add_vline(x=first_style - 0.5, line={"color": "#ffffff", "width": 3})
    figure.update_xaxes(title_text="Latent (c: content, s: style)", showgrid=False)
    figure.update_yaxes(title_text=f"{outputs}, by style's share", showticklabels=False, showgrid=False)
    verdict = "holds" if found.relative else "does not hold"
    return finish(
        figure,
        alt=f"Influence of {values.shape[1]} latents on outputs: a style touches {found.style:.0%} of them, a content {found.content:.0%}; "
        f"relative sparsity {verdict}; {found.style_only} outputs belong to style.",
        title=f"Relative sparsity {verdict}",
        subtitle=f"above {SUPPORT:.0%} of the largest: a style touches {found.style:.0%} of the outputs, a content {found.content:.0%}",
        height=460,
    )


def divergence_figure(frame: Frame, arm: str) -> go.Figure:
    """KL of content and style while training; below the dashed line a block has collapsed. `frame` as `divergences` makes it."""
    if not len(frame):
        return empty("Nothing was logged.")
    figure, ends = go.Figure(), []
    for block, part in frame.groupby("block", sort=False):
        colour = BLOCKS[str(block)]
        band(figure, part["step"], part["low"], part["high"], colour)
        figure.add_scatter(
            x=part["step"], y=part["mean"], mode="lines", name=str(block), line={"color": colour, "width": 2},
            hovertemplate=f"{block}<br>step %{{x}}: %{{y:.2f}} nats<extra></extra>",
        )  # fmt: skip
        ends.append(f"{block} {part['mean'].iloc[-1]:.2f}")
    figure.add_hline(y=COLLAPSED, line={"dash": "dash", "color": INK, "width": 1.5})
    figure.update_xaxes(title_text="Step")
    figure.update_yaxes(title_text="KL divergence (nats)", rangemode="tozero")
    figure.update_layout(showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"KL divergence of both blocks of {arm_name(arm)} while training; at the end {', '.join(ends)} nats.",
        title="What each block carries",
        subtitle="validation rows; band: smallest to largest seed; dashed: collapsed below",
        height=400,
    )


def scores_figure(frame: Frame) -> go.Figure:
    """Style accuracy against self-BLEU, a point an arm and route, with lines of equal harmonic mean."""
    known = frame.dropna(subset=["accuracy"])
    if not len(known):
        return empty("Without two labelled styles there is no style accuracy.")
    figure = go.Figure()
    grid = np.linspace(1, 100, 200)
    for level in (20, 40, 60, 80):
        x = grid[2 * grid > level + 1e-9]
        y = level * x / (2 * x - level)
        fits = y <= 100
        figure.add_scatter(
            x=x[fits],
            y=y[fits] / 100,
            mode="lines",
            line={"color": GRID, "width": 1.5},
            hoverinfo="skip",
            showlegend=False,
        )
    for row in known.itertuples():
        name = plain(row.name)
        symbol = {"style": "circle-open", "latent": "diamond", "words": "square", "copy": "x"}.get(
            str(row.route), "circle"
        )
        figure.add_scatter(
            x=[row.bleu], y=[row.accuracy], mode="markers", name=name,
            marker={"color": COLOURS.get(str(row.arm), INK), "size": 13, "symbol": symbol, "line": {"width": 2}},
            hovertemplate=f"{name}<br>self-BLEU %{{x:.1f}}, accuracy %{{y:.1%}}<br>G {row.g:.1f}<extra></extra>",
        )  # fmt: skip
    best = known.loc[known["g"].idxmax()]
    figure.update_xaxes(title_text="Self-BLEU (what is kept)", range=[-3, 103])
    figure.update_yaxes(title_text="Style accuracy", tickformat=".0%", range=[-0.03, 1.03])
    figure.update_layout(showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"Style accuracy against self-BLEU of {len(known)} ways to rewrite; highest G-score {best['g']:.1f}, {best['name']}.",
        title="Moved and kept",
        subtitle="mean over seeds; thin lines: equal harmonic mean",
        height=440,
    )


def latents_figure(frame: Frame) -> go.Figure:
    """Latents before (open) and after (filled) a move; `frame` as `live_latents` makes it."""
    figure = go.Figure()
    if len(frame) > MOST_LINES:
        frame = frame.head(MOST_LINES)
    for block, part in frame.groupby("block", sort=False):
        colour = BLOCKS[str(block)]
        gap = [None] * len(part)
        figure.add_scatter(
            x=[v for row in zip(part["before"], part["after"], gap, strict=True) for v in row],
            y=[v for row in zip(part["latent"], part["latent"], gap, strict=True) for v in row],
            mode="lines", line={"color": colour, "width": 2}, hoverinfo="skip", showlegend=False,
        )  # fmt: skip
        for column, symbol, name in (
            ("before", "circle-open", f"{block}, before"),
            ("after", "circle", f"{block}, after"),
        ):
            figure.add_scatter(
                x=part[column], y=part["latent"], mode="markers", name=name, marker={"color": colour, "symbol": symbol, "size": 9},
                hovertemplate=f"%{{y}} {column}: %{{x:.2f}}<extra></extra>",
            )  # fmt: skip
    changed = int((~np.isclose(frame["before"], frame["after"], atol=1e-4)).sum())
    figure.update_xaxes(title_text="Value")
    figure.update_yaxes(autorange="reversed", tickfont={"size": 11})
    figure.update_layout(showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"{len(frame)} latents before and after the move; {changed} of them change.",
        title="Latents before and after",
        subtitle="content stays; the noise is moved, style follows",
        height=200 + 17 * len(frame),
    )


def outputs_figure(frame: Frame) -> go.Figure:
    """Outputs of a world's row before and after a move; `frame` as `live_outputs` makes it."""
    figure = go.Figure()
    styles = ((MUTED, "dot"), (INK, "solid"), (PALETTE[0], "solid"), (PALETTE[2], "dash"))
    for (what, part), (colour, dash) in zip(frame.groupby("what", sort=False), styles, strict=False):
        figure.add_scatter(
            x=part["output"], y=part["value"], mode="lines+markers", name=plain(what), line={"color": colour, "dash": dash, "width": 2},
            hovertemplate=f"{plain(what)}<br>output %{{x}}: %{{y:.2f}}<extra></extra>",
        )  # fmt: skip
    figure.update_xaxes(title_text="Output")
    figure.update_yaxes(title_text="Value (standard deviations)")
    figure.update_layout(showlegend=True)
    return finish(
        legend_below(figure),
        alt=f"Outputs of one row before and after the move, {frame['output'].nunique()} of them.",
        title="The row, moved",
        height=400,
    )
