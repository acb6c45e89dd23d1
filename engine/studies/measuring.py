"""What the rules of claims share: figures by seed, intervals over seeds and over pairs of seeds, verdicts."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analyses.matching import bootstrap_interval, mean_interval
from engine.studies.base import NOT_TESTED, Measurement

Tables = Mapping[str, pa.Table]
Floats = NDArray[np.float64]
Value = tuple[float, float, float]
Measure = Callable[[list[Tables]], Measurement]
Runs = Callable[[str], list[dict[str, Any]]]


def measurement(
    value: Value, seeds: int, chance: float | None, baseline: float | None, shown: bool
) -> Measurement:
    """A claim's figure; an interval that too few seeds leave infinite is not given and shows nothing."""
    mean, low, high = value
    if not np.isfinite([low, high]).all():
        return Measurement(float(mean), None, None, seeds, chance, baseline, "not shown")
    return Measurement(float(mean), low, high, seeds, chance, baseline, "shown" if shown else "not shown")


def over_seeds(values: Floats) -> Value:
    """Mean and 95 % t interval over independent seeds."""
    low, high = mean_interval(values)
    return float(np.mean(values)), low, high


def measured(
    values: Floats | None,
    rule: Callable[[float, float, float], bool],
    baseline: float | None,
    chance: float | None = 0.0,
) -> Measurement:
    """A figure by seed with its interval; `rule` sees mean, low and high. None was not tested, one seed shows nothing."""
    if values is None:
        return NOT_TESTED
    value = over_seeds(values)
    return measurement(value, len(values), chance, baseline, rule(*value))


def measured_whole(
    values: Floats, rule: Callable[[float, float], bool], chance: float | None, baseline: float | None
) -> Measurement:
    """As `measured`, by a rule on low and high; not tested where a value is missing, or all but one."""
    whole = values if len(values) >= 2 and np.isfinite(values).all() else None
    return measured(whole, lambda _, low, high: rule(low, high), baseline, chance)


def above_zero(mean: float, low: float, high: float) -> bool:
    return low > 0


def by_seed(rows: pd.DataFrame, column: str) -> Floats | None:
    """A column of one row a seed, in the order of the seeds; None where there is none or one is missing."""
    values = rows.sort_values("seed")[column].to_numpy(dtype=np.float64)
    return values if len(values) and np.isfinite(values).all() else None


def pair_matrix(seed_a: Any, seed_b: Any, values: Any) -> Floats:
    """Symmetric runs × runs matrix of pair values, NaN on the diagonal."""
    seeds = sorted({*seed_a, *seed_b})
    matrix = np.full((len(seeds), len(seeds)), np.nan)
    for a, b, value in zip(seed_a, seed_b, values, strict=True):
        i, j = seeds.index(a), seeds.index(b)
        matrix[i, j] = matrix[j, i] = value
    return matrix


def over_runs(matrix: Floats) -> Value:
    """Mean pair value and its 95 % bootstrap interval over runs; infinite below three."""
    interval = bootstrap_interval(matrix) or (-np.inf, np.inf)
    return float(np.nanmean(matrix)), *interval


def measured_between(
    rows: pd.DataFrame, values: Any, above: float, chance: float | None, baseline: float | None = None
) -> Measurement:
    """Values of pairs of seeds (`rows` has seed_a and seed_b): shown when the bootstrap interval over seeds lies above `above`."""
    matrix = pair_matrix(rows["seed_a"], rows["seed_b"], values)
    value = over_runs(matrix)
    return measurement(value, len(matrix), chance, baseline, value[1] > above)


def beyond_tour(*runs: dict[str, Any]) -> Runs:
    """Runs that a tour, which verifies all studies in a quarter of an hour, has no time for."""
    return lambda asked: [] if asked == "tour" else list(runs)


def at_standard(*presets: str, **config: Any) -> Runs:
    """Runs of these presets when a study is verified at the standard preset, none at tour size, which trains too little."""

    def runs(asked: str) -> list[dict[str, Any]]:
        return [{"preset": one, "config": config} for one in presets] if asked == "standard" else []

    return runs


def on_a_gpu(asked: str) -> list[dict[str, Any]]:
    """The published size, at the paper preset only."""
    return [{"preset": "paper", "config": {}}] if asked == "paper" else []
