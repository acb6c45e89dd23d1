"""Numbers and pictures of how well concept hierarchies are recovered, from `hierarchy_scores` and `discrete_states`.

arXiv 2406.00519: step 1 finds discrete states in continuous observations, step 2 the graph over them by ranks.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analyses.figures import BELOW, INK, PALETTE, empty, finish, plain, series_style
from analyses.matching import mean_interval

METHODS = (
    "discrete rank",
    "linear rank",
    "latent classes",
    "pairwise clustering",
    "pairwise rank statistic",
    "factor analysis",
)
STATES = {"true states": "circle", "estimated states": "diamond"}
METRICS = {"skeleton_f1": "Skeleton F1", "adjusted_rand_index": "Adjusted Rand index"}
NO_SCORE = "Nothing to score against: the true graph is not known and no grouping was given."


def scored(scores: pd.DataFrame) -> str | None:
    """The score that a run's rows hold: skeleton_f1 with a true graph, else adjusted_rand_index, else None."""
    return next((name for name in METRICS if len(scores) and scores[name].notna().any()), None)


def largest(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows with the most samples."""
    return scores[scores["n_samples"] == scores["n_samples"].max()] if len(scores) else scores


def score_table(scores: pd.DataFrame) -> pd.DataFrame:
    """One row a method and kind of states, means over seeds at the most samples.

    Columns method, states, seeds, value (of `scored`), low, high (95 % t, cut to what the score can be), chance, exact ("3 of 4"), latents,
    latents_true, tests; NaN where it is not known, or no test is run.
    """
    metric = scored(scores)
    rows = []
    for (method, states), part in largest(scores).groupby(["method", "states"], sort=False):
        values = part[metric].dropna() if metric else pd.Series(dtype=float)
        low, high = mean_interval(values) if len(values) > 1 else (np.nan, np.nan)
        floor = 0.0 if metric == "skeleton_f1" else -1.0
        known = part["exact"].dropna()
        rows.append(
            {
                "method": method,
                "states": states,
                "seeds": len(part),
                "value": values.mean(),
                "low": np.clip(low, floor, 1.0),
                "high": np.clip(high, floor, 1.0),
                "chance": part["chance"].mean(),
                "exact": f"{int(known.sum())} of {len(known)}"
                if len(known) and metric == "skeleton_f1"
                else None,
                "latents": part["n_latents"].mean(),
                "latents_true": part["n_latents_true"].mean(),
                "tests": part["n_tests"].replace(0, np.nan).mean(),
            }
        )
    columns = [
        "method",
        "states",
        "seeds",
        "value",
        "low",
        "high",
        "chance",
        "exact",
        "latents",
        "latents_true",
        "tests",
    ]
    found = pd.DataFrame(rows, columns=columns)
    return found.sort_values("method", key=lambda names: names.map(_place), kind="stable", ignore_index=True)


def _place(method: str) -> int:
    return METHODS.index(method) if method in METHODS else len(METHODS)


def score_figure(scores: pd.DataFrame) -> go.Figure:
    """A dot for every seed, mean with 95 % interval and chance of every method; diamonds are estimated states."""
    metric = scored(scores)
    if metric is None:
        return empty(NO_SCORE)
    table, rows = score_table(scores), largest(scores)
    methods = list(dict.fromkeys(table["method"]))
    kinds = [kind for kind in STATES if kind in set(table["states"])]
    figure = go.Figure()
    for index, kind in enumerate(kinds):
        shift = (index - (len(kinds) - 1) / 2) * 0.36
        color = PALETTE[index]
        mine, part = rows[rows["states"] == kind], table[table["states"] == kind]
        spots = [methods.index(m) + shift + 0.09 for m in mine["method"]]
        figure.add_scatter(
            x=spots, y=mine[metric], mode="markers", showlegend=False, customdata=mine[["method", "seed"]],
            marker={"symbol": "circle-open", "size": 7, "color": color},
            hovertemplate="%{customdata[0]}, seed %{customdata[1]}: %{y:.3f}<extra></extra>",
        )  # fmt: skip
        place = [methods.index(m) + shift - 0.06 for m in part["method"]]
        figure.add_scatter(
            x=place, y=part["value"], mode="markers", name=kind if len(kinds) > 1 else "mean over seeds", customdata=part[["method", "seeds"]],
            marker={"symbol": STATES[kind], "size": 11, "color": color},
            error_y={
                "type": "data", "symmetric": False, "array": part["high"] - part["value"],
                "arrayminus": part["value"] - part["low"], "thickness": 1.6, "color": color,
            },
            hovertemplate="%{customdata[0]}, mean of %{customdata[1]} seeds: %{y:.3f}<extra></extra>",
        )  # fmt: skip
    chance = table.groupby("method", sort=False)["chance"].mean()
    known = [m for m in methods if pd.notna(chance[m])]
    figure.add_scatter(
        x=[x for m in known for x in (methods.index(m) - 0.4, methods.index(m) + 0.4, None)],
        y=[y for m in known for y in (chance[m], chance[m], None)],
        mode="lines", line={"color": INK, "dash": "dash", "width": 1.5}, name="chance", hoverinfo="skip",
    )  # fmt: skip
    figure.update_xaxes(
        tickvals=list(range(len(methods))), ticktext=[plain(m) for m in methods], showgrid=False
    )
    figure.update_xaxes(range=[-0.5, len(methods) - 0.5])
    floor = min(0.0, float(rows[metric].min()) - 0.05)
    figure.update_yaxes(title_text=METRICS[metric], range=[floor, 1.04])
    figure.update_layout(legend={**BELOW, "itemsizing": "trace"}, margin={"b": 90})
    said = "; ".join(f"{r.method} {r.value:.3f}" for r in table.itertuples())
    return finish(
        figure, alt=f"{METRICS[metric]} of every method, one dot a seed, mean and 95 % interval: {said}."
    )


def by_samples(scores: pd.DataFrame, methods: Sequence[str] = METHODS) -> go.Figure:
    """Recovery against the number of samples: mean of a method's seeds, with its 95 % interval."""
    metric = scored(scores)
    if metric is None:
        return empty(NO_SCORE)
    if scores["n_samples"].nunique() < 2:
        return empty("All runs have as many samples; choose or launch one with more or fewer.")
    figure = go.Figure()
    for method in (m for m in methods if m in set(scores["method"])):
        style = series_style(METHODS.index(method))
        part = scores[scores["method"] == method].groupby("n_samples")[metric]
        means = part.mean()
        half = part.apply(
            lambda values: (mean_interval(values)[1] - values.mean()) if len(values) > 1 else 0.0
        )
        figure.add_scatter(
            x=means.index * 1.015 ** METHODS.index(method),
            y=means,
            mode="lines+markers",
            name=method,
            line=style,
            error_y={
                "type": "data",
                "symmetric": False,
                "array": np.minimum(half, 1 - means),
                "arrayminus": half,
                "thickness": 1.4,
                "color": style["color"],
            },
            customdata=list(zip(means.index, part.count(), strict=True)),
            hovertemplate="N = %{customdata[0]:,}: %{y:.3f}, mean of %{customdata[1]} seeds<extra>"
            + method
            + "</extra>",
        )
    sizes = sorted(scores["n_samples"].unique())
    figure.update_xaxes(
        type="log", title_text="Samples (log scale)", tickvals=sizes, ticktext=[f"{n:,}" for n in sizes]
    )
    figure.update_yaxes(title_text=METRICS[metric], range=[0, 1.04])
    figure.update_layout(legend=BELOW, margin={"b": 100})
    return finish(
        figure, alt=f"{METRICS[metric]} against the number of samples from {sizes[0]:,} to {sizes[-1]:,}."
    )


def step_one(states: pd.DataFrame) -> pd.DataFrame:
    """Step 1 by variable, means over seeds: accuracy (labels matched one-to-one), k-means on all coordinates, chance,
    states found and true."""
    columns = ["accuracy", "accuracy_k_means", "chance", "n_states", "n_states_true"]
    return states.groupby("variable", sort=False)[columns].mean().reset_index()


def step_one_figure(states: pd.DataFrame) -> go.Figure:
    """How often step 1 finds a variable's state, beside k-means and chance; one dot a variable, mean over seeds."""
    if states.empty:
        return empty("Step 1 had nothing to estimate: the states themselves were observed.")
    table = step_one(states)
    figure = go.Figure()
    series = {
        "accuracy": ("step 1", "circle", PALETTE[0]),
        "accuracy_k_means": ("k-means on all coordinates", "x", PALETTE[1]),
    }
    for column, (name, symbol, color) in series.items():
        marker = {"symbol": symbol, "size": 10, "color": color}
        figure.add_scatter(
            x=table["variable"].map(plain), y=table[column], mode="markers", name=name, marker=marker
        )
    figure.add_scatter(
        x=table["variable"].map(plain), y=table["chance"], mode="lines", name="chance",
        line={"color": INK, "dash": "dash", "width": 1.5},
    )  # fmt: skip
    figure.update_yaxes(title_text="Accuracy of the states", range=[0, 1.04])
    figure.update_xaxes(type="category", showgrid=False)
    figure.update_layout(legend=BELOW, margin={"b": 100})
    mean, other = table["accuracy"].mean(), table["accuracy_k_means"].mean()
    return finish(
        figure,
        alt=f"Accuracy of the estimated states of {len(table)} variables: step 1 {mean:.3f}, k-means {other:.3f}, "
        f"chance {table['chance'].mean():.3f}.",
        height=360,
    )
