"""What the rules of several claims share: intervals over seeds, verdicts, values per pair."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray
from scipy.interpolate import interp1d

from analyses.matching import bootstrap_interval, mean_interval
from engine.studies.base import Measurement, Verdict

Tables = Mapping[str, pa.Table]
Floats = NDArray[np.float64]
Value = tuple[float, float, float]


def verdict(shown: bool) -> Verdict:
    return "shown" if shown else "not shown"


def measurement(
    value: Value, seeds: int, chance: float | None, baseline: float | None, shown: bool
) -> Measurement:
    """A claim's figure; an interval that too few seeds leave infinite is not given and shows nothing."""
    mean, low, high = value
    if not np.isfinite([low, high]).all():
        return Measurement(float(mean), None, None, seeds, chance, baseline, "not shown")
    return Measurement(float(mean), low, high, seeds, chance, baseline, verdict(shown))


def per_seed(tables: Tables, column: str) -> Floats:
    """A column of the table `saes`, by seed."""
    return tables["saes"].sort_by("seed")[column].to_numpy().astype(np.float64)


def over_seeds(values: Floats) -> Value:
    """Mean and 95 % t interval over independent seeds."""
    low, high = mean_interval(values)
    return float(np.mean(values)), low, high


def pair_frame(tables: Tables, subset: str = "all") -> pd.DataFrame:
    pairs = tables["pairs"].to_pandas()
    return pairs[pairs["subset"] == subset]


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


def pairs_value(tables: Tables, column: str = "pw_mcc_abs", subset: str = "all") -> Value:
    frame = pair_frame(tables, subset)
    return over_runs(pair_matrix(frame["seed_a"], frame["seed_b"], frame[column]))


def null_of(tables: Tables, subset: str = "all") -> float:
    return float(pair_frame(tables, subset)["null_mean"].mean())


def n_seeds(tables: Tables) -> int:
    return len(tables["saes"])


def step_zero(tables: Tables, table: str, column: str) -> float:
    rows = tables[table]
    return float(np.mean(rows.filter(pa.compute.equal(rows["step"], 0))[column].to_numpy()))


def per_pair(tables: Tables, table: str, measure: Callable[[pd.DataFrame], float]) -> Value:
    """A number of each pair of seeds' rows (alive features), with its interval over runs."""
    frame = tables[table].to_pandas()
    if "subset" in frame:
        frame = frame[frame["subset"] == "alive"]
    rows = [(a, b, measure(mine)) for (a, b), mine in frame.groupby(["seed_a", "seed_b"])]
    return over_runs(pair_matrix(*zip(*rows, strict=True)))


def curve(runs: list[Tables], column: str, l0: Floats) -> list[Floats]:
    """Per pair of seeds, a pair value at given L0: interpolated in log L0 over runs of rising sparsity (points × pairs)."""
    places, values = [], []
    for tables in runs:
        frame = pair_frame(tables, "alive").sort_values(["seed_a", "seed_b"])
        places.append(np.log(per_seed(tables, "l0").mean()))
        values.append(frame[column].to_numpy())
    order = np.argsort(places)
    found = interp1d(np.array(places)[order], np.array(values)[order], axis=0, bounds_error=True)
    return list(found(np.log(l0)))


def common_l0(*architectures: list[Tables], points: int = 5) -> Floats:
    """Log-spaced L0 values inside what every architecture's runs span; empty where they do not overlap."""
    spans = [[per_seed(tables, "l0").mean() for tables in runs] for runs in architectures]
    low, high = max(map(min, spans)), min(map(max, spans))
    return np.geomspace(low, high, points)[1:-1] if low < high else np.empty(0)
