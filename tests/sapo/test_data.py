"""Tasks: what they ask, how answers are scored, and that splits share no prompt."""

from fractions import Fraction

import numpy as np
import pytest

from data.sapo import Chain, Countdown, Split, Sudoku, Task, evaluate, grids_of, make_task, solved_grids

TASKS: list[Task] = [Chain(3), Countdown(), Sudoku(10)]
SPLITS: tuple[Split, ...] = ("base", "train", "validation", "test")


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_its_own_completions_score_full_marks(task: Task) -> None:
    found = task.examples(np.random.default_rng(0), 50, "train")
    assert found.prompts.shape == (50, task.prompt_length)
    scores = task.scores(found.prompts, found.completions)
    assert scores.exact.all() and scores.cell.all() and scores.reward.all()
    if task.trace:
        assert scores.trace_valid.all() and not scores.junk.any()
        ruined = task.with_junk(np.random.default_rng(1), found.completions, 1.0)
        scores = task.scores(found.prompts, ruined)
        assert scores.exact.all() and scores.junk.all() and not scores.trace_valid.any()


@pytest.mark.parametrize("task", TASKS[:2], ids=lambda task: task.name)
def test_splits_share_no_problem(task: Task) -> None:
    def problems(split: Split) -> set[tuple[int, ...]]:
        prompts = task.examples(np.random.default_rng(2), 400, split).prompts
        if task.name == "countdown":
            prompts = np.column_stack([np.sort(prompts[:, :3], axis=1), prompts[:, 3]])
        return set(map(tuple, prompts.tolist()))

    base, train, validation, test = map(problems, SPLITS)
    assert not (base | train) & validation and not (base | train) & test and not validation & test
    assert task.name == "chain" or not base & train


def test_sudoku_splits_share_no_grid() -> None:
    assert len(solved_grids()) == 288
    seen = [set(map(tuple, grids_of(split).tolist())) for split in SPLITS]
    assert [len(grids) for grids in seen] == [202, 202, 43, 43] and len(set.union(*seen)) == 288
    for split, grids in zip(SPLITS, seen, strict=True):
        solutions = Sudoku(8).examples(np.random.default_rng(0), 200, split).completions
        assert set(map(tuple, solutions.tolist())) <= grids


def test_every_sudoku_has_one_solution() -> None:
    puzzles = Sudoku(11).examples(np.random.default_rng(0), 50, "train").prompts
    assert ((puzzles == 0).sum(axis=1) == 11).all()
    for puzzle in puzzles:
        agree = ((solved_grids() == puzzle) | (puzzle == 0)).all(axis=1)
        assert agree.sum() == 1


@pytest.mark.parametrize(
    ("task", "text", "said"),
    [
        (Sudoku(10), "1 1" + " 0" * 14, "no solutions"),
        (Sudoku(10), "0" + " 0" * 15, "288 solutions"),
        (Countdown(), "3 4 10 27", "three numbers from 1 to 9"),
        (Countdown(), "( ) = |", "three numbers from 1 to 9"),
        (Chain(3), "+ + + + + + +", "an operator and a digit in turn"),
    ],
)
def test_a_prompt_that_cannot_be_scored_is_refused(task: Task, text: str, said: str) -> None:
    task.check_prompt(task.examples(np.random.default_rng(0), 1, "test").prompts[0])
    with pytest.raises(ValueError, match=said):
        task.check_prompt(task.ids(text, task.prompt_length))


def test_sudoku_counts_blank_cells_and_whole_grids() -> None:
    task = Sudoku(4)
    found = task.examples(np.random.default_rng(0), 1, "train")
    wrong = found.completions.copy()
    blank = np.flatnonzero(found.prompts[0] == 0)[0]
    wrong[0, blank] = wrong[0, blank] % 4 + 1
    scores = task.scores(found.prompts, wrong)
    assert scores.cell[0] == 0.75 and scores.exact[0] == 0 and scores.reward[0] == 0.75


def countdown(trace: str, answer: str, problem: str = "3 5 2 16") -> tuple[float, float, float]:
    task = Countdown()
    prompt, completion = task.ids(problem, 4), task.ids(f"{trace} | {answer}", 18)
    scores = task.scores(prompt[None], completion[None])
    return float(scores.reward[0]), float(scores.exact[0]), float(scores.trace_valid[0])


@pytest.mark.parametrize(
    ("trace", "answer", "expected"),
    [
        ("3 + 5 = 8 8 * 2 = 16", "( 3 + 5 ) * 2", (1, 1, 1)),
        ("5 + 3 = 8 8 * 2 = 16", "( 3 + 5 ) * 2", (1, 1, 0)),
        ("we we we we we we we we we we", "( 3 + 5 ) * 2", (1, 1, 0)),
        ("3 + 5 = 9 9 * 2 = 16", "( 3 + 5 ) * 2", (1, 1, 0)),
        ("3 + 5 = 8 8 - 2 = 6", "( 3 + 5 ) - 2", (0.1, 0, 0)),
        ("3 + 5 = 8 8 * 2 = 16", "( 8 + 8 ) * 1", (0, 0, 0)),
        ("3 + 5 = 8 8 * 2 = 16", "3 + 5 ) * ( 2", (0, 0, 0)),
    ],
)
def test_countdown_scores(trace: str, answer: str, expected: tuple[float, float, float]) -> None:
    assert countdown(trace, answer) == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(99-51)+13", 61),
        ("1/3*3", 1),
        ("7/2", Fraction(7, 2)),
        ("-3+5", 2),
        ("2**9", None),
        ("1/0", None),
        ("abs(3)", None),
        ("1.5+2", None),
        ("(" * 150, None),
        ("", None),
    ],
)
def test_exact_values(text: str, value: object) -> None:
    assert evaluate(text) == value


def test_words_are_checked() -> None:
    with pytest.raises(ValueError, match="'x' is no word"):
        Chain(2).ids("x + 1 + 1", 5)
    with pytest.raises(ValueError, match="3 words given where this task has 5"):
        make_task("chain", 2, 4).ids("1 + 1", 5)
