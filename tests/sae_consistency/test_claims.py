"""Every claim's rule on real tables of small runs, and at its edges."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine import schema
from engine.studies.base import parse_config
from engine.studies.sae_consistency import SaeConsistency
from engine.studies.sae_consistency.claims import CLAIMS
from engine.studies.sae_consistency.claims.measuring import common_l0, curve
from engine.studies.sae_consistency.training import train
from tests.sae_consistency.test_training import make_run

Run = dict[str, pa.Table]
BY_NAME = {claim.name: claim for claim in CLAIMS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("claims")


def tables_of(folder: Path, **changes: Any) -> Run:
    train([make_run(folder, seeds=[0, 1, 2], n_steps=40, **changes)])
    return {path.stem: pq.read_table(path) for path in (folder / "tables").glob("*.parquet")}


@pytest.fixture(scope="module")
def run(folder: Path) -> Run:
    """A small world's run, with the language model's tables as they come."""
    found = tables_of(folder / "run", world="zipf_groups")
    groups = ("stable", "unstable", "random", "frequency-matched")
    ablations = [
        {"seed": seed, "ablated": group, "n_features": 5, "frequency_sum": 1.0, "fvu": 0.2, "fvu_change": 0.1 * (4 - i),
         "cross_entropy_change": 0.1, "kl": 0.1 * (4 - i) + 0.01 * seed}
        for seed in range(3) for i, group in enumerate(groups)
    ]  # fmt: skip
    found["ablations"] = pa.Table.from_pylist(ablations, schema=schema.run_columns("ablations"))
    matches = found["matches"].to_pandas().query("subset == 'alive'")
    columns = ["seed_a", "seed_b", "feature_a", "feature_b", "cosine"]
    explained = matches[columns].assign(agreement=matches["cosine"].abs(), chance=0.1, method="test")
    found["explanations"] = pa.Table.from_pandas(explained, preserve_index=False)
    return found


@pytest.mark.parametrize("name", list(BY_NAME))
def test_every_rule_measures_the_runs_it_asks_for(run: Run, name: str) -> None:
    claim = BY_NAME[name]
    wanted = claim.runs("paper") or claim.runs("standard")
    for request in wanted:
        parse_config(SaeConsistency(), request["preset"], request["config"])
    found = claim.measure([run] * len(wanted))
    assert found.verdict in ("shown", "not shown", "not tested")
    if found.verdict != "not tested":
        assert found.value is not None and found.seeds == 3
        assert found.low is None or found.high is None or found.low <= found.value <= found.high


def test_a_difference_of_equal_runs_is_never_shown(run: Run) -> None:
    same = ["topk_is_more_consistent_than_relu", "redundant_keeps_gt_and_loses_pw", "compressive_loses_both",
            "pw_mcc_peaks_at_true_sparsity", "gt_mcc_peaks_at_true_sparsity", "stability_from_a_shared_start",
            "pw_mcc_selects_k", "architecture_ordering", "topk_less_stable_than_relu_at_equal_l0"]  # fmt: skip
    for name in same:
        claim = BY_NAME[name]
        assert claim.measure([run] * len(claim.runs("standard"))).verdict != "shown", name


def with_column(run: Run, table: str, column: str, change: Any) -> Run:
    frame = run[table].to_pandas()
    frame[column] = change(frame[column])
    return {**run, table: pa.Table.from_pandas(frame, preserve_index=False)}


def test_rules_look_at_the_interval(run: Run) -> None:
    above = with_column(run, "pairs", "pw_mcc_abs", lambda values: values * 0 + 0.9)
    below = with_column(run, "pairs", "pw_mcc_abs", lambda values: values * 0 + 0.5)
    claim = BY_NAME["topk_is_more_consistent_than_relu"]
    assert claim.measure([above, below]).verdict == "shown"
    assert claim.measure([below, above]).verdict == "not shown"
    start = BY_NAME["stability_from_a_shared_start"]
    assert start.measure([above, below]).verdict == "shown"
    peak = BY_NAME["pw_mcc_peaks_at_true_sparsity"]
    assert peak.measure([below, above, below]).verdict == "shown"
    assert peak.measure([above, above, below]).verdict == "not shown"


def test_two_seeds_show_nothing(folder: Path) -> None:
    train([make_run(folder / "two", seeds=[0, 1], n_steps=40)])
    two = {path.stem: pq.read_table(path) for path in (folder / "two" / "tables").glob("*.parquet")}
    found = BY_NAME["topk_is_more_consistent_than_relu"].measure([two, two])
    assert (found.low, found.verdict) == (None, "not shown")


def test_ordering_wants_the_published_order_with_room(run: Run) -> None:
    levels = [0.9, 0.8, 0.7, 0.5, 0.4]
    runs = [
        with_column(run, "pairs", "pw_mcc_abs", lambda v, x=x: v * 0 + x) for x in levels for _ in range(4)
    ]
    found = BY_NAME["architecture_ordering"].measure(runs)
    assert found.value == pytest.approx(1) and found.verdict == "shown"
    assert BY_NAME["architecture_ordering"].measure(runs[::-1]).verdict == "not shown"


def test_equal_l0_is_interpolated_between_the_runs(run: Run) -> None:
    def at(l0: float, value: float) -> Run:
        changed = with_column(run, "saes", "l0", lambda v: v * 0 + l0)
        return with_column(changed, "pairs", "shared_share", lambda v: v * 0 + value)

    topk, relu = [at(10, 0.1), at(100, 0.3)], [at(20, 0.5), at(200, 0.7)]
    l0 = common_l0(topk, relu)
    assert l0[0] > 20 and l0[-1] < 100
    (middle,) = curve(topk, "shared_share", pd.Series([10**1.5]).to_numpy())
    assert middle == pytest.approx([0.2] * 3)
    assert not len(common_l0(topk, [at(300, 0.1), at(400, 0.2)]))
    shown = BY_NAME["topk_less_stable_than_relu_at_equal_l0"]
    assert shown.measure([*topk, *topk, *relu, *relu]).verdict == "shown"
