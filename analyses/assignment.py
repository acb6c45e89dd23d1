"""One-to-one matching of unit rows by largest total cosine, with a bound on how much it can miss.

Up to 4,096 features a side the similarity matrix is solved whole (Jonker-Volgenant, exact). Above that it is
never held: one blocked sweep keeps the best partners of every row and column, and the matching is solved on these
edges. Linear-programming duality bounds the best matching over *all* pairs: for prices v ≥ 0 of the columns, 0
where a column stays unmatched, no matching exceeds Σᵢ maxⱼ (sᵢⱼ − vⱼ) + Σⱼ vⱼ (Kuhn 1955; Bertsekas, "Linear
Network Optimization", 1991, chapter 1). A pair outside the lists is no more similar than the last on them, so
few pairs have to be looked at for the bound; those that break it join the edges until the gap is small enough.
"""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import lap
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]

WHOLE_UP_TO = 4096  # features on the larger side
WHOLE_FITS = 16_384  # the same where rounds do not suffice: about 3 GB, as a rectangle 6
PARTNERS = 64  # listed for every row and every column
NEW_PARTNERS = 64  # most pairs a row gains when the bound is broken
ROUNDS, ROUNDS_BEFORE_WHOLE, RELAXATIONS = 30, 5, 10_000
TILE = 1024, 2048
NOISE, NOISE_STEP = 2.0**-18, 37  # on similarities, to break ties differently in every row


@dataclass(frozen=True)
class Assignment:
    """A matching of n = min(n_a, n_b) pairs and what is known about it.

    `rows`, `columns` (n): row of `a` and of `b` of each pair, by rising row; `similarity` (n): their absolute or
    signed cosine; `gap`: how far the mean similarity lies below the optimum at most, 0.0 where solved whole;
    `best_a` (n_a), `best_b` (n_b): largest similarity of each feature on the other side, many-to-one.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    similarity: NDArray[np.float32]
    gap: float
    best_a: NDArray[np.float32]
    best_b: NDArray[np.float32]


@dataclass(frozen=True)
class _Edges:
    """Pairs (row, column) with their similarity, sorted by row and column, none twice."""

    row: Integers
    column: Integers
    similarity: Floats


def assign(unit_a: Floats, unit_b: Floats, signed: bool = False, tolerance: float = 1e-6) -> Assignment:
    """The matching of `unit_a` (n_a × d) and `unit_b` (n_b × d), float32 rows of norm 1 or 0, with the largest
    total absolute cosine (`signed`: cosine).

    Above 4,096 features its `gap` is at most `tolerance`; above 16,384 it can be more after 30 rounds, which takes
    thousands of features on one side that crowd around few on the other.
    """
    return _assign(unit_a, unit_b, [signed], tolerance)[0]


def assign_both(unit_a: Floats, unit_b: Floats, tolerance: float = 1e-6) -> tuple[Assignment, Assignment]:
    """`assign` by absolute and by signed cosine; the products of all pairs are computed once."""
    absolute, signed = _assign(unit_a, unit_b, [False, True], tolerance)
    return absolute, signed


def _assign(a: Floats, b: Floats, signs: Sequence[bool], tolerance: float) -> list[Assignment]:
    if max(len(a), len(b)) <= WHOLE_UP_TO:
        cosine = a @ b.T
        return [_solve_whole(cosine if signed else np.abs(cosine)) for signed in signs]
    if len(a) <= len(b):
        return _solve_by_edges(a, b, signs, tolerance)
    return [_swapped(found) for found in _solve_by_edges(b, a, signs, tolerance)]


def _swapped(found: Assignment) -> Assignment:
    order = np.argsort(found.columns)
    rows, columns, similarity = found.columns[order], found.rows[order], found.similarity[order]
    return Assignment(rows, columns, similarity, found.gap, found.best_b, found.best_a)


def _solve_whole(similarity: Floats) -> Assignment:
    if similarity.shape[0] == similarity.shape[1]:
        solved = lap.lapjvs(-similarity, return_cost=False)
    else:  # lapjvs takes a thousand times as long on rectangles
        solved = linear_sum_assignment(similarity, maximize=True)
    rows, columns = (np.asarray(side, np.int64) for side in solved)
    order = np.argsort(rows)
    rows, columns = rows[order], columns[order]
    best_a, best_b = similarity.max(axis=1), similarity.max(axis=0)
    return Assignment(rows, columns, similarity[rows, columns], 0.0, best_a, best_b)


def _solve_by_edges(a: Floats, b: Floats, signs: Sequence[bool], tolerance: float) -> list[Assignment]:
    """For n_a ≤ n_b. Rows and columns are shuffled, so that the first tile is a fair sample of them."""
    generator = np.random.default_rng(0)
    shape = len(a), len(b)
    shuffle_a, shuffle_b = (generator.permutation(n) for n in shape)
    a, b = a[shuffle_a], b[shuffle_b]
    noise = generator.random(NOISE_STEP * len(a) + len(b), dtype=np.float32) * np.float32(NOISE)
    lists = [_Lists(signed, shape, noise) for signed in signs]
    _sweep(a, b, lists)
    found = []
    for one in lists:
        columns, similarity = np.empty(len(a), np.int64), np.empty(len(a), np.float32)
        partner, values, gap = _certified(a, b, one, tolerance)
        if gap > tolerance and len(b) <= WHOLE_FITS:
            cosine = a @ b.T
            whole = _solve_whole(cosine if one.signed else np.abs(cosine, out=cosine))
            partner, values, gap = whole.columns, whole.similarity, 0.0
        columns[shuffle_a], similarity[shuffle_a] = shuffle_b[partner], values
        best_a, best_b = np.empty(len(a), np.float32), np.empty(len(b), np.float32)
        best_a[shuffle_a], best_b[shuffle_b] = one.best_a, one.best_b
        found.append(Assignment(np.arange(len(a)), columns, similarity, gap, best_a, best_b))
    return found


def _certified(a: Floats, b: Floats, lists: "_Lists", tolerance: float) -> tuple[Integers, Floats, float]:
    """Column and similarity of every row, and the gap."""
    edges, caps = lists.edges(), lists.caps()
    index = np.arange(len(a), dtype=np.int32)  # the pairs (i, i): with them every row can be matched
    cosine = np.einsum("ij,ij->i", a, b[: len(a)])
    edges = _merged([edges, _Edges(index, index, cosine if lists.signed else np.abs(cosine))])
    for _ in range(ROUNDS if len(b) > WHOLE_FITS else ROUNDS_BEFORE_WHOLE):
        partner, similarity, u, v = _matching_and_prices(edges, (len(a), len(b)))
        broken, excess = _beyond(a, b, lists.signed, u, v, caps)
        gap = max(0.0, float(u.sum() + excess.sum() + v.sum() - similarity.sum()) / len(a))
        if gap <= tolerance:
            break
        edges = _merged([edges, broken])
    return partner, similarity, gap


def _merged(parts: Sequence[_Edges]) -> _Edges:
    """All edges, of equal ones the first."""
    row, column, similarity = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("row", "column", "similarity")
    )
    pair = row.astype(np.int64) << 32 | column
    order = np.argsort(pair)
    pair = pair[order]
    order = order[np.diff(pair, prepend=-1) != 0]
    return _Edges(row[order], column[order], similarity[order])


def _matching_and_prices(edges: _Edges, shape: tuple[int, int]) -> tuple[Integers, Floats, Floats, Floats]:
    """Column and similarity of every row in the best matching on `edges`, and the prices u, v that prove it.

    The prices v of the columns are the smallest ≥ 0 with v_j ≥ v_m(i) + s_ij − s_i,m(i) on every edge, m(i) the
    partner of row i (longest paths, Bellman-Ford; cut short, they still give a bound); u_i is max s_ij − v_j.
    """
    starts = np.searchsorted(edges.row, np.arange(shape[0] + 1))
    values = edges.similarity.astype(np.float64)
    cost = csr_array((1.0001 - values, edges.column, starts), shape=shape)
    partner = min_weight_full_bipartite_matching(cost)[1].astype(np.int64)
    similarity = values[partner[edges.row] == edges.column]
    gains = csr_array((values - similarity[edges.row], edges.column, starts), shape=shape)
    prices, active = np.zeros(shape[1]), np.arange(shape[0])
    for _ in range(RELAXATIONS):
        out = gains[active]
        before = prices[partner]
        reached = out.data + np.repeat(before[active], np.diff(out.indptr))
        np.maximum.at(prices, out.indices, reached)
        active = np.flatnonzero(prices[partner] > before + 1e-12)
        if not len(active):
            break
    v = np.zeros(shape[1])
    v[partner] = prices[partner]
    return partner, similarity, np.maximum.reduceat(values - v[edges.column], starts[:-1]), v


def _beyond(
    a: Floats, b: Floats, signed: bool, u: Floats, v: Floats, caps: tuple[Floats, Floats]
) -> tuple[_Edges, Floats]:
    """What the bound misses outside the lists: pairs with s_ij > u_i + v_j, the worst of every row, and by how much
    the worst one exceeds it (n_a, 0 where none does).

    A pair of row i and column j outside the lists has s_ij at most caps[0][i] and caps[1][j].
    """
    room_a, room_b = caps[0] - u, caps[1] - v
    columns = np.argsort(v)
    columns = columns[room_b[columns] > u.min()]
    excess = np.zeros(len(a))
    found = [_Edges(np.zeros(0, np.int32), np.zeros(0, np.int32), np.zeros(0, np.float32))]
    if not len(columns):
        return found[0], excess
    rows = np.argsort(-room_a)
    rows = rows[(room_a[rows] > v[columns[0]]) & (u[rows] < room_b[columns].max())]
    b = b[columns]
    slack = 2.0**-21 * max(1.0, np.abs(u).max(), v.max())  # more than float32 rounds s − u − v by
    for i in range(0, len(rows), TILE[0]):
        own = rows[i : i + TILE[0]]
        best = _Best(len(own), NEW_PARTNERS, 0.0)
        for j in range(0, int(np.searchsorted(v[columns], room_a[own[0]])), TILE[1]):
            other = columns[j : j + TILE[1]]
            similarity = a[own] @ b[j : j + TILE[1]].T
            if not signed:
                np.abs(similarity, out=similarity)
            over = similarity - u[own].astype(np.float32)[:, None]
            over -= v[other].astype(np.float32)
            row, column = np.nonzero(over > -slack)
            value = similarity[row, column]
            over = value - u[own[row]] - v[other[column]]
            np.maximum.at(excess, own[row], over)
            best.offer(row, other[column], np.minimum(over, 7.0), value)
        kept, partner, value = best.kept()
        found.append(_Edges(own[kept].astype(np.int32), partner, value))
    return _merged(found), excess


class _Best:
    """For each of `size` features the `keep` partners with the largest keys among those offered.

    A key below the feature's `bar` cannot be among them.
    """

    def __init__(self, size: int, keep: int, bar: float) -> None:
        self.size, self.keep = size, keep
        self.bar = np.full(size, bar, np.float32)
        nothing = (np.zeros(0, kind) for kind in (np.int32, np.int32, np.float32, np.float32))
        self.parts: list[tuple[Any, ...]] = [tuple(nothing)]

    def offer(self, own: Integers, other: Integers, key: Floats, similarity: Floats) -> None:
        self.parts.append((own.astype(np.int32), other.astype(np.int32), key, similarity))
        if sum(len(part[0]) for part in self.parts) > 4 * self.keep * self.size:
            self.kept()

    def kept(self) -> tuple[Integers, Integers, Floats]:
        """Feature, partner and similarity of the pairs kept."""
        own, other, key, similarity = (np.concatenate(part) for part in zip(*self.parts, strict=True))
        order = np.argsort(own * 16.0 - key)  # keys lie within ±8
        starts = np.searchsorted(own[order], np.arange(self.size + 1))
        full = np.flatnonzero(np.diff(starts) >= self.keep)
        last = order[starts[full] + self.keep - 1]
        self.bar[full] = np.maximum(self.bar[full], key[last])
        order = order[np.arange(len(order)) - starts[own[order]] < self.keep]
        self.parts = [(own[order], other[order], key[order], similarity[order])]
        return own[order], other[order], similarity[order]


class _Lists:
    """The most similar partners of every row and every column, about `PARTNERS` of each.

    `best_a` (n_a), `best_b` (n_b): the largest similarity of each.
    """

    def __init__(self, signed: bool, shape: tuple[int, int], noise: Floats) -> None:
        n, m = shape
        self.signed, self.noise = signed, noise
        self.rows = [_Best(min(TILE[0], n - i), PARTNERS, -np.inf) for i in range(0, n, TILE[0])]
        self.columns = [_Best(min(TILE[1], m - j), PARTNERS, -np.inf) for j in range(0, m, TILE[1])]
        # How many of a feature's list to expect within one tile.
        self.ranks = [max(4, round(PARTNERS * side / n)) for side, n in zip(TILE, shape, strict=True)]
        self.best_a, self.best_b = (np.full(n, -np.inf, np.float32) for n in shape)
        self.buffer, self.flags = np.empty(TILE, np.float32), np.empty(TILE, bool)

    def see(self, i: int, j: int, cosine: Floats) -> None:
        """The tile of cosines whose first row is i and first column j."""
        key, flags = (
            buffer.ravel()[: cosine.size].reshape(cosine.shape) for buffer in (self.buffer, self.flags)
        )
        noise = as_strided(self.noise[NOISE_STEP * i + j :], cosine.shape, (4 * NOISE_STEP, 4))
        np.add(cosine if self.signed else np.abs(cosine, out=key), noise, out=key)
        rows, columns = self.rows[i // TILE[0]], self.columns[j // TILE[1]]
        if j == 0:
            rows.bar = _nth_largest(key, self.ranks[1])
        if i == 0:
            columns.bar = _nth_largest(key.T, self.ranks[0])
        for by_row in (True, False):
            np.greater_equal(key, rows.bar[:, None] if by_row else columns.bar, out=flags)
            flat = np.flatnonzero(flags)
            row, column = np.divmod(flat, cosine.shape[1])
            keys, similarity = key.ravel()[flat], cosine.ravel()[flat]
            similarity = similarity if self.signed else np.abs(similarity)
            if by_row:
                np.maximum.at(self.best_a, i + row, similarity)
                rows.offer(row, j + column, keys, similarity)
            else:
                np.maximum.at(self.best_b, j + column, similarity)
                columns.offer(column, i + row, keys, similarity)

    def edges(self) -> _Edges:
        parts = []
        for i, best in enumerate(self.rows):
            own, other, similarity = best.kept()
            parts.append(_Edges(own + np.int32(i * TILE[0]), other, similarity))
        for j, best in enumerate(self.columns):
            own, other, similarity = best.kept()
            parts.append(_Edges(other, own + np.int32(j * TILE[1]), similarity))
        return _merged(parts)

    def caps(self) -> tuple[Floats, Floats]:
        """What no pair outside a row's and outside a column's list exceeds (after `edges`)."""
        rows, columns = (np.concatenate([best.bar for best in side]) for side in (self.rows, self.columns))
        return rows + np.float64(2.0**-21), columns + np.float64(2.0**-21)


def _nth_largest(key: Floats, rank: int) -> Floats:
    """The `rank`-th largest of each row, −∞ for shorter rows."""
    if key.shape[1] <= rank:
        return np.full(len(key), -np.inf, np.float32)
    return np.partition(key, -rank, axis=1)[:, -rank]


def _sweep(a: Floats, b: Floats, lists: Sequence[_Lists]) -> None:
    """Shows every tile of a @ b.T to `lists`, in a second thread while the next tile is computed."""
    buffers = [np.empty(TILE[0] * TILE[1], np.float32) for _ in range(2)]

    def see(i: int, j: int, cosine: Floats) -> None:
        for one in lists:
            one.see(i, j, cosine)

    with ThreadPoolExecutor(1) as worker:
        seen: Future[None] = worker.submit(lambda: None)
        for i in range(0, len(a), TILE[0]):
            for j in range(0, len(b), TILE[1]):
                rows, columns = a[i : i + TILE[0]], b[j : j + TILE[1]]
                cosine = buffers[0][: len(rows) * len(columns)].reshape(len(rows), len(columns))
                np.matmul(rows, columns.T, out=cosine)
                seen.result()
                seen = worker.submit(see, i, j, cosine)
                buffers.reverse()
        seen.result()
