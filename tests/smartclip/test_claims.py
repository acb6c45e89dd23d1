"""The rules of the claims on made-up figures, and the configs they and the presets name."""

from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from engine.studies.base import Measurement, parse_config
from engine.studies.smartclip import SmartClip
from engine.studies.smartclip.claims import CLAIMS, _pair_gap
from engine.tables.smartclip import SMARTCLIP

BY_NAME = {claim.name: claim for claim in CLAIMS}
Tables = dict[str, pa.Table]


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    columns = pa.schema(list(SMARTCLIP[name].items()))
    return pa.Table.from_pylist(
        [{column: row.get(column) for column in columns.names} for row in rows], schema=columns
    )


def arms(**figures: dict[str, list[float]]) -> Tables:
    """`smartclip_arms` of five seeds: arm → column → values."""
    rows = [
        {"seed": seed, "arm": arm, **{column: values[seed] for column, values in columns.items()}}
        for arm, columns in figures.items()
        for seed in range(5)
    ]
    return {"smartclip_arms": table("smartclip_arms", rows)}


def near(value: float, spread: float = 0.01) -> list[float]:
    return [value + spread * step for step in (-1, -0.5, 0, 0.5, 1)]


def measure(name: str, *tables: Tables) -> Measurement:
    return BY_NAME[name].measure(list(tables))


def test_retrieval_must_beat_every_baseline() -> None:
    others = {"clip_short": {"long_plain": near(0.5)}, "long_clip": {"long_plain": near(0.6)}}
    won = arms(smartclip={"long_plain": near(0.9)}, clip_long={"long_plain": near(0.8)}, **others)
    found = measure("long_retrieval", won)
    assert (
        found.verdict == "shown"
        and found.value == pytest.approx(0.1)
        and found.baseline == pytest.approx(0.8)
    )
    level = arms(smartclip={"long_plain": near(0.9)}, clip_long={"long_plain": near(0.9)}, **others)
    assert measure("long_retrieval", level).verdict == "not shown"
    missing = arms(smartclip={"long_plain": near(0.9)}, clip_long={"long_plain": near(0.8)})
    assert measure("long_retrieval", missing).verdict == "not tested"


def test_attributes_are_kept_when_the_interval_says_so() -> None:
    def kept(after: list[float], other: float = 0.8) -> Measurement:
        arms = {
            "smartclip": (after, near(other)),
            "base": (near(0.9), near(0.8)),
            "clip_short": (near(0.7), near(0.7)),
        }
        rows = [
            {"seed": seed, "arm": arm, "probe": "linear", "masked_by": "all", "attribute": name, "normalised": values[seed]}
            for arm, both in arms.items() for name, values in zip(("shape", "size"), both, strict=True) for seed in range(5)
        ]  # fmt: skip
        return measure("keeps_attributes", {"smartclip_probes": table("smartclip_probes", rows)})

    assert kept(near(0.89)).verdict == "shown" and kept(near(0.89)).baseline == pytest.approx(-0.2)
    assert kept(near(0.85)).verdict == "not shown"
    assert kept([0.6, 1.0, 0.9, 0.8, 1.0]).verdict == "not shown", "its interval reaches too low"
    lost = kept(near(0.95), 0.7)
    assert lost.verdict == "not shown" and lost.value == pytest.approx(-0.1), "one attribute is lost"


def test_blocks_and_overlaps_must_pass_the_gate_with_their_interval() -> None:
    def blocks(value: list[float]) -> Measurement:
        return measure(
            "blocks", arms(smartclip={"net_gap": value, "control_own": near(0.4), "control_other": near(0.3)})
        )

    assert blocks(near(0.4)).verdict == "shown" and blocks(near(0.4)).baseline == pytest.approx(0.1)
    assert blocks(near(0.3)).verdict == "not shown"

    def masks(same: float) -> Measurement:
        return measure(
            "same_attribute_masks_agree",
            arms(smartclip={"iou_same": near(same), "iou_different": near(0.2, -0.01)}),
        )

    assert masks(0.6).verdict == "shown" and masks(0.5).verdict == "not shown"


def test_a_union_needs_more_than_wide_masks() -> None:
    def union(value: float, shuffled: float, drawn: float = 0.3) -> Measurement:
        figures = {"union": near(value), "union_shuffled": near(shuffled), "union_random": near(drawn)}
        return measure("union", arms(smartclip=figures))

    assert union(0.9, 0.5).verdict == "shown" and union(0.9, 0.5).chance == pytest.approx(0.5)
    assert union(0.9, 0.95).verdict == "not shown" and union(0.7, 0.3).verdict == "not shown"
    assert union(0.9, 0.5, 0.95).verdict == "not shown"


def test_nothing_outside_looks_at_the_upper_end() -> None:
    def outside(values: list[float]) -> str:
        return measure(
            "nothing_outside", arms(smartclip={"outside": values, "probe_mean": near(0.9)})
        ).verdict

    assert outside(near(0.2)) == "shown" and outside(near(0.3)) == "not shown"


def probes(own: float, other: float, control: float = 0.2) -> Tables:
    pair = ("left colour", "background")
    rows = [
        {"seed": seed, "arm": "smartclip", "probe": "linear", "masked_by": mask, "attribute": attribute, "control": control,
         "normalised": (own if mask == attribute else other) + 0.01 * seed * (mask == attribute)}
        for seed in range(5) for mask in (*pair, "left size") for attribute in (*pair, "left size")
    ]  # fmt: skip
    return {"smartclip_probes": table("smartclip_probes", rows)}


def test_tied_factors_must_stay_together() -> None:
    free = _pair_gap(probes(0.9, 0.3), ("left colour", "background"))
    assert free is not None and free.mean() == pytest.approx(0.62)
    assert measure("tied_stay_unsplit", probes(0.9, 0.3), probes(0.9, 0.85)).verdict == "shown"
    assert measure("tied_stay_unsplit", probes(0.9, 0.3), probes(0.9, 0.5)).verdict == "not shown", (
        "more than half is left"
    )
    assert measure("tied_stay_unsplit", probes(0.9, 0.3), probes(0.9, 0.3)).verdict == "not shown"


def test_seeds_agree_when_their_tables_of_overlaps_do() -> None:
    def agree(value: float) -> Measurement:
        rows = [
            {"arm": "smartclip", "seed_a": a, "seed_b": b, "structure": value + 0.01 * a, "structure_null": 0.05}
            for a in range(5) for b in range(a + 1, 5)
        ]  # fmt: skip
        return measure("seeds_agree", {"smartclip_agreement": table("smartclip_agreement", rows)})

    assert agree(0.8).verdict == "shown" and agree(0.8).seeds == 5 and agree(0.4).verdict == "not shown"


def test_claims_ask_for_runs_that_exist_and_nothing_large_by_default() -> None:
    assert len(BY_NAME) == len(CLAIMS) and all(claim.min_seeds == 5 for claim in CLAIMS)
    for claim in CLAIMS:
        for request in claim.runs("standard"):
            assert request["preset"] in ("standard", "tied", "prefix")
            parse_config(SmartClip(), request["preset"], request["config"])
        assert claim.runs("tour") == []
    assert [claim.name for claim in CLAIMS if claim.runs("paper")] == ["paper_size"]


def test_standard_trains_every_arm_the_claims_compare() -> None:
    chosen = set(parse_config(SmartClip(), "standard", {}).chosen_arms)  # type: ignore[attr-defined]
    needed = {
        "clip_short",
        "clip_long",
        "long_clip",
        "smartclip",
        "no_sparsity",
        "naive_negatives",
        "random_mask",
        "lambda_2",
    }
    assert needed <= chosen


@pytest.mark.parametrize("preset", SmartClip.presets)
def test_presets_are_valid_and_have_a_cost(preset: str) -> None:
    config = parse_config(SmartClip(), preset, {})
    cost = SmartClip().estimate(config, 3)
    assert cost["seconds"] > 0 and cost["memory_bytes"] > 1e8 and cost["disk_bytes"] > 1e5
    assert SmartClip().estimate(config, 6)["seconds"] >= cost["seconds"]


def test_figures_that_are_missing_test_nothing() -> None:
    empty = {name: table(name, []) for name in SmartClip.tables}
    frames = {name: pd.DataFrame(one.to_pandas()) for name, one in empty.items()}
    assert frames["smartclip_arms"].empty
    for claim in CLAIMS:
        many = 2 if claim.name in ("tied_stay_unsplit", "prefixes_separate_less") else 1
        assert claim.measure([empty] * many).verdict == "not tested", claim.name
