"""Was what was learnt determined by the data? MCC and block R² of learnt against true latents, DCI, and their chance.

Conventions of the same group's benchmark (CausalVerse): MCC is the mean absolute correlation after linear
assignment; a block is identified when each side predicts the other by kernel ridge regression, half fitted, half
scored. All functions take values as rows × latents and are invariant to the order and the sign of the columns; with
`method="spearman"` also to monotone maps of each column. Pages read the correlations and should not wait for
scikit-learn: only `block_r2` and `dci` import it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Method = Literal["pearson", "spearman"]
RIDGE_GRID = {"alpha": [1.0, 0.1, 0.01, 0.001], "gamma": list(np.logspace(-2, 2, 4))}
FOLDS = 3


@dataclass(frozen=True)
class MccResult:
    """Learnt latents matched one-to-one with true ones by absolute correlation.

    `value`: mean |correlation| over the d true latents, 0 for one that found no partner; `assignment` (d): column
    of `learnt` matched with each true latent, −1 for none; `matrix` (d × k): signed correlations, 0 for a constant
    column.
    """

    value: float
    assignment: NDArray[np.int64]
    matrix: Floats


@dataclass(frozen=True)
class Chance:
    """A statistic when nothing was learnt: mean, standard deviation and 2.5 % / 97.5 % quantiles of `draws` draws."""

    mean: float
    std: float
    low: float
    high: float
    draws: int

    @classmethod
    def of(cls, values: ArrayLike) -> "Chance":
        """The summary of at least one drawn value."""
        sample = np.asarray(values, dtype=np.float64)
        low, high = np.quantile(sample, [0.025, 0.975])
        return cls(float(sample.mean()), float(sample.std()), float(low), float(high), len(sample))


@dataclass(frozen=True)
class Dci:
    """Disentanglement, completeness and informativeness (Eastwood & Williams 2018), each at most 1.

    `importance` (k × d): how much learnt latent i matters for predicting true latent j, columns sum to 1 (or 0).
    `informativeness` is the held-out R², mean over true latents.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: Floats


def _values(values: ArrayLike, name: str) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or 0 in array.shape or len(array) < 4:
        raise ValueError(f"{name} must hold rows × latents with four rows or more, not shape {array.shape}.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds values that are not finite; leave those rows out.")
    return array


def _pair(true: ArrayLike, learnt: ArrayLike, names: tuple[str, str]) -> tuple[Floats, Floats]:
    first, second = _values(true, names[0]), _values(learnt, names[1])
    if len(first) != len(second):
        raise ValueError(
            f"{names[0]} has {len(first)} rows and {names[1]} {len(second)}; they must be the same rows."
        )
    return first, second


def _standardised(values: Floats) -> Floats:
    centred = values - values.mean(axis=0)
    scale = centred.std(axis=0)
    constant = scale <= 1e-12 * np.maximum(np.abs(values).max(axis=0), 1e-300)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, scale))


def correlations(first: ArrayLike, second: ArrayLike, method: Method = "pearson") -> Floats:
    """Correlations (d × k) of the columns of two tables (n × d and n × k); 0 for a constant column.

    Raises ValueError for tables that are empty, not finite or of different length.
    """
    a, b = _pair(first, second, ("first", "second"))
    if method == "spearman":
        from scipy.stats import rankdata

        a, b = rankdata(a, axis=0), rankdata(b, axis=0)
    return np.clip(_standardised(a).T @ _standardised(b) / len(a), -1.0, 1.0)


def mean_correlation(true: ArrayLike, learnt: ArrayLike, method: Method = "pearson") -> MccResult:
    """MCC of `learnt` (n × k) against `true` (n × d) under the assignment that maximises it. Raises ValueError.

    A rotation of d independent Gaussian latents scores `rotation_floor(d)`, not 0: read the value against that.
    """
    matrix = correlations(true, learnt, method)
    rows, columns = linear_sum_assignment(np.abs(matrix), maximize=True)
    assignment = np.full(len(matrix), -1, dtype=np.int64)
    assignment[rows] = columns
    return MccResult(float(np.abs(matrix[rows, columns]).sum() / len(matrix)), assignment, matrix)


def block_correlation(
    true: Mapping[str, ArrayLike], learnt: Mapping[str, ArrayLike], method: Method = "pearson"
) -> dict[str, MccResult]:
    """MCC of every block (name → n × its size), matched within the block. Raises KeyError for a block not learnt."""
    return {block: mean_correlation(values, learnt[block], method) for block, values in true.items()}


def pairwise_mcc(runs: Sequence[ArrayLike], method: Method = "pearson") -> Floats:
    """MCC of every two runs' latents (each n × k, the same rows): runs × runs, diagonal 1. No truth needed."""
    values = np.eye(len(runs))
    for i in range(len(runs)):
        for j in range(i):
            values[i, j] = values[j, i] = mean_correlation(runs[i], runs[j], method).value
    return values


def block_r2(target: ArrayLike, given: ArrayLike, rng: np.random.Generator, max_rows: int = 1_000) -> float:
    """How well a block (n × d) follows from another (n × k): held-out R², mean over the block's columns.

    RBF kernel ridge on standardised columns, half the rows fitted (at most `max_rows`), half scored (at most
    `max_rows`), penalty and width by 3-fold cross-validation on the fitted half over `RIDGE_GRID`. Below 0 when worse
    than the mean. Call it both ways: `given` may hold more than the block, or less. Raises ValueError.
    """
    from sklearn.kernel_ridge import KernelRidge
    from sklearn.metrics import r2_score
    from sklearn.model_selection import GridSearchCV, KFold

    y, x = _pair(target, given, ("target", "given"))
    order = rng.permutation(len(y))
    half = len(y) // 2
    fit, score = order[:half][:max_rows], order[half:][:max_rows]
    if half < FOLDS:
        raise ValueError(f"block_r2 needs {2 * FOLDS} rows or more, not {len(y)}.")
    y, x = _standardised(y), _standardised(x)
    search = GridSearchCV(KernelRidge(kernel="rbf"), RIDGE_GRID, cv=KFold(FOLDS), scoring="r2")
    search.fit(x[fit], y[fit])
    return float(r2_score(y[score], search.predict(x[score])))


def permutation_null(
    statistic: Callable[[Floats, Floats], float],
    true: ArrayLike,
    learnt: ArrayLike,
    rng: np.random.Generator,
    draws: int = 100,
) -> Chance:
    """`statistic(true, learnt)` after the rows of `learnt` are shuffled, `draws` times. Raises ValueError.

    It keeps both laws and breaks what ties them: the level of a learner that saw other data.
    Example: `permutation_null(lambda t, l: mean_correlation(t, l).value, true, learnt, rng)`.
    """
    a, b = _pair(true, learnt, ("true", "learnt"))
    return Chance.of([statistic(a, b[rng.permutation(len(b))]) for _ in range(draws)])


def rotation_floor(d: int, rng: np.random.Generator, draws: int = 2_000) -> Chance:
    """MCC of a uniformly random rotation of d independent Gaussian latents: what a block alone already earns.

    1 for d = 1, mean 2√2/π ≈ .900 for d = 2, .828 for 3, .773 for 4, .729 for 5. Raises ValueError for d < 1.
    """
    if d < 1:
        raise ValueError(f"A block has one dimension or more, not {d}.")
    if d == 1:
        return Chance(1.0, 0.0, 1.0, 1.0, draws)
    from scipy.stats import ortho_group

    rotations = np.abs(ortho_group.rvs(d, size=draws, random_state=rng))
    return Chance.of([r[linear_sum_assignment(r, maximize=True)].mean() for r in rotations])


def rotated_null(
    true: ArrayLike, rng: np.random.Generator, method: Method = "pearson", draws: int = 200
) -> Chance:
    """MCC of random rotations of the whitened block `true` (n × d): the floor for its own law. Raises ValueError.

    Unlike `rotation_floor` it allows for dependent and non-Gaussian latents.
    """
    values = _values(true, "true")
    left, size, _ = np.linalg.svd(_standardised(values), full_matrices=False)
    white = left[:, size > 1e-9 * size[0]]
    if white.shape[1] == 1:
        return Chance.of([mean_correlation(values, white, method).value])
    from scipy.stats import ortho_group

    turns = ortho_group.rvs(white.shape[1], size=draws, random_state=rng)
    return Chance.of([mean_correlation(values, white @ turn, method).value for turn in turns])


def dci(true: ArrayLike, learnt: ArrayLike, rng: np.random.Generator, max_rows: int = 1_500) -> Dci:
    """DCI of `learnt` (n × k) against `true` (n × d) with random forests, half fitted, half scored.

    Eastwood & Williams 2018, section 2: disentanglement of a learnt latent is 1 − entropy (base d) of its share of
    importances, averaged with their sums as weights; completeness the same over learnt latents (base k); with one
    true (one learnt) latent the first (second) is 1 by convention. Raises ValueError.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.metrics import r2_score

    y, x = _pair(true, learnt, ("true", "learnt"))
    order = rng.permutation(len(y))
    half = len(y) // 2
    fit, score = order[:half][:max_rows], order[half:][:max_rows]
    importance = np.zeros((x.shape[1], y.shape[1]))
    r2 = []
    for j in range(y.shape[1]):
        forest = RandomForestRegressor(20, min_samples_leaf=5, random_state=int(rng.integers(2**31)))
        forest.fit(x[fit], y[fit, j])
        importance[:, j] = forest.feature_importances_
        r2.append(r2_score(y[score, j], forest.predict(x[score])))
    return Dci(_concentration(importance), _concentration(importance.T), float(np.mean(r2)), importance)


def _concentration(importance: Floats) -> float:
    """Mean over rows, weighted by their sums, of 1 − entropy of the row in units of its maximum."""
    weights = importance.sum(axis=1)
    used = weights > 0
    if not used.any():
        return 0.0
    if importance.shape[1] == 1:
        return 1.0
    from scipy.stats import entropy

    spread = entropy(importance[used], axis=1, base=importance.shape[1])
    return float(np.average(1 - spread, weights=weights[used]))
