"""Worlds whose true features are known: sparse sums of random directions (arXiv 2505.20254, synthetic data).

A vector is the sum of a few of d random directions, each times |N(0, 1)|; the kinds of world differ in which ones.
Chunks of rows bound the memory: beside what is returned, no sampler holds more than a few hundred megabytes.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import log_ndtr, ndtr, ndtri

Kind = Literal["uniform", "zipf", "zipf_groups", "two_phase_zipf", "hierarchy", "correlated"]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Pairs = tuple[Ints, Ints]

KINDS: tuple[Kind, ...] = get_args(Kind)
RANDOM_COUNT = ("hierarchy", "correlated")
SORTED_KEYS_UP_TO = 4096
CELLS = 2**24
ROWS = 2**16
MOST_FREQUENT = 0.95
GROUPS = 10
KNEE = 0.1
LEVELS, BRANCHING, CHILD_FIRES = 3, 3, 1 / 3
FACTORS, BANDS = 8, 32


@dataclass(frozen=True)
class World:
    """d true features in m dimensions and the law by which they fire.

    `features` (d × m): unit rows, the true dictionary. `true_sparsity`: features in a vector; their mean number in
    the kinds "hierarchy" and "correlated", where a vector can also be zero. `weights` (d): relative odds of being
    drawn next. `probabilities` (d): expected share of vectors with the feature. `parents` (d): the feature without
    which this one never fires, −1 for none. `groups` (d): frequency group ("zipf_groups"), tree ("hierarchy") or
    factor ("correlated") of a feature, 0 in the other kinds. `correlation`: of the Gaussian variables of two
    features of one factor.
    """

    features: NDArray[np.float32]
    true_sparsity: int
    kind: Kind
    weights: Floats
    probabilities: Floats
    parents: Ints
    groups: Ints
    correlation: float = 0.0

    def sample(self, n: int, generator: np.random.Generator) -> NDArray[np.float32]:
        """n vectors (n × m), no noise."""
        return self.sample_with_codes(n, generator)[0]

    def sample_with_codes(
        self, n: int, generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], sparse.csr_array]:
        """n vectors (n × m) and the coefficients (n × d, float32) of the true features in them."""
        if not self._sorts_keys:
            chunks = [self._codes(min(ROWS, n - row), generator) for row in range(0, max(n, 1), ROWS)]
            codes = sparse.vstack(chunks, format="csr")
            return codes @ self.features, codes
        codes = self._codes_from_keys(n, generator)
        vectors = np.empty((n, self.features.shape[1]), dtype=np.float32)
        step = max(1, CELLS // len(self.features))
        for row in range(0, n, step):
            vectors[row : row + step] = codes[row : row + step].toarray() @ self.features
        return vectors, codes

    @property
    def _sorts_keys(self) -> bool:
        """Small uniform worlds keep the random stream and the dense product of the first release."""
        return self.kind == "uniform" and len(self.features) <= SORTED_KEYS_UP_TO

    def _codes_from_keys(self, n: int, generator: np.random.Generator) -> sparse.csr_array:
        d, k = len(self.features), self.true_sparsity
        step = max(1, CELLS // d)
        chosen = np.empty((n, k), dtype=np.int64)
        for row in range(0, n, step):
            keys = generator.random((min(step, n - row), d))
            chosen[row : row + step] = np.argpartition(keys, k - 1, axis=1)[:, :k]
        return _exact(chosen, d, generator)

    def _codes(self, n: int, generator: np.random.Generator) -> sparse.csr_array:
        d = len(self.features)
        if self.kind not in RANDOM_COUNT:
            return _exact(_distinct(n, self.weights, self.true_sparsity, generator), d, generator)
        if self.kind == "hierarchy":
            rows, columns = _forest(n, self.probabilities, self.parents, generator)
        else:
            rows, columns = _copula(n, self.probabilities, self.groups, self.correlation, generator)
        values = np.abs(generator.standard_normal(len(rows), dtype=np.float32))
        return sparse.coo_array((values, (rows, columns)), shape=(n, d)).tocsr()


def make_world(
    kind: Kind,
    n_true_features: int,
    d_in: int,
    true_sparsity: int,
    generator: np.random.Generator,
    *,
    zipf_exponent: float = 1.0,
    correlation: float = 0.0,
) -> World:
    """A world of `n_true_features` (d) Gaussian directions of unit length in `d_in` (m) dimensions.

    Exactly `true_sparsity` distinct features make a vector of the first four kinds, drawn one after the other with
    odds: equal in "uniform"; rank^−zipf_exponent in "zipf"; group^−zipf_exponent for ten equal groups of neighbours
    in "zipf_groups"; in "two_phase_zipf" rank^−zipf_exponent up to d / 10 and one power steeper beyond, as in word
    frequencies (Ferrer i Cancho & Solé 2001). In the other two `true_sparsity` is the mean:

    - "hierarchy": trees of three levels and three children a parent. Roots fire independently, tree^−zipf_exponent;
      a child fires in a third of the vectors its parent fires in, so the levels are equally busy.
    - "correlated": Gaussian copula of rank 8. A feature fires when √c · (its factor) + √(1 − c) · (its own noise)
      exceeds a threshold, c = `correlation` in [0, 1); its frequency ∝ rank^−zipf_exponent.

    In both, no feature fires in more than 95 % of the vectors. Raises ValueError for sizes that do not fit.
    """
    _check(kind, n_true_features, d_in, true_sparsity, zipf_exponent, correlation)
    features = generator.standard_normal((n_true_features, d_in), dtype=np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    index = np.arange(n_true_features)
    parents, groups, depth = np.full(n_true_features, -1), np.zeros_like(index), np.zeros_like(index)
    if kind == "zipf_groups":
        groups = index * min(GROUPS, n_true_features) // n_true_features
    elif kind == "hierarchy":
        parents, groups, depth = _trees(n_true_features)
    elif kind == "correlated":
        groups = index % FACTORS
    weights = _weights(kind, groups if kind in ("zipf_groups", "hierarchy") else index, zipf_exponent)
    if kind == "hierarchy":
        firing = CHILD_FIRES**depth
        busy = np.bincount(groups, firing).astype(np.float64)
        roots = _capped(weights[parents < 0], busy, true_sparsity)
        probabilities = roots[groups] * firing
    elif kind == "correlated":
        probabilities = _capped(weights, np.ones(n_true_features), true_sparsity)
    else:
        probabilities = _inclusion(weights, true_sparsity)
    return World(features, true_sparsity, kind, weights, probabilities, parents, groups, correlation)


def _check(kind: str, d: int, m: int, sparsity: int, exponent: float, correlation: float) -> None:
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r} is none of {', '.join(KINDS)}.")
    if d < 1 or m < 1:
        raise ValueError(f"n_true_features and d_in must be positive, got {d} and {m}.")
    if not 1 <= sparsity <= d:
        raise ValueError(f"true_sparsity must be from 1 to n_true_features = {d}, got {sparsity}.")
    if not 0 <= exponent < np.inf:
        raise ValueError(f"zipf_exponent must be finite and not negative, got {exponent}.")
    if not 0 <= correlation < 1:
        raise ValueError(f"correlation must be at least 0 and below 1, got {correlation}.")


def _weights(kind: str, index: Ints, exponent: float) -> Floats:
    """Relative frequency of features that stand at place `index` (0 first) of their law."""
    rank = (index + 1).astype(np.float64)
    if kind == "uniform":
        return np.ones(len(rank))
    weights = rank**-exponent
    knee = max(1.0, KNEE * len(rank))
    return weights * np.minimum(1.0, knee / rank) if kind == "two_phase_zipf" else weights


def _trees(d: int) -> tuple[Ints, Ints, Ints]:
    """Parent, tree and depth (each d) in a forest numbered level by level."""
    roots = -(-d // sum(BRANCHING**level for level in range(LEVELS)))
    parents = np.maximum((np.arange(d) - roots) // BRANCHING, -1)
    trees, depth = np.arange(d), np.zeros(d, dtype=np.int64)
    for _ in range(LEVELS - 1):
        inner = parents[trees] >= 0
        depth[inner] += 1
        trees[inner] = parents[trees[inner]]
    return parents, trees, depth


def _capped(weights: Floats, costs: Floats, total: float) -> Floats:
    """Probabilities ∝ weights, none above 0.95, with Σ costs · probabilities = total. Raises ValueError."""
    most = MOST_FREQUENT * costs.sum()
    if total > most:
        raise ValueError(f"true_sparsity {total} exceeds {most:.1f}, the most that this world reaches.")
    full = np.zeros(len(weights), dtype=bool)
    while True:
        free = total - MOST_FREQUENT * costs[full].sum()
        scaled = np.where(full, MOST_FREQUENT, weights * free / max((costs * weights)[~full].sum(), 1e-300))
        over = scaled > MOST_FREQUENT
        if not over.any():
            return scaled
        full |= over


def _inclusion(weights: Floats, k: int) -> Floats:
    """Probability (d) of each feature to be among k drawn one after the other with odds `weights`.

    Feature i arrives at an exponential time of rate w_i; it is drawn when fewer than k others came before. That
    probability is taken from the Edgeworth expansion of their number: within 0.01 and 3 % of simulation.
    """
    if k == 1 or np.ptp(weights) == 0:
        return k * weights / weights.sum()
    shares = weights / weights.sum()
    included, before = np.zeros(len(shares)), np.ones(len(shares))
    drawn = np.ones(len(shares))
    for time in np.geomspace(1e-3, 60 / shares.min(), 600):
        absent = np.exp(-shares * time)
        present = 1 - absent
        spread = absent * present
        mean = present.sum() - present
        variance = np.maximum(spread.sum() - spread, 1e-12)
        third = (spread * (absent - present)).sum() - spread * (absent - present)
        x = (k - 0.5 - mean) / np.sqrt(variance)
        density = np.exp(-x * x / 2) / np.sqrt(2 * np.pi)
        edgeworth = third / variance**1.5 * (x * x - 1) * density / 6
        now = np.clip(ndtr(x) - edgeworth, 0, 1)
        included += (before - absent) * (drawn + now) / 2
        before, drawn = absent, now
        if now.max() < 1e-9:
            break
    return included


def _exact(chosen: Ints, d: int, generator: np.random.Generator) -> sparse.csr_array:
    """Codes (n × d) of the features `chosen` (n × k) with coefficients |N(0, 1)|."""
    n, k = chosen.shape
    values = np.abs(generator.standard_normal((n, k), dtype=np.float32))
    codes = sparse.csr_array((values.ravel(), chosen.ravel(), np.arange(n + 1) * k), shape=(n, d))
    codes.sort_indices()
    return codes


def _distinct(n: int, weights: Floats, k: int, generator: np.random.Generator) -> Ints:
    """n draws of k distinct features (n × k, rising), one after the other with odds `weights` (d).

    Each draw is a point on a line of integer segments, one a feature, from which those drawn already are cut out:
    with integers no rounding can draw a feature twice.
    """
    lengths = np.maximum(np.rint(weights / weights.sum() * 2.0**50), 1).astype(np.int64)
    edges = np.concatenate([[0], np.cumsum(lengths)])
    uniform = generator.random((n, k))
    chosen = np.empty((n, 0), dtype=np.int64)
    for draw in range(k):
        cut = lengths[chosen]
        point = (uniform[:, draw] * (edges[-1] - cut.sum(axis=1))).astype(np.int64)
        for column in range(draw):
            point += np.where(point >= edges[chosen[:, column]], cut[:, column], 0)
        found = np.searchsorted(edges, point, side="right") - 1
        chosen = np.sort(np.column_stack([chosen, found]), axis=1)
    return chosen


def _independent(n: int, probabilities: Floats, generator: np.random.Generator) -> Pairs:
    """Sorted pairs (row, feature), each present with the feature's probability; the time goes with their number.

    A pair is present when at least one of Poisson(−log(1 − p)) hits falls on it.
    """
    edges = np.cumsum(-np.log1p(-probabilities))
    hits = generator.poisson(n * edges[-1])
    columns = np.searchsorted(edges, generator.random(hits) * edges[-1], side="right")
    rows = generator.integers(n, size=hits) if hits else np.empty(0, dtype=np.int64)
    return np.divmod(np.unique(rows * len(edges) + columns), len(edges))


def _forest(n: int, probabilities: Floats, parents: Ints, generator: np.random.Generator) -> Pairs:
    """Pairs (row, feature): roots fire independently, then each child of a feature that fires by a coin."""
    d, roots = len(parents), int((parents < 0).sum())
    rows, columns = _independent(n, probabilities[:roots], generator)
    found = [(rows, columns)]
    while len(rows):
        rows = np.repeat(rows, BRANCHING)
        columns = (roots + BRANCHING * columns[:, None] + np.arange(BRANCHING)).ravel()
        kept = (columns < d) & (generator.random(len(rows)) < CHILD_FIRES)
        rows, columns = rows[kept], columns[kept]
        found.append((rows, columns))
    return np.concatenate([r for r, _ in found]), np.concatenate([c for _, c in found])


def _copula(
    n: int, probabilities: Floats, groups: Ints, correlation: float, generator: np.random.Generator
) -> Pairs:
    """Pairs (row, feature) of a Gaussian copula in which all features of a group load on one factor.

    Given the factor, features are independent, so hits are thrown as in `_independent`: at the highest rate of a
    band of rows with neighbouring factor values, then thinned to each row's own rate.
    """
    thresholds = ndtri(probabilities)

    def rate(feature: Ints, factor: Floats) -> Floats:
        above = (thresholds[feature] + np.sqrt(correlation) * factor) / np.sqrt(1 - correlation)
        return -log_ndtr(-above)

    keys = [np.empty(0, dtype=np.int64)]
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        factor = generator.standard_normal(n)
        order = np.argsort(factor)
        starts = np.linspace(0, n, min(BANDS, n) + 1).astype(np.int64)
        sizes = np.diff(starts)
        bound = rate(members, factor[order[starts[1:] - 1]][:, None])
        hits = generator.poisson(bound * sizes[:, None])
        band, member = np.divmod(np.repeat(np.arange(hits.size), hits.ravel()), len(members))
        place = starts[band] + (generator.random(len(band)) * sizes[band]).astype(np.int64)
        row, feature = order[place], members[member]
        kept = generator.random(len(band)) * bound[band, member] < rate(feature, factor[row])
        keys.append(row[kept] * len(groups) + feature[kept])
    return np.divmod(np.unique(np.concatenate(keys)), len(groups))


@dataclass(frozen=True)
class Regime:
    """How a dictionary's size compares with the truth. `spark_ok`: m ≥ 2 · sparsity. `sentence`: for a reader."""

    name: Literal["matched", "redundant", "compressive"]
    spark_ok: bool
    sentence: str


def regime(n_true_features: int, d_sae: int, d_in: int, true_sparsity: int) -> Regime:
    """The identifiability regime of `d_sae` latents for `n_true_features` features (paper, local identifiability).

    m ≥ 2 · sparsity is necessary for the spark condition, and enough for random directions.
    """
    spark_ok = d_in >= 2 * true_sparsity
    sizes = f"{d_sae:,} latents for {n_true_features:,} true features"
    if d_sae == n_true_features:
        name: Literal["matched", "redundant", "compressive"] = "matched"
        first = f"Matched: {sizes}, one each, so two seeds can learn the same dictionary."
    elif d_sae > n_true_features:
        name = "redundant"
        first = (
            f"Redundant: {sizes}, so several latents can share a feature; each seed can choose differently among "
            "equally good latents, and agreement between seeds falls although the truth is found."
        )
    else:
        name = "compressive"
        first = (
            f"Compressive: {sizes}, so latents must skip or mix features; expect both recovery and agreement between "
            "seeds to fall."
        )
    second = (
        f"The {d_in:,} dimensions are {'at least' if spark_ok else 'less than'} twice the {true_sparsity:,} features of "
        f"a vector: sparse codes {'can' if spark_ok else 'need not'} be unique."
    )
    return Regime(name, spark_ok, f"{first} {second}")
