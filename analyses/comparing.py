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
ROUNDING = 1e-12  # of the largest value: spread that the rounding of equal numbers can leave
TESTS = {"paired": "paired t test", "Welch": "Welch's t test"}
Floats = NDArray[np.float64]


def figures_per_seed(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """Rows (figure, seed, value) of a table with one row a seed, or one for each of at most `KINDS` kinds a seed.

    A kind is a combination of the table's text columns. `metrics` gives the last value of every logged name, also one that is
    not finite. Empty for a table of any other form, which holds no figures of a seed.
    """
    if "seed" not in table or table.empty:
        return _none()
    if name == "metrics":
        ordered = table.dropna(subset=["seed"]).sort_values(["seed", "name", "step"])
        last = ordered.groupby(["seed", "name"]).tail(1)
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
    """One row a figure and run: figure, run, mean, low, high (95 % t interval over seeds), seeds.

    The interval is NaN for one seed and where a seed's value is not finite. `figures` maps a run's label to rows of
    `figures_per_seed`.
    """
    rows = []
    for run, found in figures.items():
        for figure, group in found.groupby("figure", sort=False):
            values = group["value"].to_numpy(dtype=np.float64)
            known = len(values) > 1 and np.isfinite(values).all()
            low, high = mean_interval(values) if known else (np.nan, np.nan)
            mean = float(values.mean())
            rows.append(
                {"figure": figure, "run": run, "mean": mean, "low": low, "high": high, "seeds": len(values)}
            )
    return pd.DataFrame(rows, columns=["figure", "run", "mean", "low", "high", "seeds"])


def differences(figures: Mapping[str, pd.DataFrame], reference: str) -> pd.DataFrame:
    """Every other run less `reference`, a row a figure both have: difference, low, high, p, p_holm, test, seeds.

    Seeds that both runs have are paired (t test of the differences); where none is shared, Welch's test compares the means.
    `p_holm` is corrected over all rows that have a p (Holm 1979). low, high and p are NaN where nothing can be tested: fewer
    than two seeds a side, a value that is not finite, or no spread, though p is 1 where paired seeds are all equal.
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
        return _paired(gaps, float(both[["value_first", "value_second"]].abs().to_numpy().max()))
    return _welch(*(side["value"].to_numpy(dtype=np.float64) for side in (first, second)))


def _paired(gaps: Floats, largest: float) -> dict[str, Any]:
    """`largest` is the largest absolute value that the gaps lie between."""
    row = _untested(float(gaps.mean()), "paired", len(gaps))
    if len(gaps) < 2 or not np.isfinite(gaps).all():
        return row
    if gaps.std(ddof=1) <= ROUNDING * largest:
        return row | {"p": np.nan if gaps.any() else 1.0}
    low, high = mean_interval(gaps)
    return row | {"low": low, "high": high, "p": float(stats.ttest_1samp(gaps, 0).pvalue)}


def _welch(a: Floats, b: Floats) -> dict[str, Any]:
    row = _untested(float(b.mean()) - float(a.mean()), "Welch", min(len(a), len(b)))
    values = np.concatenate([a, b])
    if row["seeds"] < 2 or not np.isfinite(values).all():
        return row
    if max(a.std(), b.std()) <= ROUNDING * np.abs(values).max():
        return row
    found = stats.ttest_ind(b, a, equal_var=False)
    interval = found.confidence_interval(1 - ALPHA)
    return row | {"low": float(interval.low), "high": float(interval.high), "p": float(found.pvalue)}


def _untested(difference: float, test: str, seeds: int) -> dict[str, Any]:
    unknown = dict.fromkeys(("low", "high", "p"), np.nan)
    return {"difference": difference, **unknown, "test": test, "seeds": seeds}


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


def star_note(tests: pd.DataFrame, reference: str) -> str:
    """What a star of `metric_table` means, naming the tests that gave a p; empty where none did."""
    used = set(tests.loc[tests["p"].notna(), "test"])
    words = " or ".join(TESTS[name] for name in TESTS if name in used)
    return f"* differs from {reference} at 5 % ({words}, Holm)." if words else ""
