"""From covers to a named graph whose every edge has a direction, vouched for or not."""

import re
from collections.abc import Sequence

import networkx as nx

from engine.studies.concept_hierarchy.covers import Cover
from engine.studies.concept_hierarchy.linking import Separators, directions


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key that puts x2 before x10."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", name) if part]


def assemble(
    skeleton: nx.Graph, separators: Separators, names: Sequence[str]
) -> tuple[nx.DiGraph, dict[str, Cover]]:
    """A graph of names for a graph of covers, and the cover of every latent.

    Edges between a latent and a column are directed down: columns are the bottom. Edges between latents are directed
    where `directions` says so; the others are stored from the higher cover to the lower one (`directed` False).
    """
    latents = skeleton.subgraph(node for node in skeleton if not node.observed)
    known = directions(latents, separators)
    place = _downwards(known)
    labels = _labels(latents, names)
    graph = nx.DiGraph()
    graph.add_nodes_from((name, {"kind": "observed"}) for name in names)
    graph.add_nodes_from((name, {"kind": "latent"}) for name in sorted(labels_of(labels), key=natural))
    for a, b in skeleton.edges:
        upper, lower, directed = _direction(a, b, known, place)
        for source in labels.get(upper, [names[upper.leaves[0]]]):
            for target in labels.get(lower, [names[lower.leaves[0]]]):
                graph.add_edge(source, target, directed=directed)
    return graph, {label: cover for cover, group in labels.items() for label in group}


def labels_of(labels: dict[Cover, list[str]]) -> list[str]:
    """All names of latents."""
    return [name for group in labels.values() for name in group]


def _labels(latents: nx.Graph, names: Sequence[str]) -> dict[Cover, list[str]]:
    """L1, L2 … by the smallest leaf; of two covers that share it the one with fewer leaves comes first."""
    order = sorted(latents, key=lambda cover: (cover.leaves[0], len(cover.leaves), cover.leaves))
    labels, count = {}, 0
    for cover in order:
        labels[cover] = [f"L{count + i + 1}" for i in range(cover.size)]
        count += cover.size
    return labels


def _downwards(known: nx.DiGraph) -> dict[Cover, int]:
    """Place of every latent in an order that respects `known`, those over many columns first."""
    order = nx.lexicographical_topological_sort(known, key=lambda cover: (-len(cover.leaves), cover.leaves))
    return {cover: place for place, cover in enumerate(order)}


def _direction(a: Cover, b: Cover, known: nx.DiGraph, place: dict[Cover, int]) -> tuple[Cover, Cover, bool]:
    """Upper and lower end of an edge, and whether that is known."""
    if a.observed or b.observed:
        return (a, b, a.observed != b.observed) if b.observed else (b, a, True)
    if known.has_edge(a, b) or known.has_edge(b, a):
        return (a, b, True) if known.has_edge(a, b) else (b, a, True)
    if set(a.leaves) & set(b.leaves):
        return (a, b, False) if len(a.leaves) > len(b.leaves) else (b, a, False)
    return (a, b, False) if place[a] < place[b] else (b, a, False)
