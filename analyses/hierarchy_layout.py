"""Places of a layered graph's nodes: few crossings, leaves evenly spaced at the bottom (Sugiyama et al. 1981)."""

from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np
from scipy.optimize import isotonic_regression

from analyses.hierarchy_frames import FALSE, levels, natural

SWEEPS = 12
Point = tuple[float, float]


@dataclass(frozen=True)
class Layout:
    """`at`: x and level of every node; `bends`: the points an edge that skips levels passes between its ends."""

    at: dict[str, Point]
    bends: dict[tuple[str, str], list[Point]]
    width: float
    n_levels: int


def place(graph: nx.DiGraph, gap: float = 1.0) -> Layout:
    """Lay a hierarchy out by `levels`: x in units of leaves, nodes above the leaves at least `gap` apart.

    False edges between nodes of the truth do not count, so that the truth's own order stands; they have no bends.
    """
    graph = backbone(graph)
    level = levels(graph)
    proper, through = _with_stops(graph, level)
    height = dict(level) | {node: stop for node, (_, stop) in through.items()}
    rows = _ordered(proper, height)
    x = _spread(proper, rows, gap)
    ends: dict[tuple[str, str], list[Point]] = {}
    for node, (edge, stop) in sorted(through.items(), key=lambda item: -item[1][1]):
        ends.setdefault(edge, []).append((x[node], float(stop)))
    at = {node: (x[node], float(level[node])) for node in graph}
    bends = {
        edge: points if level[edge[0]] > level[edge[1]] else points[::-1] for edge, points in ends.items()
    }
    return Layout(at, bends, max(x.values(), default=0.0) - min(x.values(), default=0.0), len(rows))


def backbone(graph: nx.DiGraph) -> nx.DiGraph:
    """The graph without the false edges of an overlay between nodes that the truth has."""
    known = {node for node, where in graph.nodes(data="where") if where in ("truth", "both")}
    extra = [(a, b) for a, b, s in graph.edges(data="status") if s == FALSE and {a, b} <= known]
    kept = nx.DiGraph(graph)
    kept.remove_edges_from(extra)
    return kept


def _with_stops(
    graph: nx.DiGraph, level: dict[str, int]
) -> tuple[nx.DiGraph, dict[object, tuple[tuple[str, str], int]]]:
    """The graph with a stop on every level that an edge skips, all edges one level long; edges within one are left out."""
    proper: nx.DiGraph = nx.DiGraph()
    proper.add_nodes_from(sorted(graph, key=natural))
    through: dict[object, tuple[tuple[str, str], int]] = {}
    for a, b in sorted(graph.edges, key=lambda edge: (natural(edge[0]), natural(edge[1]))):
        high, low = (a, b) if level[a] > level[b] else (b, a)
        chain: list[object] = [high]
        for stop in range(level[high] - 1, level[low], -1):
            through[a, b, stop] = ((a, b), stop)
            chain.append((a, b, stop))
        if level[a] != level[b]:
            nx.add_path(proper, [*chain, low])
    return proper, through


def _ordered(graph: nx.DiGraph, level: dict[object, int]) -> list[list[object]]:
    """The nodes of every level, lowest first: depth-first order, then barycentre sweeps, the fewest crossings seen."""
    roots = sorted((n for n in graph if not graph.in_degree(n)), key=lambda n: (-level[n], natural(n)))
    seen = {
        n: i for i, n in enumerate(dict.fromkeys(n for r in roots for n in nx.dfs_preorder_nodes(graph, r)))
    }
    rows = [
        sorted((n for n in graph if level[n] == h), key=seen.__getitem__) for h in sorted(set(level.values()))
    ]
    best, fewest = rows, crossings(graph, rows)
    for sweep in range(SWEEPS):
        up = sweep % 2 == 0
        rows = [list(row) for row in rows]
        steps = range(1, len(rows)) if up else range(len(rows) - 2, -1, -1)
        for h in steps:
            fixed = {n: i for i, n in enumerate(rows[h - 1 if up else h + 1])}
            near = graph.successors if up else graph.predecessors
            old = {n: i for i, n in enumerate(rows[h])}
            means = {n: [fixed[m] for m in near(n) if m in fixed] for n in rows[h]}
            rows[h].sort(key=lambda n: (float(np.mean(means[n])) if means[n] else old[n], old[n]))
        if (count := crossings(graph, rows)) < fewest:
            best, fewest = rows, count
    return best


def crossings(graph: nx.DiGraph, rows: list[list[object]]) -> int:
    """How many pairs of edges between neighbouring rows cross."""
    total = 0
    for low, high in pairwise(rows):
        below, above = ({n: i for i, n in enumerate(row)} for row in (low, high))
        ends = np.array([(above[a], below[b]) for a in high for b in graph.successors(a) if b in below])
        if len(ends):
            a, b = ends[:, 0], ends[:, 1]
            total += int(((a[:, None] < a) & (b[:, None] > b)).sum())
    return total


def _spread(graph: nx.DiGraph, rows: list[list[object]], gap: float) -> dict[object, float]:
    """Leaves at 0, 1, 2, …; every row above as near over its children as order and gap allow (isotonic regression)."""
    x = {n: float(i) for i, n in enumerate(rows[0])} if rows else {}
    for row in rows[1:]:
        wanted, last = [], 0.0
        for n in row:
            under = [x[child] for child in graph.successors(n) if child in x]
            last = float(np.mean(under)) if under else last
            wanted.append(last)
        room = [0.0]
        for left, right in pairwise(row):
            room.append(room[-1] + (gap if isinstance(left, str) and isinstance(right, str) else gap / 2))
        x.update(zip(row, isotonic_regression(np.array(wanted) - room).x + room, strict=True))
    return x
