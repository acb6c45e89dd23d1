"""Concept hierarchies as graphs: from a run's tables to networkx, levels, consensus over seeds, overlay with the truth.

A hierarchy is a `networkx.DiGraph`; nodes have `kind` ("latent" or "observed"), `n_states` and `group`, edges
`directed` and `share` (of seeds or bootstraps that have the edge, 0 to 1). arXiv 2406.00519.
"""

import re
from collections import Counter
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from sklearn.metrics import adjusted_rand_score

from analyses.graphs import skeleton_scores, with_true_names
from analyses.matching import mean_interval

TRUTH, BEFORE, OURS = "truth", "truth before reduction", "discrete rank"
LATENT = "latent"
FOUND, FALSE, MISSING = "found", "false", "missing"
EDGE_COLUMNS = ["source", "target", "directed", "share", "status"]


def hierarchy(nodes: pd.DataFrame, edges: pd.DataFrame, method: str, seed: int) -> nx.DiGraph:
    """One seed's graph of a method, from rows of `hierarchy_nodes` and `hierarchy_edges`."""
    graph = nx.DiGraph()
    for row in _rows(nodes, method, seed):
        states = None if pd.isna(row["n_states"]) else int(row["n_states"])
        graph.add_node(row["node"], kind=row["kind"], n_states=states, group=row["group"] or "")
    for row in _rows(edges, method, seed):
        share = 1.0 if pd.isna(row["bootstrap_share"]) else float(row["bootstrap_share"])
        graph.add_edge(row["source"], row["target"], directed=bool(row["directed"]), share=share)
    return graph


def _rows(frame: pd.DataFrame, method: str, seed: int) -> list[dict[str, Any]]:
    return frame[(frame["method"] == method) & (frame["seed"] == seed)].to_dict("records")


def has_bootstraps(edges: pd.DataFrame, method: str, seed: int) -> bool:
    """Whether the edges of a seed's graph carry shares of bootstraps."""
    return any(pd.notna(row["bootstrap_share"]) for row in _rows(edges, method, seed))


def natural(name: object) -> list[tuple[int, str, int]]:
    """Sorting key that puts x2 before x10."""
    parts = re.split(r"(\d+)", str(name))
    return [(1, "", int(part)) if part.isdigit() else (0, part, 0) for part in parts]


def observed_of(graph: nx.DiGraph) -> set[str]:
    return {node for node, kind in graph.nodes(data="kind") if kind != LATENT}


def latents_of(graph: nx.DiGraph) -> list[str]:
    return [node for node, kind in graph.nodes(data="kind") if kind == LATENT]


def levels(graph: nx.DiGraph) -> dict[str, int]:
    """Longest distance of every node to the leaves; an undirected edge counts as it is stored, a cycle as one node.

    A latent without children stands on level 1, so that level 0 holds observed variables alone.
    """
    merged = nx.condensation(graph)
    found: dict[int, int] = {}
    for part in reversed(list(nx.topological_sort(merged))):
        below = [found[child] for child in merged.successors(part)]
        lowest = max(graph.nodes[node].get("kind") == LATENT for node in merged.nodes[part]["members"])
        found[part] = max([int(lowest), *(level + 1 for level in below)])
    return {node: found[part] for node, part in merged.graph["mapping"].items()}


def strongest_parents(graph: nx.DiGraph) -> dict[str, str]:
    """The parent of every node that has one: the strongest share, then the lowest level, then the name."""
    level = levels(graph)
    best = {}
    for node in graph:
        above = [
            (-graph.edges[p, node].get("share", 1.0), level[p], str(p)) for p in graph.predecessors(node)
        ]
        if above:
            best[node] = min(above)[2]
    return best


def clusters(graph: nx.DiGraph) -> dict[str, str]:
    """The latent that every observed variable hangs on; a variable without a parent is a cluster of its own."""
    parents = strongest_parents(graph)
    return {node: parents.get(node, node) for node in sorted(observed_of(graph), key=natural)}


def renamed(graph: nx.DiGraph, reference: nx.DiGraph) -> tuple[nx.DiGraph, dict[str, str]]:
    """The graph with its latents named as the reference's they match, and the new name of every node."""
    own = nx.DiGraph(graph)
    nx.set_node_attributes(own, {node: node for node in graph}, "own")
    named = with_true_names(own, reference, observed_of(graph) | observed_of(reference))
    return named, {named.nodes[node].pop("own"): node for node in named}


def medoid(graphs: Mapping[int, nx.DiGraph]) -> int:
    """The seed whose graph agrees best with all the others (mean skeleton F1; the smallest seed of equals)."""
    pairs = agreement(graphs)
    totals = dict.fromkeys(sorted(graphs), 0.0)
    for row in pairs.to_dict("records"):
        totals[row["seed_a"]] += row["skeleton_f1"]
        totals[row["seed_b"]] += row["skeleton_f1"]
    return max(totals, key=totals.__getitem__)


def consensus(
    graphs: Mapping[int, nx.DiGraph], reference: nx.DiGraph | None = None
) -> tuple[nx.DiGraph, dict[int, dict[str, str]]]:
    """Every seed's graph in one, and for every seed the name here of each of its latents.

    Latents are named as those they match in `reference` (the medoid when None); those of several seeds that match
    none are one when they have the same measured descendants. `share` is the share of seeds that have the edge in
    either direction; the direction, and whether there is one, is what most of them say.
    """
    base = graphs[medoid(graphs)] if reference is None else reference
    together, names = nx.DiGraph(), {}
    extras: dict[frozenset[str], str] = {}
    votes: dict[frozenset[str], list[tuple[str, str, bool]]] = {}
    for seed, graph in graphs.items():
        one, mine = renamed(graph, base)
        observed = observed_of(one)
        merged = {}
        for latent in set(latents_of(one)) - set(base):
            below = frozenset(nx.descendants(one, latent) & observed)
            merged[latent] = extras.setdefault(
                below, latent if latent not in together else f"{latent} ({seed})"
            )
        one = nx.relabel_nodes(one, merged)
        names[seed] = {old: merged.get(new, new) for old, new in mine.items() if new not in observed}
        together.add_nodes_from((n, data) for n, data in one.nodes(data=True) if n not in together)
        for a, b, directed in one.edges(data="directed"):
            votes.setdefault(frozenset((a, b)), []).append((a, b, bool(directed)))
    for cast in votes.values():
        (a, b), _ = Counter((a, b) for a, b, _ in sorted(cast)).most_common(1)[0]
        directed = 2 * sum(found for *_, found in cast) > len(cast)
        together.add_edge(a, b, directed=directed, share=len(cast) / len(graphs))
    return together, names


def at_least(graph: nx.DiGraph, share: float) -> nx.DiGraph:
    """The graph without the edges of a smaller share, and without the latents that this leaves alone."""
    kept = nx.DiGraph(graph)
    kept.remove_edges_from([(a, b) for a, b, found in graph.edges(data="share") if found < share])
    kept.remove_nodes_from(
        [node for node in latents_of(kept) if not kept.degree(node) and graph.degree(node)]
    )
    return kept


def overlay(estimate: nx.DiGraph, truth: nx.DiGraph | None) -> nx.DiGraph:
    """Estimate and truth in one graph; edges have `status` (found, false, missing), nodes `where` (truth, estimate, both).

    Latents of `estimate` must be named as the truth's. Skeletons are compared: an edge in both takes the truth's
    direction, and `turned` says that the estimate has it the other way. Without a truth every edge is found.
    """
    known = truth if truth is not None else nx.DiGraph()
    both = nx.DiGraph()
    for graph, where in ((known, "truth"), (estimate, "estimate")):
        for node, data in graph.nodes(data=True):
            seen = both.nodes[node]["where"] if node in both else where
            both.add_node(node, **{**data, "where": where if seen == where else "both"})
    for a, b, data in estimate.edges(data=True):
        turned = known.has_edge(b, a)
        found = truth is None or turned or known.has_edge(a, b)
        ends = (b, a) if turned else (a, b)
        both.add_edge(*ends, **data, status=FOUND if found else FALSE, turned=turned and data["directed"])
    for a, b, data in known.edges(data=True):
        if not both.has_edge(a, b):
            both.add_edge(a, b, **{**data, "share": 0.0}, status=MISSING, turned=False)
    return both


def visible(both: nx.DiGraph, show: str) -> nx.DiGraph:
    """The part of an overlay that is the "truth", the "estimate" or, for "difference", all of it."""
    if show == "difference":
        return both
    kinds = (FOUND, MISSING) if show == "truth" else (FOUND, FALSE)
    part = nx.DiGraph()
    part.add_nodes_from((n, data) for n, data in both.nodes(data=True) if data["where"] in ("both", show))
    part.add_edges_from((a, b, data) for a, b, data in both.edges(data=True) if data["status"] in kinds)
    return part


def edge_frame(graph: nx.DiGraph) -> pd.DataFrame:
    """One row an edge: source, target, directed, share, status."""
    rows = [{"source": a, "target": b, **data} for a, b, data in graph.edges(data=True)]
    return pd.DataFrame(rows, columns=EDGE_COLUMNS)


def agreement(graphs: Mapping[int, nx.DiGraph]) -> pd.DataFrame:
    """How far every two seeds agree: seed_a, seed_b, skeleton_f1 (latents matched) and rand (ARI of the clusters)."""
    rows = []
    for a, b in combinations(sorted(graphs), 2):
        other, _ = renamed(graphs[b], graphs[a])
        shared = sorted(observed_of(graphs[a]) & observed_of(other))
        parts = [clusters(graph) for graph in (graphs[a], other)]
        rand = adjusted_rand_score(*([part[node] for node in shared] for part in parts)) if shared else np.nan
        rows.append(
            {"seed_a": a, "seed_b": b, "skeleton_f1": skeleton_scores(other, graphs[a]).f1, "rand": rand}
        )
    return pd.DataFrame(rows, columns=["seed_a", "seed_b", "skeleton_f1", "rand"])


def worlds(nodes: pd.DataFrame, edges: pd.DataFrame) -> dict[int, int]:
    """Which seeds share a true graph: a number for every seed, all 0 where no truth is known."""
    ids: dict[Any, int] = {}
    found = {}
    for seed in sorted(nodes["seed"].unique()):
        rows = [row for name in (BEFORE, TRUTH) for row in _rows(edges, name, seed)]
        key = frozenset((row["method"], row["source"], row["target"]) for row in rows)
        found[int(seed)] = ids.setdefault(key, len(ids))
    return found


def summary(nodes: pd.DataFrame, edges: pd.DataFrame, scores: pd.DataFrame, method: str) -> dict[str, Any]:
    """The first strip of a run: consistency across seeds, recovery of the truth, chance.

    Keys: seeds, pairs (of seeds of one world), skeleton_f1 and rand (means over the pairs), recovery with low, high
    (95 % t over seeds), chance, factors (ARI against known factors), exact (graphs); what is unknown is None.
    """
    world = worlds(nodes, edges)
    parts = []
    for one in sorted(set(world.values())):
        seeds = [seed for seed in world if world[seed] == one]
        parts.append(agreement({seed: hierarchy(nodes, edges, method, seed) for seed in seeds}))
    pairs = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["skeleton_f1", "rand"])
    mine = best_states(scores[scores["method"] == method])
    f1 = mine["skeleton_f1"].dropna()
    low, high = mean_interval(f1) if len(f1) > 1 else (None, None)
    return {
        "seeds": len(world),
        "pairs": len(pairs),
        "skeleton_f1": _mean(pairs["skeleton_f1"]),
        "rand": _mean(pairs["rand"]),
        "recovery": _mean(f1),
        "low": low,
        "high": high,
        "chance": _mean(mine["chance"]),
        "factors": _mean(mine["adjusted_rand_index"]),
        "exact": int(mine["exact"].fillna(False).astype(bool).sum()) if len(f1) else None,
    }


def best_states(scores: pd.DataFrame) -> pd.DataFrame:
    """The scores on estimated states, which is what a user has, or on the true states where those alone are there."""
    estimated = scores[scores["states"] == "estimated states"]
    return estimated if len(estimated) else scores


def _mean(values: pd.Series) -> float | None:
    known = pd.to_numeric(values).dropna()
    return float(known.mean()) if len(known) else None
