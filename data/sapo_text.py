"""The tasks of `data.sapo` as questions in words for language models: same problems, same splits, answer between tags.

A question holds its whole problem, so that it can be read back from its text: `problem` is the inverse of `question`.
"""

import re

import numpy as np

from data.sapo import OPERATORS, Chain, Countdown, Ints, Sudoku, Task, solutions_of

ANSWER = "<answer>{}</answer>"
_WORDS = dict(zip(("add", "subtract", "multiply by"), range(len(OPERATORS)), strict=True))
_NUMBERS = re.compile(r"Numbers: \[(\d+), (\d+), (\d+)\]\s+Target: (\d+)")
_GRID = re.compile(r"\b([0-4]{16})\b")
_START = re.compile(r"Start with (\d)")
_STEP = re.compile(r"(add|subtract|multiply by) (\d)")


def question(task: Task, prompt: Ints) -> str:
    """The question that a prompt (P token ids of `task`) stands for."""
    if isinstance(task, Countdown):
        *numbers, target = prompt.tolist()
        return (
            f"Numbers: {numbers}\nTarget: {target}\nReach the target with +, -, *, / and brackets, using each of the numbers "
            f"exactly once. Think step by step, then write the expression as {ANSWER.format('expression')}."
        )
    if isinstance(task, Sudoku):
        return (
            f"Solve this 4x4 Sudoku, its 16 cells row by row with 0 for an empty one: {_digits(prompt)}\nEvery row, column and "
            "2x2 box must hold 1, 2, 3 and 4. Think step by step, then write the 16 digits as "
            f"{ANSWER.format('digits')}."
        )
    words = list(_WORDS)
    steps = [
        f"{words[op - 10]} {digit}"
        for op, digit in zip(prompt[1::2].tolist(), prompt[2::2].tolist(), strict=True)
    ]
    return (
        f"Start with {prompt[0]}, then {', then '.join(steps)}. After every operation keep only the remainder on division by "
        f"10, a digit from 0 to 9. Think step by step, then write the last digit as {ANSWER.format('digit')}."
    )


def problem(task: Task, text: str) -> Ints:
    """The prompt (P token ids of `task`) whose question stands in a text. Raises ValueError where there is none."""
    if isinstance(task, Countdown):
        if found := _NUMBERS.search(text):
            return np.array([int(number) for number in found.groups()])
    elif isinstance(task, Sudoku):
        if found := _GRID.search(text):
            return np.array([int(digit) for digit in found[1]])
    elif found := _START.search(text):
        steps = [[10 + _WORDS[word], int(digit)] for word, digit in _STEP.findall(text, found.end())]
        return np.array([int(found[1]), *np.ravel(steps)], dtype=np.int64)
    raise ValueError(f"{text[:60]!r} holds no question of {task.name}")


def truth(task: Task, prompt: Ints) -> str | None:
    """The one right answer of a prompt: the grid, the last digit; None for Countdown, which has many."""
    if isinstance(task, Sudoku):
        return _digits(solutions_of(prompt[None])[0])
    return str(task.results(prompt[None])[0, -1]) if isinstance(task, Chain) else None


def answer(task: Task, completion: Ints) -> str:
    """The answer that a right completion (L token ids of `task`) gives, between its tags."""
    words = [task.vocabulary[token] for token in completion[task.answer.start : task.answer.stop]]
    return ANSWER.format("".join(words))


def _digits(cells: Ints) -> str:
    return "".join(map(str, cells.tolist()))
