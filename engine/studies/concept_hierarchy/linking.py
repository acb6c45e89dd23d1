"""The last step of a search: which of the remaining covers are adjacent, and which directions follow.

Rank tests given covers are tests of conditional independence between latents (d-separation as a rank, 2406.00519
§4.2), so the covers that no cluster rule joins any more are linked as PC links variables: adjacent unless some set
separates them, then colliders, then Meek's rules.
"""

from collections.abc import Iterable
from itertools import combinations, permutations

import networkx as nx

from engine.studies.concept_hierarchy.covers import Branches, Cover, Evidence

MAX_GIVEN = 2
Separators = dict[frozenset[Cover], frozenset[Cover]]


def link(covers: Iterable[Cover], evidence: Evidence) -> tuple[nx.Graph, Separators]:
    """The adjacencies of `covers` and, for every pair that is not adjacent, the set with the largest p-value.

    Sets of up to MAX_GIVEN covers among the neighbours of the pair; all pairs are decided on the graph of the round
    before (PC-stable), so the result does not depend on the order of covers.
    """
    nodes = sorted(covers, key=lambda cover: cover.leaves)
    graph = nx.Graph()
    graph.add_nodes_from(nodes)
    graph.add_edges_from((a, b) for a, b in combinations(nodes, 2) if not evidence.independent([a], [b]))
    separators: Separators = {
        frozenset(pair): frozenset() for pair in combinations(nodes, 2) if not graph.has_edge(*pair)
    }
    for size in range(1, MAX_GIVEN + 1):
        before = {node: sorted(graph[node], key=lambda cover: cover.leaves) for node in nodes}
        for a, b in sorted(graph.edges, key=lambda edge: (edge[0].leaves, edge[1].leaves)):
            found = _separator(a, b, before, size, evidence)
            if found is not None:
                graph.remove_edge(a, b)
                separators[frozenset((a, b))] = found
    return graph, separators


def _separator(
    a: Cover, b: Cover, neighbours: dict[Cover, list[Cover]], size: int, evidence: Evidence
) -> frozenset[Cover] | None:
    sets = {
        given
        for side, other in ((a, b), (b, a))
        for given in combinations([node for node in neighbours[side] if node != other], size)
    }
    best: tuple[float, frozenset[Cover]] | None = None
    for given in sorted(sets, key=lambda covers: [cover.leaves for cover in covers]):
        result = evidence.separated([a], [b], given)
        if result.stands and (best is None or result.p_value > best[0]):
            best = result.p_value, frozenset(given)
    return best[1] if best else None


def hang(core: nx.Graph) -> nx.Graph:
    """`core` with everything below its covers."""
    skeleton = nx.Graph(core)
    waiting = list(core)
    while waiting:
        cover = waiting.pop()
        skeleton.add_edges_from((cover, child) for child in cover.children)
        waiting += cover.children
    return skeleton


def contract(skeleton: nx.Graph, separators: Separators, evidence: Evidence) -> tuple[nx.Graph, Separators]:
    """`skeleton` after adjacent latents that no test tells apart have become one, the most alike first.

    One false rejection can split a latent into two. Only edges whose removal parts the graph are tried, and only
    latents with two branches or more besides each other.
    """
    while True:
        best: tuple[tuple[float, float], Cover, Cover] | None = None
        for a, b in sorted(nx.bridges(skeleton), key=lambda edge: sorted(cover.leaves for cover in edge)):
            around = _branches(skeleton, a, b), _branches(skeleton, b, a)
            if a.observed or b.observed or a.size != b.size or min(map(len, around)) < 2:
                continue
            result = evidence.same(*around, a.size)
            if result and (best is None or result.strength > best[0]):
                best = result.strength, a, b
        if best is None:
            return skeleton, separators
        _, a, b = best
        merged = Cover.over(a.size, {*a.children, *b.children} - {a, b})
        names = {cover: merged if cover in (a, b) else cover for cover in skeleton}
        skeleton = nx.Graph((names[u], names[v]) for u, v in skeleton.edges if {u, v} != {a, b})
        separators = {
            frozenset(names[cover] for cover in pair): frozenset(names[cover] for cover in given)
            for pair, given in separators.items()
        }


def _branches(skeleton: nx.Graph, node: Cover, other: Cover) -> Branches:
    """Columns in each part of the graph that only `node` holds together, without the part of `other`."""
    rest = skeleton.subgraph(set(skeleton) - {node})
    near = set(skeleton[node])
    parts = (part for part in nx.connected_components(rest) if part & near and other not in part)
    return [leaves for part in parts if (leaves := [c.leaves[0] for c in part if c.observed])]


def directions(skeleton: nx.Graph, separators: Separators) -> nx.DiGraph:
    """The edges of `skeleton` whose direction follows, as a DiGraph: colliders, then Meek's rules 1 to 3.

    A pair without an entry in `separators` counts as separated by a shared neighbour. Where two colliders ask for both
    directions of an edge, or a direction would close a cycle, it stays open.
    """
    wanted = set()
    for middle in skeleton:
        for a, b in combinations(skeleton[middle], 2):
            if skeleton.has_edge(a, b) or middle in separators.get(frozenset((a, b)), {middle}):
                continue
            wanted |= {(a, middle), (b, middle)}
    directed = nx.DiGraph()
    directed.add_nodes_from(skeleton)
    directed.add_edges_from(edge for edge in wanted if edge[::-1] not in wanted)
    if not nx.is_directed_acyclic_graph(directed):
        return nx.DiGraph(nx.create_empty_copy(directed))
    while any(_meek(skeleton, directed, a, b) for edge in skeleton.edges for a, b in permutations(edge)):
        pass
    return directed


def _meek(skeleton: nx.Graph, directed: nx.DiGraph, a: Cover, b: Cover) -> bool:
    """Direct a → b if one of Meek's rules asks for it."""
    if directed.has_edge(a, b) or directed.has_edge(b, a):
        return False
    chain = any(not skeleton.has_edge(c, b) for c in directed.predecessors(a) if c != b)
    cycle = nx.has_path(directed, a, b)
    kites = [c for c in directed.predecessors(b) if skeleton.has_edge(a, c)]
    kite = any(not skeleton.has_edge(c, d) for c, d in combinations(kites, 2))
    if not (chain or cycle or kite) or nx.has_path(directed, b, a):
        return False
    directed.add_edge(a, b)
    return True
