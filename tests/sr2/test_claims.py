"""Claims: which runs they ask for, and rules that look at the interval."""

import pyarrow as pa
import pytest

from engine.studies.base import parse_config
from engine.studies.sr2 import Sr2
from engine.studies.sr2.claims import (
    CLAIMS,
    difference,
    level,
    measure_longer,
    measure_refinement,
    measure_states,
)


def tables(exact: list[float], **more: list[float]) -> dict[str, pa.Table]:
    columns = {"seed": range(len(exact)), "exact": exact, "first_block_exact": exact, "longest_exact": exact}
    return {"sr2_models": pa.table({name: list(values) for name, values in {**columns, **more}.items()})}


def test_differences_are_paired_and_need_an_interval_above_zero() -> None:
    strong, weak = tables([0.9, 0.8, 0.85]), tables([0.4, 0.31, 0.36])
    found = difference(0.3)([strong, weak])
    assert found.verdict == "shown" and found.value == pytest.approx(0.4933333)
    assert found.baseline == pytest.approx(0.3566667) and found.low is not None and found.low > 0.45
    assert difference(0.6)([strong, weak]).verdict == "not shown"
    noisy = tables([0.9, 0.3, 0.9])
    assert difference()([noisy, weak]).verdict == "not shown"
    assert difference()([tables([0.9]), tables([0.1])]).verdict == "not shown"


def test_the_best_of_several_baselines_counts() -> None:
    found = difference()([tables([0.9, 0.9, 0.91]), tables([0.1] * 3), tables([0.95] * 3)])
    assert found.baseline == pytest.approx(0.95) and found.verdict == "not shown"


def test_levels_blocks_and_longer_runs() -> None:
    assert level(0.85, 0.7)([tables([0.9, 0.91, 0.92])]).verdict == "shown"
    assert level(0.85, 0.7)([tables([0.99, 0.99, 0.6])]).verdict == "not shown"
    assert (
        measure_refinement([tables([0.9, 0.91, 0.92], first_block_exact=[0.0, 0.1, 0.0])]).verdict == "shown"
    )
    little, much = ([0.91, 0.9, 0.92], [0.99, 0.98, 0.99])
    assert measure_longer([tables([0.9, 0.9, 0.91], longest_exact=little)]).verdict == "not shown"
    assert measure_longer([tables([0.9, 0.9, 0.91], longest_exact=[0.9, 0.9, 0.911])]).verdict == "shown"
    assert measure_longer([tables([0.9, 0.9, 0.91], longest_exact=much)]).verdict == "not shown"


def test_states_of_every_pair_and_an_interval_over_seeds() -> None:
    pairs = [(0, 1, 0.9), (0, 2, 0.8), (1, 2, 0.85)]
    rows = [
        {"seed_a": a, "seed_b": b, "block": block, "cka": cka if block == 1 else 0.0, "cka_null": 0.05}
        for a, b, cka in pairs
        for block in (0, 1, 2)
    ]
    iterations = pa.table({"block": [0, 1, 2], "trained": [True, True, False]})
    found = measure_states([{"sr2_consistency": pa.Table.from_pylist(rows), "sr2_iterations": iterations}])
    assert found.value == pytest.approx(0.8) and found.verdict == "shown" and found.seeds == 3
    assert found.low is not None and found.low >= 0.75 - 1e-9


def test_claims_ask_for_runs_that_exist_and_nothing_at_paper_size_by_default() -> None:
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    for claim in CLAIMS:
        for request in claim.runs("standard"):
            assert request["preset"] != "paper"
            parse_config(Sr2(), request["preset"], request["config"])
        assert claim.min_seeds == 3
    assert {claim.name for claim in CLAIMS if claim.runs("paper")} == {"paper_size"}
    assert not [claim.name for claim in CLAIMS if claim.runs("tour")]
    steps = parse_config(Sr2(), "tour", {}).steps  # type: ignore[attr-defined]
    assert steps == 413, "the arm at equal steps takes as many as the tour"
