"""From covers to a named graph whose every edge has a direction, vouched for or not."""

import re
from collections.abc import Callable, Sequence

import networkx as nx

from engine.studies.concept_hierarchy.covers import Cover
from engine.studies.concept_hierarchy.linking import Separators, directions


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts x2 before x10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name) if part]


def assemble(
    core: nx.Graph, separators: Separators, names: Sequence[str]
) -> tuple[nx.DiGraph, dict[str, Cover]]:
    """The graph of `core` and all that hangs below it, and the cover of every latent.

    Edges between a latent and a column are directed down: columns are the bottom. Edges between latents are directed
    where `directions` says so; the others are stored from the higher cover to the lower one (`directed` False).
    """
    skeleton = nx.Graph(core)
    for cover in list(core):
        _hang(skeleton, cover)
    latents = skeleton.subgraph(node for node in skeleton if not node.observed)
    known = directions(latents, separators)
    rank = _downwards(core, known)
    labels = _labels(latents, names)
    graph = nx.DiGraph()
    graph.add_nodes_from((name, {"kind": "observed"}) for name in names)
    graph.add_nodes_from((name, {"kind": "latent"}) for name in sorted(labels_of(labels), key=natural))
    for a, b in skeleton.edges:
        upper, lower, directed = _direction(a, b, known, rank)
        for source in labels.get(upper, [names[upper.leaves[0]]]):
            for target in labels.get(lower, [names[lower.leaves[0]]]):
                graph.add_edge(source, target, directed=directed)
    return graph, {label: cover for cover, group in labels.items() for label in group}


def labels_of(labels: dict[Cover, list[str]]) -> list[str]:
    """All names of latents."""
    return [name for group in labels.values() for name in group]


def _hang(skeleton: nx.Graph, cover: Cover) -> None:
    for child in cover.children:
        skeleton.add_edge(cover, child)
        _hang(skeleton, child)


def _labels(latents: nx.Graph, names: Sequence[str]) -> dict[Cover, list[str]]:
    """L1, L2 … by the smallest leaf; of two covers that share it the one with fewer leaves comes first."""
    order = sorted(latents, key=lambda cover: (cover.leaves[0], len(cover.leaves), cover.leaves))
    labels, count = {}, 0
    for cover in order:
        labels[cover] = [f"L{count + i + 1}" for i in range(cover.size)]
        count += cover.size
    return labels


def _downwards(core: nx.Graph, known: nx.DiGraph) -> Callable[[Cover], int]:
    """Place of a core node in an order that respects `known`, latents with many leaves first."""
    graph = nx.DiGraph()
    graph.add_nodes_from(core)
    graph.add_edges_from((a, b) for a, b in known.edges if a in core and b in core)
    order = nx.lexicographical_topological_sort(
        graph, key=lambda cover: (cover.observed, -len(cover.leaves), cover.leaves)
    )
    places = {cover: place for place, cover in enumerate(order)}
    return places.__getitem__


def _direction(
    a: Cover, b: Cover, known: nx.DiGraph, rank: Callable[[Cover], int]
) -> tuple[Cover, Cover, bool]:
    if a.observed != b.observed:
        upper, lower = (b, a) if a.observed else (a, b)
        return upper, lower, True
    if known.has_edge(a, b) or known.has_edge(b, a):
        return (a, b, True) if known.has_edge(a, b) else (b, a, True)
    if b in a.children or a in b.children:
        return (a, b, False) if b in a.children else (b, a, False)
    return (a, b, False) if rank(a) < rank(b) else (b, a, False)
