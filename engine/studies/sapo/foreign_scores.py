"""Scores of free-text generations, as d1's evaluation defines them, with exact rationals instead of eval."""

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from analyses.sapo import statements
from data.sapo import countdown_answer, evaluate

_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|<\|eot_id\|>|<\|endoftext\|>|$)", re.DOTALL)
_BOXED = re.compile(r"\\boxed\{([^{}]*(?:\{[^{}]*\}[^{}]*)*)\}")
_EXPRESSION = re.compile(r"([0-9+\-*/() ]+)=[0-9. ]+")
_GRIDS = (
    re.compile(r"<answer>.*?```\s*([\d\s]+)```", re.DOTALL),
    re.compile(r"<answer>(.*?)(?:<\|eot_id\|>|<\|endoftext\|>|</answer>)", re.DOTALL),
    re.compile(r"</answer>\s*(.*?)(?:<\|eot_id\|>|<\|endoftext\|>|$)", re.DOTALL),
    re.compile(r"(\d{16})\s*</answer>"),
    re.compile(r"\b(\d{16})\b"),
)
_ENDLESS = re.compile(r"[0-9+\-*/() ]{400,}")
_OPERATORS = ((r"\div", "/"), (r"\times", "*"), (r"\cdot", "*"), ("×", "*"), ("÷", "/"), ("−", "-"))


@dataclass(frozen=True)
class Scored:
    """None where a task has no such figure; `cell` is the share of blank Sudoku cells, or 1 and 0 elsewhere."""

    exact: bool | None
    cell: float | None
    trace_valid: bool | None


def score(task: str, question: str, text: str, truth: Any) -> Scored:
    """Score one generation; nothing where the file holds no truth. Raises ValueError that says what is malformed.

    Runs of 400 digits and operators or more are read as no expression.
    """
    question, text = _ENDLESS.sub(" … ", question), _ENDLESS.sub(" … ", text)
    if task == "countdown" and (truth is not None or question):
        return _countdown(question, text, truth)
    if truth is None:
        return Scored(None, None, None)
    if task == "sudoku":
        return _sudoku(question, text, truth)
    if task == "gsm8k":
        wanted = _last_number(str(truth))
        right = wanted is not None and _last_number(answer_of(text)) == wanted
        return Scored(right, float(right), None)
    if task == "math":
        right = re.sub(r"\s", "", answer_of(text)) == re.sub(r"\s", "", str(truth))
        return Scored(right, float(right), None)
    return Scored(None, None, None)


def answer_span(text: str) -> tuple[int, int] | None:
    """Where the answer stands: in the last \\boxed{…}, else in <answer> tags; None without either."""
    boxed = list(_BOXED.finditer(text))
    tagged = _ANSWER.search(text)
    found = boxed[-1] if boxed else tagged if tagged and tagged[1].strip() else None
    return found.span(1) if found else None


def answer_of(text: str) -> str:
    """The text of the answer, the whole text where none is marked."""
    span = answer_span(text)
    return text[slice(*span)].strip() if span else text


def countdown_problem(question: str, truth: Any) -> tuple[list[int], int]:
    """Numbers and target, from d1's ground truth [numbers, target] or from the question. Raises ValueError."""
    if isinstance(truth, list) and len(truth) == 2 and isinstance(truth[0], list):
        return [_whole(number) for number in truth[0]], _whole(truth[1])
    numbers = re.search(r"Numbers: \[ *([0-9]+(?: *, *[0-9]+)*) *\]", question, re.IGNORECASE)
    target = re.search(r"Target: ([0-9]+)", question, re.IGNORECASE)
    if not numbers or not target:
        raise ValueError(
            'has neither a ground_truth [numbers, target] nor "Numbers: […] Target: …" in its question'
        )
    return [int(part) for part in numbers[1].split(",")], int(target[1])


def _whole(value: Any) -> int:
    if not re.fullmatch(r"-?[0-9]{1,400}(\.0)?", str(value)):
        raise ValueError("has a ground_truth that is not [numbers, target]")
    return int(str(value).removesuffix(".0"))


def _countdown(question: str, text: str, truth: Any) -> Scored:
    numbers, target = countdown_problem(question, truth)
    expression = answer_of(text)
    for old, new in _OPERATORS:
        expression = expression.replace(old, new)
    if matched := _EXPRESSION.search(expression):
        expression = matched[1]
    exact, _ = countdown_answer(expression.strip(), numbers, target)
    span = answer_span(text)
    said = statements(text[: span[0]] + text[span[1] :] if span else text)
    true = bool(said) and all(evaluate(left) == evaluate(right) for left, right in said)
    leads = any(evaluate(right) == target for _, right in said)
    return Scored(exact, float(exact), exact and true and leads)


def _sudoku(question: str, text: str, truth: Any) -> Scored:
    solution = re.sub(r"\s", "", str(truth))
    puzzle = question[:16] if re.fullmatch(r"\d{16}", question[:16]) else ""
    if not puzzle and (matched := re.search(r"\b(\d{16})\b", question)):
        puzzle = matched[1]
    if len(puzzle) != 16 or not re.fullmatch(r"\d{16}", solution):
        raise ValueError("has no puzzle or no solution of 16 digits")
    grid = next((found[1].strip() for way in _GRIDS if (found := way.search(text)) and found[1].strip()), "")
    grid = re.sub(r"\s", "", grid)[:16].ljust(16, "0")
    blanks = [place for place in range(16) if puzzle[place] == "0"]
    right = sum(grid[place] == solution[place] for place in blanks)
    cell = right / len(blanks) if blanks else 1.0
    return Scored(cell == 1.0 and all(grid[i] == solution[i] for i in range(16)), cell, None)


def _last_number(text: str) -> Fraction | None:
    numbers = re.findall(r"-?[0-9]+(?:\.[0-9]+)?", re.sub(r"[$,]", "", text))
    return Fraction(numbers[-1]) if numbers else None
