"""Rows of the study's tables: graphs beside the truth, scores, and what each concept is made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from analyses.graphs import edge_confidence, f1_null, levels, minimal_graph, skeleton_scores, with_true_names
from engine import schema
from engine.studies.concept_hierarchy.concepts import latent_classes, members_of
from engine.studies.concept_hierarchy.rank import PairwiseRanks
from engine.studies.concept_hierarchy.search import Discovery
from engine.studies.concept_hierarchy.source import Sample, Source, stream

TRUTH, BEFORE, OURS = "truth", "truth before reduction", "discrete rank"
TRUE_STATES, ESTIMATED_STATES = "true states", "estimated states"
NULL_DRAWS = 50
EXAMPLES = 3
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Known:
    """What is known of a source: the true graph before reduction, or nothing; groups of the observed variables."""

    truth: nx.DiGraph | None
    reduced: nx.DiGraph | None
    groups: Mapping[str, str]

    @staticmethod
    def of(source: Source) -> "Known":
        """Groups are the source's own; in a world those of the reduced truth's leaves."""
        if source.truth is None:
            return Known(None, None, source.groups)
        reduced = minimal_graph(source.truth, source.names)
        return Known(source.truth, reduced, source.groups or clusters(reduced, source.names))


def clusters(graph: nx.DiGraph, observed: Sequence[str]) -> dict[str, str]:
    """The latent over every observed variable, the first by name of several; a variable without one is its own."""
    return {
        name: min((p for p in graph.predecessors(name) if p not in observed), default=name)
        if name in graph
        else name
        for name in observed
    }


def truth_rows(known: Known, observed: Sequence[str], n_states: int | None, seed: int) -> dict[str, Rows]:
    """Nodes and edges of the truth, before and after reduction."""
    rows: dict[str, Rows] = {"hierarchy_nodes": [], "hierarchy_edges": []}
    for method, graph in ((TRUTH, known.reduced), (BEFORE, known.truth)):
        if graph is not None:
            states = dict.fromkeys(graph, n_states)
            rows["hierarchy_nodes"] += node_rows(graph, observed, states, known.groups, method, seed)
            rows["hierarchy_edges"] += [
                {**_edge(seed, method, a, b), "directed": True, "bootstrap_share": None, "in_truth": True}
                for a, b in graph.edges
            ]
    return rows


def node_rows(
    graph: nx.DiGraph,
    observed: Sequence[str],
    n_states: Mapping[str, int | None],
    groups: Mapping[str, str],
    method: str,
    seed: int,
) -> Rows:
    """Rows of `hierarchy_nodes`."""
    level = levels(graph)
    return [
        {
            "seed": seed,
            "method": method,
            "node": node,
            "kind": "observed" if node in observed else "latent",
            "level": level[node],
            "n_states": n_states.get(node),
            "group": groups.get(node, ""),
        }
        for node in graph
    ]


def _edge(seed: int, method: str, source: str, target: str) -> dict[str, Any]:
    return {"seed": seed, "method": method, "source": source, "target": target}


def edge_rows(
    graph: nx.DiGraph,
    observed: Sequence[str],
    known: Known,
    shares: Mapping[Any, float] | None,
    method: str,
    seed: int,
) -> Rows:
    """Rows of `hierarchy_edges`; latents keep the estimate's names, `in_truth` compares skeletons after matching."""
    true: set[frozenset[str]] = set()
    names = {node: node for node in graph}
    if known.reduced is not None:
        matched = with_true_names(graph, known.reduced, observed)
        names = dict(zip(graph, matched, strict=True))
        true = {frozenset(edge) for edge in known.reduced.edges}
    return [
        {
            **_edge(seed, method, a, b),
            "directed": bool(directed),
            "bootstrap_share": None if shares is None else shares.get((min(a, b), max(a, b)), 0.0),
            "in_truth": None if known.reduced is None else frozenset((names[a], names[b])) in true,
        }
        for a, b, directed in graph.edges(data="directed")
    ]


def score_row(
    found: Discovery, observed: Sequence[str], known: Known, method: str, states: str, n: int, seed: int
) -> dict[str, Any]:
    """A row of `hierarchy_scores`; what needs a truth or groups is None without them.

    `chance`: mean skeleton F1 after the observed names are shuffled. `adjusted_rand_index`: clusters of the observed
    variables by their latent, against their groups.
    """
    latents = [node for node in found.graph if node not in observed]
    row: dict[str, Any] = {
        "seed": seed,
        "method": method,
        "states": states,
        "n_samples": n,
        "n_latents": len(latents),
        "n_tests": found.n_tests,
        "adjusted_rand_index": rand_index(clusters(found.graph, observed), known.groups),
    }
    scored = ("skeleton_f1", "skeleton_precision", "skeleton_recall", "structural_hamming_distance", "exact")
    if known.reduced is None:
        return {**row, **dict.fromkeys((*scored, "n_latents_true", "chance"))}
    scores = skeleton_scores(found.graph, known.reduced, observed)
    null = f1_null(
        found.graph,
        known.reduced,
        stream(f"hierarchy null of {method} on {states}", seed),
        observed=observed,
        draws=NULL_DRAWS,
    )
    values = (scores.f1, scores.precision, scores.recall, scores.structural_hamming_distance, scores.exact)
    n_true = sum(node not in observed for node in known.reduced)
    return {**row, **dict(zip(scored, values, strict=True)), "n_latents_true": n_true, "chance": null.mean}


def rand_index(found: Mapping[str, str], groups: Mapping[str, str]) -> float | None:
    """Adjusted Rand index over the variables whose group is known; None without any."""
    shared = [name for name in found if name in groups]
    if not shared:
        return None
    return float(adjusted_rand_score([groups[n] for n in shared], [found[n] for n in shared]))


def bootstrap_shares(graphs: Sequence[nx.DiGraph], full: nx.DiGraph, observed: Sequence[str]) -> Any:
    """Share of the graphs that have an edge of `full`, ends in alphabetical order; latents matched with `full`."""
    named = [with_true_names(graph, full, observed) for graph in graphs]
    return edge_confidence(named, directed=False)


def cluster_row(
    found: Mapping[str, str], groups: Mapping[str, str], method: str, states: str, n: int, seed: int
) -> dict[str, Any]:
    """A row of `hierarchy_scores` of clusters without a graph."""
    return {
        **dict.fromkeys(schema.run_columns("hierarchy_scores").names),
        "seed": seed,
        "method": method,
        "states": states,
        "n_samples": n,
        "n_latents": len(set(found.values())),
        "adjusted_rand_index": rand_index(found, groups),
    }


def rank_rows(found: PairwiseRanks, names: Sequence[str], seed: int) -> Rows:
    """Rows of `rank_statistics`: each pair of variables against all others."""
    return [
        {
            "seed": seed,
            "variable_a": names[i],
            "variable_b": names[j],
            "statistic": float(found.statistic[i, j]),
            "critical": float(found.critical[i, j]),
            "p_value": float(found.p_value[i, j]),
        }
        for i in range(len(names))
        for j in range(i + 1, len(names))
    ]


def member_rows(graph: nx.DiGraph, observed: Sequence[str], method: str, seed: int) -> Rows:
    """Rows of `concept_members`."""
    return [
        {"seed": seed, "method": method, "concept": concept, "member": member}
        for concept in graph
        if concept not in observed
        for member in members_of(graph, concept, observed)
    ]


def concept_rows(
    found: Discovery,
    sample: Sample,
    states: NDArray[np.int64],
    names: Sequence[str],
    source: Source,
    seed: int,
) -> dict[str, Rows]:
    """Rows of `concept_states` and `concept_examples`: a latent-class model of each concept's members.

    Examples of a state are the rows it is likeliest in, at most one for each distinct set of member states.
    """
    rows: dict[str, Rows] = {"concept_states": [], "concept_examples": []}
    for concept in (node for node in found.graph if node not in names):
        members = members_of(found.graph, concept, names)
        if not members:
            continue
        columns = [names.index(member) for member in members]
        model = latent_classes(
            states[:, columns], max(2, found.n_states[concept]), stream(f"latent classes of {concept}", seed)
        )
        for state, share in enumerate(model.shares):
            base = {"seed": seed, "concept": concept, "state": state}
            rows["concept_states"] += [
                {**base, "share": float(share), "member": m, "member_state": i, "probability": float(p)}
                for m, table in zip(members, model.tables, strict=True)
                for i, p in enumerate(table[state])
            ]
            chosen = typical(model.posterior[:, state], states[:, columns])
            texts = _texts(source, sample, states, chosen, columns, names)
            rows["concept_examples"] += [
                {**base, "rank": rank + 1, "row": int(sample.rows[i]), "text": text}
                for rank, (i, text) in enumerate(zip(chosen, texts, strict=True))
            ]
    return rows


def typical(posterior: NDArray[np.float64], members: NDArray[np.int64]) -> list[int]:
    """Up to EXAMPLES rows with the highest posterior (n), no two with the same member states (n × m)."""
    _, first = np.unique(members, axis=0, return_index=True)
    return [int(i) for i in first[np.argsort(-posterior[first], kind="stable")][:EXAMPLES]]


def _texts(
    source: Source,
    sample: Sample,
    states: NDArray[np.int64],
    rows: Sequence[int],
    columns: Sequence[int],
    names: Sequence[str],
) -> list[str]:
    if source.text is not None:
        return source.text([int(sample.rows[i]) for i in rows], columns)
    return ["; ".join(f"{names[j]} = {states[i, j]}" for j in columns) for i in rows]
