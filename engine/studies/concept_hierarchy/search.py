"""Graphs over hidden discrete variables, found from the ranks of tables alone (2406.00519 §4, step 2).

The control flow is that of rank-based latent causal discovery (RLCD, Dong et al. 2024) on covers of latents, bottom up:

1. Attach: an active variable that one cover separates from all others hangs below that cover.
2. Group: k + 1 active variables of which k latents can separate them from the others are children of a new cover;
   groups that overlap are joined, best first, as long as the joint test stands. k starts anew at 1 after each find.
3. Link: what is left is linked as PC links variables, with ranks as tests of conditional independence, and
   adjacent latents that no test tells apart become one (`linking`).

Every test is made at level `alpha`, without correction for their number: a true group of m variables is supported by
m (m − 1) / 2 pairs, so one false rejection is healed by the others, while a stricter level would cost power, and a false
acceptance between two clusters has to survive the joint test of their union.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import networkx as nx
import numpy as np

from engine.studies.concept_hierarchy.covers import Cover, Evidence, estimate_states, size_of
from engine.studies.concept_hierarchy.linking import contract, hang, link
from engine.studies.concept_hierarchy.ordering import assemble, natural
from engine.studies.concept_hierarchy.rank import JOINT, RankTester, Statistic

Strength = tuple[float, float]


@dataclass(frozen=True)
class Discovery:
    """A graph over observed variables and found latents.

    `graph` has a node for every observed name and every latent ("L1", "L2", … by their smallest member), node
    attribute `kind` ("observed" or "latent"), and edge attribute `directed`: False where data cannot tell the
    direction (the stored one then points from the higher to the lower level). `n_states` maps a latent to the number
    of its states; `n_tests` counts the rank tests made.
    """

    graph: nx.DiGraph
    n_states: dict[str, int]
    n_tests: int


def discover(
    states: np.ndarray,
    names: Sequence[str],
    *,
    alpha: float = 0.01,
    n_latent_states: int | None = None,
    statistic: Statistic = "bartlett",
    max_k: int = 1,
) -> Discovery:
    """The latent hierarchy behind `states` (n × p codes), with unique `names` for its columns.

    `n_latent_states` is the number of states of every latent, or None for `covers.estimate_states`. `max_k` latents at
    most may share one set of children. Columns are put in the natural order of their names first, so the result does not
    depend on theirs. Raises ValueError when names are not one for each column, unique and unlike L1, L2 ….
    """
    ordered, table = in_order(states, names)
    tester = RankTester(table, statistic, alpha)
    n_states = estimate_states(tester) if n_latent_states is None else n_latent_states
    return search(Evidence(tester, n_states), ordered, max_k)


def in_order(states: np.ndarray, names: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Names in natural order and the columns with them. Raises ValueError for names that cannot be used."""
    if len(names) != states.shape[1] or len(set(names)) != len(names):
        raise ValueError(
            f"{states.shape[1]} columns need as many different names; {len(set(names))} were given."
        )
    taken = next((name for name in names if re.fullmatch(r"L\d+", name)), None)
    if taken:
        raise ValueError(f"{taken!r} is a name of a latent; rename the column.")
    places = sorted(range(len(names)), key=lambda j: natural(names[j]))
    return [names[j] for j in places], states[:, places]


def search(evidence: Evidence, names: Sequence[str], max_k: int) -> Discovery:
    """The three steps on any rank tests; `names` are those of the tester's columns."""
    columns = [Cover(1, (j,)) for j in range(len(names))]
    isolated = [c for c in columns if evidence.independent([c], [d for d in columns if d != c])]
    active = [column for column in columns if column not in isolated]
    k = 1
    while k <= max_k:
        found = attach(active, evidence) or group(active, evidence, k)
        active, k = (found, 1) if found else (active, k + 1)
    core, separators = link(active, evidence)
    graph, covers = assemble(*contract(hang(core), separators, evidence), names)
    n_states = {latent: evidence.states_of(cover, len(names)) for latent, cover in covers.items()}
    return Discovery(graph, n_states, evidence.tester.tests)


def attach(active: list[Cover], evidence: Evidence) -> list[Cover] | None:
    """`active` after the variable most clearly separated from the rest by a cover hangs below it; None if none is."""
    best: tuple[Strength, Cover, Cover] | None = None
    for target in (cover for cover in active if not cover.observed):
        for node in (cover for cover in active if cover != target):
            rest = [cover for cover in active if cover not in (node, target)]
            if not rest or evidence.independent([node], [target]):
                continue
            result = evidence.separated([node], rest, [target])
            if result.stands and (best is None or result.strength > best[0]):
                best = result.strength, node, target
    if best is None:
        return None
    _, node, target = best
    joined = Cover.over(target.size, (*target.children, node))
    return [cover for cover in active if cover not in (node, target)] + [joined]


def group(active: list[Cover], evidence: Evidence, k: int) -> list[Cover] | None:
    """`active` with the groups that k latents separate from the rest replaced by new covers; None if there are none."""
    if size_of(active) < 2 * k + 2:
        return None
    for count in range(k + 1, max(JOINT, k + 1) + 1):
        found, informative = _deficient(active, evidence, k, count)
        if informative:
            break
    groups: list[frozenset[Cover]] = []
    for candidate in sorted(found, key=lambda one: found[one], reverse=True):
        touched = [one for one in groups if one & candidate]
        union = candidate.union(*touched)
        if not touched or _fits(union, active, found, evidence, k, count):
            groups = [one for one in groups if one not in touched] + [union]
    if not groups:
        return None
    taken = frozenset().union(*groups)
    return [cover for cover in active if cover not in taken] + [Cover.over(k, one) for one in groups]


def _deficient(
    active: list[Cover], evidence: Evidence, k: int, count: int
) -> tuple[dict[frozenset[Cover], Strength], bool]:
    """Sets of `count` variables that k latents may separate from the rest, and whether any test could have failed."""
    found: dict[frozenset[Cover], Strength] = {}
    informative = False
    for candidate in combinations(sorted(active, key=lambda cover: cover.leaves), count):
        rest = [cover for cover in active if cover not in candidate]
        if size_of(rest) <= k:
            continue
        result = evidence.deficient(candidate, rest, k)
        informative = informative or result.dof > 0
        if result.stands and not _explained(candidate, rest, evidence, k):
            found[frozenset(candidate)] = result.strength
    return found, informative


def _explained(candidate: Sequence[Cover], rest: list[Cover], evidence: Evidence, k: int) -> bool:
    """Whether the low rank of a set has another reason than a new cover above it.

    Independence inside it, a subset that is deficient already (a collider), or a cover that is known and separates it.
    """
    if any(evidence.independent([a], [b]) for a, b in combinations(candidate, 2)):
        return True
    for size in range(1, k + 1):
        for subset in combinations(candidate, size):
            if size_of(subset) <= k and evidence.deficient(subset, rest, size_of(subset) - 1).stands:
                return True
    for cover in (cover for cover in rest if not cover.observed and cover.size <= k):
        others = [other for other in rest if other != cover]
        if others and evidence.separated(candidate, others, [cover]).stands:
            return True
    return False


def _fits(
    union: frozenset[Cover],
    active: list[Cover],
    found: dict[frozenset[Cover], Strength],
    evidence: Evidence,
    k: int,
    count: int,
) -> bool:
    """Whether k latents may separate the whole union from the rest; where no rest is left, half its sets must say so."""
    members = sorted(union, key=lambda cover: cover.leaves)
    rest = [cover for cover in active if cover not in union]
    if size_of(rest) > k:
        return evidence.deficient(members, rest, k).accepted
    sets = [frozenset(one) for one in combinations(members, count)]
    return 2 * sum(one in found for one in sets) >= len(sets)
