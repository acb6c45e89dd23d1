"""Runs of one study side by side: figures per seed, differences with intervals and tests, and what was set differently."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray
from scipy import stats

from analyses.figures import SYMBOLS, finish, plain, series_style
from analyses.matching import mean_interval

KINDS = 16
ALPHA = 0.05
Floats = NDArray[np.float64]


def figures_per_seed(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Rows (figure, seed, value) of a table with one row a seed, or one for each of at most `KINDS` kinds a seed.

    A kind is a combination of the table's text columns. `metrics` gives the last value of every logged name. Empty for a
    table of any other form, which holds no figures of a seed.
    """
    if "seed" not in table or table.empty:
        return _none()
    if name == "metrics":
        last = (
            table.dropna(subset=["seed"]).sort_values("step").groupby(["seed", "name"], as_index=False).last()
        )
        return last.rename(columns={"name": "figure"})[["figure", "seed", "value"]]
    words = [
        column for column in table if column != "run_id" and not pd.api.types.is_numeric_dtype(table[column])
    ]
    values = [column for column in table if column != "seed" and pd.api.types.is_float_dtype(table[column])]
    kinds = table[words].drop_duplicates() if words else table.iloc[:1]
    if not values or len(kinds) > KINDS or table.duplicated(["seed", *words]).any():
        return _none()
    long = table.melt(["seed", *words], values, "column").dropna(subset=["value"])
    parts = [long[word].astype(str) for word in words] + [long["column"]]
    figure = parts[0].str.cat(parts[1:], sep=" · ") if len(parts) > 1 else parts[0]
    return pd.DataFrame({"figure": name + ": " + figure, "seed": long["seed"], "value": long["value"]})


def _none() -> pd.DataFrame:
    return pd.DataFrame({"figure": [], "seed": [], "value": []})


def summary(figures: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a figure and run: figure, run, mean, low, high (95 % t interval over seeds; NaN for one seed), seeds.

    `figures` maps a run's label to rows of `figures_per_seed`.
    """
    rows = []
    for run, found in figures.items():
        for figure, group in found.groupby("figure", sort=False):
            low, high = mean_interval(group["value"])
            finite = np.isfinite([low, high]).all()
            rows.append(
                {
                    "figure": figure, "run": run, "mean": float(group["value"].mean()),
                    "low": low if finite else np.nan, "high": high if finite else np.nan, "seeds": len(group),
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=["figure", "run", "mean", "low", "high", "seeds"])


def differences(figures: Mapping[str, pd.DataFrame], reference: str) -> pd.DataFrame:
    """Every other run less `reference`, a row a figure both have: difference, low, high, p, p_holm, test, seeds.

    Seeds that both runs have are paired (t test of the differences); where none is shared, Welch's test compares the means.
    `p_holm` is corrected over all rows (Holm 1979). NaN where fewer than two seeds a side leave nothing to test.
    """
    base, rows = figures[reference], []
    for run, found in figures.items():
        if run == reference:
            continue
        for figure, group in found.groupby("figure", sort=False):
            other = base[base["figure"] == figure]
            if len(other):
                rows.append({"figure": figure, "run": run, **_tested(other, group)})
    columns = ["figure", "run", "difference", "low", "high", "p", "p_holm", "test", "seeds"]
    frame = pd.DataFrame(rows)
    if frame.empty:
        return pd.DataFrame(columns=columns)
    return frame.assign(p_holm=holm(frame["p"].to_numpy(dtype=np.float64)))[columns]


def _tested(first: pd.DataFrame, second: pd.DataFrame) -> dict[str, Any]:
    """Mean of `second` less that of `first`, with interval and p."""
    both = first.merge(second, on="seed", suffixes=("_first", "_second"))
    if len(both):
        gaps = (both["value_second"] - both["value_first"]).to_numpy(dtype=np.float64)
        low, high = mean_interval(gaps)
        if len(gaps) < 2:
            return _row(float(gaps.mean()), np.nan, np.nan, np.nan, "paired", len(gaps))
        spread = gaps.std(ddof=1)
        p = float(stats.ttest_1samp(gaps, 0).pvalue) if spread > 0 else float(not np.any(gaps))
        return _row(float(gaps.mean()), low, high, p, "paired", len(gaps))
    a, b = (side["value"].to_numpy(dtype=np.float64) for side in (first, second))
    gap, seeds = float(b.mean() - a.mean()), min(len(a), len(b))
    if seeds < 2 or a.std() + b.std() == 0:
        return _row(gap, np.nan, np.nan, np.nan, "Welch", seeds)
    found = stats.ttest_ind(b, a, equal_var=False)
    interval = found.confidence_interval(1 - ALPHA)
    return _row(gap, float(interval.low), float(interval.high), float(found.pvalue), "Welch", seeds)


def _row(difference: float, low: float, high: float, p: float, test: str, seeds: int) -> dict[str, Any]:
    return {"difference": difference, "low": low, "high": high, "p": p, "test": test, "seeds": seeds}


def holm(p: Floats) -> Floats:
    """p values corrected for their number by Holm's step-down rule; NaN stays and does not count."""
    corrected = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    scaled = np.minimum(1.0, p[order] * np.arange(len(order), 0, -1))
    corrected[order] = np.maximum.accumulate(scaled)
    return corrected


def config_differences(runs: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Fields whose values differ between runs: one row a field, one column a run's label; values as JSON text."""
    fields = dict.fromkeys(field for config in runs.values() for field in config)
    rows = []
    for field in fields:
        values = [json.dumps(config.get(field), ensure_ascii=False) for config in runs.values()]
        if len(set(values)) > 1:
            rows.append({"field": field, **dict(zip(runs, values, strict=True))})
    return pd.DataFrame(rows, columns=["field", *runs])


def dots(figures: Mapping[str, pd.DataFrame], figure: str) -> go.Figure:
    """A figure's value of every seed and its mean with the 95 % interval over seeds, a row a run."""
    chart = go.Figure()
    table = summary(figures)
    for index, (run, found) in enumerate(figures.items()):
        group = found[found["figure"] == figure]
        row = table[(table["figure"] == figure) & (table["run"] == run)]
        if group.empty:
            continue
        style = series_style(index)
        chart.add_scatter(
            x=group["value"], y=[plain(run)] * len(group), mode="markers", showlegend=False,
            marker={"color": style["color"], "opacity": 0.5, "size": 8, "symbol": SYMBOLS[index % len(SYMBOLS)]},
            customdata=group["seed"], hovertemplate="seed %{customdata}: %{x:.4g}<extra></extra>",
        )  # fmt: skip
        mean, low, high = (float(row[name].iloc[0]) for name in ("mean", "low", "high"))
        known = np.isfinite([low, high]).all()
        chart.add_scatter(
            x=[mean], y=[plain(run)], mode="markers", showlegend=False,
            marker={"color": style["color"], "size": 16, "symbol": "line-ns", "line": {"width": 3, "color": style["color"]}},
            error_x={"type": "data", "array": [high - mean if known else 0], "arrayminus": [mean - low if known else 0], "thickness": 2},
            hovertemplate="mean %{x:.4g}<extra></extra>",
        )  # fmt: skip
    chart.update_xaxes(title=plain(figure))
    chart.update_yaxes(autorange="reversed")
    alt = f"{plain(figure)} of {len(figures)} runs: every seed's value, the mean and its 95 % interval over seeds."
    return finish(chart, alt=alt, height=120 + 48 * len(figures))


def metric_table(table: pd.DataFrame, tests: pd.DataFrame, chosen: Sequence[str]) -> pd.DataFrame:
    """The table as a reader sees it: a row a figure, a column a run "mean ± half interval", * where p_holm < 0.05."""
    marked = {(row["figure"], row["run"]) for row in tests.to_dict("records") if row["p_holm"] < ALPHA}
    rows = []
    for figure in chosen:
        cells = {"figure": figure}
        for row in table[table["figure"] == figure].to_dict("records"):
            half = f" ± {(row['high'] - row['low']) / 2:.2g}" if np.isfinite(row["low"]) else ""
            star = " *" if (figure, row["run"]) in marked else ""
            cells[row["run"]] = f"{row['mean']:.4g}{half}{star}"
        rows.append(cells)
    return pd.DataFrame(rows, columns=["figure", *dict.fromkeys(table["run"])]).fillna("–")
