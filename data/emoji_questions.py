"""Questions about emoji of people (`data.emoji`), whose factors are told by their names: who, doing or being what, skin tone."""

import re
from collections.abc import Sequence

import numpy as np

from data.emoji import NO_TONE, OTHER
from data.pictures import Pictures
from data.scene_questions import DESCRIBE, Pair, Truth

TYPES = ("who", "what", "tone", "exist", "caption")
_ASKED = {
    "who is it": "who",
    "what is it": "what",
    "what skin tone does it have": "tone",
    DESCRIBE: "caption",
}
_QUESTION_OF = {kind: question for question, kind in _ASKED.items()}
_EXIST = re.compile(r"is it (?:a|an) (.+)")


def factors(pictures: Pictures, row: int) -> dict[str, str]:
    """Factor → word of one picture."""
    return {name: pictures.values[name][int(numbers[row])] for name, numbers in pictures.attributes.items()}


def caption(told: dict[str, str]) -> str:
    """What the emoji's name says, in the order who, what, tone."""
    parts = [
        told["who"] if told["who"] != OTHER else "",
        told["what"],
        told["tone"] if told["tone"] != NO_TONE else "",
    ]
    return " ".join(part for part in parts if part)


def type_of(question: str) -> str:
    """The type of a question; "other" for one that is none of these."""
    return _ASKED.get(question, "exist" if _EXIST.fullmatch(question) else "other")


def verdict(told: dict[str, str], question: str, answer: str) -> Truth:
    """Whether the answer is true of the emoji with these factors; malformed for what is no question about emoji."""
    kind = type_of(question)
    if kind == "other" or not answer:
        return "malformed"
    if kind == "exist":
        if answer not in ("yes", "no"):
            return "malformed"
        named = _EXIST.fullmatch(question)
        assert named is not None
        return "true" if (answer == "yes") == (named[1] in (told["who"], told["what"])) else "false"
    right = caption(told) if kind == "caption" else told[kind]
    return "true" if answer == right and right else "false"


def pairs(pictures: Pictures, rows: Sequence[int], rng: np.random.Generator) -> list[Pair]:
    """One pair of every type that a picture allows, rows of `pictures` as images."""
    found = []
    whats = [word for word in pictures.values["what"] if word]
    for row in rows:
        told = factors(pictures, row)
        for kind in ("who", "what", "tone"):
            if told[kind] and told[kind] != OTHER:
                found.append(Pair(row, kind, _QUESTION_OF[kind], told[kind]))
        is_true = bool(rng.random() < 0.5) and bool(told["what"])
        named = told["what"] if is_true else str(rng.choice(whats))
        found.append(Pair(row, "exist", f"is it a {named}", "yes" if named == told["what"] else "no"))
        found.append(Pair(row, "caption", DESCRIBE, caption(told)))
    return found
