"""Clusters of items without a graph, for data whose groups are known: by rank statistics, and by factor analysis."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from sklearn.decomposition import FactorAnalysis

Floats = NDArray[np.float64]


def rank_clusters(statistics: Floats, names: Sequence[str], n_clusters: int) -> dict[str, str]:
    """Item → cluster, by average linkage of the pairwise rank statistic (p × p) as a distance.

    Two children of one latent have the lowest statistic. On real data no latent explains everything and the test
    rejects nearly all pairs; the order of the statistics still tells which belong together.
    """
    distances = np.where(np.eye(len(names), dtype=bool), 0.0, statistics)
    labels = fcluster(linkage(squareform(distances, checks=False), "average"), n_clusters, "maxclust")
    return {name: f"cluster {int(label)}" for name, label in zip(names, labels, strict=True)}


def factor_clusters(states: NDArray[np.int64], names: Sequence[str], n_factors: int) -> dict[str, str]:
    """Item → the factor that loads most on it: maximum likelihood with varimax on the standardised codes (n × p)."""
    x = states.astype(np.float64)
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    loadings = FactorAnalysis(n_factors, rotation="varimax").fit(x).components_
    return {
        name: f"factor {int(j) + 1}" for name, j in zip(names, np.abs(loadings).argmax(axis=0), strict=True)
    }
