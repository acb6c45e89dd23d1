"""Maps of a concept hierarchy: rank statistics of every two variables, states of a concept (arXiv 2406.00519)."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from analyses.figures import GRID, PALETTE, PAPER, SEQUENTIAL, empty, finish, plain
from analyses.hierarchy_frames import natural

MAX_WRITTEN = 400  # cells of a state map that hold their number


def rank_heatmap(statistics: pd.DataFrame, clusters: dict[str, str]) -> go.Figure:
    """Rank statistic of every two observed variables over its critical value, ordered and framed by `clusters`.

    Low means that one latent can separate the pair from all the rest: the two belong together. The colours are
    logarithmic; 1 is the critical value.
    """
    if statistics.empty:
        return empty("The pairwise rank statistics of this run were not stored.")
    present = set(statistics["variable_a"]) | set(statistics["variable_b"])
    of = {name: clusters.get(name, name) for name in sorted(present, key=natural)}
    first = {cluster: place for place, cluster in reversed(list(enumerate(of.values())))}
    order = sorted(of, key=lambda name: (first[of[name]], natural(name)))
    at = {name: i for i, name in enumerate(order)}
    ratio = np.full((len(order), len(order)), np.nan)
    hover = np.full((len(order), len(order)), "", dtype=object)
    for row in statistics.to_dict("records"):
        a, b = at[row["variable_a"]], at[row["variable_b"]]
        if a != b:
            ratio[a, b] = ratio[b, a] = max(row["statistic"], 1e-9) / row["critical"]
            text = (
                f"statistic {row['statistic']:,.1f}, critical {row['critical']:,.1f}, p {row['p_value']:.2g}"
            )
            hover[a, b] = hover[b, a] = text
    log = np.log10(np.clip(ratio, 1e-2, None))
    names = [plain(name) for name in order]
    figure = go.Figure(
        go.Heatmap(
            z=log, x=names, y=names, text=hover, colorscale=SEQUENTIAL, xgap=1, ygap=1,
            hovertemplate="%{y} with %{x}<br>%{text}<extra></extra>", colorbar=_ratio_bar(log, statistics["critical"]),
        )
    )  # fmt: skip
    for low, high in _runs([of[name] for name in order]):
        if high > low:
            figure.add_shape(
                type="rect", x0=low - 0.5, x1=high + 0.5, y0=low - 0.5, y1=high + 0.5,
                line={"color": PALETTE[1], "width": 2.5},
            )  # fmt: skip
    small = {
        "tickfont": {"size": 10 if len(order) > 30 else 12},
        "showgrid": False,
        "showline": False,
        "ticks": "",
    }
    edges = [-0.5, len(order) - 0.5]
    figure.update_xaxes(**small, type="category", tickangle=-90, range=edges, dtick=1)
    figure.update_yaxes(**small, type="category", range=edges[::-1], dtick=1)
    figure.update_layout(plot_bgcolor=GRID)
    under = float(np.nanmean(ratio[np.triu_indices(len(order), 1)] <= 1))
    return finish(
        figure,
        alt=f"Heat map of the rank statistic of every two of {len(order)} observed variables over its critical value, ordered "
        f"by the found clusters (framed); {under:.0%} of the pairs lie under the critical value.",
        height=max(400, 170 + (15 if len(order) > 30 else 22) * len(order)),
    )


def _ratio_bar(log: np.ndarray, critical: pd.Series) -> dict[str, Any]:
    low, high = np.nanmin(log), np.nanmax(log)
    ticks = [t for t in range(-2, 6) if low <= t <= high and t != 0]
    typical = f"{critical.median():.3g}"
    return {
        "title": {"text": "statistic ÷<br>critical value", "side": "top", "font": {"size": 12}},
        "thickness": 14,
        "outlinewidth": 0,
        "tickvals": [*ticks, 0],
        "ticktext": [*(f"{10.0**t:g}" for t in ticks), f"1 = critical ({typical})"],
    }


def _runs(labels: list[str]) -> list[tuple[int, int]]:
    """First and last place of every run of equal labels."""
    starts = [i for i, label in enumerate(labels) if not i or label != labels[i - 1]]
    return list(zip(starts, [*(s - 1 for s in starts[1:]), len(labels) - 1], strict=True))


def state_map(states: pd.DataFrame, concept: str) -> go.Figure:
    """P(state) of a concept as bars over P(member state | concept state) of its members as a heat map.

    `states` holds rows of `concept_states` of one seed and concept.
    """
    if states.empty:
        return empty(f"The states of {concept} were not estimated.")
    shares = states.groupby("state")["share"].first().sort_index()
    names = [f"state {state}" for state in shares.index]
    table = states.pivot_table(
        index=["member", "member_state"], columns="state", values="probability", sort=True
    )
    rows = [f"{plain(member)} = {state}" for member, state in table.index]
    figure = make_subplots(
        rows=2, cols=1, shared_xaxes=True, row_heights=[90, 24 * len(rows)], vertical_spacing=0.04
    )
    figure.add_bar(
        x=names, y=shares, marker={"color": PALETTE[0]}, text=[f"{v:.2f}" for v in shares], textposition="outside",
        hovertemplate="%{x}: %{y:.3f}<extra></extra>", showlegend=False, row=1, col=1,
    )  # fmt: skip
    figure.add_heatmap(
        z=table.to_numpy(), x=names, y=rows, zmin=0, zmax=1, colorscale=SEQUENTIAL, xgap=2, ygap=1,
        texttemplate="%{z:.2f}" if table.size <= MAX_WRITTEN else None,
        hovertemplate="P(%{y} | %{x}) = %{z:.3f}<extra></extra>", row=2, col=1,
        colorbar={"title": {"text": "P", "side": "top"}, "thickness": 14, "outlinewidth": 0},
    )  # fmt: skip
    for low, _ in _runs([str(member) for member, _ in table.index])[1:]:
        figure.add_hline(y=low - 0.5, line={"color": PAPER, "width": 4}, row=2, col=1)
    plain_axis = {"showgrid": False, "showline": False, "ticks": ""}
    figure.update_xaxes(**plain_axis)
    figure.update_yaxes(title_text="P(state)", range=[0, min(1.15, 1.3 * shares.max())], row=1, col=1)
    figure.update_yaxes(**plain_axis, type="category", range=[len(rows) - 0.5, -0.5], row=2, col=1)
    return finish(
        figure,
        alt=f"States of {concept}: {', '.join(f'{n} {v:.2f}' for n, v in zip(names, shares, strict=True))}; below, how likely "
        f"each state of its {states['member'].nunique()} members is in each of them.",
        height=round(200 + 24 * len(rows)),
    )
