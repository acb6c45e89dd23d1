"""The three tasks of multi-task tuning as texts: what is asked of the model and what it has to write (section 2.2, B.1)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.scene_questions import Pair

Task = Literal["QA", "A", "Q"]
TASKS: tuple[Task, ...] = ("QA", "Q", "A")
BOTH = (
    "generate the instruction and answer for the image",
    "build the instruction and answer for the image",
    "generate the question and answer for the image",
    "build the question and answer for the image",
    "generate an instruction and answer pair",
    "build a question and answer pair",
)
QUESTION = (
    "generate the instruction based on the answer",
    "build the instruction based on the answer",
    "generate the question based on the answer",
    "build the question based on the answer",
    "what is the question for this answer",
)
INSTRUCTION, ANSWER = "Instruction:", "Answer:"
_WRITTEN = re.compile(rf"{INSTRUCTION}(.*?)(?:{ANSWER}(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Row:
    """One training row: the image, what the model is asked, and what it must write."""

    image: int
    prompt: str
    target: str


def both_prompt(number: int = 0) -> str:
    """What asks for a question and an answer on an image (I→QA)."""
    return BOTH[number]


def question_prompt(answer: str, number: int = 0) -> str:
    """What asks for the question of an answer (IA→Q)."""
    return f"{QUESTION[number]} {ANSWER} {answer}"


def row_of(pair: Pair, task: Task, number: int) -> Row:
    """A labelled pair with what the task masks as target; `number` draws one of the task's prompts. IQ→A is left as it is."""
    if task == "A":
        return Row(pair.image, pair.question, pair.answer)
    if task == "Q":
        prompt = question_prompt(pair.answer, number % len(QUESTION))
        return Row(pair.image, prompt, f"{INSTRUCTION} {pair.question}")
    target = f"{INSTRUCTION} {pair.question} {ANSWER} {pair.answer}"
    return Row(pair.image, both_prompt(number % len(BOTH)), target)


def multi_task(pairs: Sequence[Pair], shares: Sequence[float], rng: np.random.Generator) -> list[Row]:
    """Every pair once, as one of the tasks I→QA, IA→Q and IQ→A in these shares, drawn exactly and in random order."""
    ends = np.round(np.cumsum(shares) / sum(shares) * len(pairs)).astype(int)
    kinds = np.searchsorted(ends, np.arange(len(pairs)), side="right").clip(max=2)
    numbers = rng.integers(0, len(BOTH) * len(QUESTION), len(pairs))
    return [
        row_of(pair, TASKS[kind], int(number))
        for pair, kind, number in zip(pairs, rng.permutation(kinds), numbers, strict=True)
    ]


def read_pair(text: str) -> tuple[str, str]:
    """The question and the answer in what I→QA wrote; either is empty where its mark is missing."""
    found = _WRITTEN.fullmatch(text.strip())
    return (found[1].strip(), (found[2] or "").strip()) if found else ("", "")


def read_question(text: str) -> str:
    """The question in what IA→Q wrote."""
    return text.strip().removeprefix(INSTRUCTION).strip()


def prompt_words() -> set[str]:
    """Every word that tasks add to questions and answers."""
    return {word for text in (*BOTH, *QUESTION) for word in text.split()} | {INSTRUCTION, ANSWER}
