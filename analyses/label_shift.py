"""Numbers of label shift: P(Y) moves and P(X | Y) stays, so that a classifier is corrected by priors alone.

Everything is in log space and renormalised. Rows are items, columns classes; "prior" means the log of a distribution over
the K classes, which may hold very small values but sums to one. Formulas: arXiv 2410.04499 (section on the adapter), EM after
Saerens, Latinne & Decaestecker 2002, BBSE after Lipton, Wang & Smola 2018 (arXiv 1802.03916).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar, nnls
from scipy.special import log_softmax, logsumexp

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NONE, LAST, TAU, ADAPTER, EM, BBSE, ORACLE, FINE_TUNE = (
    "none",
    "last marginal",
    "one-parameter fit",
    "adapter",
    "EM",
    "BBSE",
    "oracle prior",
    "fine-tuning",
)
ARMS = (NONE, LAST, TAU, ADAPTER, EM, BBSE, ORACLE, FINE_TUNE)
EM_STEPS, EM_TOLERANCE = 200, 1e-7
LEAST_SHARE = 1e-6
NEWTON_STEPS = 50
MOST_SHARPNESS = 1e4
LOG_TEMPERATURES = (-3.0, 3.0)
BINS = 15


def uniform(n_classes: int) -> Floats:
    """The log prior (K) under which all classes are alike."""
    return np.full(n_classes, -np.log(n_classes))


def corrected(log_probs: ArrayLike, log_prior: ArrayLike, log_train: ArrayLike) -> Floats:
    """Log posterior (n × K) of a classifier trained under one prior (K), under another: Bayes' rule, renormalised."""
    moved = np.asarray(log_probs, dtype=np.float64) + np.asarray(log_prior) - np.asarray(log_train)
    return np.asarray(log_softmax(moved, axis=1))


def divergence(log_p: ArrayLike, log_q: ArrayLike) -> Floats:
    """KL(p ‖ q) in nats of log distributions over the last axis."""
    p, q = np.asarray(log_p, dtype=np.float64), np.asarray(log_q, dtype=np.float64)
    return np.asarray(np.sum(np.exp(p) * (p - q), axis=-1))


def smoothed(counts: ArrayLike) -> Floats:
    """Log share of every class (K) from counts, half a row added to each, so that none is impossible."""
    more = np.asarray(counts, dtype=np.float64) + 0.5
    return np.asarray(np.log(more / more.sum()))


def class_accuracy(predicted: Ints, labels: Ints, n_classes: int) -> Floats:
    """Share of each class' rows that are predicted right (K); the mean of the other classes where it has no row."""
    rows = np.bincount(labels, minlength=n_classes)
    hits = np.bincount(labels[predicted == labels], minlength=n_classes)
    with np.errstate(invalid="ignore"):
        found = hits / rows
    return np.asarray(np.where(rows > 0, found, np.nanmean(found)))


def sharpness(statistics: ArrayLike, marginals: ArrayLike) -> float:
    """1/τ of the one-parameter model log p ∝ −S/τ, by maximum likelihood from pairs (n × K each); 0 without a pair.

    The likelihood is concave in 1/τ; Newton's steps are halved while they lower it.
    """
    s, m = (
        np.asarray(values, dtype=np.float64).reshape(-1, np.shape(values)[-1])
        for values in (statistics, marginals)
    )
    if not len(s):
        return 0.0

    def loss(beta: float) -> float:
        return float(np.sum(m * beta * s) + np.sum(logsumexp(-beta * s, axis=1)))

    beta, value = 0.0, loss(0.0)
    for _ in range(NEWTON_STEPS):
        p = np.exp(log_softmax(-beta * s, axis=1))
        mean = (p * s).sum(axis=1)
        slope = float(np.sum(m * s) - mean.sum())
        curvature = float(((p * s * s).sum(axis=1) - mean**2).sum())
        step = slope / max(curvature, 1e-12)
        while abs(step) > 1e-10 and not loss(np.clip(beta - step, -MOST_SHARPNESS, MOST_SHARPNESS)) <= value:
            step /= 2
        moved = float(np.clip(beta - step, -MOST_SHARPNESS, MOST_SHARPNESS))
        if abs(moved - beta) < 1e-9 * max(1.0, abs(beta)):
            break
        beta, value = moved, loss(moved)
    return beta


def em_prior(log_probs: ArrayLike, log_train: ArrayLike) -> Floats:
    """Log prior (K) under which unlabelled rows (n × K) are likeliest, by expectation-maximisation; no share below 1e-6."""
    ratios = np.exp(np.asarray(log_probs, dtype=np.float64) - np.asarray(log_train))
    prior = np.exp(np.asarray(log_train, dtype=np.float64))
    for _ in range(EM_STEPS):
        weighted = ratios * prior
        found = (weighted / weighted.sum(axis=1, keepdims=True)).mean(axis=0)
        done = np.abs(found - prior).max() < EM_TOLERANCE
        prior = found
        if done:
            break
    return _floored(prior)


def soft_confusion(log_probs: ArrayLike, labels: Ints, n_classes: int) -> Floats:
    """Mean predicted probability of class i among rows of class j (K × K); every class needs a row."""
    probs = np.exp(np.asarray(log_probs, dtype=np.float64))
    return np.stack([probs[labels == k].mean(axis=0) for k in range(n_classes)], axis=1)


def bbse_prior(log_probs: ArrayLike, confusion: ArrayLike) -> Floats:
    """Log prior (K) that explains the mean prediction on unlabelled rows through a confusion matrix, none negative."""
    found, _ = nnls(np.asarray(confusion, dtype=np.float64), np.exp(np.asarray(log_probs)).mean(axis=0))
    return _floored(found)


def _floored(shares: Floats) -> Floats:
    kept = np.maximum(shares / max(shares.sum(), 1e-300), LEAST_SHARE)
    return np.asarray(np.log(kept / kept.sum()))


def balanced_weights(labels: Ints, n_classes: int) -> Floats:
    """A weight for each row (n), mean 1, that gives every class present the same total."""
    rows = np.bincount(labels, minlength=n_classes)
    return np.asarray(len(labels) / ((rows > 0).sum() * rows[labels]))


def temperature(logits: ArrayLike, labels: Ints) -> float:
    """The number that logits (n × K) are divided by for the lowest class-balanced log loss (Guo et al. 2017)."""
    values = np.asarray(logits, dtype=np.float64)
    weights = balanced_weights(labels, values.shape[1])
    rows = np.arange(len(labels))

    def loss(log_t: float) -> float:
        return float(-(weights * log_softmax(values / np.exp(log_t), axis=1)[rows, labels]).mean())

    return float(np.exp(minimize_scalar(loss, bounds=LOG_TEMPERATURES, method="bounded").x))


def log_loss(log_probs: Floats, labels: Ints) -> float:
    """Mean −log p of the right class, in nats."""
    return float(-log_probs[np.arange(len(labels)), labels].mean())


@dataclass(frozen=True)
class Calibration:
    """Confidence against accuracy in bins of equal width; `rows` weighs them. `error` is the expected calibration error."""

    confidence: Floats
    accuracy: Floats
    rows: Floats
    error: float


def calibration(log_probs: Floats, labels: Ints, weights: Floats, bins: int = BINS) -> Calibration:
    """How often the predicted class is right among rows of a like confidence; empty bins are left out."""
    confidence, right = np.exp(log_probs.max(axis=1)), log_probs.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    rows: Floats = np.bincount(place, weights, bins).astype(np.float64)
    kept = rows > 0
    mean = np.bincount(place, weights * confidence, bins)[kept] / rows[kept]
    accuracy = np.bincount(place, weights * right, bins)[kept] / rows[kept]
    error = float(np.average(np.abs(mean - accuracy), weights=rows[kept]))
    return Calibration(mean, accuracy, rows[kept], error)


def centred(jacobian: ArrayLike) -> Floats:
    """A Jacobian d log p / dS (K targets × K sources) less its mean over targets, which normalisation leaves free."""
    values = np.asarray(jacobian, dtype=np.float64)
    return values - values.mean(axis=0)


@dataclass(frozen=True)
class Likeness:
    """Correlation of the entries of two matrices, and the same after the columns of one are permuted."""

    value: float
    null_mean: float
    null_high: float


def likeness(a: ArrayLike, b: ArrayLike, rng: np.random.Generator, draws: int = 200) -> Likeness:
    """How alike two K × K matrices are; chance permutes the columns of `b`, `null_high` is its 97.5 % quantile.

    0 where one of them is constant.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    null = [_correlation(x, y[:, rng.permutation(y.shape[1])]) for _ in range(draws)]
    return Likeness(_correlation(x, y), float(np.mean(null)), float(np.quantile(null, 0.975)))


def _correlation(x: Floats, y: Floats) -> float:
    a, b = x - x.mean(), y - y.mean()
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float((a * b).sum() / size) if size > 1e-12 else 0.0
