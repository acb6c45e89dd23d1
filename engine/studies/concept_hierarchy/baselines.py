"""What the discrete rank search has to beat: the linear rank, latent-class groups, and pairwise clusters."""

from collections.abc import Sequence
from itertools import combinations

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform
from scipy.stats.contingency import association
from sklearn.metrics import mutual_info_score, silhouette_score

from analyses.streams import stream_seed
from engine.studies.concept_hierarchy.concepts import LatentClasses
from engine.studies.concept_hierarchy.concepts import latent_classes as fit_classes
from engine.studies.concept_hierarchy.covers import Cover, Evidence
from engine.studies.concept_hierarchy.linking import hang
from engine.studies.concept_hierarchy.ordering import assemble
from engine.studies.concept_hierarchy.rank import RankTest, RankTester, Side
from engine.studies.concept_hierarchy.search import Discovery, in_order, search

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Group = tuple[int, ...]
MIN_COLUMN_SD = 1e-12
CANDIDATES = 3


class CovarianceTester(RankTester):
    """Rank tests of covariances of the codes as numbers, as RLCD makes them (causal-learn's `Chi2RankTest`)."""

    def _encode(self, states: np.ndarray) -> list[Floats]:
        values = states.astype(np.float64)
        scale = np.maximum(values.std(axis=0), MIN_COLUMN_SD)
        return list(((values - values.mean(axis=0)) / scale).T[:, :, None])

    def test(self, a: Side, b: Side, rank: int) -> RankTest:
        """As in RankTester; a linear model has no joint states, so every column enters by itself."""
        left, right = (Side(plain=tuple(sorted((*side.joint, *side.plain)))) for side in (a, b))
        return super().test(left, right, rank)


def linear_rlcd(states: np.ndarray, names: Sequence[str], alpha: float = 0.01, max_k: int = 2) -> Discovery:
    """The same search with the rank test of linear latents on the codes: k latents give rank k.

    `max_k` 2 lets it read one latent of three states as the two linear ones it looks like; 1 does worse there.
    """
    ordered, table = in_order(states, names)
    found = search(Evidence(CovarianceTester(table, "bartlett", alpha), None), ordered, max_k)
    return Discovery(found.graph, {}, found.n_tests)


def latent_classes(
    states: np.ndarray, names: Sequence[str], n_latent_states: int | None = None, seed: int = 0
) -> Discovery:
    """Groups of variables with a latent-class model each (EM), linked by a tree of the most informative pairs.

    Variables start alone; of the CANDIDATES pairs of groups with the largest mean mutual information, the one whose
    joint model gains most in BIC over their own two is merged, until none gains. Latents are then joined by the maximum spanning tree of the mutual information of their likeliest states.
    `n_latent_states` defaults to the largest number of states a variable shows.
    """
    ordered, table = in_order(states, names)
    codes = np.stack([np.unique(column, return_inverse=True)[1] for column in table.T], axis=1)
    k = n_latent_states or int(codes.max()) + 1
    fitted: dict[Group, float] = {}

    def fit(group: Group) -> LatentClasses:
        columns = [ordered[j] for j in group]
        generator = np.random.default_rng(stream_seed(f"latent classes over {columns}", seed))
        return fit_classes(codes[:, group], k, generator)

    def score(group: Group) -> float:
        if group not in fitted:
            fitted[group] = _bic(fit(group) if len(group) > 1 else None, codes[:, group])
        return fitted[group]

    mutual = np.array([[mutual_info_score(u, v) for u in codes.T] for v in codes.T])
    groups: list[Group] = [(j,) for j in range(len(ordered))]
    while len(groups) > 1:
        near = sorted(combinations(groups, 2), key=lambda pair: -mutual[np.ix_(*pair)].mean())[:CANDIDATES]
        gains = {(a, b): score(tuple(sorted((*a, *b)))) - score(a) - score(b) for a, b in near}
        a, b = max(gains, key=lambda pair: gains[pair])
        if gains[a, b] <= 0:
            break
        groups = sorted({*groups, tuple(sorted((*a, *b)))} - {a, b})
    modal = {g: fit(g).posterior.argmax(axis=1) if len(g) > 1 else codes[:, g[0]] for g in groups}
    weights = {(a, b): float(mutual_info_score(modal[a], modal[b])) for a, b in combinations(groups, 2)}
    return _tree(groups, weights, ordered, k)


def _bic(model: LatentClasses | None, codes: Ints) -> float:
    """Log-likelihood less half the parameters times log n; a column alone has its frequencies for a model."""
    n = len(codes)
    if model is None:
        shares = np.bincount(codes[:, 0]) / n
        return float(np.log(shares[codes[:, 0]]).sum()) - (len(shares) - 1) / 2 * np.log(n)
    law = np.log(model.shares) + sum(np.log(table[:, codes[:, j]]).T for j, table in enumerate(model.tables))
    parameters = len(model.shares) - 1 + sum(table.size - len(table) for table in model.tables)
    return float(np.logaddexp.reduce(law, axis=1).sum()) - parameters / 2 * np.log(n)


def pairwise_clusters(
    states: np.ndarray,
    names: Sequence[str],
    n_latent_states: int | None = None,
    n_clusters: int | None = None,
) -> Discovery:
    """Average linkage on 1 − Cramér's V, one latent for every cluster of two or more, linked by a tree.

    `n_clusters` defaults to the number with the largest silhouette. The tree is the maximum spanning tree of the mean V
    between clusters. `n_latent_states` defaults to the largest number of states a variable shows.
    """
    ordered, table = in_order(states, names)
    codes = [np.unique(column, return_inverse=True)[1] for column in table.T]
    k = n_latent_states or max(int(column.max()) for column in codes) + 1
    p = len(ordered)
    v = np.eye(p)
    for i, j in combinations(range(p), 2):
        counts = np.zeros((codes[i].max() + 1, codes[j].max() + 1), dtype=np.int64)
        np.add.at(counts, (codes[i], codes[j]), 1)
        v[i, j] = v[j, i] = association(counts, method="cramer") if min(counts.shape) > 1 else 0.0
    labels = _clusters(1 - v, n_clusters)
    groups: list[Group] = [tuple(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)]
    weights = {(a, b): float(v[np.ix_(a, b)].mean()) for a, b in combinations(groups, 2)}
    return _tree(groups, weights, ordered, k)


def _clusters(distance: Floats, n_clusters: int | None) -> Ints:
    p = len(distance)
    if p < 3:
        return np.zeros(p, dtype=np.int64)
    steps = linkage(squareform(distance, checks=False), method="average")
    if n_clusters is not None:
        return fcluster(steps, n_clusters, "maxclust")
    cuts = [fcluster(steps, count, "maxclust") for count in range(2, p)]
    usable = [labels for labels in cuts if 1 < len(np.unique(labels)) < p]
    return max(usable, key=lambda labels: silhouette_score(distance, labels, metric="precomputed"))


def _tree(
    groups: Sequence[Group],
    weights: dict[tuple[Group, Group], float],
    names: Sequence[str],
    k: int,
) -> Discovery:
    """One latent for every group of two or more columns, and the maximum spanning tree between groups."""
    covers = {
        group: Cover.over(1, [Cover(1, (j,)) for j in group]) if len(group) > 1 else Cover(1, group)
        for group in groups
    }
    graph = nx.Graph()
    graph.add_nodes_from(covers.values())
    graph.add_weighted_edges_from((covers[a], covers[b], weight) for (a, b), weight in weights.items())
    tree = nx.Graph(nx.maximum_spanning_tree(graph).edges)
    tree.add_nodes_from(covers.values())
    found, latents = assemble(hang(tree), {}, names)
    return Discovery(found, dict.fromkeys(latents, k), 0)
