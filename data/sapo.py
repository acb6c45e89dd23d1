"""Tasks for small denoising language models: chains of arithmetic, Countdown with three numbers, 4×4 Sudoku.

Each has a vocabulary of its own whose last token is the mask, a prompt and a completion of fixed length, and a score
computed by rule. The first two ask for a worked trace before the answer; in a share of their training examples the trace
is filler ("we we we …") with the right answer all the same, which is the failure Figure 1 of arXiv 2510.01544 shows, here
by construction. Countdown answers are evaluated in exact rationals. Prompts are split by a hash (chain, Countdown: numbers
and target) or by solved grid (Sudoku), never by example. A base model learns from "base", reinforcement asks "train": the same
problems, but in Countdown, whose few thousand a base would know by heart, two halves of them.
"""

import ast
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import permutations, product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["base", "train", "validation", "test"]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MASK, JUNK = "<mask>", "we"
OPERATORS = ("+", "-", "*")
BUCKETS = 20
SHARED = {"validation": (0, 1), "test": (1, 2), "base": (2, BUCKETS), "train": (2, BUCKETS)}
APART = {**SHARED, "base": (2, 11), "train": (11, BUCKETS)}
FORMAT_REWARD = 0.1
HELD_OUT_GRIDS = 43
_EXPRESSION = re.compile(r"[0-9+\-*/() ]{1,200}")


@dataclass(frozen=True)
class Examples:
    """Token ids: prompts (n × prompt length) and completions (n × completion length)."""

    prompts: Ints
    completions: Ints


@dataclass(frozen=True)
class Scores:
    """One value per completion; NaN where a task has no such notion.

    `reward` trains, `correctness` is its verifiable part without format rewards, `exact` says solved as a whole, `cell` is
    the share of blank cells (Sudoku) or of answers that are right, `junk` a filler trace, `trace_valid` a true trace that
    leads to the answer.
    """

    reward: Floats
    correctness: Floats
    exact: Floats
    cell: Floats
    junk: Floats
    trace_valid: Floats


class Task(ABC):
    """`trace` and `answer` are the positions of a completion that hold them, `parts` named spans where no trace has a place.

    `is_text` says that prompts and completions are a language model's tokens.
    """

    name: str
    vocabulary: tuple[str, ...]
    prompt_length: int
    completion_length: int
    trace: range = range(0)
    answer: range = range(0)
    parts: Mapping[str, Sequence[int]] = {}
    is_text = False

    @property
    def mask(self) -> int:
        return len(self.vocabulary) - 1

    @abstractmethod
    def examples(self, rng: np.random.Generator, n: int, split: Split) -> Examples:
        """`n` prompts of a split with a completion each that solves it."""

    @abstractmethod
    def scores(self, prompts: Ints, completions: Ints) -> Scores:
        """Score completions (n × completion length, no masks) of prompts (n × prompt length)."""

    @abstractmethod
    def check_prompt(self, prompt: Ints) -> None:
        """Whether a prompt (P) of a user's own can be scored. Raises ValueError with a sentence that says what one is."""

    def text(self, tokens: Ints) -> str:
        """Tokens of one sequence with spaces between."""
        return " ".join(self.vocabulary[token] for token in tokens)

    def word(self, token: int) -> str:
        """One token as it is shown."""
        return self.vocabulary[token]

    def units(self, completion: Ints) -> list[Any]:
        """What repetition is counted among: the tokens of the trace, or all of the completion (L) without one."""
        traced: list[int] = completion[self.trace.start : self.trace.stop or None].tolist()
        return traced

    def counted(self, completions: Ints) -> NDArray[np.bool_]:
        """Which tokens (n × L) the policy loss is a mean over."""
        return np.ones(completions.shape, dtype=bool)

    def ids(self, text: str, length: int) -> Ints:
        """Token ids of `length` words. Raises ValueError with a sentence that names the first wrong word."""
        words = text.split()
        for word in words:
            if word not in self.vocabulary:
                raise ValueError(f"{word!r} is no word of this task; its words are {self._words()}.")
        if len(words) != length:
            raise ValueError(f"{len(words)} words given where this task has {length}.")
        return np.array([self.vocabulary.index(word) for word in words])

    def _words(self) -> str:
        numbers = [word for word in self.vocabulary if word.isdigit()]
        others = [word for word in self.vocabulary if not word.isdigit()]
        return f"{numbers[0]} to {numbers[-1]} {' '.join(others)}"

    def junk(self, completions: Ints) -> Floats:
        """Whether at least half of the trace is filler; NaN without a trace."""
        if not self.trace:
            return np.full(len(completions), np.nan)
        trace = completions[:, self.trace.start : self.trace.stop]
        return ((trace == self.vocabulary.index(JUNK)).mean(axis=1) >= 0.5).astype(np.float64)

    def with_junk(self, rng: np.random.Generator, completions: Ints, share: float) -> Ints:
        """Completions of which each, with probability `share`, has its trace replaced by filler."""
        if not self.trace:
            return completions
        replaced = completions.copy()
        rows = np.flatnonzero(rng.random(len(completions)) < share)
        replaced[rows, self.trace.start : self.trace.stop] = self.vocabulary.index(JUNK)
        return replaced


class Chain(Task):
    """`start op digit op digit …`, all modulo 10; the completion holds every intermediate result, "|" and the answer."""

    name = "chain"
    vocabulary = (*map(str, range(10)), *OPERATORS, "|", JUNK, MASK)

    def __init__(self, length: int) -> None:
        self.length = length
        self.prompt_length, self.completion_length = 1 + 2 * length, length + 2
        self.trace, self.answer = range(length), range(length + 1, length + 2)

    def examples(self, rng: np.random.Generator, n: int, split: Split) -> Examples:
        prompts = _of_split(lambda: self._prompts(rng, 2 * n), self._keys, n, SHARED[split])
        trace = self.results(prompts)
        bar = np.full((n, 1), self.vocabulary.index("|"))
        return Examples(prompts, np.hstack([trace, bar, trace[:, -1:]]))

    def _prompts(self, rng: np.random.Generator, n: int) -> Ints:
        prompts = rng.integers(0, 10, (n, self.prompt_length))
        prompts[:, 1::2] = 10 + rng.integers(0, len(OPERATORS), (n, self.length))
        return prompts

    def check_prompt(self, prompt: Ints) -> None:
        kinds = np.where(prompt < 10, "digit", np.where(prompt < 10 + len(OPERATORS), "operator", "other"))
        if (kinds[::2] != "digit").any() or (kinds[1::2] != "operator").any():
            raise ValueError("a chain is a digit, then an operator and a digit in turn, such as 3 + 4 * 2.")

    def _keys(self, prompts: Ints) -> Ints:
        return prompts @ 16 ** np.arange(self.prompt_length)

    def results(self, prompts: Ints) -> Ints:
        """Every intermediate result (n × K) of chains (n × P)."""
        value, steps = prompts[:, 0], []
        for step in range(self.length):
            value = _apply(prompts[:, 1 + 2 * step] - 10, value, prompts[:, 2 + 2 * step]) % 10
            steps.append(value)
        return np.stack(steps, axis=1)

    def scores(self, prompts: Ints, completions: Ints) -> Scores:
        truth = self.results(prompts)
        right = (completions[:, -1] == truth[:, -1]).astype(np.float64)
        valid = (completions[:, : self.length] == truth).all(axis=1) & (right == 1)
        return Scores(right, right, right, right, self.junk(completions), valid.astype(np.float64))


class Countdown(Task):
    """Reach a target with three numbers from 1 to 9, each used once, by (a ∘ b) ∘ c.

    Prompt: the numbers in any order and the target. Completion: the two steps `a ∘ b = e c`, `e ∘ c = target` as a trace of
    ten tokens, "|", and the expression `( a ∘ b ) ∘ c`. All results lie in 0 … 99, a token each.
    """

    name = "countdown"
    vocabulary = (*map(str, range(100)), *OPERATORS, "=", "(", ")", "|", JUNK, MASK)
    prompt_length, completion_length = 4, 18
    trace, answer = range(10), range(11, 18)

    def examples(self, rng: np.random.Generator, n: int, split: Split) -> Examples:
        rows = _of_split(lambda: self._rows(rng, 8 * n), self._keys, n, APART[split])
        a, first, b, c, e, second, target = rows.T
        numbers = rng.permuted(np.stack([a, b, c], axis=1), axis=1)
        op = 100
        equals, left, right, bar = (np.full(n, self.vocabulary.index(word)) for word in "=()|")
        trace = [a, op + first, b, equals, e, e, op + second, c, equals, target]
        answer = [left, a, op + first, b, right, op + second, c]
        return Examples(np.column_stack([numbers, target]), np.column_stack([*trace, bar, *answer]))

    def _rows(self, rng: np.random.Generator, n: int) -> Ints:
        a, b, c = rng.integers(1, 10, (3, n))
        first, second = rng.integers(0, len(OPERATORS), (2, n))
        e = _apply(first, a, b)
        target = _apply(second, e, c)
        kept = (e >= 0) & (e < 100) & (target > 0) & (target < 100)
        return np.stack([a, first, b, c, e, second, target], axis=1)[kept]

    def check_prompt(self, prompt: Ints) -> None:
        if not ((prompt[:3] >= 1) & (prompt[:3] <= 9)).all() or not 1 <= prompt[3] <= 99:
            raise ValueError(
                "a problem is three numbers from 1 to 9 and a target from 1 to 99, such as 3 4 5 27."
            )

    def _keys(self, rows: Ints) -> Ints:
        numbers = np.sort(rows[:, [0, 2, 3]], axis=1)
        return np.column_stack([numbers, rows[:, 6]]) @ np.array([1, 10, 100, 1000])

    def scores(self, prompts: Ints, completions: Ints) -> Scores:
        pairs = list(zip(prompts.tolist(), completions.tolist(), strict=True))
        checked = [self._answer(prompt, completion) for prompt, completion in pairs]
        right = np.array([float(exact) for exact, _ in checked])
        reward = np.array([1.0 if exact else FORMAT_REWARD * sound for exact, sound in checked])
        valid = [
            float(exact and self._trace_holds(prompt, completion))
            for (prompt, completion), (exact, _) in zip(pairs, checked, strict=True)
        ]
        return Scores(reward, right, right, right, self.junk(completions), np.array(valid))

    def _answer(self, prompt: list[int], completion: list[int]) -> tuple[bool, bool]:
        """Whether the answer reaches the target, and whether it is an expression of the three numbers."""
        text = "".join(self.vocabulary[token] for token in completion[self.answer.start :])
        return countdown_answer(text, prompt[:3], prompt[3])

    def _trace_holds(self, prompt: list[int], completion: list[int]) -> bool:
        a, first, b, equals, e, again, second, c, equals_too, target = completion[:10]
        words = self.vocabulary
        if {words[equals], words[equals_too]} != {"="} or max(a, b, c, e, again, target) >= 100:
            return False
        if words[first] not in OPERATORS or words[second] not in OPERATORS:
            return False
        _, left, first_too, right, _, second_too, last = completion[self.answer.start :]
        same = (a, first, b, second, c) == (left, first_too, right, second_too, last)
        sums = evaluate(f"{a}{words[first]}{b}") == e and evaluate(f"{e}{words[second]}{c}") == target
        return bool(same and sums and again == e and target == prompt[3])


class Sudoku(Task):
    """4×4 Sudoku with one solution and `blanks` empty cells: prompt 16 cells with 0 for a blank, completion 16 cells."""

    name = "sudoku"
    vocabulary = (*map(str, range(5)), MASK)
    prompt_length, completion_length = 16, 16
    answer = range(16)
    parts: Mapping[str, Sequence[int]] = {f"row {row + 1}": range(4 * row, 4 * row + 4) for row in range(4)}

    def __init__(self, blanks: int) -> None:
        self.blanks = blanks

    def examples(self, rng: np.random.Generator, n: int, split: Split) -> Examples:
        grids = grids_of(split)
        prompts: list[Ints] = []
        solutions: list[Ints] = []
        while sum(map(len, prompts)) < n:
            chosen = grids[rng.integers(0, len(grids), 2 * n)]
            hidden = rng.permuted(np.tile(np.arange(16) < self.blanks, (2 * n, 1)), axis=1)
            puzzles = np.where(hidden, 0, chosen)
            unique = _solutions(puzzles).sum(axis=1) == 1
            prompts.append(puzzles[unique])
            solutions.append(chosen[unique])
        return Examples(np.concatenate(prompts)[:n], np.concatenate(solutions)[:n])

    def check_prompt(self, prompt: Ints) -> None:
        solutions = int(_solutions(prompt[None]).sum())
        if solutions != 1:
            raise ValueError(f"this Sudoku has {solutions or 'no'} solutions; give one that has exactly one.")

    def scores(self, prompts: Ints, completions: Ints) -> Scores:
        solution = solutions_of(prompts)
        blank = prompts == 0
        right = completions == solution
        cell = (right & blank).sum(axis=1) / np.maximum(blank.sum(axis=1), 1)
        exact = right.all(axis=1).astype(np.float64)
        none = np.full(len(prompts), np.nan)
        return Scores(cell, cell, exact, cell, none, none)


def make_task(name: str, chain_length: int, blanks: int) -> Task:
    """The task `name`: "chain", "countdown" or "sudoku"."""
    if name == "chain":
        return Chain(chain_length)
    return Countdown() if name == "countdown" else Sudoku(blanks)


@cache
def solved_grids() -> Ints:
    """All 288 solved 4×4 grids (288 × 16), in lexical order."""
    rows = list(permutations(range(1, 5)))
    found = []
    for first, second in product(rows, rows):
        if len({*first[:2], *second[:2]}) < 4 or len({*first[2:], *second[2:]}) < 4:
            continue
        for third, fourth in product(rows, rows):
            columns = zip(first, second, third, fourth, strict=True)
            boxes = len({*third[:2], *fourth[:2]}) == 4 and len({*third[2:], *fourth[2:]}) == 4
            if boxes and all(len(set(column)) == 4 for column in columns):
                found.append(first + second + third + fourth)
    return np.array(found)


@cache
def grids_of(split: Split) -> Ints:
    """The solved grids of a split (202, 43 and 43 of the 288), in an order fixed by a hash."""
    grids = solved_grids()[np.argsort(_hash(np.arange(288)))]
    ends = {"validation": (0, HELD_OUT_GRIDS), "test": (HELD_OUT_GRIDS, 2 * HELD_OUT_GRIDS)}
    first, last = ends.get(split, (2 * HELD_OUT_GRIDS, len(grids)))
    return grids[first:last]


def solutions_of(puzzles: Ints) -> Ints:
    """The first solution (n × 16) of each puzzle (n × 16)."""
    return solved_grids()[_solutions(puzzles).argmax(axis=1)]


def _solutions(puzzles: Ints) -> NDArray[np.bool_]:
    """Which of the 288 grids agree with the clues of each puzzle (n × 288): all of its solutions, by enumeration."""
    grids = solved_grids()
    agree = np.ones((len(puzzles), len(grids)), dtype=bool)
    for cell in range(16):
        clue = puzzles[:, cell]
        agree &= (clue == 0)[:, None] | (clue[:, None] == grids[None, :, cell])
    return agree


def _apply(operator: Ints, left: Ints, right: Ints) -> Ints:
    return np.choose(operator, [left + right, left - right, left * right])


def _of_split(
    draw: Callable[[], Ints], keys: Callable[[Ints], Ints], n: int, buckets: tuple[int, int]
) -> Ints:
    """The first `n` drawn rows whose key hashes into one of some buckets: from the first number, below the second."""
    rows: list[Ints] = []
    while sum(map(len, rows)) < n:
        drawn = draw()
        bucket = _hash(keys(drawn)) % BUCKETS
        rows.append(drawn[(bucket >= buckets[0]) & (bucket < buckets[1])])
    return np.concatenate(rows)[:n]


def _hash(keys: Ints) -> Ints:
    """A fixed, well-mixed number from 0 for each key (SplitMix64's finaliser, top bits)."""
    mixed = keys.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed >> np.uint64(33)).astype(np.int64)


def evaluate(text: str) -> Fraction | None:
    """The exact value of an expression of whole numbers, + - * / and brackets; None where it is none."""
    if not _EXPRESSION.fullmatch(text):
        return None
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> Fraction:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return Fraction(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if not isinstance(node, ast.BinOp):
        raise ValueError
    left, right = _value(node.left), _value(node.right)
    if isinstance(node.op, ast.Add):
        return left + right
    if isinstance(node.op, ast.Sub):
        return left - right
    if isinstance(node.op, ast.Mult):
        return left * right
    if isinstance(node.op, ast.Div):
        return left / right
    raise ValueError


def countdown_answer(expression: str, numbers: list[int], target: int) -> tuple[bool, bool]:
    """Whether an expression reaches the target, and whether it uses each number exactly once."""
    used = sorted(map(int, re.findall(r"[0-9]+", expression)))
    value = evaluate(expression)
    sound = value is not None and used == sorted(numbers)
    return sound and value == target, sound
