"""The rules of the claims on made-up figures, and the configs they and the presets name."""

from typing import Any

import pyarrow as pa
import pytest

from engine import schema
from engine.errors import UserError
from engine.studies.base import parse_config
from engine.studies.sapo import Sapo
from engine.studies.sapo.claims import CLAIMS

STUDY = Sapo()
BY_NAME = {claim.name: claim for claim in CLAIMS}


def tables(**arms: list[float | None]) -> dict[str, pa.Table]:
    """`sapo_arms` in which every figure of an arm is the one given for its seed."""
    columns = schema.run_columns("sapo_arms")
    floats = [name for name in columns.names if columns.field(name).type == pa.float64()]
    rows: list[dict[str, Any]] = [
        {"seed": seed, "arm": arm, **dict.fromkeys(floats, value)}
        for arm, values in arms.items()
        for seed, value in enumerate(values)
    ]
    return {"sapo_arms": pa.Table.from_pylist(rows, schema=columns)}


BASE = [0.50, 0.40, 0.60, 0.45, 0.55]


def shifted(by: list[float]) -> list[float | None]:
    return [value + change for value, change in zip(BASE, by, strict=True)]


CLEAR, NOISY, NONE = (
    [0.1, 0.11, 0.09, 0.1, 0.1],
    [0.3, -0.2, 0.1, -0.1, 0.2],
    [0.001, -0.001, 0.0, 0.002, 0.0],
)


@pytest.mark.parametrize(
    ("sapo", "longer", "wider", "verdict"),
    [
        (CLEAR, [0.0] * 5, [0.0] * 5, "shown"),
        (NOISY, [0.0] * 5, [0.0] * 5, "not shown"),
        (CLEAR, [0.0] * 5, CLEAR, "not shown"),
        ([0.0] * 5, CLEAR, [0.0] * 5, "not shown"),
    ],
)
def test_both_matched_arms_must_be_beaten(
    sapo: list[float], longer: list[float], wider: list[float], verdict: str
) -> None:
    found = BY_NAME["beats_diffu_grpo_on_countdown"].measure(
        [tables(sapo=shifted(sapo), grpo_longer=shifted(longer), grpo_wider=shifted(wider))]
    )
    assert found.verdict == verdict and found.seeds == 5


def test_the_interval_is_paired() -> None:
    made = tables(sapo=shifted(CLEAR), grpo_longer=shifted([0.0] * 5), grpo_wider=shifted([-0.2] * 5))
    found = BY_NAME["beats_diffu_grpo_on_sudoku"].measure([made])
    assert found.value == pytest.approx(0.1) and found.baseline == pytest.approx(0.5)
    assert found.low is not None and found.high is not None
    half = 2.7764451 * 0.00707107 / 5**0.5
    assert (found.low, found.high) == pytest.approx((0.1 - half, 0.1 + half), abs=1e-5)


def test_fewer_junk_means_a_smaller_rate() -> None:
    made = tables(sapo=shifted([-0.1] * 5), grpo_longer=shifted(NONE), grpo_wider=shifted(NONE))
    assert BY_NAME["fewer_junk_but_correct_traces_chain"].measure([made]).verdict == "shown"
    assert BY_NAME["already_right_earlier"].measure([made]).verdict == "not shown"


def test_little_on_arithmetic_needs_a_narrow_interval() -> None:
    claim = BY_NAME["little_on_arithmetic"]
    for change, verdict in ((NONE, "shown"), (NOISY, "not shown"), (CLEAR, "not shown")):
        made = tables(sapo=shifted(change), grpo_longer=shifted([0.0] * 5), grpo_wider=shifted([0.0] * 5))
        assert claim.measure([made]).verdict == verdict


def test_a_figure_some_seed_lacks_is_not_tested() -> None:
    made = tables(sapo=[0.1, None, 0.2], grpo_longer=[0.1] * 3, grpo_wider=[0.1] * 3)
    assert BY_NAME["more_even_step_gains"].measure([made]).verdict == "not tested"


def test_one_seed_shows_nothing() -> None:
    made = tables(sapo=[0.9], grpo_longer=[0.1], grpo_wider=[0.1])
    found = BY_NAME["beats_diffu_grpo_on_countdown"].measure([made])
    assert found.verdict == "not shown" and found.low is None


def test_claims_name_runs_that_exist_and_enough_seeds() -> None:
    for claim in CLAIMS:
        assert claim.min_seeds >= 5
        for request in claim.runs("standard"):
            parse_config(STUDY, request["preset"], request["config"])
        assert claim.runs("tour") == []
    assert BY_NAME["paper_size"].runs("standard") == []
    assert [request["preset"] for claim in CLAIMS for request in claim.runs("paper")] == ["paper"]


@pytest.mark.parametrize("preset", Sapo.presets)
def test_presets_are_valid_and_estimated(preset: str) -> None:
    config = parse_config(STUDY, preset, {})
    estimate = STUDY.estimate(config, 5)
    assert estimate["memory_bytes"] > 0 and estimate["disk_bytes"] > 0
    assert ("seconds" in estimate) != config.is_large and (
        "not measured" in estimate["based_on"]
    ) == config.is_large


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"block_length": 5}, "block_length"),
        ({"denoising_steps": 7, "block_length": 6}, "denoising_steps"),
        ({"denoising_steps": 19}, "denoising_steps"),
        ({"arms": "diffu_grpo,ppo"}, "arms"),
        ({"arms": "sapo,grpo_wider"}, "arms"),
        ({"heads": 5}, "heads"),
        ({"denoising_steps": 1}, "denoising_steps"),
        ({"start_from": "bundled"}, "start_from"),
        ({"group_size": 1}, "group_size"),
        ({"policy": "qwen", "completion_length": 100}, "block_length"),
        ({"policy": "llada", "start_from": "run:abc"}, "start_from"),
    ],
)
def test_bad_settings_name_their_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_config(STUDY, "standard", changes)
    assert caught.value.field == field
