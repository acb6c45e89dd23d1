"""Tests of the rank of the table of two groups of discrete variables.

If the variables L separate A from B, then E[a(A) b(B)ᵀ] has rank at most ∏ |supp(L)| for any feature maps a and b (the
rank criterion of 2406.00519 §4 in its ordinary-rank form, which is necessary for the non-negative one). Here a is the
indicator of the joint state of up to three variables, and every variable's own indicators for more; b is every
variable's own indicators. Tables of many variables therefore never explode.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

Statistic = Literal["bartlett", "kleibergen_paap"]
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
Floats = NDArray[np.float64]

JOINT = 3
KP_TERMS = 400
RECENT = 4
NULL_DIRECTION = 1e-8


@dataclass(frozen=True)
class RankTest:
    """A test of "rank ≤ r": chi-square `statistic`, degrees of freedom, p-value, critical value at alpha.

    With `dof` 0 the rank cannot exceed r whatever the law, and the test tells nothing.
    """

    statistic: float
    dof: int
    p_value: float
    critical: float

    @property
    def accepted(self) -> bool:
        """Whether "rank ≤ r" stands."""
        return self.statistic <= self.critical

    @property
    def stands(self) -> bool:
        """Whether the test could have failed and did not."""
        return self.dof > 0 and self.accepted

    @property
    def strength(self) -> tuple[float, float]:
        """Order of tests by what speaks for "rank ≤ r": the p-value, then the statistic for its critical value."""
        return self.p_value, -self.statistic / self.critical


@dataclass(frozen=True)
class PairwiseRanks:
    """For every pair of variables, the test of "the pair against all others has rank ≤ r"; p × p, diagonal NaN."""

    statistic: Floats
    critical: Floats
    p_value: Floats


@dataclass(frozen=True)
class Side:
    """One side of a table: columns `joint` enter by their joint state, each of `plain` in its own product with it."""

    joint: tuple[int, ...] = ()
    plain: tuple[int, ...] = ()

    @staticmethod
    def of(columns: Iterable[int]) -> "Side":
        """The joint state of up to JOINT columns, every column on its own for more."""
        group = tuple(sorted(columns))
        return Side(joint=group) if len(group) <= JOINT else Side(plain=group)


class RankTester:
    """Rank tests between groups of columns of one table of states, with moments kept between tests.

    `states` (n × p) may hold any integer codes. `tests` counts the tests made.
    """

    def __init__(self, states: np.ndarray, statistic: Statistic = "bartlett", alpha: float = 0.01) -> None:
        self.n, self.p = states.shape
        self.statistic, self.alpha, self.tests = statistic, alpha, 0
        self.blocks = self._encode(states)
        ends = np.cumsum([0, *(block.shape[1] for block in self.blocks)])
        self._places = [np.arange(a, b) for a, b in pairwise(ends)]
        self._main = np.concatenate(self.blocks, axis=1)
        self._gram = self._main.T @ self._main / self.n
        self._with_main: dict[Side, Floats] = {}
        self._whitenings: dict[Side, Floats] = {}
        self._recent: dict[Side, Floats] = {}
        self._correlations: dict[tuple[Side, Side], tuple[int, int, Floats]] = {}

    def _encode(self, states: np.ndarray) -> list[Floats]:
        """Centred indicators (n × support − 1) of every column."""
        codes = [np.unique(column, return_inverse=True) for column in states.T]
        blocks = [np.eye(len(values))[code][:, 1:] for values, code in codes]
        return [block - block.mean(axis=0) for block in blocks]

    def support(self, column: int) -> int:
        """Number of states a column shows."""
        return self.blocks[column].shape[1] + 1

    def test(self, a: Side, b: Side, rank: int) -> RankTest:
        """Test that `a` against `b` has rank ≤ `rank`."""
        self.tests += 1
        value, dof = (self._bartlett if self.statistic == "bartlett" else self._kleibergen_paap)(
            a, b, rank - 1
        )
        if dof == 0:
            return RankTest(0.0, 0, 1.0, 0.0)
        return RankTest(value, dof, float(chi2.sf(value, dof)), float(chi2.isf(self.alpha, dof)))

    def association(self, a: Side, b: Side) -> float:
        """Sum of the squared canonical correlations between two sides."""
        return float((self._canonical(a, b)[2] ** 2).sum())

    def _canonical(self, a: Side, b: Side) -> tuple[int, int, Floats]:
        """Dimensions of both sides and their canonical correlations."""
        if (a, b) not in self._correlations:
            table = self._whitened(a, b)
            values = np.clip(np.linalg.svd(table, compute_uv=False), 0.0, 1 - 1e-12)
            self._correlations[a, b] = (*table.shape, values)
        return self._correlations[a, b]

    def _bartlett(self, a: Side, b: Side, r: int) -> tuple[float, int]:
        """Canonical correlations after the first r, with Lawley's correction."""
        rows, columns, values = self._canonical(a, b)
        dof = max(rows - r, 0) * max(columns - r, 0)
        lawley = float(np.sum(1 / np.maximum(values[:r] ** 2, 1 / self.n)))
        scale = self.n - 1 - r - (rows + columns + 1) / 2 + lawley
        return -scale * float(np.log1p(-(values[r:] ** 2)).sum()), dof

    def _kleibergen_paap(self, a: Side, b: Side, r: int) -> tuple[float, int]:
        """N vec(Λ)ᵀ Ω⁺ vec(Λ) for the part Λ of the whitened table beyond the rank, Ω its sample covariance.

        Ω of more than KP_TERMS terms is not estimated well; Bartlett's statistic takes its place there.
        """
        table = self._whitened(a, b)
        if (table.shape[0] - r) * (table.shape[1] - r) > KP_TERMS:
            return self._bartlett(a, b, r)
        left, _, right = np.linalg.svd(table)
        left, right = left[:, r:], right.T[:, r:]
        if not left.shape[1] or not right.shape[1]:
            return 0.0, 0
        beyond = (left.T @ table @ right).ravel()
        rows = self._features(a) @ (self._whitening(a) @ left)
        columns = self._features(b) @ (self._whitening(b) @ right)
        terms = (rows[:, :, None] * columns[:, None, :]).reshape(self.n, -1)
        omega = terms.T @ terms / self.n - np.outer(beyond, beyond)
        return self.n * float(beyond @ np.linalg.pinv(omega, hermitian=True) @ beyond), len(beyond)

    def _whitened(self, a: Side, b: Side) -> Floats:
        """The table between two sides, both whitened."""
        return self._whitening(a).T @ self._cross(a, b) @ self._whitening(b)

    def _whitening(self, side: Side) -> Floats:
        if side not in self._whitenings:
            values, vectors = np.linalg.eigh(self._cross(side, side))
            kept = values > NULL_DIRECTION * values.max(initial=0.0)
            self._whitenings[side] = vectors[:, kept] / np.sqrt(values[kept])
        return self._whitenings[side]

    def _cross(self, a: Side, b: Side) -> Floats:
        """Covariance of the features of two sides; only joint states need the rows again."""
        if b.joint and a.joint:
            return self._features(a).T @ self._features(b) / self.n
        if b.joint:
            return self._cross(b, a).T
        return self._moments(a)[:, self._columns(b)]

    def _moments(self, side: Side) -> Floats:
        """Covariance of a side's features with every column's indicators."""
        if not side.joint:
            return self._gram[self._columns(side)]
        if side not in self._with_main:
            self._with_main[side] = self._features(side).T @ self._main / self.n
        return self._with_main[side]

    def _columns(self, side: Side) -> NDArray[np.int64]:
        return np.concatenate([self._places[j] for j in side.plain])

    def _features(self, side: Side) -> Floats:
        """Centred features of a side (n × dimension)."""
        if not side.joint:
            return self._main[:, self._columns(side)]
        if side not in self._recent:
            if len(self._recent) == RECENT:
                del self._recent[next(iter(self._recent))]
            self._recent[side] = self._build(side)
        return self._recent[side]

    def _build(self, side: Side) -> Floats:
        base = np.ones((self.n, 1))
        for j in side.joint:
            base = np.concatenate([base, _products(base, self.blocks[j])], axis=1)
        parts = [base[:, 1:], *(_products(base, self.blocks[j]) for j in side.plain)]
        features = np.concatenate(parts, axis=1)
        return features - features.mean(axis=0)


def _products(a: Floats, b: Floats) -> Floats:
    return (a[:, :, None] * b[:, None, :]).reshape(len(a), -1)


def rank_test(
    a_states: np.ndarray,
    b_states: np.ndarray,
    rank: int,
    statistic: Statistic = "bartlett",
    alpha: float = 0.01,
) -> RankTest:
    """Test that the table of A (n × p codes) against B (n × q codes) has rank ≤ `rank`."""
    tester = RankTester(np.concatenate([a_states, b_states], axis=1), statistic, alpha)
    split = a_states.shape[1]
    return tester.test(Side.of(range(split)), Side(plain=tuple(range(split, tester.p))), rank)


def pairwise_rank_statistics(
    states: np.ndarray, rank: int, statistic: Statistic = "bartlett", alpha: float = 0.01
) -> PairwiseRanks:
    """The test of "rank ≤ `rank`" for every pair of columns against all others."""
    tester = RankTester(states, statistic, alpha)
    values = np.full((3, tester.p, tester.p), np.nan)
    for i, j in combinations(range(tester.p), 2):
        rest = Side(plain=tuple(k for k in range(tester.p) if k not in (i, j)))
        result = tester.test(Side.of((i, j)), rest, rank)
        values[:, i, j] = values[:, j, i] = result.statistic, result.critical, result.p_value
    return PairwiseRanks(*values)
