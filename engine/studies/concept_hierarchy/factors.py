"""The classical baseline of questionnaires: factor analysis, each item in the factor that loads most on it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import FactorAnalysis


def factor_clusters(states: NDArray[np.int64], names: Sequence[str], n_factors: int) -> dict[str, str]:
    """Item → factor, from maximum likelihood with varimax rotation on the standardised codes (n × p)."""
    x = states.astype(np.float64)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    loadings = FactorAnalysis(n_factors, rotation="varimax").fit(x).components_
    return {
        name: f"factor {int(j) + 1}" for name, j in zip(names, np.abs(loadings).argmax(axis=0), strict=True)
    }
