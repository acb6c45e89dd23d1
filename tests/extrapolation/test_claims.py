"""Claims: which runs they ask for, and rules that look at the interval."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from analyses.extrapolation import DENSE, FEW, NEAR, SOURCE, TENT
from engine.studies.base import parse_config
from engine.studies.extrapolation import Extrapolation
from engine.studies.extrapolation.claims import CLAIMS, WORLD
from engine.studies.extrapolation.measuring import (
    above,
    below,
    between_seeds,
    drop,
    flat_scope,
    found_patches,
    gain,
    no_gain,
    picture_gain,
    recovery,
    smaller_scope,
)

SEEDS = 5


def on_worlds(values: dict[str, dict[float, float]], spread: float = 0.01) -> list[dict[str, pa.Table]]:
    """`values`: arm → distance → mean accuracy in the dense world; seeds differ by `spread`, alike in all arms."""
    rows = [
        {"seed": seed, "regime": DENSE, "arm": arm, "distance": at, "accuracy": value + spread * (seed - 2)}
        for arm, by_distance in values.items()
        for at, value in by_distance.items()
        for seed in range(SEEDS)
    ]
    return [{"extra_accuracy": pa.Table.from_pylist(rows)}]


def on_pictures(
    values: dict[str, dict[tuple[float, float], float]], spread: float = 0.01
) -> list[dict[str, pa.Table]]:
    """`values`: arm → (scope, severity) → mean accuracy."""
    rows = [
        {
            "seed": seed,
            "arm": arm,
            "scope": scope,
            "severity": severity,
            "accuracy": value + spread * (seed - 2),
        }
        for arm, cells in values.items()
        for (scope, severity), value in {**cells, (0.0, 0.0): 0.99}.items()
        for seed in range(SEEDS)
    ]
    return [{"extra_map": pa.Table.from_pylist(rows)}]


def test_gains_are_paired_by_seed_and_over_the_distances_named() -> None:
    tables = on_worlds(
        {NEAR: {2.0: 0.8, 4.0: 0.6, 16.0: 0.1}, SOURCE: {2.0: 0.79, 4.0: 0.59, 16.0: 0.9}}, spread=0.1
    )
    found = gain(DENSE, NEAR, SOURCE, (2.0, 4.0))(tables)
    assert (
        found.verdict == "shown"
        and found.value == pytest.approx(0.01)
        and found.baseline == pytest.approx(0.69)
    )
    assert gain(DENSE, NEAR, SOURCE, (2.0, 16.0))(tables).verdict == "not shown"
    assert gain(DENSE, NEAR, TENT, (2.0,))(tables).verdict == "not tested"
    assert no_gain(DENSE, NEAR, (4.0,), 0.02)(tables).verdict == "shown"
    assert no_gain(DENSE, NEAR, (4.0,), 0.005)(tables).verdict == "not shown"


def test_a_drop_is_flat_or_large_by_its_interval() -> None:
    tables = on_worlds({FEW: {0.0: 1.0, 16.0: 0.97}, SOURCE: {0.0: 1.0, 16.0: 0.4}})
    found = drop(DENSE, FEW, 0.0, 16.0, below(0.05))(tables)
    assert found.verdict == "shown" and found.baseline == pytest.approx(0.6)
    assert drop(DENSE, SOURCE, 0.0, 16.0, above(0.1))(tables).verdict == "shown"
    assert drop(DENSE, FEW, 0.0, 16.0, above(0.1))(tables).verdict == "not shown"


def test_scope_and_severity() -> None:
    cells = {(0.25, 0.5): 0.95, (0.25, 4.0): 0.9, (1.0, 0.5): 0.6, (1.0, 4.0): 0.1}
    tables = on_pictures({SOURCE: cells, FEW: {**cells, (0.25, 4.0): 0.94}})
    small = smaller_scope(SOURCE)(tables)
    assert (
        small.verdict == "shown"
        and small.value == pytest.approx(0.575)
        and small.baseline == pytest.approx(0.35)
    )
    flat = flat_scope(SOURCE, 0.1)(tables)
    assert (
        flat.verdict == "shown" and flat.value == pytest.approx(0.05) and flat.baseline == pytest.approx(0.5)
    )
    assert flat_scope(SOURCE, 0.04)(tables).verdict == "not shown"
    assert picture_gain(FEW, SOURCE, 0.5, 1.0)(tables).value == pytest.approx(0.04)
    assert picture_gain(FEW, SOURCE, 1.0, 1.0)(tables).value == pytest.approx(0.02)
    assert picture_gain(SOURCE, FEW, 0.5, 1.0)(tables).verdict == "not shown"


def test_latents_and_patches() -> None:
    rows = [{"seed": seed, "regime": DENSE, "r2": 0.9 + 0.01 * seed, "null": 0.0} for seed in range(SEEDS)]
    tables: list[dict[str, pa.Table]] = [{"extra_recovery": pa.Table.from_pylist(rows)}]
    assert (
        recovery(DENSE, 0.8)(tables).verdict == "shown"
        and recovery(DENSE, 0.95)(tables).verdict == "not shown"
    )
    pairs = [
        {"seed_a": a, "seed_b": b, "regime": DENSE, "r2": 0.9, "null": 0.85 if a else 0.0}
        for b in range(SEEDS)
        for a in range(b)
    ]
    frame = pd.DataFrame(pairs)
    agreement: list[dict[str, pa.Table]] = [{"extra_agreement": pa.Table.from_pandas(frame)}]
    assert between_seeds(DENSE, 0.8)(agreement).verdict == "shown"
    assert between_seeds(DENSE, 0.95)(agreement).verdict == "not shown"
    assert between_seeds("sparse", 0.8)(agreement).verdict == "not tested"
    found = [
        {"seed": s, "scope": c, "severity": v, "auc": 0.9 if v else None}
        for s in range(SEEDS)
        for c in (0.5, 1.0)
        for v in (0.0, 2.0)
    ]
    aucs: list[dict[str, pa.Table]] = [{"extra_found": pa.Table.from_pylist(found)}]
    assert found_patches(0.5, 1.0, 0.75)(aucs).verdict == "shown"
    assert found_patches(0.5, 1.0, 0.95)(aucs).verdict == "not shown"


@pytest.mark.parametrize("size", ["tour", "standard", "paper"])
def test_the_runs_of_claims_parse_on_their_own_world(size: str) -> None:
    for claim in CLAIMS:
        runs: list[dict[str, Any]] = claim.runs(size)
        assert len(runs) == (0 if size == "paper" or (size == "tour" and "emoji" in claim.name) else 1)
        for run in runs:
            config: Any = parse_config(Extrapolation(), run["preset"], run["config"])
            assert config.world_seed == WORLD and claim.min_seeds == 5
            if claim.name.startswith("latents"):
                assert not config.own_world
