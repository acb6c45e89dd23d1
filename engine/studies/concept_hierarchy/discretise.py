"""Step 1: from continuous observations to the states of the bottom concepts (arXiv 2406.00519, section 3)."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import squareform
from scipy.special import xlogy
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture

from analyses.streams import stream_seed

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Blocks = list[Ints]

FIT_ROWS = 4_000
COMPONENTS = (2, 8)
STARTS, PATIENCE = 2, 2
BINS = 8


@dataclass(frozen=True)
class Discretised:
    """Estimated `states` (n × q), their `names`, and how step 1 did.

    A block takes the name of the true variable it matches; one without is called `block` and its number. `rows`: of
    table `discrete_states` without seed. `blocks_f1`: edges between variables and coordinates, found against true.
    """

    states: Ints
    names: tuple[str, ...]
    rows: list[dict[str, object]]
    blocks_f1: float


def discretise(x: Floats, truth: Ints, names: Sequence[str], known: bool, seed: int) -> Discretised:
    """States of every block of x (n × d), scored against the true states (n × p), whose blocks are of equal width.

    `known`: the true blocks are given; else they are found by `find_blocks`.
    """
    true_blocks = list(np.split(np.arange(x.shape[1]), len(names)))
    blocks = true_blocks if known else find_blocks(x)
    pairs, f1 = match_blocks(blocks, true_blocks)
    labels = tuple(names[pairs[b]] if b in pairs else f"block{b + 1}" for b in range(len(blocks)))
    states = np.stack([mixture_states(x[:, block], seed, b) for b, block in enumerate(blocks)], axis=1)
    baselines: dict[int, Ints] = {}
    rows = []
    for b, j in sorted(pairs.items(), key=lambda pair: pair[1]):
        n_states, target = int(states[:, b].max()) + 1, truth[:, j]
        if n_states not in baselines:
            baselines[n_states] = _k_means(x, n_states, seed)
        rows.append(
            {
                "variable": names[j],
                "n_states_true": int(target.max()) + 1,
                "n_states": n_states,
                "accuracy": matched_accuracy(states[:, b], target),
                "accuracy_k_means": matched_accuracy(baselines[n_states], target),
                "chance": float(np.bincount(target).max() / len(target)),
            }
        )
    return Discretised(states, labels, rows, f1)


def mixture_states(block: Floats, seed: int, number: int) -> Ints:
    """States (n) of a block of coordinates (n × b): the components of a Gaussian mixture with the best ICL.

    ICL is BIC with the entropy of the assignments added (Biernacki, Celeux & Govaert 2000): each state is one
    connected piece of x (the paper's condition), which a bent mixing makes non-Gaussian; BIC alone then spends several
    components on it. Fitted on at most FIT_ROWS rows with 2, 3 … 8 components, until two in a row are no better.
    """
    state = stream_seed("mixture of a block", seed, number) % 2**32
    fit_on = np.random.default_rng(state).permutation(len(block))[:FIT_ROWS]
    best, chosen, worse = np.inf, None, 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for components in range(COMPONENTS[0], COMPONENTS[1] + 1):
            mixture = GaussianMixture(components, n_init=STARTS, random_state=state).fit(block[fit_on])
            shares = mixture.predict_proba(block[fit_on])
            criterion = mixture.bic(block[fit_on]) - 2 * float(xlogy(shares, shares).sum())
            if criterion < best:
                best, chosen, worse = criterion, mixture, 0
            else:
                worse += 1
            if worse == PATIENCE:
                break
    assert chosen is not None
    return np.unique(chosen.predict(block), return_inverse=True)[1].astype(np.int64)


def find_blocks(x: Floats) -> Blocks:
    """Coordinates (n × d) grouped by dependence: average linkage of their pairwise information, cut where the
    silhouette is best."""
    distances = 1 - dependence(x)
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), method="average")
    cuts = [fcluster(tree, k, criterion="maxclust") for k in range(2, x.shape[1] // 2 + 1)]
    scored = [(silhouette_score(distances, c, metric="precomputed"), c) for c in cuts if len(set(c)) > 1]
    labels = max(scored, key=lambda pair: pair[0])[1]
    blocks = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return sorted(blocks, key=lambda block: int(block[0]))


def dependence(x: Floats) -> Floats:
    """Informational correlation √(1 − exp(−2 I)) of every two columns of x (n × d), from 8 × 8 bins of equal share."""
    n, d = x.shape
    codes = x.argsort(axis=0).argsort(axis=0) * BINS // n
    found = np.eye(d)
    for a, b in combinations(range(d), 2):
        joint = np.bincount(codes[:, a] * BINS + codes[:, b], minlength=BINS**2).reshape(BINS, BINS) / n
        independent = np.outer(joint.sum(axis=1), joint.sum(axis=0))
        information = xlogy(joint, joint / independent).sum()
        found[a, b] = found[b, a] = np.sqrt(max(0.0, 1 - np.exp(-2 * information)))
    return found


def match_blocks(found: Blocks, true: Blocks) -> tuple[dict[int, int], float]:
    """Found block → true block, one-to-one by shared coordinates, and the F1 of the edges block – coordinate."""
    shared = np.array([[len(np.intersect1d(a, b)) for b in true] for a in found])
    rows, columns = linear_sum_assignment(shared, maximize=True)
    pairs = {int(a): int(b) for a, b in zip(rows, columns, strict=True) if shared[a, b]}
    hits = sum(int(shared[a, b]) for a, b in pairs.items())
    return pairs, 2 * hits / (sum(map(len, found)) + sum(map(len, true)))


def matched_accuracy(estimate: Ints, truth: Ints) -> float:
    """Share of rows whose states agree after the states of `estimate` are matched one-to-one with those of `truth`."""
    table = np.zeros((int(estimate.max()) + 1, int(truth.max()) + 1))
    np.add.at(table, (estimate, truth), 1)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / len(truth))


def _k_means(x: Floats, n_clusters: int, seed: int) -> Ints:
    """The baseline: clusters (n) of whole rows, which do not know which coordinates belong to which concept."""
    state = stream_seed("k-means of all coordinates", seed) % 2**32
    return KMeans(n_clusters, n_init=3, random_state=state).fit_predict(x).astype(np.int64)
