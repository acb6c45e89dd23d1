"""What a search knows: covers of latents over columns, and rank tests between them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import prod

from engine.studies.concept_hierarchy.rank import RankTest, RankTester, Side

WIDTH = 64


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
        """Test that the variables of `given` separate `a` from `b`.

        Every latent of `given` stands on both sides through disjoint halves of its leaves, an observed one itself. A
        single latent may bring all its leaves; several need their joint state, and so the best leaf of each half.
        """
        observed = [cover.leaves[0] for cover in given if cover.observed]
        latent = [cover for cover in given if not cover.observed]
        halves = [self.halves(cover) for cover in latent]
        n_latents = size_of(latent)
        if n_latents == 1 and not observed or self.n_states is None:
            sides = [leaves_of(group) for group in (a, b)]
            left, right = (
                Side(plain=tuple(sorted({*side, *observed, *(leaf for pair in halves for leaf in pair[i])})))
                for i, side in enumerate(sides)
            )
        else:
            left, right = (
                self._joint(group, i, list(zip(latent, halves, strict=True)), observed)
                for i, group in enumerate((a, b))
            )
        return self._test(left, right, self.bound(n_latents, observed))

    def _joint(
        self,
        group: Sequence[Cover],
        which: int,
        given: list[tuple[Cover, tuple[tuple[int, ...], tuple[int, ...]]]],
        observed: Sequence[int],
    ) -> Side:
        joint = list(observed)
        for cover, pair in given:
            joint += self._best(pair[which], pair[1 - which], cover.size)
        width = prod(self.tester.support(column) for column in joint)
        others = tuple(leaf for cover, _ in given for leaf in cover.leaves)
        room = max(1, (WIDTH // width - 1) // max(1, (self.n_states or 2) - 1))
        return Side(tuple(sorted(joint)), tuple(sorted(self._best(leaves_of(group), others, room))))

    def _best(self, leaves: Sequence[int], against: Sequence[int], count: int) -> list[int]:
        """The `count` leaves that depend most on the columns `against`."""
        if len(leaves) <= count or not against:
            return list(leaves)[:count]
        other = Side(plain=tuple(sorted(against)))
        return sorted(leaves, key=lambda leaf: -self.tester.association(Side(plain=(leaf,)), other))[:count]

    def halves(self, cover: Cover) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The leaves of a latent cover in two parts that only meet in it: its children, dealt out by size."""
        parts: tuple[list[Cover], list[Cover]] = ([], [])
        for child in sorted(cover.children, key=lambda child: (-len(child.leaves), child.leaves)):
            smaller = min(parts, key=lambda part: len(leaves_of(part)))
            smaller.append(child)
        return leaves_of(parts[0]), leaves_of(parts[1])

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
