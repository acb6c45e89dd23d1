"""Numbers of counterfactual content and style: counterfactual error, supports of the influence, G-score, word differences.

Formulas: arXiv 2402.15309 (MATTE). Influence means |∂ output / ∂ latent| times the latent's standard deviation.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
SUPPORT = 0.1  # of the largest influence, below which an entry counts as zero
COLLAPSED = 0.5  # nats
KEPT, REMOVED, ADDED = "kept", "removed", "added"


def counterfactual_error(predicted: ArrayLike, truth: ArrayLike, factual: ArrayLike) -> float:
    """MSE of predicted counterfactuals (n × D) over that of leaving each row as it is: 0 is perfect, 1 is doing nothing."""
    p, t, f = (np.asarray(values, dtype=np.float64) for values in (predicted, truth, factual))
    return float(((p - t) ** 2).mean() / ((f - t) ** 2).mean())


@dataclass(frozen=True)
class Supports:
    """What the theorem assumes, read off an influence map.

    `style`, `content`: mean share of outputs that a latent of the block touches; `relative`: whether the widest style touches
    fewer outputs than the narrowest content; `style_only`: outputs that a style touches and some content does not.
    """

    style: float
    content: float
    relative: bool
    style_only: int


def supports(influence: ArrayLike, d_style: int) -> Supports:
    """Supports of an influence map (outputs × latents, content first). Raises ValueError without both blocks."""
    values = np.asarray(influence, dtype=np.float64)
    if values.ndim != 2 or not 0 < d_style < values.shape[1]:
        raise ValueError(f"an influence map needs content and style columns, not shape {values.shape}.")
    touched = values > SUPPORT * values.max()
    content, style = touched[:, :-d_style], touched[:, -d_style:]
    used = content[:, content.any(axis=0)]
    relative = bool(used.size and style.mean(axis=0).max() < used.mean(axis=0).min())
    alone = style.any(axis=1) & ~used.all(axis=1) if used.size else style.any(axis=1)
    return Supports(float(style.mean()), float(used.mean()) if used.size else 0.0, relative, int(alone.sum()))


def g_score(confidence: ArrayLike, bleu: ArrayLike) -> Floats:
    """Harmonic mean of target-style probability (0 to 1, as per cent) and sentence BLEU (0 to 100), per sentence."""
    a, b = 100 * np.asarray(confidence, dtype=np.float64), np.asarray(bleu, dtype=np.float64)
    return np.asarray(np.divide(2 * a * b, a + b, out=np.zeros_like(a), where=a + b > 0))


def word_changes(before: Sequence[str], after: Sequence[str]) -> list[tuple[str, str]]:
    """Words of both sentences in reading order, each "kept", "removed" (of the first) or "added" (in the second)."""
    found: list[tuple[str, str]] = []
    for kind, a0, a1, b0, b1 in difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if kind == "equal":
            found += [(word, KEPT) for word in before[a0:a1]]
        else:
            found += [(word, REMOVED) for word in before[a0:a1]]
            found += [(word, ADDED) for word in after[b0:b1]]
    return found


def direction(codes: ArrayLike, labels: ArrayLike) -> tuple[Floats, float, float, float]:
    """The unit vector (d) from the mean code of label 0 to that of label 1, both means along it, and the spread along it.

    `codes` (n × d), `labels` (n) of 0 and 1. Where the means agree the first axis is taken.
    """
    z, y = np.asarray(codes, dtype=np.float64), np.asarray(labels)
    difference = z[y == 1].mean(axis=0) - z[y == 0].mean(axis=0)
    size = float(np.linalg.norm(difference))
    unit = difference / size if size > 0 else np.eye(z.shape[1])[0]
    along = z @ unit
    return unit, float(along[y == 0].mean()), float(along[y == 1].mean()), float(along.std())


def moved(codes: ArrayLike, unit: Floats, level: ArrayLike) -> Floats:
    """Codes (n × d) set to `level` (n, or one number) along `unit` (d), everything else kept."""
    z = np.asarray(codes, dtype=np.float64)
    return np.asarray(z + (np.asarray(level) - z @ unit)[:, None] * unit)
