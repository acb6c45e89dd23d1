"""Numbers of self-refinement by triangular consistency (SRF, arXiv 2510.10487): places inside types, precision of what is kept.

A triplet is an image I, a question Q and an answer A that a model wrote, and what the same model predicts again: Q′ from
(I, A), A′ from (I, Q). S = √(Sim(Q, Q′) · Sim(A, A′)) (sec. 2.3). A group is the triplets of one seed, round and type: the
paper keeps the best share of every type, so only places inside a group count. Arrays are parallel, one value a triplet.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analyses.matching import mean_interval
from analyses.sapo import wilson

Floats = NDArray[np.float64]
SHARES = tuple(round(0.05 * step, 2) for step in range(1, 21))
SCORES = {
    "run": "The run's own ranking",
    "triangle": "S, both sides",
    "answer_only": "Answer side only",
    "question_only": "Question side only",
    "equality": "Equal texts",
    "confidence_generation": "Confidence, generated pair",
    "confidence_answer": "Confidence, answer again",
    "random": "Random",
}
SHORT = {**SCORES, "confidence_generation": "Confidence, Q and A", "confidence_answer": "Confidence, A′"}
RIVALS = ("confidence_generation", "confidence_answer", "random", "oracle")
TIES = {"random": "at random", "confidence": "by confidence"}
RIGHT = {"true": 1.0, "false": 0.0, "malformed": 0.0, "unknown": np.nan}
BINS, CELLS = 30, 20
WEAK_AUC, WEAK_VQA, WEAK_PRECISION, DROP = 0.6, 0.6, 0.5, 0.1
ROUNDING = 1e-9


def places(values: ArrayLike, groups: ArrayLike, ties: ArrayLike) -> tuple[NDArray[np.int64], Floats]:
    """Rank of every triplet inside its group, 1 for the highest value, and rank / size of the group, in (0, 1].

    Equal values are ordered by the higher of `ties`; a value that is not a number comes last.
    """
    values, groups = np.asarray(values, np.float64), np.asarray(groups)
    order = np.lexsort((-np.asarray(ties, np.float64), -np.nan_to_num(values, nan=-np.inf), groups))
    sizes = np.unique(groups[order], return_counts=True)[1]
    size = np.repeat(sizes, sizes)
    first = np.repeat(np.cumsum(sizes) - sizes, sizes)
    rank = np.empty(len(values), np.int64)
    share = np.empty(len(values))
    rank[order] = np.arange(len(values)) - first + 1
    share[order] = rank[order] / size if len(values) else 0.0
    return rank, share


def is_kept(share: ArrayLike, keep: ArrayLike) -> NDArray[np.bool_]:
    """Whether a place is inside the share kept (one number, or one a triplet)."""
    return np.asarray(share) <= np.asarray(keep) + ROUNDING


def precision_curve(
    share: ArrayLike, right: ArrayLike, seeds: ArrayLike, estimated: bool = False
) -> pd.DataFrame:
    """Precision of the best x of every group against x: columns share, precision, low, high, known, kept.

    `right` is 1, 0 or nan where nobody knows; such triplets count in `kept` alone. The mean is over seeds with a 95 % t
    interval over them; `estimated` takes all triplets as one sample with Wilson's interval, as human verdicts need.
    """
    share, right = np.asarray(share, np.float64), np.asarray(right, np.float64)
    steps = len(SHARES)
    bins = np.clip(np.ceil(share * steps - 1e-6).astype(np.int64) - 1, 0, steps - 1)
    kinds, code = np.unique(np.zeros(len(share)) if estimated else np.asarray(seeds), return_inverse=True)
    cell, known = code * steps + bins, np.isfinite(right)

    def running(weights: Floats) -> Floats:
        counted = np.bincount(cell, weights, minlength=steps * len(kinds))
        return np.cumsum(counted.reshape(len(kinds), steps), axis=1)

    good, sure, kept = (
        running(np.where(known, right, 0.0)),
        running(known.astype(float)),
        running(np.ones(len(share))),
    )
    rows = []
    for step, x in enumerate(SHARES):
        n = sure[:, step].sum()
        each = good[sure[:, step] > 0, step] / sure[sure[:, step] > 0, step]
        if not len(each):
            rows.append((x, np.nan, np.nan, np.nan, 0, int(kept[:, step].sum())))
            continue
        low, high = (np.nan, np.nan)
        if estimated:
            low, high = wilson(float(good[:, step].sum()), int(n))
        elif len(each) > 1:
            low, high = mean_interval(each)
        rows.append((x, float(each.mean()), max(low, 0.0), min(high, 1.0), int(n), int(kept[:, step].sum())))
    return pd.DataFrame(rows, columns=["share", "precision", "low", "high", "known", "kept"])


def precision(right: ArrayLike, chosen: ArrayLike) -> float:
    """Share right of the chosen triplets whose truth is known; nan for none."""
    values = np.asarray(right, np.float64)[np.asarray(chosen, bool)]
    values = values[np.isfinite(values)]
    return float(values.mean()) if len(values) else float("nan")


def score_histograms(
    values: ArrayLike, types: ArrayLike, right: ArrayLike, names: Sequence[str]
) -> dict[str, Any]:
    """Counts of the values by type and truth: {"edges": …, "types": {type: {"right", "wrong", "unknown": counts}}}.

    The bins span all values alike; similarities start at 0 so that pictures of several runs compare.
    """
    values, types, right = np.asarray(values, np.float64), np.asarray(types), np.asarray(right, np.float64)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if low >= 0 and high <= 1 + ROUNDING:
        low, high = 0.0, 1.0
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    kinds = {"right": right == 1, "wrong": right == 0, "unknown": ~np.isfinite(right)}
    found = {
        name: {
            kind: np.histogram(values[(types == code) & mask & np.isfinite(values)], edges)[0].tolist()
            for kind, mask in kinds.items()
        }
        for code, name in enumerate(names)
        if (types == code).any()
    }
    return {"edges": edges.tolist(), "types": found}


def similarity_plane(question: ArrayLike, answer: ArrayLike, right: ArrayLike) -> list[dict[str, Any]]:
    """Where the triplets that compare both sides lie: {question, answer (centres, 0 to 1), n, known, right} a cell that has some."""
    q, a, right = (np.asarray(values, np.float64) for values in (question, answer, right))
    both = np.isfinite(q) & np.isfinite(a)
    step = np.stack([np.clip(np.rint(side[both] * CELLS), 0, CELLS) for side in (q, a)]).astype(np.int64)
    cell, known = step[0] * (CELLS + 1) + step[1], np.isfinite(right[both])
    counts = [
        np.bincount(cell, weights, (CELLS + 1) ** 2)
        for weights in (np.ones(len(cell)), known.astype(float), np.nan_to_num(right[both]))
    ]
    return [
        {"question": place // (CELLS + 1) / CELLS, "answer": place % (CELLS + 1) / CELLS, "n": int(n), "known": int(k), "right": int(r)}
        for place, (n, k, r) in enumerate(zip(*counts, strict=True))
        if n
    ]  # fmt: skip


def agreement(verdicts: Mapping[str, Mapping[int, str]]) -> list[dict[str, Any]]:
    """How far every two reviewers agree on the triplets that both judged: {first, second, n, share, kappa}.

    An edit counts as keeping. Cohen's kappa: (share − chance) / (1 − chance), chance from each one's own share of keeps;
    None where chance is 1 (both always said the same) or nothing was judged by both.
    """
    rows, names = [], sorted(verdicts)
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            both = sorted(verdicts[first].keys() & verdicts[second].keys())
            a, b = (
                np.array([verdicts[who][one] != "reject" for one in both], bool) for who in (first, second)
            )
            share = float((a == b).mean()) if both else None
            chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())) if both else 1.0
            kappa = None if share is None or chance > 1 - ROUNDING else (share - chance) / (1 - chance)
            rows.append({"first": first, "second": second, "n": len(both), "share": share, "kappa": kappa})
    return rows


def weaknesses(generators: pd.DataFrame) -> list[str]:
    """Why the filter may mean nothing, from rows of srf_generators of the generators that wrote the triplets; empty when sound.

    A generator that ignores the image predicts its language prior again, which is perfectly consistent.
    """
    found = []
    auc, vqa, right = (generators[name].dropna() for name in ("score_auc", "vqa", "precision"))
    drop = (generators["score_mean"] - generators["shuffled_score"]).dropna()
    if len(auc) and auc.mean() < WEAK_AUC:
        found.append(
            f"S tells right from wrong hardly better than chance on labelled scenes (AUC {auc.mean():.2f}; 0.5 is chance)."
        )
    if len(vqa) and vqa.mean() < WEAK_VQA:
        found.append(f"The generator answers only {vqa.mean():.0%} of held-out questions rightly.")
    if len(right) and right.mean() < WEAK_PRECISION:
        found.append(f"Only {right.mean():.0%} of what it wrote is right, so there is little to keep.")
    if len(drop) and drop.mean() < DROP:
        with_image, without = generators["score_mean"].mean(), generators["shuffled_score"].mean()
        found.append(
            f"With the wrong image S hardly falls ({with_image:.2f} to {without:.2f}), so it says little about the image."
        )
    return found
