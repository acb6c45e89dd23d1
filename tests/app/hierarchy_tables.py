"""Finished runs of concept_hierarchy, written through the real Run, with small tables in the declared schema.

The graphs, scores and curves are set by hand so that tests know what a page must show; nothing here is a result.
"""

import time
from itertools import combinations
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa

from analyses.graphs import minimal_graph, skeleton_scores
from data.files import write_json
from engine.run import Run, write_manifest
from engine.schema import RUN_TABLES

STUDY = "concept_hierarchy"
TRUTH, BEFORE, OURS = "truth", "truth before reduction", "discrete rank"
METHODS = (OURS, "linear rank", "latent classes", "pairwise clustering")
CONFIG = {
    "source": "world",
    "shape": "tree",
    "n_states": 3,
    "n_samples": 10_000,
    "observed": "continuous",
    "alpha": 0.01,
}
Rows = dict[str, list[dict[str, Any]]]


def tree(latent_edges: list[tuple[int, int]], leaves: list[int]) -> nx.DiGraph:
    """Latents z1 … with `leaves[i]` observed children each, named x1 … in their order."""
    graph = nx.DiGraph()
    graph.add_nodes_from(f"z{i + 1}" for i in range(len(leaves)))
    graph.add_edges_from((f"z{a}", f"z{b}") for a, b in latent_edges)
    parents = [f"z{i + 1}" for i, count in enumerate(leaves) for _ in range(count)]
    graph.add_edges_from((parent, f"x{j + 1}") for j, parent in enumerate(parents))
    return graph


WORLD = tree([(1, 2), (1, 3)], [0, 4, 4])
DEEP = tree([(1, 2), (1, 3), (2, 4), (2, 5), (3, 6)], [2, 1, 2, 3, 3, 3])


def observed(graph: nx.DiGraph) -> list[str]:
    return sorted((node for node in graph if node.startswith("x")), key=lambda node: int(node[1:]))


def found(graph: nx.DiGraph, moved: int, names: str = "L") -> nx.DiGraph:
    """The graph with latents renamed as a search does, and the last `moved` leaves hung on the first parent of a leaf."""
    guess = nx.DiGraph(graph)
    leaves = observed(guess)
    first = next(iter(guess.predecessors(leaves[0])))
    for leaf in leaves[len(leaves) - moved :]:
        guess.remove_edges_from(list(guess.in_edges(leaf)))
        guess.add_edge(first, leaf)
    latents = [node for node in guess if not node.startswith("x")]
    return nx.relabel_nodes(guess, {z: f"{names}{i + 1}" for i, z in enumerate(reversed(latents))})


def add_graph(rows: Rows, seed: int, method: str, graph: nx.DiGraph, truth: nx.DiGraph | None, states: int = 3, group: Any = None, shares: bool = False) -> None:  # fmt: skip
    height = {
        node: level for level, row in enumerate(nx.topological_generations(graph.reverse())) for node in row
    }
    for node in graph:
        is_latent = not node.startswith("x")
        rows["hierarchy_nodes"].append(
            {
                "seed": seed, "method": method, "node": node, "kind": "latent" if is_latent else "observed",
                "level": height[node], "n_states": states, "group": None if is_latent or group is None else group(node),
            }
        )  # fmt: skip
    for i, (a, b) in enumerate(graph.edges):
        rows["hierarchy_edges"].append(
            {
                "seed": seed, "method": method, "source": a, "target": b, "directed": b.startswith("x"),
                "bootstrap_share": 0.5 + 0.1 * (i % 6) if shares else None,
                "in_truth": None if truth is None else truth.has_edge(a, b),
            }
        )  # fmt: skip


def world_rows(graph: nx.DiGraph, seeds: tuple[int, ...], n_samples: int = 10_000) -> Rows:
    """A world: seed s of "discrete rank" has s leaves in the wrong place; the other methods have more."""
    rows: Rows = {name: [] for name in RUN_TABLES}
    truth = minimal_graph(graph, observed(graph))
    for seed in seeds:
        add_graph(rows, seed, BEFORE, graph, graph)
        add_graph(rows, seed, TRUTH, truth, graph)
        for index, method in enumerate(METHODS):
            guess = found(truth, min(seed + index, 3))
            add_graph(rows, seed, method, guess, truth)
            for states, worse in (("true states", 0.0), ("estimated states", 0.05)):
                score = skeleton_scores(guess, truth, observed(graph))
                rows["hierarchy_scores"].append(
                    {
                        "seed": seed, "method": method, "states": states, "n_samples": n_samples,
                        "skeleton_f1": score.f1 - worse, "skeleton_precision": score.precision,
                        "skeleton_recall": score.recall,
                        "structural_hamming_distance": score.structural_hamming_distance, "exact": score.exact,
                        "n_latents": sum(not n.startswith("x") for n in guess),
                        "n_latents_true": sum(not n.startswith("x") for n in truth),
                        "n_tests": 900 + seed, "adjusted_rand_index": None, "chance": 0.3,
                    }
                )  # fmt: skip
        add_states(rows, seed, found(truth, min(seed, 3)))
        add_statistics(rows, seed, truth)
        for variable in observed(graph):
            rows["discrete_states"].append(
                {
                    "seed": seed, "variable": variable, "n_states_true": 3, "n_states": 3, "accuracy": 0.95,
                    "accuracy_k_means": 0.6, "chance": 0.4,
                }
            )  # fmt: skip
    return rows


def add_states(rows: Rows, seed: int, graph: nx.DiGraph, text: str = "row") -> None:
    """Members and states of every latent: state s of a concept goes with state s of its members by 0.8."""
    for concept in (node for node in graph if not node.startswith("x")):
        members = sorted(graph.successors(concept))
        for member in members:
            rows["concept_members"].append(
                {"seed": seed, "method": OURS, "concept": concept, "member": member}
            )
        for state, share in enumerate((0.5, 0.3, 0.2)):
            for member in members:
                for other in range(3):
                    rows["concept_states"].append(
                        {
                            "seed": seed, "concept": concept, "state": state, "share": share, "member": member,
                            "member_state": other, "probability": 0.8 if other == state else 0.1,
                        }
                    )  # fmt: skip
            for rank in range(3):
                rows["concept_examples"].append(
                    {
                        "seed": seed, "concept": concept, "state": state, "rank": rank, "row": 10 * state + rank,
                        "text": f"{text} <b>{10 * state + rank}</b>: {concept} is in state {state}",
                    }
                )  # fmt: skip


def add_statistics(rows: Rows, seed: int, truth: nx.DiGraph) -> None:
    parent = {leaf: next(iter(truth.predecessors(leaf)), "") for leaf in observed(truth)}
    for i, (a, b) in enumerate(combinations(observed(truth), 2)):
        value = (8.0 if parent[a] == parent[b] else 900.0) + i % 7
        rows["rank_statistics"].append(
            {
                "seed": seed,
                "variable_a": a,
                "variable_b": b,
                "statistic": value,
                "critical": 26.2,
                "p_value": 0.5,
            }
        )


def questionnaire_rows(seeds: tuple[int, ...]) -> Rows:
    """Real data without a true graph: keyed factors as groups, bootstrap shares, an adjusted Rand index."""
    rows: Rows = {name: [] for name in RUN_TABLES}
    for seed in seeds:
        graph = found(tree([(1, 2)], [5, 5]), seed)
        for index, method in enumerate(METHODS):
            factor = {f"x{i}": "Agreeableness" if i <= 5 else "Conscientiousness" for i in range(1, 11)}
            add_graph(rows, seed, method, graph, None, 2, factor.__getitem__, shares=True)
            rows["hierarchy_scores"].append(
                {
                    "seed": seed, "method": method, "states": "true states", "n_samples": 2436, "skeleton_f1": None,
                    "skeleton_precision": None, "skeleton_recall": None, "structural_hamming_distance": None,
                    "exact": None, "n_latents": 2, "n_latents_true": None, "n_tests": 300,
                    "adjusted_rand_index": 0.9 - 0.1 * index - 0.02 * seed, "chance": 0.0,
                }
            )  # fmt: skip
        add_states(rows, seed, graph, "answers")
        add_statistics(rows, seed, tree([(1, 2)], [5, 5]))
    return rows


def diffusion_rows(seeds: tuple[int, ...]) -> Rows:
    """Curves of match against injection; the equal energies bring the two concepts together."""
    rows: Rows = {name: [] for name in RUN_TABLES}
    ends = {("natural", "high"): 0.3, ("natural", "low"): 0.8, ("equal", "high"): 0.6, ("equal", "low"): 0.7}
    draw = np.random.default_rng(0)
    for seed in seeds:
        for (energies, concept), end in ends.items():
            for start in (round(0.1 * i, 1) for i in range(11)):
                match = 0.25 + 0.73 / (1 + np.exp((start - end) * 14)) + 0.005 * seed
                rows["diffusion_levels"].append(
                    {
                        "seed": seed,
                        "energies": energies,
                        "concept": concept,
                        "start": start,
                        "match": match,
                        "chance": 0.25,
                    }
                )
            for order in ("high first", "low first"):
                match = 0.95 if order.startswith(concept) or energies == "equal" else 0.7
                rows["diffusion_orders"].append(
                    {
                        "seed": seed,
                        "energies": energies,
                        "order": order,
                        "concept": concept,
                        "match": match,
                        "chance": 0.25,
                    }
                )
        for energies in ("natural", "equal"):
            for order in ("high first", "low first"):
                for sample in range(6):
                    image = draw.random((8, 8))
                    rows["diffusion_samples"] += [
                        {"seed": seed, "energies": energies, "order": order, "sample": sample, "row": y, "column": x, "value": image[y, x]}
                        for y in range(8) for x in range(8)
                    ]  # fmt: skip
            for step in range(0, 100, 10):
                rows["jacobian_sparsity"].append(
                    {"seed": seed, "energies": energies, "timestep": step, "share_below": 0.9 - step / 150}
                )
    return rows


def write_run(home: Path, run_id: str, config: dict[str, Any], seeds: tuple[int, ...], rows: Rows, state: str = "done") -> str:  # fmt: skip
    """A run directory as the engine leaves it; its tables are loaded when an engine starts on `home`."""
    directory = home / "runs" / run_id
    directory.mkdir(parents=True)
    now = time.time()
    record = {
        "id": run_id, "study": STUDY, "preset": "tour", "config": {**CONFIG, **config}, "seeds": list(seeds),
        "data_seed": 0, "fingerprint": "", "code_version": "test", "created": now,
    }  # fmt: skip
    write_json(directory / "config.json", record)
    error = "alpha: set it below 0.5." if state == "failed" else None
    times = {"created": now, "queued": now, "started": now, "finished": now}
    write_json(directory / "state.json", {"state": state, "group": None, "error": error, **times})
    run = Run(directory, None)
    for name, part in rows.items():
        if part:
            run.write_table(
                name, pa.Table.from_pylist(part, schema=pa.schema(list(RUN_TABLES[name].items())))
            )
    write_manifest(directory)
    return run_id
