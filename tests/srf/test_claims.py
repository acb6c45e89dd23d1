"""The rules of the claims on made-up figures, and the configs they and the presets name."""

from typing import Any

import pyarrow as pa
import pytest

from engine.studies.base import Measurement, parse_config
from engine.studies.srf import Srf
from engine.studies.srf.claims import CLAIMS
from engine.studies.srf.config import Config
from engine.tables.srf import SRF

BY_NAME = {claim.name: claim for claim in CLAIMS}
Tables = dict[str, pa.Table]
Rows = list[dict[str, Any]]


def table(name: str, rows: Rows) -> pa.Table:
    columns = pa.schema(list(SRF[name].items()))
    return pa.Table.from_pylist(
        [{column: row.get(column) for column in columns.names} for row in rows], schema=columns
    )


def near(value: float, spread: float = 0.01) -> list[float]:
    return [value + spread * step for step in (-1, -0.5, 0, 0.5, 1)]


def measure(name: str, *tables: Tables) -> Measurement:
    return BY_NAME[name].measure(list(tables))


def filtered(kept: list[float], whole: list[float], name: str = "triangle", auc: float = 0.7) -> Rows:
    """200 of 1,000 triplets kept, five seeds."""
    return [
        {"seed": seed, "round": 1, "filter": name, "kept_share": x, "precision": values[seed], "kept": n, "auc": auc}
        for seed in range(5) for x, values, n in ((0.2, kept, 200), (1.0, whole, 1_000))
    ]  # fmt: skip


def retrained(arm: str, values: list[float], round_: int = 1, column: str = "exact_shifted") -> Rows:
    return [{"seed": seed, "round": round_, "arm": arm, column: values[seed]} for seed in range(5)]


def test_kept_triplets_are_compared_with_those_left_out() -> None:
    rows = filtered(near(0.9), [0.8] * 5)
    found = measure("kept_beats_excluded", {"srf_filters": table("srf_filters", rows)})
    assert (
        found.verdict == "shown"
        and found.baseline == pytest.approx(0.775)
        and found.value == pytest.approx(0.125)
    )
    rows = filtered(near(0.8, 0.1), [0.8] * 5)
    assert measure("kept_beats_excluded", {"srf_filters": table("srf_filters", rows)}).verdict == "not shown"


def test_rivals_are_paired_by_seed_and_a_missing_one_is_not_tested() -> None:
    rows = filtered(near(0.9), near(0.8)) + filtered([one - 0.02 for one in near(0.9)], near(0.8), "random")
    tables = {"srf_filters": table("srf_filters", rows)}
    assert measure("beats_random", tables).verdict == "shown" and measure(
        "beats_random", tables
    ).low == pytest.approx(0.02)
    assert measure("beats_confidence", tables).verdict == "not tested"


def test_a_weak_generator_is_judged_by_the_upper_end() -> None:
    good = {"srf_filters": table("srf_filters", filtered(near(0.9), near(0.8), auc=0.75))}
    weak = {"srf_filters": table("srf_filters", filtered(near(0.3), near(0.3), auc=0.5))}
    found = measure("useless_when_weak", good, weak)
    assert found.verdict == "shown" and found.baseline == pytest.approx(0.75) and found.chance == 0.5
    assert measure("useless_when_weak", good, good).verdict == "not shown"


def test_a_generator_must_be_competent_with_its_whole_interval() -> None:
    def generators(vqa: list[float]) -> Tables:
        rows = [{"seed": i, "round": 1, "kind": "multi_task", "vqa": vqa[i], "tied_share": 0.7, "score_mean": 0.9, "shuffled_score": 0.5,
                 "precision": 0.8, "distinct2": 0.4} for i in range(5)]  # fmt: skip
        rows += [{"seed": i, "round": 1, "kind": kind, "vqa": 0.9, "precision": 0.1 + 0.3 * (kind == "reused"), "distinct2": 0.3}
                 for i in range(5) for kind in ("prompted", "reused")]  # fmt: skip
        return {"srf_generators": table("srf_generators", rows)}

    assert measure("competent_generator", generators(near(0.95))).verdict == "shown"
    assert measure("competent_generator", generators(near(0.9))).verdict == "not shown"
    assert measure("about_the_image", generators(near(0.9))).value == pytest.approx(0.4)
    found = measure("multi_task_more_precise", generators(near(0.9)))
    assert found.value == pytest.approx(0.7) and found.baseline == pytest.approx(0.4)


def test_of_several_arms_the_hardest_counts() -> None:
    rows = (
        retrained("triangle", near(0.9))
        + retrained("triangle_5", near(0.8))
        + retrained("no_filter", near(0.91))
    )
    found = measure("inverted_u", {"srf_arms": table("srf_arms", rows)})
    assert found.verdict == "not shown" and found.value == pytest.approx(-0.01)


def test_the_second_round_is_compared_by_gains() -> None:
    rows = retrained("base", near(0.80)) + retrained("triangle", near(0.86))
    rows += retrained("base", near(0.86), 2) + retrained("triangle", near(0.87), 2)
    found = measure("second_round_adds_less", {"srf_arms": table("srf_arms", rows)})
    assert (
        found.verdict == "shown"
        and found.value == pytest.approx(0.05)
        and found.baseline == pytest.approx(0.01)
    )


def test_one_seed_shows_nothing() -> None:
    rows = [
        row for row in retrained("triangle", near(0.9)) + retrained("base", near(0.5)) if row["seed"] == 0
    ]
    found = measure("refined_beats_base_shifted", {"srf_arms": table("srf_arms", rows)})
    assert found.verdict == "not shown" and found.low is None


def test_claims_and_presets_name_configs_that_exist() -> None:
    for claim in CLAIMS:
        assert claim.min_seeds == 5 and claim.runs("tour") == []
        for wanted in claim.runs("standard"):
            parse_config(Srf(), wanted["preset"], wanted["config"])
    seconds = {name: Srf().estimate(parse_config(Srf(), name, {}), 5)["seconds"] for name in Srf.presets}
    named = {wanted["preset"] for claim in CLAIMS for wanted in claim.runs("standard")}
    assert sum(seconds[name] for name in named) < 90 * 60
    assert Srf().estimate(parse_config(Srf(), "tour", {}), 3)["seconds"] < 60


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"arms": "triangle,psychic"}, "arms"), ({"pictures": "folder"}, "folder"), ({"pictures": "emoji"}, "start"),
        ({"sweep": [0.005]}, "sweep"), ({"sweep": [1.0]}, "sweep"), ({"task_shares": [0.5, 0.0, 0.5]}, "task_shares"),
        ({"model": "large"}, "model_id"), ({"selection": "a.json"}, "selection_run"), ({"keep": 0.0}, "keep"),
        ({"pictures": "folder", "folder": "x", "start": "none"}, "arms"), ({"n_test": 5_000}, "n_test"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_by_name(config: dict[str, Any], field: str) -> None:
    from engine.errors import UserError

    with pytest.raises(UserError) as refused:
        parse_config(Srf(), None, config)
    assert refused.value.field == field and refused.value.message


def test_a_large_model_is_refused_where_there_is_no_gpu() -> None:
    from engine.errors import UserError
    from engine.executors import gpu_names

    if gpu_names():
        pytest.skip("this machine has a GPU")
    config = Config(model="large", model_id="llava-hf/llava-1.5-7b-hf")
    with pytest.raises(UserError, match="NVIDIA GPU"):
        Srf().fingerprint(config, [0])


def test_arms_follow_the_settings() -> None:
    config = Config(arms="triangle,oracle", rounds=2, sweep=(0.5,), contrast=False)
    assert config.arms_of(1) == ("triangle", "oracle", "triangle_50") and config.arms_of(2) == ("triangle",)
    tied = Config(arms="base", tie_break="log_probability", sweep=(), rounds=2)
    assert tied.arms_of(1) == ("base", "triangle_tied") and tied.arms_of(2) == ("triangle_tied",)
    assert Config(selection="a", selection_run="b").arms_of(1) == ("no_selection", "random", "selection")
