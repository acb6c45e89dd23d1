"""What the rules of several claims read in the tables: figures per seed and per pair of SAEs."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
from scipy.interpolate import interp1d

from engine.studies.measuring import Floats, Tables, Value, over_runs, pair_matrix


def per_seed(tables: Tables, column: str) -> Floats:
    """A column of the table `saes`, by seed."""
    return tables["saes"].sort_by("seed")[column].to_numpy().astype(np.float64)


def pair_frame(tables: Tables, subset: str = "all") -> pd.DataFrame:
    pairs = tables["pairs"].to_pandas()
    return pairs[pairs["subset"] == subset]


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
