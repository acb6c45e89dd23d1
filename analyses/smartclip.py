"""Numbers about masks over an embedding: overlap, what a mask's dimensions tell, retrieval, agreement between seeds.

A mask is a boolean row of d dimensions. None of M1 to M6 is defined in arXiv 2507.22264; they test what it claims:
retrieval (M1), attributes kept in the whole embedding (M2), overlap of masks of the same attribute (M3), what a mask's
dimensions tell of other attributes (M4), masks of a union (M5), size against length (M6).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.identifiability import correlations, mean_correlation, permutation_null

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]
Ints = NDArray[np.int64]
SHRINKAGE = 1e-3
NEIGHBOURS = 10
TOP = 5
NULL_DRAWS = 20
SAME_SCALE = 1e-9


def iou(a: ArrayLike, b: ArrayLike) -> Floats:
    """Intersection over union of every mask of a (n × d) with every one of b (m × d): n × m; 0 where both are empty."""
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    shared = x @ y.T
    union = x.sum(axis=1)[:, None] + y.sum(axis=1)[None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def paired_iou(a: Bits, b: Bits) -> Floats:
    """Intersection over union of the masks in the same row of a and b (n × d): n; 0 where both are empty."""
    union = (a | b).sum(axis=1)
    return np.asarray(np.divide((a & b).sum(axis=1), union, out=np.zeros(len(a)), where=union > 0))


@dataclass(frozen=True)
class Overlap:
    """M3: mean overlap of masks of one attribute's sentences, and of different attributes' ones; `information` is the
    normalised mutual information of a bit with the attribute, mean over the bits that vary (0 to 1)."""

    same: float
    different: float
    information: float


def overlap(masks: Bits, attribute: Sequence[str]) -> Overlap:
    """How masks of single sentences (n × d) overlap, `attribute` naming what each sentence tells."""
    table, names = iou(masks, masks), np.asarray(attribute)
    alike = names[:, None] == names[None]
    off = ~np.eye(len(names), dtype=bool)
    return Overlap(_mean(table[alike & off]), _mean(table[~alike]), _bit_information(masks, names))


def _bit_information(masks: Bits, names: NDArray[np.str_]) -> float:
    """Attributes count alike, whatever their number of sentences."""
    shares = np.stack([masks[names == name].mean(axis=0) for name in np.unique(names)])
    overall = shares.mean(axis=0)
    varying = (overall > 0) & (overall < 1)
    if not varying.any():
        return 0.0
    whole, within = _entropy(overall[varying]), _entropy(shares[:, varying]).mean(axis=0)
    return float(((whole - within) / whole).mean())


def _entropy(p: Floats) -> Floats:
    p = np.clip(p, 1e-300, 1)
    q = np.clip(1 - p, 1e-300, 1)
    return np.asarray(-(p * np.log(p) + q * np.log(q)))


def _mean(values: Floats) -> float:
    return float(values.mean()) if values.size else float("nan")


def attribute_masks(masks: Bits, attribute: Sequence[str | None]) -> dict[str, Bits]:
    """One mask (d) an attribute: the dimensions that any of its sentences keeps, so that it tells no value."""
    names = np.array([name or "" for name in attribute])
    found = dict.fromkeys(name for name in attribute if name)
    return {name: masks[names == name].any(axis=0) for name in found}


class LinearProbe:
    """Linear discriminant analysis of an attribute in closed form, for any choice of dimensions.

    Class means and the pooled covariance (shrunk by 0.1 % of its mean diagonal) are taken once on z (n × d) with labels
    (n; −1: left out); a probe on some dimensions solves for those alone.
    """

    def __init__(self, z: Floats, labels: Ints) -> None:
        known = labels >= 0
        z, labels = z[known], labels[known]
        self.classes, y = np.unique(labels, return_inverse=True)
        counts = np.bincount(y)
        self.shares = counts / len(y)
        self.means = np.stack([z[y == k].mean(axis=0) for k in range(len(counts))])
        rest = z - self.means[y]
        self.covariance = rest.T @ rest / len(z)

    @property
    def chance(self) -> float:
        """Accuracy of always naming the commonest class."""
        return float(self.shares.max())

    def accuracy(self, z: Floats, labels: Ints, kept: Bits) -> float:
        """Share of other rows (m × d, m) named right from the kept dimensions; chance where none is kept."""
        known = labels >= 0
        z, labels = z[known][:, kept], labels[known]
        if not kept.any():
            guess = self.classes[self.shares.argmax()]
            return float((labels == guess).mean())
        means, part = self.means[:, kept], self.covariance[np.ix_(kept, kept)]
        ridge = SHRINKAGE * part.diagonal().mean() + SAME_SCALE
        weights = np.linalg.solve(part + ridge * np.eye(len(part)), means.T)
        scores = z @ weights - 0.5 * (means * weights.T).sum(axis=1) + np.log(self.shares)
        return float((self.classes[scores.argmax(axis=1)] == labels).mean())


def neighbour_accuracy(
    z_train: Floats, z_test: Floats, train: Mapping[str, Ints], test: Mapping[str, Ints], kept: Bits
) -> dict[str, float]:
    """Share of test rows whose attribute the majority of their 10 nearest training rows has, in the kept dimensions."""
    if not kept.any():
        return {
            name: float((test[name] == np.bincount(train[name][train[name] >= 0]).argmax()).mean())
            for name in train
        }
    a, b = z_train[:, kept], z_test[:, kept]
    far = (b**2).sum(axis=1)[:, None] + (a**2).sum(axis=1)[None] - 2 * b @ a.T
    many = min(NEIGHBOURS, len(a))
    near = np.argpartition(far, many - 1, axis=1)[:, :many]
    found = {}
    for name, labels in train.items():
        votes = labels[near]
        counts = np.stack([(votes == k).sum(axis=1) for k in range(int(labels.max()) + 1)], axis=1)
        found[name] = float((counts.argmax(axis=1) == test[name]).mean())
    return found


def normalised(accuracy: ArrayLike, chance: ArrayLike) -> Floats:
    """(accuracy − chance) / (1 − chance): 0 at chance, 1 when all is right; 0 where chance itself is 1."""
    a, c = np.asarray(accuracy, dtype=np.float64), np.asarray(chance, dtype=np.float64)
    return np.asarray(np.divide(a - c, 1 - c, out=np.zeros(np.broadcast(a, c).shape), where=c < 1))


def same_size(mask: Bits, draws: int, rng: np.random.Generator) -> Bits:
    """`draws` random masks (draws × d) that keep as many dimensions as `mask` (d)."""
    order = rng.random((draws, len(mask))).argsort(axis=1)
    return np.asarray(order < int(mask.sum()))


def block_gap(table: ArrayLike) -> tuple[float, float]:
    """Mean of the diagonal and of the rest of a square table (masked by × attribute)."""
    values = np.asarray(table, dtype=np.float64)
    own = np.eye(len(values), dtype=bool)
    return float(values[own].mean()), _mean(values[~own])


def variance_told(z: Floats, labels: Ints) -> Floats:
    """Share of each dimension's variance (d) that lies between the classes of an attribute (η²)."""
    known = labels >= 0
    z, labels = z[known], labels[known]
    centre, total = z.mean(axis=0), z.var(axis=0)
    between = np.zeros(z.shape[1])
    for value in np.unique(labels):
        part = z[labels == value]
        between += len(part) / len(z) * (part.mean(axis=0) - centre) ** 2
    return np.asarray(np.divide(between, total, out=np.zeros_like(total), where=total > 0))


def recall_at_1(scores: ArrayLike, right: Bits) -> tuple[float, float]:
    """Share of rows (images) whose best column is right, and of columns (captions) whose best row is; `right` is n × m."""
    table = np.asarray(scores)
    rows, columns = np.arange(len(table)), np.arange(table.shape[1])
    return float(right[rows, table.argmax(axis=1)].mean()), float(right[table.argmax(axis=0), columns].mean())


def satisfaction(scores: ArrayLike, right: Bits, top: int = TOP) -> float:
    """Share of each column's (caption's) `top` best rows (images) that satisfy it, mean over columns."""
    table = np.asarray(scores)
    best = np.argsort(-table, axis=0, kind="stable")[:top]
    return float(np.take_along_axis(right, best, axis=0).mean())


@dataclass(frozen=True)
class Agreement:
    """Two seeds, each figure beside its value by chance.

    `mcc`: mean |correlation| of dimensions matched one-to-one; `masks`: overlap of the same sentence's masks under that
    matching (chance: dimensions matched at random); `structure`: correlation of the two seeds' tables of overlaps between
    sentences, which needs no matching (chance: sentences shuffled).
    """

    mcc: float
    mcc_null: float
    masks: float
    masks_null: float
    structure: float
    structure_null: float


def agreement(z_a: Floats, z_b: Floats, masks_a: Bits, masks_b: Bits, rng: np.random.Generator) -> Agreement:
    """How alike two seeds are: embeddings of the same images (n × d), masks of the same sentences (p × d)."""
    found = mean_correlation(z_a, z_b)
    null = permutation_null(lambda a, b: mean_correlation(a, b).value, z_a, z_b, rng, NULL_DRAWS)
    matched = paired_iou(masks_a, masks_b[:, found.assignment]).mean()
    turned = [
        paired_iou(masks_a, masks_b[:, rng.permutation(masks_b.shape[1])]).mean() for _ in range(NULL_DRAWS)
    ]
    a, b = iou(masks_a, masks_a), iou(masks_b, masks_b)
    shuffled = [_structure(a, b, rng.permutation(len(b))) for _ in range(NULL_DRAWS)]
    return Agreement(
        found.value, null.mean, float(matched), float(np.mean(turned)), _structure(a, b), float(np.mean(shuffled)),
    )  # fmt: skip


def _structure(a: Floats, b: Floats, order: Ints | None = None) -> float:
    """Correlation of two symmetric tables above their diagonals; 0 where one is constant."""
    if order is not None:
        b = b[np.ix_(order, order)]
    above = np.triu_indices(len(a), 1)
    return float(correlations(a[above][:, None], b[above][:, None])[0, 0]) if len(above[0]) >= 4 else 0.0
