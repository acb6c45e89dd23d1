"""Tasks in words: questions that can be read back, d1's rewards, and what counts of a completion."""

from typing import Any

import numpy as np
import pytest

from data.sapo import Task, make_task, solutions_of
from data.sapo_text import answer, problem, question
from engine.errors import UserError
from engine.studies.sapo.text_task import PAD, TextTask

END, MASK = 0, 1


class Letters:
    """A tokenizer of letters; 0 ends a text, 1 is the mask."""

    chat_template = None
    eos_token_id = END

    def __call__(self, text: str, *, add_special_tokens: bool) -> Any:
        return {"input_ids": [ord(letter) for letter in text]}

    def apply_chat_template(self, messages: list[dict[str, str]], **options: Any) -> str:
        raise AssertionError

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        return "".join(chr(each) for each in ids if each > 1)


class Shouting(Letters):
    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> str:
        return super().decode(ids, skip_special_tokens=skip_special_tokens).upper()


def text_task(name: str) -> TextTask:
    return TextTask(make_task(name, 2, 8), Letters(), MASK, 120)


def written(*texts: str) -> np.ndarray:
    rows = [[ord(letter) for letter in text] for text in texts]
    return np.array([[*row, *[END] * (120 - len(row))] for row in rows])


@pytest.mark.parametrize("name", ["chain", "countdown", "sudoku"])
def test_questions_hold_their_problem_and_splits_are_those_of_the_small_task(name: str) -> None:
    task, inner = text_task(name), make_task(name, 2, 8)
    found = task.examples(np.random.default_rng(3), 20, "validation")
    plain = inner.examples(np.random.default_rng(3), 20, "validation")
    for prompt, small in zip(found.prompts, plain.prompts, strict=True):
        assert np.array_equal(problem(inner, task.text(prompt)), small)
    best = task.scores(found.prompts, written(*(answer(inner, each) for each in plain.completions)))
    assert best.exact.tolist() == best.reward.tolist() == [1.0] * 20
    widths = (found.prompts != PAD).sum(axis=1)
    assert all((row[-width:] != PAD).all() for row, width in zip(found.prompts, widths, strict=True))


def one(task: Task, prompt: list[int]) -> np.ndarray:
    assert isinstance(task, TextTask)
    return np.array([[ord(letter) for letter in question(task.inner, np.array(prompt))]])


@pytest.mark.parametrize(
    ("text", "reward", "valid"),
    [
        ("2*3=6, 6+4=10 <answer>(2*3)+4</answer>", 1.0, 1.0),
        ("<answer>4+3*2</answer>", 1.0, 0.0),
        ("2*3=7 <answer>4+3*2</answer>", 1.0, 0.0),
        ("<answer>4+3+2</answer>", 0.1, 0.0),
        ("<answer>5+5</answer>", 0.1, 0.0),
        ("it is 4+3*2", 0.0, 0.0),
        ("(2*3)+4 = 10", 0.0, 0.0),
    ],
)
def test_countdown_is_rewarded_as_in_d1(text: str, reward: float, valid: float) -> None:
    task = text_task("countdown")
    scores = task.scores(one(task, [2, 3, 4, 10]), written(text))
    assert (
        scores.reward[0] == reward
        and scores.exact[0] == float(reward == 1)
        and scores.trace_valid[0] == valid
    )


def test_sudoku_is_rewarded_by_the_share_of_blank_cells() -> None:
    task, puzzle = text_task("sudoku"), "1203341020034020"
    cells = [int(digit) for digit in puzzle]
    solution = "".join(map(str, solutions_of(np.array([cells]))[0]))
    blanks = [place for place in range(16) if cells[place] == 0]
    wrong = list(solution)
    wrong[blanks[0]] = "9"
    texts = [f"<answer>{solution}</answer>", f"<answer>{''.join(wrong)}</answer>", f"so {solution}"]
    scores = task.scores(np.repeat(one(task, cells), 3, axis=0), written(*texts))
    assert scores.reward.tolist() == pytest.approx([1.0, 1 - 1 / len(blanks), 0.0])
    assert scores.exact.tolist() == [1.0, 0.0, 0.0] and np.isnan(scores.trace_valid).all()


def test_a_text_ends_at_its_first_end_token() -> None:
    task = text_task("chain")
    completion = written("we we we we we we we <answer>4</answer>")
    completion[0, 60:70] = ord("x")
    assert "x" not in task.text(completion[0])
    assert task.counted(completion)[0].sum() == len("we we we we we we we <answer>4</answer>") + 1
    assert task.scores(one(task, [1, 10, 3, 10, 0]), completion).junk[0] == 1
    assert task.counted(np.full((1, 5), 70)).all()


def test_a_tokenizer_that_loses_text_is_refused() -> None:
    with pytest.raises(UserError, match="does not give questions back"):
        TextTask(make_task("chain", 2, 8), Shouting(), MASK, 120)
