"""What a dictionary looks like by itself and beside its matching: duplicates, subspaces, contributions, stability.

Rows are features (n × d) and are brought to norm 1 here; a zero row keeps cosine 0 with everything.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
DUPLICATE = 0.9
BLOCK = 2048


@dataclass(frozen=True)
class Neighbours:
    """Largest |cosine| of every row (n) to any other row, and to any row above it; 0 where there is none."""

    nearest: NDArray[np.float32]
    nearest_above: NDArray[np.float32]

    @property
    def mutual_coherence(self) -> float:
        """The largest |cosine| of two different rows."""
        return float(self.nearest.max(initial=0.0))

    def near_duplicates(self, threshold: float = DUPLICATE) -> NDArray[np.bool_]:
        """Which rows (n) have another row at |cosine| ≥ threshold."""
        return self.nearest >= threshold

    def uniqueness(self, threshold: float = DUPLICATE) -> float:
        """Share of rows with no row above them at |cosine| ≥ threshold: the first of any duplicates counts as unique."""
        return float(np.mean(self.nearest_above < threshold)) if len(self.nearest_above) else np.nan


def _unit_rows(rows: ArrayLike) -> NDArray[np.float32]:
    matrix = np.asarray(rows)
    if matrix.ndim != 2 or not np.isfinite(matrix).all():
        raise ValueError(f"features must be a finite matrix, one per row, got shape {matrix.shape}.")
    norms = np.linalg.norm(matrix, axis=1, keepdims=True)
    return (matrix / np.where(norms == 0, 1, norms)).astype(np.float32)


def neighbours(features: ArrayLike, block: int = BLOCK) -> Neighbours:
    """Nearest rows of a dictionary (n × d) by |cosine|, in blocks of block × block cosines.

    Raises ValueError for anything but a finite matrix.
    """
    rows = _unit_rows(features)
    nearest, above = np.zeros((2, len(rows)), dtype=np.float32)
    for start in range(0, len(rows), block):
        here = slice(start, start + block)
        for other in range(0, start + 1, block):
            there = slice(other, other + block)
            cosine = np.abs(rows[here] @ rows[there].T)
            if other == start:
                np.fill_diagonal(cosine, 0)
                nearest[here] = np.maximum(nearest[here], cosine.max(axis=1))
                above[here] = np.maximum(above[here], np.tril(cosine, -1).max(axis=1))
            else:
                closest = cosine.max(axis=1)
                nearest[here] = np.maximum(nearest[here], closest)
                above[here] = np.maximum(above[here], closest)
                nearest[there] = np.maximum(nearest[there], cosine.max(axis=0))
    return Neighbours(nearest, above)


def encoder_alignment(encoder: ArrayLike, decoder: ArrayLike) -> NDArray[np.float64]:
    """Cosine (n) of each feature's encoder row and decoder row (both n × d). Raises ValueError."""
    a, b = _unit_rows(encoder), _unit_rows(decoder)
    if a.shape != b.shape:
        raise ValueError(f"encoder is {a.shape} and decoder {b.shape}; they must agree.")
    return np.einsum("nd,nd->n", a, b, dtype=np.float64)


def subspace_overlap(
    features_a: ArrayLike, features_b: ArrayLike, energy: float = 0.9
) -> tuple[float, float]:
    """Overlap of the spans of two sets of features (n × d and m × d), and its chance level.

    The overlap is the mean squared cosine of the r principal angles between the top-r principal directions of
    either set (uncentred); r is the smallest rank that holds `energy` of the squared norm of both, at most d / 2
    and at most the rank of either. Two random r-dimensional subspaces overlap by r / d on average. After the
    "reproducible low-rank subspaces" of Gerasimov et al., arXiv 2606.12138. (nan, nan) when a set is empty
    or all zero. Raises ValueError.
    """
    a, b = _unit_rows(features_a), _unit_rows(features_b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features_a has width {a.shape[1]} and features_b {b.shape[1]}; they must agree.")
    d = a.shape[1]
    (axes_a, rank_a, full_a), (axes_b, rank_b, full_b) = _principal(a, energy), _principal(b, energy)
    r = min(max(rank_a, rank_b), full_a, full_b, max(d // 2, 1))
    if r == 0:
        return np.nan, np.nan
    return float(np.square(axes_a[:, :r].T @ axes_b[:, :r]).sum() / r), r / d


def _principal(rows: NDArray[np.float32], energy: float) -> tuple[Floats, int, int]:
    """Principal directions (d × d, strongest first), the rank that holds `energy`, and the full rank."""
    wide = rows.astype(np.float64)
    values, axes = np.linalg.eigh(wide.T @ wide)
    values, axes = values[::-1].clip(min=0), axes[:, ::-1]
    full = int((values > 1e-6 * values[0]).sum()) if values[0] > 0 else 0
    share = np.cumsum(values) / max(values.sum(), np.finfo(float).tiny)
    return axes, int(np.searchsorted(share, energy) + 1) if full else 0, full


def log_spaced_bins(values: ArrayLike, bins: int = 5) -> tuple[Floats, NDArray[np.int64]]:
    """Edges (bins + 1) of log-spaced bins from the least to the largest positive value, and each value's bin.

    Bins count from 1; 0 holds values that are not positive. With no positive value there are no edges.
    """
    found = np.asarray(values, dtype=np.float64)
    positive = found > 0
    place = np.zeros(len(found), dtype=np.int64)
    if not positive.any():
        return np.empty(0), place
    edges = np.geomspace(found[positive].min(), found[positive].max(), bins + 1)
    place[positive] = np.clip(np.searchsorted(edges, found[positive], side="right"), 1, bins)
    return edges, place


def contributions(
    cosine: ArrayLike, frequency: ArrayLike, bins: int = 5, n: int | None = None
) -> dict[str, NDArray[Any]]:
    """Decomposition of PW-MCC by frequency (arXiv 2505.20254, figure on contributions).

    `cosine` and `frequency` of each matched pair, the frequency being the lower one of its two features. Every
    pair is in exactly one bin: the first, (0, 0), holds pairs with a feature that never fires, the others are
    `bins` log-spaced ones. Arrays low, high, count, mean and sd (of |cosine|; NaN in an empty bin) and
    contribution: summed |cosine| over `n`, the number of pairs unless given, so that the bars add up to PW-MCC.
    """
    similarity = np.abs(np.asarray(cosine, dtype=np.float64))
    edges, place = log_spaced_bins(frequency, bins)
    total = max(len(similarity) if n is None else n, 1)
    groups = [similarity[place == index] for index in range(max(len(edges), 1))]
    return {
        "low": np.concatenate([[0.0], edges[:-1]]),
        "high": np.concatenate([[0.0], edges[1:]]),
        "count": np.array([len(group) for group in groups]),
        "mean": np.array([group.mean() if len(group) else np.nan for group in groups]),
        "sd": np.array([group.std() if len(group) else np.nan for group in groups]),
        "contribution": np.array([group.sum() / total for group in groups]),
    }


def feature_stability(matches: Any, threshold: float = 0.7, subset: str = "all") -> dict[str, NDArray[Any]]:
    """Per feature, the share of the other runs that hold a partner with |cosine| ≥ threshold.

    `matches` is the table of that name (Arrow, pandas or columns) of one run with two seeds or more; the partner
    is the one-to-one match in `subset`. Returns arrays seed, feature, stability, sorted, one entry per feature
    that appears in the table. After the stability of Gerasimov et al., arXiv 2606.12138.
    """
    columns = {name: np.asarray(matches[name]) for name in _MATCH_COLUMNS}
    chosen = columns["subset"] == subset
    seeds = np.concatenate([columns["seed_a"][chosen], columns["seed_b"][chosen]])
    features = np.concatenate([columns["feature_a"][chosen], columns["feature_b"][chosen]])
    same = np.tile(np.abs(columns["cosine"][chosen]) >= threshold, 2)
    keys, place = np.unique(np.stack([seeds, features]), axis=1, return_inverse=True)
    partners = np.bincount(place.ravel(), weights=same, minlength=keys.shape[1])
    others = max(len(np.unique(seeds)) - 1, 1)
    return {"seed": keys[0], "feature": keys[1], "stability": partners / others}


_MATCH_COLUMNS = ("seed_a", "seed_b", "subset", "feature_a", "feature_b", "cosine")
