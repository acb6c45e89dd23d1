"""A run's own tables as foreign files: evaluations kept apart, stored junk, and what is said of malformed rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.errors import UserError
from engine.studies.sapo.foreign import evaluations, read_evaluation, read_file
from engine.studies.sapo.importing import summary
from tests.sapo.conftest import train
from tests.sapo.test_foreign import QUESTION


def test_our_own_parquet(tmp_path: Path) -> None:
    columns = {
        "seed": [0] * 4,
        "arm": ["base"] * 4,
        "rollout": [5] * 4,
        "step": [1, 1, 2, 2],
        "position": [0, 1, 0, 1],
    }
    table = pa.table({**columns, "token": ["", "7", "3", "7"], "confidence": [0.2, 0.9, 0.4, 0.9]})
    pq.write_table(table, tmp_path / "sapo_tokens.parquet")
    (generation,) = read_file(tmp_path / "sapo_tokens.parquet").generations
    assert generation.committed_at == [2, 1] and generation.text == "3 7"
    assert generation.details[1, 1]["confidence"] == 0.9


def rollouts(folder: Path, name: str = "sapo_rollouts.parquet", **changes: Any) -> Path:
    """Rollouts of a chain: seed 0's base sampled and greedy, its SAPO sampled and training, seed 1's base sampled; two each."""
    columns = {
        "seed": [0] * 8 + [1] * 2,
        "arm": ["base"] * 4 + ["sapo"] * 4 + ["base"] * 2,
        "rollout": [0, 1, 2, 3, 0, 1, 0, 1, 0, 1],
        "kind": ["sampled"] * 2 + ["greedy"] * 2 + ["sampled"] * 2 + ["training"] * 2 + ["sampled"] * 2,
        "prompt": ["9 + 3 * 3 + 3", "0 * 2 + 0 + 7"] * 5,
        "completion": ["we we we | 9", "0 0 7 | 7"] * 5,
        "exact": [True, False, False, False, True, True, True, True, False, False],
        "cell": [1.0, 0.5, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.25, 0.25],
        "junk": [True, False, None, False, False, False, True, True, True, True],
    }
    pq.write_table(pa.table({**columns, **changes}), folder / name)
    return folder / name


APART = {
    "sapo_rollouts.parquet, seed 0, arm base, kind sampled": (2, 0.5, 0.75, 0.5, 1.0),
    "sapo_rollouts.parquet, seed 0, arm base, kind greedy": (2, 0.0, 0.0, 0.0, None),
    "sapo_rollouts.parquet, seed 0, arm sapo, kind sampled": (2, 1.0, 1.0, 0.0, 0.0),
    "sapo_rollouts.parquet, seed 1, arm base, kind sampled": (2, 0.0, 0.25, 1.0, None),
}


def test_seeds_arms_and_kinds_of_a_run_are_kept_apart(tmp_path: Path) -> None:
    found = [summary(read_evaluation(one)) for one in evaluations([rollouts(tmp_path)])]
    names = ("n", "exact", "cell", "junk", "junk_given_correct")
    assert {one["file"]: tuple(one[name] for name in names) for one in found} == APART
    assert {one["task"] for one in found} == {"chain"}
    with pytest.raises(UserError, match=r"sapo_rollouts.parquet mixes 4 evaluations"):
        read_file(tmp_path / "sapo_rollouts.parquet")


def test_an_imported_run_has_a_row_per_evaluation_and_its_stored_junk(tmp_path: Path) -> None:
    run = train(tmp_path / "run", {"imported": str(rollouts(tmp_path))}, [0, 1, 2, 3])
    arms = pq.read_table(run / "tables" / "sapo_arms.parquet").to_pylist()
    assert [row["source"] for row in arms] == [f"{name} (Concordance Parquet)" for name in APART]
    assert [(row["seed"], row["junk"]) for row in arms] == [(0, 0.5), (1, 0.0), (2, 0.0), (3, 1.0)]
    kept = pq.read_table(run / "tables" / "sapo_rollouts.parquet").to_pylist()
    assert [row["junk"] for row in kept] == [True, False, False, False, False, False, True, True]


def test_junk_that_is_not_stored_is_rep3(tmp_path: Path) -> None:
    texts = ["we " * 60, "0 0 7 | 7"] * 5
    for changes in ({"junk": pa.nulls(10)}, {"junk": [None, True] * 5}):
        path = rollouts(tmp_path, completion=texts, **changes)
        told = [row.junk for row in read_evaluation(evaluations([path])[0]).generations]
        assert told == [True, changes["junk"][1] is True]


SPACED_GRID = "1 0 3 0 3 0 1 0 0 1 0 3 4 0 2 1"


@pytest.mark.parametrize(
    ("prompts", "name", "task"),
    [
        ([SPACED_GRID, SPACED_GRID], "sapo_rollouts.parquet", "sudoku"),
        (["3 4 5 27", "9 1 1 9"], "sapo_rollouts.parquet", "countdown"),
        (["9 + 3", "1 - 2 * 3"], "sudoku.parquet", "chain"),
        ([QUESTION, QUESTION], "sapo_rollouts.parquet", "countdown"),
        (["Solve this 4x4 Sudoku, its 16 cells: 1234341200004321\nEvery row"] * 2, "x.parquet", "sudoku"),
        (["Start with 3, then add 4."] * 2, "x.parquet", "chain"),
        ([SPACED_GRID, "Who was it?"], "sapo_rollouts.parquet", "text"),
        (["Who?", None], "gsm8k_rollouts.parquet", "gsm8k"),
    ],
)
def test_the_task_is_told_by_all_prompts_or_the_name(
    tmp_path: Path, prompts: list[str | None], name: str, task: str
) -> None:
    (first, *_) = evaluations([rollouts(tmp_path, name, prompt=prompts * 5)])
    assert read_evaluation(first).task == task
    assert read_evaluation(first, "math").task == "math"


def test_tokens_of_seeds_and_arms_are_kept_apart(tmp_path: Path) -> None:
    table = {"seed": [0, 0, 1], "arm": ["base", "sapo", "base"], "rollout": [0] * 3, "step": [1] * 3}
    path = tmp_path / "sapo_tokens.parquet"
    pq.write_table(pa.table({**table, "position": [0] * 3, "token": ["1", "2", "3"]}), path)
    found = [read_evaluation(one) for one in evaluations([path])]
    assert [[row.text for row in one.generations] for one in found] == [["1"], ["2"], ["3"]]
    assert found[1].name == "sapo_tokens.parquet, seed 0, arm sapo"


TOKENS: dict[str, Any] = {
    "rollout": [0, 0, 0],
    "step": [1, 1, 1],
    "position": [0, 1, 2],
    "token": ["7", "3", "|"],
    "confidence": [0.2, 0.9, 0.4],
}
NOT_TEXT = pa.array([b"a", b"\xff", b"b"]).view(pa.string())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"position": ["0", "1", "2"]}, "row 1: position is '0', a whole number from 0 to 99,999 is wanted"),
        ({"position": [0, 1, -1]}, "row 3: position is -1, a whole number from 0 to 99,999 is wanted"),
        ({"position": [0, 2**20, 1]}, "row 2: position is 1048576, a whole number from 0 to 99,999 is wanted"),
        ({"step": [0, 2**40, 1]}, "row 2: step is 1099511627776, a whole number is wanted"),
        ({"position": [0, None, 1]}, "row 2: position is missing, a whole number from 0"),
        ({"token": [7, 3, 4]}, "row 1: token is 7, text is wanted"),
        ({"token": ["7", None, "|"]}, "row 2: token is missing, text is wanted"),
        ({"token": NOT_TEXT}, "row 2: token is unreadable, text is wanted"),
        ({"step": [None, "one", "two"]}, "row 2: step is 'one', a whole number is wanted"),
        ({"step": [1.0, 1.5, 2.0]}, "row 2: step is 1.5, a whole number is wanted"),
        ({"step": [1.0, np.nan, 2.0]}, "row 2: step is nan, a whole number is wanted"),
        ({"rollout": [[0], [0], [0]]}, "row 1: rollout is [0], a whole number is wanted"),
        ({"confidence": ["high", "x" * 90, "low"]}, "row 1: confidence is 'high', a number is wanted"),
        ({"seed": [0, 0, None]}, "row 3: seed is missing, a whole number is wanted"),
    ],
)  # fmt: skip
def test_the_row_of_tokens_that_are_malformed_is_named(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    path = tmp_path / "sapo_tokens.parquet"
    pq.write_table(pa.table({**TOKENS, **changes}), path)
    for read in (read_file, lambda path: evaluations([path])):
        with pytest.raises(UserError, match="imported") as caught:
            read(path)
        assert caught.value.message.startswith(f"sapo_tokens.parquet, {said}")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"exact": [None, "yes"] * 5}, "row 2: exact is 'yes', true or false is wanted"),
        ({"exact": [1, 0] * 5}, "row 1: exact is 1, true or false is wanted"),
        ({"cell": ["a lot", "none"] * 5}, "row 1: cell is 'a lot', a number is wanted"),
        ({"prompt": [3, 4] * 5}, "row 1: prompt is 3, text is wanted"),
        ({"completion": ["9", None] * 5}, "row 2: completion is missing, text is wanted"),
        ({"junk": ["no"] * 10}, "row 1: junk is 'no', true or false is wanted"),
        ({"kind": ["training"] * 9 + [None]}, "row 10: kind is missing, text is wanted"),
        ({"kind": ["training"] * 10}, "row 1: it holds no generations, or training ones alone"),
    ],
)  # fmt: skip
def test_the_row_of_rollouts_that_are_malformed_is_named(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match="imported") as caught:
        evaluations([rollouts(tmp_path, **changes)])
    assert caught.value.message.startswith(f"sapo_rollouts.parquet, {said}")


def test_a_column_whose_name_is_no_text_is_said(tmp_path: Path) -> None:
    path = rollouts(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"junk", b"j\xffnk"))
    with pytest.raises(UserError, match="no readable Parquet"):
        read_file(path)


def test_other_types_of_the_same_kind_are_taken(tmp_path: Path) -> None:
    changes = {
        "position": pa.array([0.0, 1.0, 2.0]),
        "token": pa.array(["7", "3", "|"], pa.large_string()).dictionary_encode(),
        "confidence": pa.array([1, 0, 1], pa.int8()),
        "entropy": pa.nulls(3),
    }
    pq.write_table(pa.table({**TOKENS, **changes}), tmp_path / "sapo_tokens.parquet")
    (generation,) = read_file(tmp_path / "sapo_tokens.parquet").generations
    assert generation.text == "7 3 |"
    assert generation.details[1, 1] == {"argmax": None, "confidence": 0.0, "entropy": None, "block": None}
