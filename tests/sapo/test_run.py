"""A whole run at the smallest size: reproducible to the byte, resumable, matched, and complete."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.errors import UserError
from engine.run import damaged_files
from engine.studies.base import parse_config
from engine.studies.sapo import Sapo
from engine.studies.sapo.base_models import base_identity
from engine.studies.sapo.config import ARMS
from engine.studies.sapo.live import LiveRequest, answer
from tests.sapo.conftest import TINY, open_run, train, train_with_stops
from tests.training import results


def rows(folder: Path, name: str):  # type: ignore[no-untyped-def]
    return pq.read_table(folder / "tables" / f"{name}.parquet").to_pandas()


def test_every_table_is_there_and_sound(tiny_run: Path) -> None:
    assert {path.stem for path in (tiny_run / "tables").glob("*.parquet")} == {*Sapo.tables, "metrics"}
    assert damaged_files(tiny_run) == []
    arms = rows(tiny_run, "sapo_arms")
    assert arms.groupby("seed")["arm"].apply(list).tolist() == [["base", *ARMS]] * 2


def test_a_resumed_run_has_the_same_bytes(tiny_run: Path, tmp_path: Path) -> None:
    stops = train_with_stops(tmp_path / "tiny", TINY, [0, 1], every=2)
    assert stops >= 2
    assert results(tmp_path / "tiny") == results(tiny_run)


def test_a_seed_does_not_depend_on_its_companions(tiny_run: Path, tmp_path: Path) -> None:
    alone = results(train(tmp_path / "alone", TINY, [1]))
    together = results(tiny_run)
    weights = [name for name in alone if name.endswith(".safetensors")]
    assert len(weights) == 1 + len(ARMS)
    assert [alone[name] == together[name] for name in weights] == [True] * len(weights)


def test_matched_arms_take_as_many_passes(tiny_run: Path) -> None:
    for _, arms in rows(tiny_run, "sapo_arms").groupby("seed"):
        passes = arms.set_index("arm")["passes"]
        iteration = TINY["prompts"] * TINY["group_size"] * 4
        assert passes["sapo"] > passes["diffu_grpo"] == 3 * iteration
        assert 0 <= passes["grpo_longer"] - passes["sapo"] < iteration
        assert abs(passes["grpo_wider"] - passes["sapo"]) <= 0.5 * TINY["prompts"] * 4 * TINY["iterations"]


def test_arms_start_from_the_same_base(tiny_run: Path) -> None:
    curve = rows(tiny_run, "sapo_curve")
    start = curve[(curve["split"] == "validation") & (curve["iteration"] == 0)]
    assert (start.groupby("seed")["exact"].nunique() == 1).all()
    longer, plain = (curve[curve["arm"] == arm].drop(columns="arm") for arm in ("grpo_longer", "diffu_grpo"))
    merged = longer.merge(plain, on=["seed", "iteration", "split"], suffixes=("", "_plain"))
    shared = merged[merged["iteration"] < TINY["iterations"]]
    assert (shared["reward"] == shared["reward_plain"]).all() and len(shared) > 0


def test_trajectories_hold_every_step(tiny_run: Path) -> None:
    tokens = rows(tiny_run, "sapo_tokens")
    one = tokens[(tokens["seed"] == 0) & (tokens["arm"] == "sapo") & (tokens["rollout"] == 0)]
    assert len(one) == 4 * 4
    for _, cell in one.groupby("position"):
        committed = cell["committed_at"].iloc[0]
        assert ((cell["token"] != "") == (cell["step"] >= committed)).all()
    assert one["confidence"].between(0, 1).all() and (one["entropy"] >= 0).all()


def test_process_rewards_can_be_traced_to_their_branches(tiny_run: Path) -> None:
    rollouts = rows(tiny_run, "sapo_rollouts")
    branches = rows(tiny_run, "sapo_branches")
    kept = rollouts[(rollouts["kind"] == "training") & (rollouts["arm"] == "process_only")]
    assert len(kept) == 2 * 2 * TINY["group_size"]
    for _, group in kept.assign(prompt_number=kept["rollout"] // TINY["group_size"]).groupby(
        ["seed", "prompt_number"]
    ):
        for row in group.itertuples():
            mine = branches[
                (branches["seed"] == row.seed)
                & (branches["arm"] == row.arm)
                & (branches["rollout"] == row.rollout)
            ]
            assert (mine["parent_step"] == row.t1).all() and len(mine) == 2
            assert row.process == pytest.approx(mine["correct"].mean() - group["correct"].mean())
            assert row.advantage == pytest.approx(row.process)


def test_value_curve_is_that_of_rollouts_that_end_right(tiny_run: Path) -> None:
    steps = rows(tiny_run, "sapo_steps")
    exact = rows(tiny_run, "sapo_arms").set_index(["seed", "arm"])["exact"]
    for place, curve in steps.groupby(["seed", "arm"]):
        assert curve["step"].tolist() == [0, 1, 2, 3, 4]
        right = round(exact[place] * TINY["eval_prompts"])
        assert curve["n"].iloc[-1] == min(right, TINY["value_prompts"])
        if not right:
            assert curve[["value", "low", "high", "gain"]].isna().all(axis=None)
            continue
        assert curve["value"].iloc[-1] == 1
        assert ((curve["low"] <= curve["value"]) & (curve["value"] <= curve["high"])).all()
        assert curve["value"].diff().iloc[1:].tolist() == pytest.approx(curve["gain"].iloc[1:].tolist())


def test_live_denoising_and_remasking(tiny_run: Path) -> None:
    request = LiveRequest(arm="sapo", seed=1, prompt="3 + 4 * 2", repeats=5, sample=3)
    first, again = answer(tiny_run, request), answer(tiny_run, request)
    assert first == again and len(first["steps"]) == 16 and len(first["completions"]) == 5
    span = LiveRequest(arm="sapo", seed=1, prompt="3 + 4 * 2", completion="7 4 | 4", span=[3], repeats=8)
    found = answer(tiny_run, span)
    assert {text.rsplit(" ", 1)[0] for text in found["completions"]} == {"7 4 |"}
    assert len(found["steps"]) == 4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arm": "grpo"}, "holds no policy grpo"),
        ({"prompt": "3 + 4 x 2"}, "'x' is no word"),
        ({"prompt": "3 3 3 3 3"}, "an operator and a digit in turn"),
        ({"prompt": "3 + | * 2"}, "an operator and a digit in turn"),
        ({"completion": "7 4 | 4", "span": [9]}, "from 0 to 3"),
        ({"completion": "7 4 |", "span": [1]}, "3 words given where this task has 4"),
        ({"completion": "7 <mask> | 4", "span": [1]}, "holds the mask itself"),
        ({"denoising_steps": 9}, "do not fit"),
    ],
)
def test_live_requests_that_cannot_be_met(tiny_run: Path, changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        answer(tiny_run, LiveRequest(**{"prompt": "3 + 4 * 2", **changes}))  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["countdown", "sudoku"])
def test_the_other_tasks_run_too(task: str, tmp_path: Path) -> None:
    config = {
        **TINY,
        "task": task,
        "arms": "diffu_grpo,sapo",
        "iterations": 1,
        "base_steps": 20,
        "t2": "earlier",
    }
    folder = train(tmp_path / task, config, [0])
    arms = rows(folder, "sapo_arms")
    assert arms["exact"].notna().all() and arms["junk"].isna().all() == (task == "sudoku")
    assert len(rows(folder, "sapo_spans")) == 3 * (4 if task == "sudoku" else 3)


def test_a_base_can_come_from_another_run(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path))
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "tiny").symlink_to(tiny_run)
    config = {**TINY, "start_from": "run:tiny", "arms": "diffu_grpo"}
    found = results(train(tmp_path / "again", config, [0]))
    name = "policy-seed-0-diffu_grpo.safetensors"
    assert found[name] == results(tiny_run)[name]
    with pytest.raises(UserError, match="has 16"):
        train(tmp_path / "wider", {**config, "width": 32}, [0])


def test_a_value_curve_rises_from_the_success_rate_to_one(tmp_path: Path) -> None:
    """All rollouts together would give the success rate at every step; those that end right say when that was decided."""
    config = {
        "eval_prompts": 300,
        "value_prompts": 100,
        "value_rollouts": 4,
        "arms": "diffu_grpo",
        "iterations": 1,
    }
    folder = train(tmp_path / "run", parse_config(Sapo(), "tour", config).model_dump(), [0])
    curve = rows(folder, "sapo_steps").query("arm == 'base'")["value"].tolist()
    rate = rows(folder, "sapo_arms").query("arm == 'base'")["exact"].item()
    assert rate < curve[0] < 0.85 and curve[-1] == 1
    assert curve[-2] > curve[0] + 0.05


def test_a_few_iterations_from_the_bundled_base_raise_the_reward(tmp_path: Path) -> None:
    config = parse_config(Sapo(), "tour", {"arms": "diffu_grpo", "iterations": 8}).model_dump()
    curve = rows(train(tmp_path / "run", config, [0]), "sapo_curve").query("split == 'training'")
    reward = curve.sort_values("iteration")["reward"].tolist()
    assert sum(reward[-3:]) / 3 > reward[0] + 0.1


def test_the_bundled_base_is_refused_under_another_number_of_heads() -> None:
    config = parse_config(Sapo(), "tour", {"heads": 2})
    with pytest.raises(UserError, match="base of bundled has 4"):
        base_identity(config, [0])


def test_the_bundled_base_knows_something(tmp_path: Path) -> None:
    sizes = {
        "chain_length": 3,
        "width": 64,
        "layers": 2,
        "heads": 4,
        "eval_prompts": 100,
        "value_rollouts": 1,
    }
    config = {**TINY, **sizes, "start_from": "bundled", "arms": "diffu_grpo", "iterations": 1}
    arms = rows(train(tmp_path / "bundled", config, [0]), "sapo_arms").set_index("arm")
    assert arms.loc["base", "exact"] > 0.15 and arms.loc["base", "iterations"] == 0


def test_llada_never_runs_beside_transformers_5(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs transformers below 5, in the environment llada"):
        Sapo().train(open_run(tmp_path / "llada", {"policy": "llada"}, [0]))
