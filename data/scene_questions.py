"""Questions about rendered scenes (`data.scenes`) in six types, and an oracle that knows whether any answer is true.

The types stand for those of arXiv 2510.10487: colour, shape, where and count for short answers, exist for true or false,
caption for a fixed instruction with a long answer.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.pictures import Ints
from data.scenes import ATTRIBUTES, BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, all_states

Truth = Literal["true", "false", "malformed", "unknown"]
TYPES = ("colour", "shape", "where", "exist", "count", "caption")
DESCRIBE = "describe the image"
NUMBERS = ("zero", "one", "two")
MALFORMED = "other"
SPLIT_SEED = 251_010_487
_COLOUR, _SHAPE, _PLACE, _SIZE = ("|".join(words) for words in (COLOURS, SHAPES, PLACES, SIZES))
_OBJECT = rf"a ({_SIZE}) ({_COLOUR}) ({_SHAPE})"
_QUESTIONS = {
    "colour": rf"what colour is the (?:(?P<shape>{_SHAPE})|(?P<place>{_PLACE}) object)",
    "shape": rf"what shape is the (?P<colour>{_COLOUR})?(?P<place>{_PLACE})? object",
    "where": rf"where is the (?:(?P<colour>{_COLOUR}) )?(?:(?P<shape>{_SHAPE})|object)",
    "exist": rf"is there any (?:(?P<colour>{_COLOUR}) )?(?:(?P<shape>{_SHAPE})|object)",
    "count": rf"how many (?P<colour>{_COLOUR})?(?P<shape>{_SHAPE})? objects are there",
    "caption": DESCRIBE,
}
_FORMS = ("{colour} object", "{shape}", "{colour} {shape}")
_TOLD = {"colour": (1,), "shape": (1,), "where": (1, 2), "exist": (1, 2), "count": (1,), "caption": (0,)}
_BEGINNINGS = {
    "what colour": "colour",
    "what shape": "shape",
    "where": "where",
    "is there": "exist",
    "how many": "count",
    "describe": "caption",
}
_CAPTION = re.compile(rf"{_OBJECT} left of {_OBJECT} on ({'|'.join(BACKGROUNDS)})")
_ANSWERS: dict[str, tuple[str, ...]] = {
    "colour": tuple(COLOURS),
    "shape": SHAPES,
    "where": PLACES,
    "exist": ("yes", "no"),
    "count": NUMBERS,
}


@dataclass(frozen=True)
class Pair:
    """A question about an image and its answer."""

    image: int
    type: str
    question: str
    answer: str


@dataclass(frozen=True)
class _Object:
    place: str
    size: str
    colour: str
    shape: str


def objects(state: Sequence[int]) -> tuple[_Object, _Object]:
    """The left and the right object of a state (7 factors)."""
    words = [values[number] for values, number in zip(ATTRIBUTES.values(), state, strict=True)]
    left, right = (
        _Object(place, words[at + 2], words[at + 1], words[at])
        for place, at in zip(PLACES, (0, 3), strict=True)
    )
    return left, right


def caption(state: Sequence[int]) -> str:
    """All seven factors in a sentence."""
    said = " left of ".join(f"a {one.size} {one.colour} {one.shape}" for one in objects(state))
    return f"{said} on {BACKGROUNDS[state[6]]}"


def type_of(question: str) -> str:
    """The type a question begins as, "other" where it begins as none."""
    return next((kind for start, kind in _BEGINNINGS.items() if question.startswith(start)), MALFORMED)


def true_answer(state: Sequence[int], question: str) -> str | None:
    """The answer to a well-formed question; None where it has none, as it asks of an object that is not there or not alone.

    Raises ValueError where the question is not well-formed.
    """
    kind = type_of(question)
    found = re.fullmatch(_QUESTIONS[kind], question) if kind in _QUESTIONS else None
    asked = {name: word for name, word in found.groupdict().items() if word is not None} if found else {}
    if found is None or len(asked) not in _TOLD[kind]:
        raise ValueError(f"{question[:60]!r} is no question about scenes")
    if kind == "caption":
        return caption(state)
    fitting = [
        one for one in objects(state) if all(getattr(one, name) == word for name, word in asked.items())
    ]
    if kind == "exist":
        return "yes" if fitting else "no"
    if kind == "count":
        return NUMBERS[len(fitting)]
    if len(fitting) != 1:
        return None
    return str(getattr(fitting[0], "place" if kind == "where" else kind))


def verdict(state: Sequence[int], question: str, answer: str) -> Truth:
    """Whether an answer is true of a scene: malformed where question or answer is no sentence of its type.

    A question that presupposes what is not so (the colour of a circle where there is none, or two) has no true answer.
    """
    try:
        right = true_answer(state, question)
    except ValueError:
        return "malformed"
    kind = type_of(question)
    well_formed = _CAPTION.fullmatch(answer) is not None if kind == "caption" else answer in _ANSWERS[kind]
    if not well_formed:
        return "malformed"
    return "true" if answer == right else "false"


def ask(state: Sequence[int], kind: str, rng: np.random.Generator) -> tuple[str, str] | None:
    """A question of a type and its true answer; None where the scene allows none of that type."""
    left, right = objects(state)
    if kind == "caption":
        return DESCRIBE, caption(state)
    if kind == "exist":
        question = _exist(left, right, rng)
    elif kind == "count":
        words = [left.colour, right.colour, str(rng.choice(list(COLOURS)))]
        words += [left.shape, right.shape, str(rng.choice(SHAPES))]
        question = f"how many {rng.choice(words)} objects are there"
    else:
        possible = _possible(left, right, kind)
        if not possible:
            return None
        question = str(rng.choice(possible))
    answer = true_answer(state, question)
    assert answer is not None
    return question, answer


def _possible(left: _Object, right: _Object, kind: str) -> list[str]:
    """Every answerable question of the types colour, shape and where."""
    both = (left, right)
    if kind == "where":
        return [
            f"where is the {_named(one, form)}"
            for form in _FORMS
            for one in both
            if _named(left, form) != _named(right, form)
        ]
    by_place = [f"what {kind} is the {place} object" for place in PLACES]
    if kind == "colour":
        return by_place + [f"what colour is the {one.shape}" for one in both if left.shape != right.shape]
    return by_place + [
        f"what shape is the {one.colour} object" for one in both if left.colour != right.colour
    ]


def _named(one: _Object, form: str) -> str:
    """An object by its colour, its shape, or both."""
    return form.format(colour=one.colour, shape=one.shape)


def _exist(left: _Object, right: _Object, rng: np.random.Generator) -> str:
    """About half of what is there, half of what is not: one word of an object's description is mostly drawn anew."""
    one, form = (left if rng.random() < 0.5 else right), str(rng.choice(_FORMS))
    colour, shape = one.colour, one.shape
    if rng.random() < 0.7:
        if "{shape}" not in form or ("{colour}" in form and rng.random() < 0.5):
            colour = str(rng.choice(list(COLOURS)))
        else:
            shape = str(rng.choice(SHAPES))
    return f"is there any {form.format(colour=colour, shape=shape)}"


def pairs(states: Ints, per_image: int, rng: np.random.Generator, first: int = 0) -> list[Pair]:
    """`per_image` true pairs on every scene (n × 7), of different types drawn at random; images count from `first`."""
    found = []
    for number, state in enumerate(states.tolist()):
        asked = 0
        for kind in rng.permutation(TYPES):
            made = ask(state, str(kind), rng) if asked < per_image else None
            if made is not None:
                found.append(Pair(first + number, str(kind), *made))
                asked += 1
    return found


def words() -> tuple[str, ...]:
    """Every word of questions and answers."""
    text = " ".join(
        [*(re.sub(r"[^a-z ]+", " ", pattern) for pattern in _QUESTIONS.values()), _CAPTION.pattern]
    )
    told = {word for word in re.findall(r"[a-z]+", text) if word not in ("P", "shape", "place", "colour")}
    told |= {"shape", "colour"} | {word for answers in _ANSWERS.values() for word in answers}
    return tuple(sorted(told))


def split_states() -> dict[str, Ints]:
    """All 9,216 states in four parts that never change: of pre-training, of labelled and unlabelled images, validation, test."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(all_states()))
    parts = np.split(all_states()[order], np.cumsum([3_456, 3_456, 1_152]))
    return dict(zip(("pretraining", "tuning", "validation", "test"), parts, strict=True))
