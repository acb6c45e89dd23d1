"""Claims: which runs they ask for, and rules that look at the interval."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analyses.label_shift import ADAPTER, FINE_TUNE, LAST, NONE, ORACLE, TAU
from engine.studies.base import parse_config
from engine.studies.label_shift import LabelShift
from engine.studies.label_shift.claims import CLAIMS, WORLD
from engine.studies.label_shift.claims.measuring import (
    late,
    lower_excess,
    lower_regret,
    measure_agreement,
    measure_features,
    measure_few,
    measure_mixed,
    measure_near_oracle,
    measure_recovery,
    measure_swap,
    no_gain,
    regret,
)

SEEDS = 5
COLUMNS = ("excess_nll", "kl", "accuracy")


def tables(
    values: dict[str, dict[str, float]], spread: float = 0.001, **more: pd.DataFrame
) -> dict[str, pa.Table]:
    """Forty rounds of each arm, ten of them swapped; early ones are of no account. `values`: arm → column → late mean."""
    rows = []
    for arm, wanted in values.items():
        for seed in range(SEEDS):
            for number in range(50):
                now = {name: wanted.get(name, 0.0) + spread * (seed - 2) for name in COLUMNS}
                if number < 20:
                    now = {name: 9.0 for name in COLUMNS}
                rows.append({"seed": seed, "arm": arm, "round": number, "swapped": number >= 40, **now})
    frames = {"shift_rounds": pd.DataFrame(rows), **more}
    return {name: pa.Table.from_pandas(frame, preserve_index=False) for name, frame in frames.items()}


def verdict(measure: Any, values: dict[str, dict[str, float]], spread: float = 0.001) -> str:
    found: str = measure([tables(values, spread)]).verdict
    return found


def test_only_late_rounds_with_the_first_backbone_count() -> None:
    found = late(tables({ADAPTER: {"kl": 0.5}}), ADAPTER, "kl")
    assert found == pytest.approx(0.5 + 0.001 * (np.arange(5) - 2))


def test_near_the_oracle_in_nats_and_as_a_share() -> None:
    assert verdict(measure_near_oracle, {ADAPTER: {"excess_nll": 0.01}, NONE: {"excess_nll": 0.4}}) == "shown"
    assert (
        verdict(measure_near_oracle, {ADAPTER: {"excess_nll": 0.01}, NONE: {"excess_nll": 0.05}})
        == "not shown"
    )
    assert (
        verdict(measure_near_oracle, {ADAPTER: {"excess_nll": 0.04}, NONE: {"excess_nll": 0.9}})
        == "not shown"
    )
    noisy = {ADAPTER: {"excess_nll": 0.01}, NONE: {"excess_nll": 0.4}}
    assert verdict(measure_near_oracle, noisy, spread=0.02) == "not shown"


def test_differences_are_paired() -> None:
    values = {ADAPTER: {"excess_nll": 0.1}, LAST: {"excess_nll": 0.101}}
    found = lower_excess(ADAPTER, LAST)([tables(values, spread=0.3)])
    assert (
        found.verdict == "shown"
        and found.value == pytest.approx(0.001)
        and found.baseline == pytest.approx(0.101)
    )
    assert lower_excess(LAST, ADAPTER)([tables(values)]).verdict == "not shown"


def test_the_mixed_rule_needs_both_sides() -> None:
    assert verdict(measure_mixed, {ADAPTER: {"kl": 0.005}, TAU: {"kl": 0.6}}) == "shown"
    assert verdict(measure_mixed, {ADAPTER: {"kl": 0.03}, TAU: {"kl": 0.6}}) == "not shown"
    assert verdict(measure_mixed, {ADAPTER: {"kl": 0.005}, TAU: {"kl": 0.1}}) == "not shown"


def test_no_gain_is_a_margin_and_feature_shift_needs_a_loss_to_mend() -> None:
    assert verdict(no_gain, {ADAPTER: {"accuracy": 0.71}, NONE: {"accuracy": 0.70}}) == "shown"
    assert verdict(no_gain, {ADAPTER: {"accuracy": 0.73}, NONE: {"accuracy": 0.70}}) == "not shown"
    same = {ADAPTER: {"accuracy": 0.70}, NONE: {"accuracy": 0.70}}
    assert verdict(measure_features, {**same, FINE_TUNE: {"accuracy": 0.75}}) == "shown"
    assert verdict(measure_features, {**same, FINE_TUNE: {"accuracy": 0.70}}) == "not shown"


def test_a_swap_is_measured_on_the_swapped_rounds() -> None:
    near = {ADAPTER: {"accuracy": 0.84}, ORACLE: {"accuracy": 0.85}, NONE: {"accuracy": 0.5}}
    assert verdict(measure_swap, near) == "shown"
    assert verdict(measure_swap, {**near, ADAPTER: {"accuracy": 0.80}}) == "not shown"


def test_few_rounds_are_twenty_to_twenty_nine() -> None:
    assert verdict(measure_few, {ADAPTER: {"kl": 0.2}, NONE: {"kl": 0.6}}) == "shown"
    assert verdict(measure_few, {ADAPTER: {"kl": 0.4}, NONE: {"kl": 0.6}}) == "not shown"


def test_regret_is_what_the_choice_lost() -> None:
    rows = [
        {"seed": seed, "round": 9, "candidate": name, "present": now, "by_adapter": forecast, "by_fit": now, "revealed": after}
        for seed in range(SEEDS)
        for name, now, forecast, after in (("a", 0.9, 0.6, 0.60 + seed / 1000), ("b", 0.8, 0.7, 0.75))
    ]  # fmt: skip
    found = {"shift_choices": pa.Table.from_pylist(rows)}
    assert regret(found, "present") == pytest.approx(0.15 - np.arange(5) / 1000)
    assert regret(found, "by_adapter") == pytest.approx(np.zeros(5))
    assert lower_regret("present")([found]).verdict == "shown"
    empty = {"shift_choices": found["shift_choices"].slice(0, 0)}
    assert lower_regret("present")([empty]).verdict == "not tested"


def test_recovery_and_agreement_stand_against_their_chance() -> None:
    def recovery(value: float | None) -> dict[str, pa.Table]:
        rows = [{"seed": s, "correlation": value, "null": 0.0, "null_high": 0.3} for s in range(SEEDS)]
        return {"shift_recovery": pa.Table.from_pylist(rows)}

    assert measure_recovery([recovery(0.95)]).verdict == "shown"
    assert measure_recovery([recovery(0.6)]).verdict == "not shown"
    assert measure_recovery([recovery(None)]).verdict == "not tested"
    pairs = [(0, 1), (0, 2), (1, 2)]
    alike = [{"seed_a": a, "seed_b": b, "correlation": 0.9, "null": 0.0, "null_high": 0.3} for a, b in pairs]
    assert measure_agreement([{"shift_agreement": pa.Table.from_pylist(alike)}]).verdict == "shown"
    assert measure_agreement([{"shift_agreement": pa.Table.from_pylist(alike[:1])}]).verdict == "not tested"


def test_claims_ask_for_runs_on_a_world_of_their_own() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    asked = set()
    for claim in CLAIMS:
        assert claim.min_seeds == SEEDS and claim.rule.startswith("Shown when")
        for preset in ("tour", "standard"):
            for request in claim.runs(preset):
                config = parse_config(LabelShift(), request["preset"], request["config"])
                assert config.world_seed == WORLD  # type: ignore[attr-defined]
                asked.add((preset, config.model_dump_json()))
    assert len([one for one in asked if one[0] == "standard"]) == 6
    assert [claim.name for claim in CLAIMS if claim.runs("paper")] == ["paper_size"]
