"""Every claim's rule at its edges, on tables made for it."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from engine.studies import STUDIES
from engine.studies.base import Measurement, parse_config
from engine.studies.concept_hierarchy.claims import CLAIMS
from engine.studies.concept_hierarchy.claims.measuring import last_effective

STUDY = STUDIES["concept_hierarchy"]
BY_NAME = {claim.name: claim for claim in CLAIMS}
Run = dict[str, pa.Table]
SPREAD = np.linspace(-0.01, 0.01, 5)


def scores(**methods: Any) -> Run:
    """`hierarchy_scores` of five seeds; a key is method__states, spaces as underscores."""
    rows = []
    for key, values in methods.items():
        method, states = (part.replace("_", " ") for part in key.split("__"))
        for seed, value in enumerate(np.broadcast_to(values, 5) + SPREAD * (np.ndim(values) == 0)):
            rows.append({"seed": seed, "method": method, "states": states, "skeleton_f1": value, "chance": 0.4,
                         "adjusted_rand_index": value})  # fmt: skip
    return {"hierarchy_scores": pa.Table.from_pandas(pd.DataFrame(rows))}


def levels(high: float, low: float, energies: tuple[str, ...] = ("natural", "equal"), seeds: int = 3) -> Run:
    """`diffusion_levels` whose concepts match up to those starts."""
    rows = [
        {
            "seed": seed,
            "energies": kind,
            "concept": concept,
            "start": start,
            "match": 0.95 if start <= last else 0.3,
        }
        for seed in range(seeds)
        for kind in energies
        for concept, last in (("high", high if seed else high + 0.1), ("low", low))
        for start in np.round(np.arange(0, 1.01, 0.1), 1)
    ]
    return {"diffusion_levels": pa.Table.from_pandas(pd.DataFrame(rows))}


def measure(name: str, *tables: Run) -> Measurement:
    return BY_NAME[name].measure(list(tables))


def test_names_are_distinct_and_every_run_is_a_valid_one() -> None:
    assert len(BY_NAME) == len(CLAIMS)
    for claim in CLAIMS:
        assert claim.runs("standard") and claim.rule.startswith("Shown when")
        for request in claim.runs("standard"):
            parse_config(STUDY, request["preset"], request["config"])


def test_recovery_needs_the_pilots_mean_and_a_lead_over_linear() -> None:
    name = "discrete_rank_recovers_mixed"
    lead = measure(name, scores(discrete_rank__true_states=0.95, linear_rank__true_states=np.full(5, 0.4)))
    assert (
        lead.verdict == "shown" and lead.baseline == pytest.approx(0.4) and lead.chance == pytest.approx(0.4)
    )
    low = measure(name, scores(discrete_rank__true_states=0.8, linear_rank__true_states=np.full(5, 0.4)))
    assert low.verdict == "not shown"
    equal = measure(name, scores(discrete_rank__true_states=0.95, linear_rank__true_states=np.full(5, 0.95)))
    assert equal.verdict == "not shown"


def test_equality_needs_the_whole_interval_inside() -> None:
    name = "equals_linear_rank_at_two_states"
    same = scores(discrete_rank__true_states=0.9, linear_rank__true_states=0.9)
    assert measure(name, same).verdict == "shown"
    wild = scores(discrete_rank__true_states=np.array([1, 0.6, 1, 0.6, 1.0]), linear_rank__true_states=0.84)
    assert measure(name, wild).verdict == "not shown"


def curve(name: str, values: list[float], states: str, truth: float = 1.0) -> Measurement:
    runs = [scores(**{f"discrete_rank__{states}": value}) for value in values]
    if states != "true_states":
        runs = [
            scores(**{f"discrete_rank__{states}": value, "discrete_rank__true_states": truth})
            for value in values
        ]
    return measure(name, *runs)


def test_more_rows_must_help_and_never_hurt() -> None:
    name = "recovery_improves_with_samples"
    assert curve(name, [0.4, 0.7, 0.9], "true_states").verdict == "shown"
    assert curve(name, [0.4, 0.95, 0.8], "true_states").verdict == "not shown"
    assert curve(name, [0.9, 0.9, 0.9], "true_states").verdict == "not shown"


def test_step_one_error_must_fall_monotonically_and_vanish() -> None:
    name = "step_one_error_propagates"
    found = curve(name, [0.2, 0.5, 0.8, 0.98, 0.99], "estimated_states")
    assert found.verdict == "shown" and found.value == pytest.approx(0.79)
    assert curve(name, [0.2, 0.5, 0.3, 0.98, 0.99], "estimated_states").verdict == "not shown"
    assert curve(name, [0.2, 0.5, 0.6, 0.7, 0.8], "estimated_states").verdict == "not shown"


def calibration(false: float, power: float) -> Run:
    nodes = [{"node": f"z{i}", "kind": "latent"} for i in (1, 2)]
    edges = [
        {"method": "truth before reduction", "source": source, "target": target}
        for source, target in (("z1", "z2"), ("z1", "x1"), ("z1", "x2"), ("z2", "x3"), ("z2", "x4"))
    ]
    pairs = [
        {"seed": seed, "variable_a": a, "variable_b": b,
         "p_value": 0.0 if (seed / 100 < (false if (a, b) in (("x1", "x2"), ("x3", "x4")) else power)) else 0.5}
        for seed in range(100)
        for a, b in (("x1", "x2"), ("x3", "x4"), ("x1", "x3"), ("x2", "x4"))
    ]  # fmt: skip
    frames = {"hierarchy_nodes": nodes, "hierarchy_edges": edges, "rank_statistics": pairs}
    return {name: pa.Table.from_pandas(pd.DataFrame(rows)) for name, rows in frames.items()}


def test_calibration_needs_level_and_power_in_every_world() -> None:
    name = "rank_test_is_calibrated"
    good = calibration(0.02, 0.99)
    assert measure(name, good, good).verdict == "shown"
    rejects = measure(name, good, calibration(0.1, 0.99))
    assert rejects.verdict == "not shown" and rejects.value == pytest.approx(0.1)
    weak = measure(name, good, calibration(0.02, 0.8))
    assert weak.verdict == "not shown" and weak.baseline == pytest.approx(0.8)


def test_levels_must_differ_in_every_seed() -> None:
    name = "concept_levels_order_by_timestep"
    found = measure(name, levels(0.1, 0.8))
    assert found.verdict == "shown" and found.value == pytest.approx(0.7 - 0.1 / 3)
    assert measure(name, levels(0.8, 0.8)).verdict == "not shown"
    assert measure("levels_are_more_than_energy", levels(0.8, 0.2)).verdict == "not shown"
    velocity = measure("levels_survive_another_prediction", levels(0.8, 0.8), levels(0.1, 0.8))
    assert velocity.verdict == "not shown" and velocity.baseline > 0.6


def test_last_effective_start_stops_at_the_first_miss() -> None:
    rows = pd.DataFrame({"seed": 0, "start": [0.0, 0.1, 0.2, 0.3], "match": [0.95, 0.92, 0.8, 0.95]})
    assert last_effective(rows).tolist() == [0.1]
    assert last_effective(rows.assign(match=0.5)).tolist() == [0.0]


def orders(first: float, second: float) -> Run:
    rows = [
        {
            "seed": seed,
            "energies": "natural",
            "concept": "high",
            "order": order,
            "match": value + 0.01 * seed * sign,
        }
        for seed in range(3)
        for order, value, sign in (("high first", first, 1), ("low first", second, -1))
    ]
    return {"diffusion_orders": pa.Table.from_pandas(pd.DataFrame(rows))}


def test_order_is_paired_by_seed() -> None:
    assert measure("high_before_low_works_better", orders(0.95, 0.7)).verdict == "shown"
    assert measure("high_before_low_works_better", orders(0.7, 0.95)).verdict == "not shown"


def states(ours: float, k_means: float) -> Run:
    rows = [
        {"seed": seed, "accuracy": ours + noise, "accuracy_k_means": k_means, "chance": 0.4}
        for seed, noise in enumerate(SPREAD)
    ]
    return {"discrete_states": pa.Table.from_pandas(pd.DataFrame(rows))}


def test_step_one_must_beat_k_means() -> None:
    assert measure("step_one_finds_the_states", states(0.99, 0.5)).verdict == "shown"
    assert measure("step_one_finds_the_states", states(0.5, 0.5)).verdict == "not shown"


def test_questionnaire_clusters() -> None:
    name = "questionnaire_clusters_are_its_factors"
    good = scores(pairwise_rank_statistic__true_states=0.98, factor_analysis__true_states=0.85)
    assert measure(name, good).verdict == "shown" and measure(name, good).baseline == pytest.approx(0.85)
    assert measure(name, scores(pairwise_rank_statistic__true_states=0.7, factor_analysis__true_states=0.85)).verdict == "not shown"  # fmt: skip


def test_one_seed_shows_nothing() -> None:
    run = scores(discrete_rank__true_states=1.0, linear_rank__true_states=0.2)
    one = run["hierarchy_scores"].to_pandas().query("seed == 0")
    tables = {"hierarchy_scores": pa.Table.from_pandas(one, preserve_index=False)}
    found = measure("discrete_rank_recovers_chain", tables)
    assert found.verdict == "not shown" and found.low is None
