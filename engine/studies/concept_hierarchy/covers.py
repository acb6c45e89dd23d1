"""What a search knows: covers of latents over columns, and rank tests between them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod

from engine.studies.concept_hierarchy.rank import RankTest, RankTester, Side

WIDTH = 27
Branches = list[list[int]]
Halves = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Cover:
    """`size` latents with the same `children`; an observed column is a cover of size 1 without children.

    `leaves` are the columns under it.
    """

    size: int
    leaves: tuple[int, ...]
    children: tuple["Cover", ...] = ()

    @property
    def observed(self) -> bool:
        """Whether the cover is one column."""
        return not self.children

    @staticmethod
    def over(size: int, children: Iterable["Cover"]) -> "Cover":
        """A cover of latents over `children`, which are kept in the order of their columns."""
        ordered = tuple(sorted(children, key=lambda child: child.leaves))
        return Cover(size, leaves_of(ordered), ordered)


def leaves_of(covers: Iterable[Cover]) -> tuple[int, ...]:
    """All columns under `covers`, in order."""
    return tuple(sorted(leaf for cover in covers for leaf in cover.leaves))


def deal(branches: Iterable[Iterable[int]]) -> Halves:
    """Branches in two parts with about as many leaves: the longest first, each to the part with fewer so far."""
    parts: tuple[list[int], list[int]] = ([], [])
    for branch in sorted((sorted(branch) for branch in branches), key=lambda leaves: (-len(leaves), leaves)):
        min(parts, key=len).extend(branch)
    return tuple(sorted(parts[0])), tuple(sorted(parts[1]))


def size_of(covers: Iterable[Cover]) -> int:
    """Number of variables in `covers`."""
    return sum(cover.size for cover in covers)


class Evidence:
    """Rank tests between covers. `n_states` states a latent; None for linear ones, where k of them have rank k."""

    def __init__(self, tester: RankTester, n_states: int | None) -> None:
        self.tester, self.n_states = tester, n_states
        self._known: dict[tuple[Side, Side, int], RankTest] = {}

    def bound(self, n_latents: int, observed: Sequence[int] = ()) -> int:
        """Rank (counting the constant) that `n_latents` latents and `observed` columns allow when they separate."""
        if self.n_states is None:
            return 1 + n_latents + len(observed)
        return self.n_states**n_latents * prod(self.tester.support(column) for column in observed)

    def deficient(self, a: Sequence[Cover], b: Sequence[Cover], n_latents: int) -> RankTest:
        """Test that `n_latents` latents separate `a` from `b`."""
        left, right = leaves_of(a), leaves_of(b)
        return self._test(Side.of(left), Side(plain=right), self.bound(n_latents))

    def independent(self, a: Sequence[Cover], b: Sequence[Cover]) -> bool:
        """Whether `a` and `b` may be independent."""
        return self.deficient(a, b, 0).accepted

    def separated(self, a: Sequence[Cover], b: Sequence[Cover], given: Sequence[Cover]) -> RankTest:
        """Test that the variables of `given` separate `a` from `b`; the smaller p-value of up to two tables.

        Every latent of `given` stands on both sides through disjoint halves of its leaves, an observed one itself. One
        table holds all leaves by themselves (a single latent only), one the joint state of a leaf of every latent with
        each of the leaves of `a` and `b`: effects that cancel on average show only there. The halves are dealt
        out one way and, where that is refused, the other way; the larger p-value counts.
        """
        observed = [cover.leaves[0] for cover in given if cover.observed]
        latent = [cover for cover in given if not cover.observed]
        halves = [self.halves(cover) for cover in latent]
        rank = self.bound(size_of(latent), observed)
        builds = [self._plain] if self.n_states is None or (not observed and size_of(latent) == 1) else []
        builds += [self._joint] if self.n_states is not None else []
        results = []
        for one in (0, 1) if latent else (0,):
            sides = [
                (build(a, halves, one, observed), build(b, halves, 1 - one, observed)) for build in builds
            ]
            results.append(
                min((self._test(*pair, rank) for pair in sides), key=lambda result: result.p_value)
            )
            if results[-1].accepted:
                break
        return max(results, key=lambda result: result.p_value)

    def _plain(self, group: Sequence[Cover], halves: list[Halves], which: int, observed: list[int]) -> Side:
        given = (leaf for pair in halves for leaf in pair[which])
        return Side(plain=tuple(sorted({*leaves_of(group), *observed, *given})))

    def _joint(self, group: Sequence[Cover], halves: list[Halves], which: int, observed: list[int]) -> Side:
        given = [leaf for pair in halves for leaf in self._best(pair[which], pair[1 - which])[:1]]
        joint = tuple(sorted({*observed, *given}))
        leaves = self._best(
            leaves_of(group), [*observed, *(leaf for pair in halves for leaf in pair[1 - which])]
        )
        room = WIDTH // prod(self.tester.support(column) for column in joint) - 1
        count = max(1, room // max(self.tester.support(leaf) - 1 for leaf in leaves))
        return Side(joint, tuple(sorted(leaves[:count])))

    def same(self, a: Branches, b: Branches, n_latents: int) -> RankTest | None:
        """Test that two adjacent nodes with branches `a` and `b` around them are one; None where that is refused.

        Then `n_latents` latents separate half of all branches from the other half (the test returned), and a branch of
        each from all others, which is refused below alpha / the number of such pairs.
        """
        sides = [Side(plain=tuple(sorted((*u, *v)))) for u, v in zip(deal(a), deal(b), strict=True)]
        rank = self.bound(n_latents)
        halves = self._test(sides[0], sides[1], rank)
        if not halves.stands:
            return None
        everything = {leaf for branch in (*a, *b) for leaf in branch}
        for u, v in product(a, b):
            rest = Side(plain=tuple(sorted(everything - {*u, *v})))
            if self._test(Side.of((*u, *v)), rest, rank).p_value < self.tester.alpha / (len(a) * len(b)):
                return None
        return halves

    def _best(self, leaves: Sequence[int], against: Sequence[int]) -> list[int]:
        """Leaves by how much they depend on the columns `against`, most first."""
        other = Side(plain=tuple(sorted(against)))
        return sorted(leaves, key=lambda leaf: -self.tester.association(Side(plain=(leaf,)), other))

    def halves(self, cover: Cover) -> Halves:
        """The leaves of a latent cover in two parts that only meet in it: those of its children, dealt out."""
        return deal([child.leaves for child in cover.children])

    def states_of(self, cover: Cover, columns: int) -> int:
        """States of one latent: the least rank, up to the assumed one, of half its leaves against all other columns."""
        if self.n_states is None or cover.size > 1:
            return self.n_states or 1
        part = min(self.halves(cover), key=lambda half: (-len(half), half))
        rest = Side(plain=tuple(c for c in range(columns) if c not in part))
        ranks = range(1, self.n_states + 1)
        return next((r for r in ranks if self._test(Side.of(part), rest, r).accepted), self.n_states)

    def _test(self, a: Side, b: Side, rank: int) -> RankTest:
        if (a, b, rank) not in self._known:
            self._known[a, b, rank] = self.tester.test(a, b, rank)
        return self._known[a, b, rank]


def estimate_states(tester: RankTester) -> int:
    """States of a latent: over the variables, the median of the least rank a pair with it shows against the rest.

    Two children of one latent have the rank of its support, all other pairs a larger one. A rank counts as shown when
    it is the first the test accepts; no more than the joint states of the pair can be told.
    """
    least = [tester.support(j) ** 2 for j in range(tester.p)]
    for i, j in combinations(range(tester.p), 2):
        rest = Side(plain=tuple(k for k in range(tester.p) if k not in (i, j)))
        joint = tester.support(i) * tester.support(j)
        ranks = range(1, min(max(least[i], least[j]), joint))
        rank = next((r for r in ranks if tester.test(Side.of((i, j)), rest, r).accepted), joint)
        least[i], least[j] = min(least[i], rank), min(least[j], rank)
    return max(2, sorted(least)[(tester.p - 1) // 2])
