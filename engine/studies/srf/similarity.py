"""How alike two questions or two answers are, in [0, 1], by the type of the question (appendix B.2)."""

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Compare = Callable[[Sequence[str], Sequence[str]], Floats]
NOT_COMPARED = frozenset(["exist", "choice", "caption"])
EQUAL_ANSWERS = frozenset(["exist", "choice", "count", "where"])
LONG = 8
_NUMBER = r"\s*(-?\d+(?:\.\d+)?)\s*"
_BOX = re.compile(rf"\[{_NUMBER},{_NUMBER},{_NUMBER},{_NUMBER}\]")


def token_f1(first: Sequence[str], second: Sequence[str]) -> Floats:
    """Harmonic mean of the shares of words in common, words counted as often as they occur; 1 for two empty texts."""
    return np.array(
        [_token_f1(a.lower().split(), b.lower().split()) for a, b in zip(first, second, strict=True)],
        np.float64,
    )


def _token_f1(a: list[str], b: list[str]) -> float:
    if not a and not b:
        return 1.0
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b))


def equality(first: Sequence[str], second: Sequence[str]) -> Floats:
    """1 for equal texts, else 0."""
    return np.array(
        [a.strip().lower() == b.strip().lower() for a, b in zip(first, second, strict=True)], np.float64
    )


def box_of(text: str) -> tuple[float, float, float, float] | None:
    """The box [x1, y1, x2, y2] in a text; None where there is none, or one turned inside out."""
    found = _BOX.search(text)
    if found is None:
        return None
    x1, y1, x2, y2 = (float(part) for part in found.groups())
    return (x1, y1, x2, y2) if x2 > x1 and y2 > y1 else None


def box_overlap(first: Sequence[str], second: Sequence[str]) -> Floats:
    """Intersection over union of the boxes in the texts; 0 where one has none."""
    return np.array([_overlap(box_of(a), box_of(b)) for a, b in zip(first, second, strict=True)], np.float64)


def _overlap(a: tuple[float, ...] | None, b: tuple[float, ...] | None) -> float:
    if a is None or b is None:
        return 0.0
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    return common / (areas - common)


def embedding_cosine(first: Sequence[str], second: Sequence[str]) -> Floats:
    """Cosine of MiniLM's sentence embeddings, at least 0; 1 for equal texts. Raises UserError where the asset is missing."""
    from engine.studies.sae_consistency.explanations import embed

    texts = sorted({*first, *second})
    vectors = dict(zip(texts, embed(texts), strict=True))
    found = np.array([vectors[a] @ vectors[b] for a, b in zip(first, second, strict=True)], np.float64)
    return np.where([a == b for a, b in zip(first, second, strict=True)], 1.0, found.clip(0, 1))


def compare(
    types: Sequence[str], first: Sequence[str], second: Sequence[str], side: str, texts: Compare
) -> Floats:
    """Similarity of every two texts of a side, "question" or "answer"; nan where their type does not compare that side.

    Answers of true-or-false, multiple choice, counts and places are equal or not; boxes overlap; other texts are compared by
    `texts`. Questions of true-or-false and multiple choice fit many answers, and those of captions are fixed: not compared.
    """
    kinds = np.array([_kind(kind, a, b, side) for kind, a, b in zip(types, first, second, strict=True)])
    found = np.full(len(kinds), np.nan)
    for kind, similar in (("equal", equality), ("box", box_overlap), ("text", texts)):
        at = np.flatnonzero(kinds == kind).tolist()
        if at:
            found[at] = similar([first[i] for i in at], [second[i] for i in at])
    return found


def _kind(kind: str, first: str, second: str, side: str) -> str:
    if side == "question" and kind in NOT_COMPARED:
        return "none"
    if side == "answer" and kind in EQUAL_ANSWERS:
        return "equal"
    return "box" if box_of(first) is not None else "text"


def user_type(question: str, answer: str) -> str:
    """The type of a pair on a user's image, for which nothing but its texts is known: box, exist, caption, chat or vqa."""
    if box_of(question) or box_of(answer):
        return "box"
    if answer.strip(" .").lower() in ("yes", "no"):
        return "exist"
    if re.match(r"(please )?(describe|caption|write a caption|generate a caption)", question.lower()):
        return "caption"
    return "chat" if len(answer.split()) > LONG else "vqa"
