"""Graphs over latents: reduction to what can be known, matching by measured variables, distances, confidence.

A graph is a plain `networkx.DiGraph`; nodes are strings, measured variables keep their names everywhere. An edge whose
attribute `directed` is False has an orientation the method does not vouch for.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy.optimize import linear_sum_assignment

from analyses.identifiability import Chance

Edge = tuple[str, str]


@dataclass(frozen=True)
class GraphScores:
    """An estimate beside the truth.

    `f1`, `precision`, `recall` over edges (all 1 when both graphs are empty, a ratio over no edges is 0);
    `structural_hamming_distance`: pairs of nodes to be changed, a reversed edge counting once; `exact`: no pair is
    to be changed; `n_edges`: edges of the estimate.
    """

    f1: float
    precision: float
    recall: float
    structural_hamming_distance: int
    exact: bool
    n_edges: int


def minimal_graph(graph: nx.DiGraph, observed: Collection[str]) -> nx.DiGraph:
    """O_min: the truth without the latents that leave no trace in any rank (arXiv 2406.00519, section 4).

    Until nothing changes, in the order of their names, a latent is dropped when all latents have equal support and it
    - has no children, or is a root with one child: its edges go;
    - is a root with two children of which one (the first by name, a latent before a measured one) has no other
      parent: that child becomes the parent of the other;
    - has one parent and one child: the parent becomes the child's parent.
    In each case every trek through the latent also passes a neighbour that separates the same variables. A root
    whose two children both have other parents stays, for an edge between them would tie those parents to the other
    child. Edges go latent → measured where there is a choice; direction is known only up to Markov equivalence.
    Raises ValueError for a graph with a directed cycle.
    """
    if not nx.is_directed_acyclic_graph(graph):
        raise ValueError("The graph holds a directed cycle; the minimal graph is defined for a DAG.")
    reduced = nx.DiGraph(graph)
    measured = set(observed)
    while any(_drop(reduced, node, measured) for node in sorted(set(reduced) - measured)):
        pass
    return reduced


def _drop(graph: nx.DiGraph, latent: str, measured: set[str]) -> bool:
    parents, children = sorted(graph.predecessors(latent)), sorted(graph.successors(latent))
    bridge: list[Edge] = []
    if parents and children:
        if len(parents) + len(children) > 2:
            return False
        bridge = [(parents[0], children[0])]
    elif len(children) == 2:
        sources = [child for child in children if graph.in_degree(child) == 1]
        if not sources:
            return False
        source = min(sources, key=lambda child: (child in measured, child))
        target = next(child for child in children if child != source)
        bridge = [(source, target)]
        if graph.has_edge(target, source):
            bridge = [(target, source)]
    elif len(children) > 2:
        return False
    graph.remove_node(latent)
    graph.add_edges_from(bridge)
    return True


def levels(graph: nx.DiGraph) -> dict[str, int]:
    """Level of every node: edges on the longest directed path down to a node without children (level 0).

    Raises ValueError for a graph with a directed cycle.
    """
    if not nx.is_directed_acyclic_graph(graph):
        raise ValueError("The graph holds a directed cycle; levels are defined for a DAG.")
    level: dict[str, int] = {}
    for node in reversed(list(nx.topological_sort(graph))):
        level[node] = max((level[child] + 1 for child in graph.successors(node)), default=0)
    return level


def match_latents(estimate: nx.DiGraph, truth: nx.DiGraph, observed: Collection[str]) -> dict[str, str]:
    """Estimated latent → true latent, one-to-one, by the measured variables they reach; linear assignment.

    Similarity is the weighted Jaccard index of measured variables, each weighing 2^−(edges away in the skeleton), so
    that it does not depend on orientation, which a search often leaves open; among equals the Jaccard index of
    the measured descendants decides. A latent without a partner that shares any variable is left out. Pairs are
    invariant to the names of latents up to exact ties; cost is cubic in their number (0.1 s for 100).
    """
    ours, theirs = (sorted(set(graph) - set(observed)) for graph in (estimate, truth))
    if not ours or not theirs:
        return {}
    columns = sorted(observed)
    near = _weighted_jaccard(_reach(estimate, ours, columns), _reach(truth, theirs, columns))
    below = _weighted_jaccard(_descendants(estimate, ours, columns), _descendants(truth, theirs, columns))
    rows, partners = linear_sum_assignment(near + 1e-3 * below, maximize=True)
    return {ours[i]: theirs[j] for i, j in zip(rows, partners, strict=True) if near[i, j] > 0}


def _reach(graph: nx.DiGraph, latents: list[str], columns: list[str]) -> np.ndarray:
    skeleton = graph.to_undirected(as_view=True)
    steps = [nx.single_source_shortest_path_length(skeleton, latent) for latent in latents]
    return np.array([[0.5 ** away[c] if c in away else 0.0 for c in columns] for away in steps])


def _descendants(graph: nx.DiGraph, latents: list[str], columns: list[str]) -> np.ndarray:
    sets = [nx.descendants(graph, latent) for latent in latents]
    return np.array([[float(c in found) for c in columns] for found in sets])


def _weighted_jaccard(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    shared = np.minimum(a[:, None, :], b[None, :, :]).sum(axis=2)
    union = np.maximum(a[:, None, :], b[None, :, :]).sum(axis=2)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def with_true_names(estimate: nx.DiGraph, truth: nx.DiGraph, observed: Collection[str]) -> nx.DiGraph:
    """A copy of `estimate` whose latents carry the names of the true latents they match; attributes are kept.

    A latent without a partner gets its own name, marked with primes where the truth uses that name.
    """
    names = match_latents(estimate, truth, observed)
    taken = set(truth) | set(observed)
    for latent in sorted(set(estimate) - set(observed) - set(names)):
        name = latent
        while name in taken:
            name += "′"
        names[latent] = name
        taken.add(name)
    return nx.relabel_nodes(estimate, names, copy=True)


def skeleton_scores(
    estimate: nx.DiGraph, truth: nx.DiGraph, observed: Collection[str] | None = None
) -> GraphScores:
    """Adjacencies of `estimate` against those of `truth`, directions ignored.

    With `observed` (the measured names) all other nodes are latents and are matched first; without it nodes are
    compared by name.
    """
    ours, theirs = (_pairs(graph) for graph in _named(estimate, truth, observed))
    return _scores(len(ours), len(theirs), len(ours & theirs), len(ours ^ theirs))


def edge_scores(
    estimate: nx.DiGraph, truth: nx.DiGraph, observed: Collection[str] | None = None
) -> GraphScores:
    """Directed edges of `estimate` against those of `truth`; an edge with `directed` False is no hit. See above."""
    estimate, truth = _named(estimate, truth, observed)
    ours = {(a, b) for a, b, directed in estimate.edges(data="directed", default=True) if directed}
    theirs = set(truth.edges)
    hits = len(ours & theirs)
    pairs = _pairs(estimate) | _pairs(truth)
    unchanged = {frozenset(edge) for edge in ours & theirs if (edge[1], edge[0]) not in estimate.edges}
    return _scores(estimate.number_of_edges(), len(theirs), hits, len(pairs - unchanged))


def _named(
    estimate: nx.DiGraph, truth: nx.DiGraph, observed: Collection[str] | None
) -> tuple[nx.DiGraph, nx.DiGraph]:
    return (estimate if observed is None else with_true_names(estimate, truth, observed)), truth


def _pairs(graph: nx.DiGraph) -> set[frozenset[str]]:
    return {frozenset(edge) for edge in graph.edges}


def _scores(n_ours: int, n_theirs: int, hits: int, distance: int) -> GraphScores:
    if n_ours == n_theirs == 0:
        return GraphScores(1.0, 1.0, 1.0, 0, True, 0)
    precision = hits / n_ours if n_ours else 0.0
    recall = hits / n_theirs if n_theirs else 0.0
    return GraphScores(2 * hits / (n_ours + n_theirs), precision, recall, distance, distance == 0, n_ours)


def edge_confidence(graphs: Sequence[nx.DiGraph], directed: bool = True) -> dict[Edge, float]:
    """Share of `graphs` (seeds or bootstraps, nodes named alike) that hold an edge, by falling share, then name.

    With `directed` False the two directions are one adjacency, named in alphabetical order. Raises ValueError for
    no graph.
    """
    if not graphs:
        raise ValueError("Edge confidence needs one graph or more.")
    held: Iterable[Edge] = (edge for graph in graphs for edge in graph.edges)
    if not directed:
        held = ((min(pair), max(pair)) for graph in graphs for pair in _pairs(graph))
    counts = Counter(held)
    return {edge: counts[edge] / len(graphs) for edge in sorted(counts, key=lambda e: (-counts[e], e))}


def f1_null(
    estimate: nx.DiGraph,
    truth: nx.DiGraph,
    rng: np.random.Generator,
    *,
    observed: Collection[str] | None = None,
    candidates: Sequence[Edge] | None = None,
    directed: bool = False,
    draws: int = 200,
) -> Chance:
    """F1 against `truth` of graphs as large as `estimate` that know nothing.

    With `observed` the measured names of the estimate are shuffled and its latents matched anew (its shape is
    kept). Otherwise as many edges are drawn from `candidates`, the edges the method could have named (default: every
    ordered pair of the truth's nodes, one direction a pair). `directed` chooses the score of `edge_scores` or
    `skeleton_scores`. Raises ValueError for fewer candidate pairs than edges.
    """
    score = edge_scores if directed else skeleton_scores
    if observed is not None:
        shuffled = (_shuffled(estimate, sorted(observed), rng) for _ in range(draws))
        return Chance.of([score(graph, truth, observed).f1 for graph in shuffled])
    nodes = sorted(truth)
    pool = list(candidates) if candidates is not None else [(a, b) for a in nodes for b in nodes if a != b]
    size = len(_pairs(estimate))
    if len({frozenset(edge) for edge in pool}) < size:
        raise ValueError(
            f"{size} edges cannot be drawn from {len(pool)} candidates; give every edge it may name."
        )
    return Chance.of([score(_drawn(pool, size, rng), truth).f1 for _ in range(draws)])


def _shuffled(graph: nx.DiGraph, measured: list[str], rng: np.random.Generator) -> nx.DiGraph:
    return nx.relabel_nodes(graph, dict(zip(measured, rng.permutation(measured).tolist(), strict=True)))


def _drawn(pool: list[Edge], size: int, rng: np.random.Generator) -> nx.DiGraph:
    chosen: dict[frozenset[str], Edge] = {}
    for i in rng.permutation(len(pool)):
        if len(chosen) == size:
            break
        chosen.setdefault(frozenset(pool[i]), pool[i])
    return nx.DiGraph(list(chosen.values()))
