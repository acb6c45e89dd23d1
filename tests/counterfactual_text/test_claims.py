"""The rules of the claims on made-up figures, and the runs they name."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine.studies.base import Measurement, parse_config
from engine.studies.counterfactual_text import CounterfactualText
from engine.studies.counterfactual_text.claims import CLAIMS
from engine.tables.counterfactual_text import COUNTERFACTUAL_TEXT

STUDY = CounterfactualText()
BY_NAME = {claim.name: claim for claim in CLAIMS}
Tables = dict[str, pa.Table]


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    columns = pa.schema(list(COUNTERFACTUAL_TEXT[name].items()))
    return pa.Table.from_pylist(
        [{one: row.get(one) for one in columns.names} for row in rows], schema=columns
    )


def bench(**arms: dict[str, list[float]]) -> Tables:
    rows = [
        {
            "seed": seed,
            "arm": arm,
            "null": 0.0,
            **{column: values[seed] for column, values in columns.items()},
        }
        for arm, columns in arms.items()
        for seed in range(5)
    ]
    return {"cf_bench": table("cf_bench", rows)}


def near(value: float, spread: float = 0.01) -> list[float]:
    return [value + spread * step for step in (-1, -0.5, 0, 0.5, 1)]


def measure(name: str, *tables: Tables) -> Measurement:
    return BY_NAME[name].measure(list(tables))


@pytest.mark.parametrize(
    ("name", "column", "good", "bad"),
    [
        ("content_identified", "r2_content", 0.9, 0.8),
        ("noise_recovered", "r2_noise", 0.6, 0.5),
        ("content_holds_no_noise", "leak", 0.05, 0.15),
        ("counterfactual_beats_nothing", "cf_noise", 0.6, 1.0),
    ],
)
def test_a_level_must_be_passed_by_the_interval(name: str, column: str, good: float, bad: float) -> None:
    other = {"beta_vae": {column: near(0.3)}}
    found = measure(name, bench(matte={column: near(good)}, **other))
    assert found.verdict == "shown" and found.baseline == pytest.approx(0.3) and found.seeds == 5
    assert measure(name, bench(matte={column: near(bad)}, **other)).verdict == "not shown"
    wide = measure(name, bench(matte={column: near(good, 0.9)}, **other))
    assert wide.verdict == "not shown", "the mean alone does not show it"


@pytest.mark.parametrize(("name", "column", "sign"), [
    ("both_needed_content", "r2_content", 1), ("both_needed_noise", "r2_noise", 1), ("counterfactual_beats_arms", "cf_noise", -1),
])  # fmt: skip
def test_every_ablation_must_be_beaten(name: str, column: str, sign: int) -> None:
    def arms(independent: float, no_sparsity: float) -> Tables:
        return bench(
            matte={column: near(0.5)},
            independent={column: near(independent, -0.01)},
            no_sparsity={column: near(no_sparsity, -0.01)},
            beta_vae={column: near(0.5 - 0.4 * sign, -0.01)},
        )

    assert measure(name, arms(0.5 - 0.2 * sign, 0.5 - 0.3 * sign)).verdict == "shown"
    closest = measure(name, arms(0.5 - 0.2 * sign, 0.5 - 0.3 * sign))
    assert closest.value == pytest.approx(0.2)
    assert measure(name, arms(0.5 - 0.2 * sign, 0.5)).verdict == "not shown"
    assert measure(name, bench(matte={column: near(0.5)})).verdict == "not tested"


def test_acting_on_noise_must_beat_the_swap_of_the_same_model() -> None:
    good = bench(matte={"cf_noise": near(0.5), "cf_style": near(1.5)})
    assert measure("noise_beats_swap", good).verdict == "shown"
    assert (
        measure("noise_beats_swap", bench(matte={"cf_noise": near(0.5), "cf_style": near(0.5)})).verdict
        == "not shown"
    )


def test_what_sparsity_adds_must_vanish_where_style_is_dense() -> None:
    def gain(value: float) -> Tables:
        return bench(matte={"r2_noise": near(0.1 + value)}, no_sparsity={"r2_noise": near(0.1, 0.005)})

    assert measure("needs_sparse_style", gain(0.4), gain(0.0)).verdict == "shown"
    assert measure("needs_sparse_style", gain(0.4), gain(0.4)).verdict == "not shown"


def test_seeds_agree_beyond_half() -> None:
    def agreement(value: float) -> Tables:
        pairs = [(a, b) for a in range(5) for b in range(a + 1, 5)]
        rows = [
            {"arm": "matte", "seed_a": a, "seed_b": b, "block": "style noise", "r2": value, "null": -0.01}
            for a, b in pairs
        ]
        return {"cf_agreement": table("cf_agreement", rows)}

    assert measure("seeds_agree", agreement(0.7)).verdict == "shown"
    assert measure("seeds_agree", agreement(0.4)).verdict == "not shown"


def test_text_is_compared_with_every_other_way() -> None:
    def scores(matte: float, copy: float) -> Tables:
        rows = [
            {
                "seed": seed,
                "arm": "matte",
                "route": "noise",
                "domain": "all",
                "g": value,
                "accuracy": value / 100,
            }
            for seed, value in enumerate(near(matte, 1))
        ]
        rows += [
            {"seed": -1, "arm": "identity_copy", "route": "copy", "domain": "all", "g": copy, "accuracy": 0.1}
        ]
        rows += [{"seed": 0, "arm": "matte", "route": "noise", "domain": "movie", "g": 99.0, "accuracy": 0.9}]
        return {"cf_scores": table("cf_scores", rows)}

    found = measure("text_beats_copy", scores(30, 20))
    assert found.verdict == "shown" and found.value == pytest.approx(10) and found.baseline == 20
    assert measure("text_beats_copy", scores(20, 37)).verdict == "not shown"
    assert measure("text_style_moves", scores(30, 20)).value == pytest.approx(0.2)
    assert measure("text_beats_lexicon", scores(30, 20)).verdict == "not tested"


def test_claims_name_worlds_on_which_nothing_was_developed() -> None:
    seconds = 0.0
    asked = {str(run): run for claim in CLAIMS for run in claim.runs("standard")}
    for run in asked.values():
        config: Any = parse_config(STUDY, run["preset"], run["config"])
        assert config.source != "bench" or config.world_seed == 11
        seconds += STUDY.estimate(config, 5)["seconds"]
    assert len(asked) == 4 and seconds < 45 * 60
    assert all(claim.min_seeds == 5 and claim.runs("tour") == [] for claim in CLAIMS)
    assert np.all([claim.sentence.endswith(".") and claim.rule.endswith(".") for claim in CLAIMS])
