"""Numbers about recurrent reasoners: how alike two seeds' states are, and where a state moves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA

from analyses.identifiability import mean_correlation, permutation_null

Floats = NDArray[np.float64]
COMPONENTS = 16
NULL_DRAWS = 20


@dataclass(frozen=True)
class Likeness:
    """Two seeds' states: MCC of their principal components and linear CKA, each beside its value for shuffled rows."""

    mcc: float
    mcc_null: float
    cka: float
    cka_null: float


def linear_cka(a: ArrayLike, b: ArrayLike) -> float:
    """Linear centred kernel alignment of two sets of states (n × d, n × k, the same rows), between 0 and 1.

    Kornblith et al. 2019 (arXiv 1905.00414), equation 7: ‖BᵀA‖² / (‖AᵀA‖ ‖BᵀB‖), Frobenius norms of centred columns.
    Invariant to rotation and isotropic scale; above 0 by chance where n is not much larger than d. 0 for constant states.
    Raises ValueError when the rows do not match.
    """
    x, y = (np.asarray(values, dtype=np.float64) for values in (a, b))
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
        raise ValueError(f"both must hold the same rows, not shapes {x.shape} and {y.shape}.")
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    size = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(y.T @ x) ** 2 / size) if size > 0 else 0.0


def components(states: ArrayLike, most: int = COMPONENTS) -> Floats:
    """The first principal components (n × up to `most`) of states (n × d)."""
    values = np.asarray(states, dtype=np.float64)
    return np.asarray(PCA(min(most, *values.shape), svd_solver="full").fit_transform(values))


def likeness(a: ArrayLike, b: ArrayLike, rng: np.random.Generator) -> Likeness:
    """How alike two seeds' states (n × d each, the same rows) are; chance is their value after one's rows are shuffled."""
    first, second = components(a), components(b)
    mcc_null = permutation_null(lambda x, y: mean_correlation(x, y).value, first, second, rng, NULL_DRAWS)
    cka_null = permutation_null(linear_cka, a, b, rng, NULL_DRAWS)
    value = mean_correlation(first, second).value
    return Likeness(value, mcc_null.mean, linear_cka(a, b), cka_null.mean)


def paths(states: ArrayLike, n_components: int = 2) -> tuple[Floats, Floats]:
    """States over iterations (iterations × puzzles × d) on their principal plane, fitted on all of them at once.

    Returns places (iterations × puzzles × components) and the share of variance of each component.
    """
    values = np.asarray(states, dtype=np.float64)
    fitted = PCA(n_components, svd_solver="full")
    places = fitted.fit_transform(values.reshape(-1, values.shape[-1]))
    return places.reshape(*values.shape[:-1], n_components), fitted.explained_variance_ratio_
