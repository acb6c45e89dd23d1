"""The triangular score, the filters that rival it, and how precise and how diverse their choices are."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from analyses.srf import SHARES, is_kept, places
from engine.studies.srf.similarity import Compare, compare

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FILTERS = (
    "random",
    "confidence_generation",
    "confidence_answer",
    "answer_only",
    "question_only",
    "equality",
    "triangle",
    "triangle_tied",
    "oracle",
)
DIVERSITY_PAIRS = 1_000


@dataclass(frozen=True)
class Triplets:
    """n triplets of one generator: parallel sequences. `truth` is true, false, malformed or unknown."""

    image: Ints
    type: list[str]
    question: list[str]
    answer: list[str]
    question_again: list[str]
    answer_again: list[str]
    logp_generation: Floats
    logp_answer: Floats
    truth: list[str]

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True)
class Scores:
    """Similarities (nan where a side is not compared) and S."""

    question: Floats
    answer: Floats
    triangle: Floats


def score(triplets: Triplets, texts: Compare) -> Scores:
    """S = √(Sim(Q, Q′) · Sim(A, A′)), or the similarity of the only side that the type compares (section 2.3)."""
    question = compare(triplets.type, triplets.question, triplets.question_again, "question", texts)
    answer = compare(triplets.type, triplets.answer, triplets.answer_again, "answer", texts)
    return Scores(question, answer, triangle(question, answer))


def triangle(question: Floats, answer: Floats) -> Floats:
    """Geometric mean of both similarities; the other one where one is nan."""
    both = np.sqrt(np.where(np.isnan(question), 1.0, question) * np.where(np.isnan(answer), 1.0, answer))
    one = np.where(np.isnan(question), answer, question)
    return np.where(np.isnan(question) | np.isnan(answer), one, both)


def ranking(name: str, triplets: Triplets, scores: Scores, noise: Floats) -> tuple[Ints, Floats]:
    """Rank and share of every triplet inside its type under a filter, best first; ties by `noise`, or by log-probability."""
    values: Mapping[str, Callable[[], Floats]] = {
        "random": lambda: noise,
        "confidence_generation": lambda: triplets.logp_generation,
        "confidence_answer": lambda: triplets.logp_answer,
        "answer_only": lambda: scores.answer,
        "question_only": lambda: scores.question,
        "equality": lambda: _equal(triplets),
        "triangle": lambda: scores.triangle,
        "triangle_tied": lambda: scores.triangle,
        "oracle": lambda: _right(triplets),
    }
    ties = triplets.logp_answer if name == "triangle_tied" else noise
    return places(values[name](), triplets.type, ties)


def _equal(triplets: Triplets) -> Floats:
    pairs = zip(
        triplets.question, triplets.question_again, triplets.answer, triplets.answer_again, strict=True
    )
    return np.array([q == q2 and a == a2 for q, q2, a, a2 in pairs], np.float64)


def _right(triplets: Triplets) -> Floats:
    return np.array([truth == "true" for truth in triplets.truth], np.float64)


def is_known(triplets: Triplets) -> bool:
    """Whether an oracle judged every triplet."""
    return len(triplets) > 0 and "unknown" not in triplets.truth


def precision(triplets: Triplets, chosen: NDArray[np.bool_]) -> float | None:
    """Share true of the chosen; malformed ones are not. None where nobody knows, or nothing is chosen."""
    return float(_right(triplets)[chosen].mean()) if is_known(triplets) and chosen.any() else None


def area_under_curve(better: Floats, right: NDArray[np.bool_]) -> float | None:
    """Probability that a right one has the higher value than a wrong one, ties counted half; None where all are one kind."""
    from scipy.stats import rankdata

    n = int(right.sum())
    if n in (0, len(right)):
        return None
    below = rankdata(better)[right].sum() - n * (n + 1) / 2
    return float(below / (n * (len(right) - n)))


def area_inside_types(better: Floats, right: NDArray[np.bool_], types: Sequence[str]) -> float | None:
    """The same over pairs of one type only, as only places inside a type count; every pair has the same weight."""
    won, pairs, kinds = 0.0, 0, np.array(types)
    for kind in np.unique(kinds):
        mine = kinds == kind
        area = area_under_curve(better[mine], right[mine])
        n = int(right[mine].sum()) * int((~right[mine]).sum())
        won, pairs = won + n * (area or 0.0), pairs + n
    return won / pairs if pairs else None


def filter_curves(triplets: Triplets, scores: Scores, noise: Floats) -> list[dict[str, object]]:
    """Rows of srf_filters (without seed and round): precision of each filter for each share kept of every type."""
    rows: list[dict[str, object]] = []
    for name in FILTERS:
        if name == "oracle" and not is_known(triplets):
            continue
        _, share = ranking(name, triplets, scores, noise)
        auc = area_inside_types(-share, _right(triplets) > 0, triplets.type) if is_known(triplets) else None
        for kept_share in SHARES:
            kept = is_kept(share, kept_share)
            rows.append({
                "filter": name, "kept_share": kept_share, "precision": precision(triplets, kept), "kept": int(kept.sum()), "auc": auc,
            })  # fmt: skip
    return rows


def diversity(questions: Sequence[str], answers: Sequence[str]) -> tuple[float, float]:
    """Distinct-2 (different pairs of neighbouring words / all) and TTR (different words / all) of the first 1,000 pairs."""
    texts = [f"{q} {a}".split() for q, a in zip(questions, answers, strict=True)][:DIVERSITY_PAIRS]
    words = [word for text in texts for word in text]
    pairs = [pair for text in texts for pair in pairwise(text)]
    return len(set(pairs)) / max(1, len(pairs)), len(set(words)) / max(1, len(words))


def overlap(first: set[tuple[int, str]], second: set[tuple[int, str]]) -> float:
    """Intersection over union of two kept sets of (image, type)."""
    return len(first & second) / max(1, len(first | second))
