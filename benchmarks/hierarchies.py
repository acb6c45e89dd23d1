"""Skeleton F1 of the discrete rank search and its baselines on known hierarchies.

    python benchmarks/hierarchies.py [--states 3] [--rows 10000] [--seeds 0-9] [--shapes chain,mixed,deep] [--library]

Every method sees the same rows; the truth is reduced to what ranks can tell first. `--library` adds causal-learn's own
RLCD as it ships (GES first, then its search with its Chi2RankTest); it is slow and runs on the integer codes.
"""

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")

import networkx as nx
import numpy as np
from scipy.stats import t

from analyses.graphs import minimal_graph, skeleton_scores
from analyses.streams import stream_seed
from data.concept_hierarchy import Hierarchy, hierarchy_graph, make_hierarchy
from engine.studies.concept_hierarchy.baselines import latent_classes, linear_rlcd, pairwise_clusters
from engine.studies.concept_hierarchy.search import discover

Search = Callable[[np.ndarray, list[str]], nx.DiGraph]


def world(shape: str, n_states: int, n: int, seed: int) -> tuple[Hierarchy, np.ndarray]:
    """A hierarchy of `shape` and n rows of its observed states."""
    graph, tables, rows = (
        np.random.default_rng(stream_seed(f"benchmark hierarchy {part}", seed))
        for part in ("graph", "tables", "rows")
    )
    hierarchy = make_hierarchy(hierarchy_graph(shape, graph), n_states, tables)
    states = hierarchy.sample(n, rows)
    return hierarchy, np.stack([states[name] for name in hierarchy.observed], axis=1)


def library_rlcd(states: np.ndarray, names: list[str]) -> nx.DiGraph:
    """causal-learn's RLCD with its defaults."""
    from causallearn.search.HiddenCausal.RLCD.RLCD_alg import RLCD

    found = RLCD(states.astype(float), node_names=names)
    edges = zip(*np.nonzero(np.triu((found.adjacency != 0) | (found.adjacency.T != 0), 1)), strict=True)
    graph = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from((found.all_vars[i], found.all_vars[j]) for i, j in edges)
    return graph


def methods(n_states: int, library: bool) -> dict[str, Search]:
    """Every method by its name."""
    found: dict[str, Search] = {
        "discrete rank": lambda x, n: discover(x, n, n_latent_states=n_states).graph,
        "discrete rank S unknown": lambda x, n: discover(x, n).graph,
        "Kleibergen-Paap": lambda x, n: (
            discover(x, n, n_latent_states=n_states, statistic="kleibergen_paap").graph
        ),
        "linear rank": lambda x, n: linear_rlcd(x, n).graph,
        "linear rank max_k 1": lambda x, n: linear_rlcd(x, n, max_k=1).graph,
        "latent classes": lambda x, n: latent_classes(x, n, n_latent_states=n_states).graph,
        "pairwise clustering": lambda x, n: pairwise_clusters(x, n, n_latent_states=n_states).graph,
    }
    return {**found, "causal-learn RLCD": library_rlcd} if library else found


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95 % t-interval."""
    mean, n = float(np.mean(values)), len(values)
    half = float(t.ppf(0.975, n - 1) * np.std(values, ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
    return mean, mean - half, mean + half


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--states", type=int, default=3)
    parser.add_argument("--rows", default="10000")
    parser.add_argument("--seeds", default="0-9")
    parser.add_argument("--shapes", default="chain,mixed,deep")
    parser.add_argument("--methods", default="")
    parser.add_argument("--library", action="store_true")
    given = parser.parse_args()
    first, last = map(int, given.seeds.split("-"))
    chosen = methods(given.states, given.library)
    if given.methods:
        chosen = {name: chosen[name] for name in given.methods.split(",")}
    print("| shape | S | N | method | skeleton F1 [95 %] | exact | seconds |\n|---|---|---|---|---|---|---|")
    for shape in given.shapes.split(","):
        for n in map(int, given.rows.split(",")):
            scores: dict[str, list[tuple[float, bool, float]]] = {name: [] for name in chosen}
            for seed in range(first, last + 1):
                hierarchy, states = world(shape, given.states, n, seed)
                truth = minimal_graph(hierarchy.graph, hierarchy.observed)
                for name, search in chosen.items():
                    start = time.perf_counter()
                    graph = search(states, hierarchy.observed)
                    seconds = time.perf_counter() - start
                    score = skeleton_scores(graph, truth, hierarchy.observed)
                    scores[name].append((score.f1, score.exact, seconds))
            for name, rows in scores.items():
                f1, exact, seconds = zip(*rows, strict=True)
                mean, low, high = interval(list(f1))
                print(
                    f"| {shape} | {given.states} | {n} | {name} | {mean:.3f} [{low:.3f}, {high:.3f}] "
                    f"| {sum(exact)}/{len(exact)} | {np.mean(seconds):.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
