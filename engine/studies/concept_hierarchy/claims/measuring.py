"""What the claims measure in the tables of finished runs."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
import pandas as pd

from analyses.matching import mean_interval
from engine.studies.base import Measurement
from engine.studies.measuring import Floats, Tables, measurement, over_seeds

PILOT = {"chain": 1.0, "mixed": 0.87, "deep": 0.66}
EQUIVALENCE, DIP, CLOSE = 0.05, 0.05, 0.05
FALSE_REJECTION, POWER, ALPHA = 0.04, 0.95, 0.01
EFFECTIVE = 0.9
CORRECT = 0.9
OURS, LINEAR = "discrete rank", "linear rank"
TRUE_STATES, ESTIMATED = "true states", "estimated states"


def measured(
    values: Floats, chance: float | None, baseline: float | None, rule: Callable[[float, float], bool]
) -> Measurement:
    """A figure over independent seeds with its 95 % t interval; `rule(low, high)` decides, too few seeds show nothing."""
    value = over_seeds(values)
    return measurement(value, len(values), chance, baseline, rule(*value[1:]))


def scores(run: Tables, method: str, column: str = "skeleton_f1", states: str = TRUE_STATES) -> Floats:
    """A column of `hierarchy_scores` by seed."""
    rows = run["hierarchy_scores"].to_pandas()
    rows = rows[(rows["method"] == method) & (rows["states"] == states)].sort_values("seed")
    return rows[column].to_numpy(dtype=np.float64)


def measure_recovery(shape: str, tables: list[Tables]) -> Measurement:
    """F1 of the discrete rank; paired with the linear rank's on the same samples."""
    (run,) = tables
    ours, linear = scores(run, OURS), scores(run, LINEAR)
    better = mean_interval(ours - linear)[0] > 0
    shown = better and ours.mean() >= PILOT[shape]
    chance = float(scores(run, OURS, "chance").mean())
    return measured(ours, chance, float(linear.mean()), lambda low, high: shown)


def measure_equal_at_two(tables: list[Tables]) -> Measurement:
    """Difference in F1, discrete less linear, with two states."""
    (run,) = tables
    ours, linear = scores(run, OURS), scores(run, LINEAR)
    within = partial(_within, EQUIVALENCE)
    return measured(ours - linear, None, float(linear.mean()), within)


def _within(margin: float, low: float, high: float) -> bool:
    return -margin < low and high < margin


def measure_samples(tables: list[Tables]) -> Measurement:
    """F1 at the most rows less F1 at the fewest, seed by seed."""
    curves = [scores(run, OURS) for run in tables]
    chance = float(scores(tables[-1], OURS, "chance").mean())
    rising = all(b.mean() >= a.mean() - DIP for a, b in pairwise(curves))
    return measured(
        curves[-1] - curves[0], chance, float(curves[0].mean()), lambda low, high: low > 0 and rising
    )


def measure_step_one(tables: list[Tables]) -> Measurement:
    """F1 on estimated states at the largest separation less that at the smallest."""
    curves = [scores(run, OURS, states=ESTIMATED) for run in tables]
    truth = scores(tables[-1], OURS)
    rising = all(b.mean() >= a.mean() - DIP for a, b in pairwise(curves))
    close = bool(curves[-1].mean() >= truth.mean() - CLOSE)
    chance = float(scores(tables[-1], OURS, "chance", ESTIMATED).mean())
    return measured(
        curves[-1] - curves[0], chance, float(truth.mean()), lambda low, high: low > 0 and rising and close
    )


def measure_step_one_states(tables: list[Tables]) -> Measurement:
    """Share of rows with the right state of a concept, mean over concepts, beside k-means on all coordinates."""
    frame = tables[0]["discrete_states"].to_pandas()
    means = frame.groupby("seed")[["accuracy", "accuracy_k_means", "chance"]].mean().sort_index()
    ours, k_means = (means[name].to_numpy() for name in ("accuracy", "accuracy_k_means"))
    low = mean_interval(ours - k_means)[0]
    return measured(ours, float(means["chance"].mean()), float(k_means.mean()), lambda *_: low > 0)


def rejections(run: Tables) -> tuple[Floats, Floats]:
    """By seed, the share of pairs under one true latent that the test rejects, and of all other pairs."""
    nodes = run["hierarchy_nodes"].to_pandas()
    edges = run["hierarchy_edges"].to_pandas()
    edges = edges[edges["method"] == "truth before reduction"]
    latent = set(nodes[nodes["kind"] == "latent"]["node"])
    parents = edges[edges["source"].isin(latent)].groupby("target")["source"].agg(frozenset).to_dict()
    pairs = run["rank_statistics"].to_pandas()
    same = [parents[a] == parents[b] for a, b in zip(pairs["variable_a"], pairs["variable_b"], strict=True)]
    rejected = pd.DataFrame({"seed": pairs["seed"], "same": same, "rejected": pairs["p_value"] < ALPHA})
    shares = rejected.pivot_table(
        index="seed", columns="same", values="rejected", aggfunc="mean"
    ).sort_index()
    return shares[True].to_numpy(dtype=np.float64), shares[False].to_numpy(dtype=np.float64)


def measure_calibration(tables: list[Tables]) -> Measurement:
    """Worst mean false rejection of the worlds, with the interval of that world; the power goes into the rule."""
    found = [rejections(run) for run in tables]
    calibrated = all(false.mean() <= FALSE_REJECTION for false, _ in found)
    powerful = all(power.mean() >= POWER for _, power in found)
    worst = max((false for false, _ in found), key=lambda values: float(values.mean()))
    least = min(float(power.mean()) for _, power in found)
    return measured(worst, ALPHA, least, lambda low, high: calibrated and powerful)


def last_effective(rows: pd.DataFrame) -> Floats:
    """By seed, the last start up to which the match stays ≥ 0.9; 0 where even the first start misses it."""
    found = []
    for _, part in rows.sort_values(["seed", "start"]).groupby("seed"):
        held = part[(part["match"] >= EFFECTIVE).cummin()]
        found.append(float(held["start"].max()) if len(held) else 0.0)
    return np.array(found)


def level_gap(run: Tables, energies: str) -> Floats:
    """By seed, the last effective start of the low concept less that of the high one."""
    rows = run["diffusion_levels"].to_pandas()
    rows = rows[rows["energies"] == energies]
    high, low = (last_effective(rows[rows["concept"] == concept]) for concept in ("high", "low"))
    return low - high


def measure_levels(energies: str, tables: list[Tables]) -> Measurement:
    """Gap of the last effective starts; the baseline is the gap under the other kind of energies."""
    (run,) = tables
    gap, other = level_gap(run, energies), level_gap(run, "equal" if energies == "natural" else "natural")
    return measured(gap, 0.0, float(other.mean()), lambda low, high: bool((gap > 0).all()) and low > 0)


def measure_velocity(tables: list[Tables]) -> Measurement:
    """The gap of a denoiser that predicts the velocity, beside that of one that predicts the noise."""
    velocity, noise = (level_gap(run, "natural") for run in tables)
    shown = bool((velocity > 0).all())
    return measured(velocity, 0.0, float(noise.mean()), lambda low, high: shown and low > 0)


def measure_orders(tables: list[Tables]) -> Measurement:
    """Match of the high concept, injected first less injected second."""
    rows = tables[0]["diffusion_orders"].to_pandas()
    rows = rows[(rows["energies"] == "natural") & (rows["concept"] == "high")].sort_values("seed")
    first, second = (
        rows[rows["order"] == order]["match"].to_numpy(dtype=np.float64)
        for order in ("high first", "low first")
    )
    return measured(first - second, 0.0, float(second.mean()), lambda low, high: low > 0)


def measure_bfi(tables: list[Tables]) -> Measurement:
    """Adjusted Rand index of the clusters of the pairwise rank statistic against the keyed factors."""
    (run,) = tables
    ours = scores(run, "pairwise rank statistic", "adjusted_rand_index")
    factors = scores(run, "factor analysis", "adjusted_rand_index")
    return measured(ours, 0.0, float(factors.mean()), lambda low, high: ours.mean() >= CORRECT)
