"""One-to-one matching of two dictionaries: MCC, PW-MCC, their chance level and their intervals.

Source: arXiv 2505.20254, section on the mean correlation coefficient. The paper defines the *absolute* cosine,
the authors' released code computes the *signed* one; both are returned here.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainccinv, stdtrit

from analyses.assignment import assign, assign_both
from analyses.streams import stream_seed

Floats = NDArray[np.floating[Any]]
SIMULATED_UP_TO = 2_500


@dataclass(frozen=True)
class Match:
    """Optimal matching by absolute cosine.

    `pairs` (n × 2): row of `a`, row of `b`, by falling |cosine|; `cosine` (n): signed cosine of each pair;
    `mcc_abs`: mean |cosine|; `mcc_signed`: mean cosine under the matching that maximises the signed sum;
    `best_a`, `best_b`: best |cosine| of every feature on the other side, many-to-one; `gap`: how far, at most, the
    mean of either matching lies below the optimum.
    """

    pairs: NDArray[np.int64]
    cosine: NDArray[np.float64]
    mcc_abs: float
    mcc_signed: float
    best_a: NDArray[np.float32]
    best_b: NDArray[np.float32]
    gap: float = 0.0


@dataclass(frozen=True)
class Null:
    """MCC of independent random directions: mean and standard deviation over `draws` (0 draws: analytic)."""

    mean: float
    std: float
    draws: int


def _unit_rows(features: ArrayLike, name: str) -> Floats:
    rows = np.asarray(features)
    if rows.dtype not in (np.float32, np.float64):
        rows = rows.astype(np.float64)
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(
            f"{name} must be a non-empty matrix with one feature per row, got shape {rows.shape}."
        )
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} holds NaN or infinite values.")
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows = rows / np.where(largest == 0, 1, largest)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norms == 0, 1, norms)).astype(np.float32)


def _both(features_a: ArrayLike, features_b: ArrayLike) -> tuple[Floats, Floats]:
    a, b = _unit_rows(features_a, "features_a"), _unit_rows(features_b, "features_b")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"features_a has width {a.shape[1]} and features_b {b.shape[1]}; they must agree.")
    return a, b


def cosine_matrix(features_a: ArrayLike, features_b: ArrayLike) -> Floats:
    """Cosines (n × m) of the rows of `features_a` (n × d) and `features_b` (m × d); a zero row has cosine 0.

    Raises ValueError for empty, non-finite or differently wide input.
    """
    a, b = _both(features_a, features_b)
    return a @ b.T


def mean_correlation_coefficient(features_a: ArrayLike, features_b: ArrayLike, signed: bool = False) -> float:
    """MCC of two dictionaries (n × d and m × d): mean cosine over the best one-to-one matching of min(n, m) pairs.

    Absolute cosine as in the paper; `signed=True` gives the authors' released variant. Raises ValueError.
    """
    return float(np.mean(assign(*_both(features_a, features_b), signed).similarity, dtype=np.float64))


def match(features_a: ArrayLike, features_b: ArrayLike) -> Match:
    """The optimal matching of two dictionaries (n × d and m × d). Raises ValueError."""
    a, b = _both(features_a, features_b)
    found, signed = assign_both(a, b)
    values = np.einsum("ij,ij->i", a[found.rows], b[found.columns]).astype(np.float64)
    order = np.lexsort((found.rows, -np.abs(values)))
    pairs = np.stack([found.rows, found.columns], axis=1)[order]
    return Match(
        pairs,
        values[order],
        mcc_abs=float(np.abs(values).mean()),
        mcc_signed=float(signed.similarity.mean(dtype=np.float64)),
        best_a=found.best_a,
        best_b=found.best_b,
        gap=max(found.gap, signed.gap),
    )


def random_direction_null(d: int, n_a: int, n_b: int, seed: int = 0) -> Null:
    """MCC (absolute) of two random dictionaries, n_a × d and n_b × d, from the stream "null".

    Simulated with 50 draws up to 128 features and 5 up to 2,500; above that the analytic level is given (draws = 0).
    """
    small, large = sorted((n_a, n_b))
    return _simulated_null(d, small, large, 50 if large <= 128 else 5, seed)


@cache
def _simulated_null(d: int, n_a: int, n_b: int, draws: int, seed: int) -> Null:
    if n_b > SIMULATED_UP_TO:
        return Null(analytic_null(d, n_a, n_b), 0.0, 0)
    generator = np.random.default_rng(stream_seed("null", seed, d, n_a, n_b))
    values = [
        mean_correlation_coefficient(generator.standard_normal((n_a, d)), generator.standard_normal((n_b, d)))
        for _ in range(draws)
    ]
    return Null(float(np.mean(values)), float(np.std(values, ddof=1)), draws)


def analytic_null(d: int, n_a: int, n_b: int) -> float:
    """Expected MCC (absolute) of random directions from the random assignment problem.

    With independent entries, a matched entry lies at the upper-tail probability x / max(n), x of mean
    Σ 1 / ((n_a − i)(n_b − j)) · max(n) / min(n) over i + j < min(n) (Coppersmith & Sorkin 1999, proved by
    Linusson & Wästlund 2004), taken as exponential; |cos| of random directions has the law √Beta(½, (d − 1)/2).
    Within 0.025 of simulation for d ≥ 8, 0.01 for d ≥ 64; a width of 1 leaves only |cos| = 1.
    """
    if d == 1:
        return 1.0
    small, large = sorted((n_a, n_b))
    i = np.arange(small)
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, large + 1))])
    total = np.sum((harmonic[large] - harmonic[large - small + i]) / (small - i))
    mean = total * large / small
    quantiles = (np.arange(4096) + 0.5) / 4096
    tail = np.minimum(-np.log(quantiles) * mean / large, 1.0)
    return float(np.mean(np.sqrt(betainccinv(0.5, (d - 1) / 2, tail))))


def calibrated(mcc: float, null: float) -> float:
    """(MCC − null) / (1 − null): 0 at chance, 1 for identical dictionaries; 0 where chance itself is 1."""
    return (mcc - null) / (1 - null) if null < 1 else 0.0


def match_summary(found: Match, null: Null) -> dict[str, float]:
    """A matching beside its chance level, under the column names of the table `pairs`."""
    return {
        "n": len(found.cosine),
        "pw_mcc_abs": found.mcc_abs,
        "pw_mcc_signed": found.mcc_signed,
        "null_mean": null.mean,
        "null_std": null.std,
        "calibrated": calibrated(found.mcc_abs, null.mean),
        "max_cosine_ab": float(found.best_a.mean()),
        "max_cosine_ba": float(found.best_b.mean()),
        "gap": found.gap,
    }


def bootstrap_interval(
    matrix: ArrayLike, level: float = 0.95, n: int = 2000, seed: int = 0
) -> tuple[float, float] | None:
    """Percentile interval of the mean pair value, resampling *runs* (stream "bootstrap").

    `matrix` (R × R) holds the pair values, its diagonal is ignored. A draw takes R runs with replacement and
    averages over its pairs of different runs, as PW-MCC does; draws of one run only are left out.
    None for fewer than three runs.
    """
    values = np.asarray(matrix, dtype=np.float64)
    runs = len(values)
    if runs < 3:
        return None
    generator = np.random.default_rng(stream_seed("bootstrap", seed))
    draws = generator.integers(runs, size=(n, runs))
    first, second = np.triu_indices(runs, 1)
    a, b = draws[:, first], draws[:, second]
    different = a != b
    sums = np.where(different, values[a, b], 0.0).sum(axis=1)
    counts = different.sum(axis=1)
    means = sums[counts > 0] / counts[counts > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Student-t interval of the mean of independent values, one per seed; (−inf, inf) for fewer than two."""
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 2:
        return -np.inf, np.inf
    quantile = stdtrit(len(sample) - 1, (1 + level) / 2)
    half = quantile * sample.std(ddof=1) / np.sqrt(len(sample))
    return float(sample.mean() - half), float(sample.mean() + half)
