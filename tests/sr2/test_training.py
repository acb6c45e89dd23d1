"""Training: it learns, seeds and resumes repeat to the byte, tables agree with each other, own puzzles are solved."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from data.files import write_json
from engine import schema
from engine.errors import UserError
from engine.events import read_events
from engine.run import Run, Stopped
from engine.studies.sr2 import Sr2
from engine.studies.sr2.config import Config
from engine.studies.sr2.solving import solve
from engine.studies.sr2.trainer import Trainer
from engine.studies.sr2.training import train
from tests.training import results

TINY: dict[str, Any] = {
    "side": 4, "clues": 8, "blocks": 3, "recurrences": 2, "d_model": 16, "heads": 2, "d_inner": 32, "batch_size": 8,
    "n_train": 60, "n_validation": 20, "n_test": 30, "budget": "steps", "n_steps": 40, "evaluations": 4,
    "checkpoint_every": 7, "kept_puzzles": 3,
}  # fmt: skip


def open_run(folder: Path, seeds: list[int], **changes: Any) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    config = Config(**{**TINY, **changes})
    record = {"id": folder.name, "study": "sr2", "seeds": seeds, "data_seed": 0}
    write_json(folder / "config.json", {**record, "config": config.model_dump(mode="json")})
    return Run(folder, config)


def finished(folder: Path, seeds: list[int], **changes: Any) -> Path:
    train([open_run(folder, seeds, **changes)], lambda run: run.finish())
    return folder


def table(folder: Path, name: str) -> pd.DataFrame:
    return pq.read_table(folder / "tables" / f"{name}.parquet").to_pandas()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("sr2") / "whole", [0, 1, 2])


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Asks the run under "run" to stop after each of the steps under "at", counted over all seeds and attempts."""
    plan: dict[str, Any] = {"at": set(), "count": 0}
    original = Trainer.step

    def step(self: Trainer, *batch: Any) -> None:
        original(self, *batch)
        plan["count"] += 1
        if plan["count"] in plan["at"]:
            plan["run"].should_stop = True

    monkeypatch.setattr(Trainer, "step", step)
    yield plan


def test_stopped_in_the_middle_of_a_batch_it_resumes_to_identical_bytes(
    run: Path, tmp_path: Path, stop_after: dict[str, Any]
) -> None:
    stop_after["at"] = {31, 70, 100}
    stopped = 0
    while True:
        again = stop_after["run"] = open_run(tmp_path / "stopped", [0, 1, 2])
        try:
            train([again], lambda run: run.finish())
            break
        except Stopped:
            stopped += 1
    assert stopped == 3
    assert results(tmp_path / "stopped") == results(run)
    assert set(Sr2.tables) < {name.removesuffix(".parquet") for name in results(run)}


def test_a_seed_does_not_depend_on_its_companions(run: Path, tmp_path: Path) -> None:
    alone = finished(tmp_path / "alone", [1])
    name = "seed-1.safetensors"
    assert (alone / "tensors" / name).read_bytes() == (run / "tensors" / name).read_bytes()


def test_tables_have_their_declared_columns_and_agree(run: Path) -> None:
    for name in Sr2.tables:
        assert pq.read_schema(run / "tables" / f"{name}.parquet").equals(schema.run_columns(name)), name
    models, iterations, cells = (table(run, f"sr2_{n}") for n in ("models", "iterations", "cells"))
    boards, puzzles = table(run, "sr2_boards"), table(run, "sr2_puzzles")
    last = iterations[iterations["trained"]].groupby("seed")["iteration"].max()
    assert (last == 6).all() and iterations["iteration"].max() == 12
    at_end = iterations[iterations["iteration"] == 6].set_index("seed")["exact"]
    assert (models.set_index("seed")["exact"] == at_end).all()
    assert len(cells) == 3 * 3 * 12 * 16 and len(boards) == 3 * 3 * 12
    by_board = boards.set_index(["seed", "puzzle", "iteration"])
    for place, mine in cells.groupby(["seed", "puzzle", "iteration"]):
        tokens = "".join(map(str, mine.sort_values("cell")["token"]))
        row, puzzle = by_board.loc[place], place[1]
        assert row["exact"] == (tokens == puzzles["solution"][puzzle]) == mine["correct"].all()
        assert row["residual"] == pytest.approx(np.sqrt((mine["residual"] ** 2).sum()), rel=1e-5)
        broken = row[["row", "column", "box", "given"]].astype(int)
        assert pd.isna(row["path"]) and (broken.sum() == 0 or not row["exact"])
    assert cells["confidence"].between(0, 1).all() and (cells["entropy"] >= -1e-6).all()
    attention = table(run, "sr2_attention").groupby(["seed", "puzzle", "block", "head", "cell"])["weight"]
    assert np.allclose(attention.sum(), 1, atol=1e-5)
    assert set(table(run, "sr2_consistency")["block"]) == set(range(6))


def test_selection_is_by_validation(run: Path) -> None:
    validation, models = table(run, "sr2_validation"), table(run, "sr2_models")
    for _, model in models.iterrows():
        mine = validation[validation["seed"] == model["seed"]]
        best = mine.sort_values(["exact", "cell", "step"], ascending=[False, False, True]).iloc[0]
        assert (best["step"], best["exact"]) == (model["selected_step"], model["validation_exact"])


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "feed_forward", "layers": 2}, {"model": "hrm"}, {"model": "trm"}, {"alignment": False},
        {"weights": "unshared"}, {"puzzle": "maze", "side": 7, "n_train": 20, "n_validation": 8, "n_test": 8},
    ],
)  # fmt: skip
def test_every_model_and_mazes_train_and_leave_their_tables(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = finished(tmp_path / "run", [0], **{**changes, "n_steps": 6, "evaluations": 2})
    assert len(table(folder, "sr2_models")) == 1
    boards = table(folder, "sr2_boards")
    assert boards["path"].notna().all() == ("puzzle" in changes) == boards["row"].isna().all()


def test_it_learns_what_a_small_net_can(tmp_path: Path) -> None:
    """Easy boards (14 of 16 cells given): the open cells follow from one row or column."""
    folder = finished(
        tmp_path / "run", [0], clues=13, n_train=2_000, n_steps=240, d_model=32, d_inner=64, batch_size=16,
        learning_rate=3e-3, warmup_steps=20, evaluations=4, ema=0.9,
    )  # fmt: skip
    losses = table(folder, "metrics").query("name == 'loss'").sort_values("step")["value"]
    assert losses.iloc[-1] < 0.5 * losses.iloc[0]
    assert table(folder, "sr2_models")["cell"][0] > 0.8


def test_own_puzzles_are_solved_with_the_weights_that_were_chosen(run: Path) -> None:
    given = table(run, "sr2_puzzles")["given"][0]
    found = solve(run, 1, given)
    assert found["status"] == "one solution" and len(found["iterations"]) == 6
    stored = table(run, "sr2_cells").query("seed == 1 and puzzle == 0").sort_values(["iteration", "cell"])
    tokens = np.array([iteration["tokens"] for iteration in found["iterations"]])
    assert tokens.ravel().tolist() == stored.query("iteration <= 6")["token"].tolist()
    residuals = [iteration["residual"] for iteration in found["iterations"]]
    boards = table(run, "sr2_boards").query("seed == 1 and puzzle == 0 and iteration <= 6")
    assert residuals == pytest.approx(boards.sort_values("iteration")["residual"].tolist(), rel=1e-4)
    assert len(solve(run, 1, given, blocks=10)["iterations"]) == 20


@pytest.mark.parametrize(
    ("text", "status"), [("1" + "0" * 15, "several solutions"), ("11" + "0" * 14, "invalid")]
)
def test_other_puzzles_are_named_and_run_all_the_same(run: Path, text: str, status: str) -> None:
    found = solve(run, 0, text)
    assert found["status"] == status and found["solution"] is None
    assert len(found["iterations"]) == 6 and found["iterations"][0]["solved"] is None


@pytest.mark.parametrize(
    ("seed", "text", "blocks", "field"),
    [(9, "0" * 16, None, "seed"), (0, "12", None, "puzzle"), (0, "0" * 16, 999, "blocks")],
)
def test_what_cannot_be_solved_is_refused_by_name(
    run: Path, seed: int, text: str, blocks: int | None, field: str
) -> None:
    with pytest.raises(UserError) as refused:
        solve(run, seed, text, blocks)
    assert refused.value.field == field


def test_a_loss_that_runs_away_fails_with_the_field(tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        finished(
            tmp_path / "run", [0], learning_rate=1.0, weight_decay=10.0, n_steps=400, warmup_steps=0, ema=0.0
        )
    assert refused.value.field == "learning_rate"


def test_a_run_that_fails_leaves_the_others_of_its_launch_going_on(tmp_path: Path) -> None:
    impossible = open_run(tmp_path / "bad", [0], search_only=True)
    good = open_run(tmp_path / "good", [0], n_steps=4, evaluations=1)
    train([impossible, good], lambda run: run.finish())
    assert impossible.ended and not (tmp_path / "bad" / "manifest.json").exists()
    assert (tmp_path / "good" / "manifest.json").exists()


def test_bfloat16_trains_close_to_float32_and_is_a_run_of_its_own(tmp_path: Path) -> None:
    """The same puzzles and starting weights; products in bfloat16 keep about three digits."""
    losses = {}
    for precision in ("float32", "bfloat16"):
        folder = finished(tmp_path / precision, [0], precision=precision, n_steps=6)
        rows = [
            row
            for row in read_events(folder / "events.jsonl", 0)[0]
            if row["kind"] == "log" and "loss" in row
        ]
        losses[precision] = np.array([row["loss"] for row in rows])
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.02)
    assert (losses["bfloat16"] != losses["float32"]).any()
