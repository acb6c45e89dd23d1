"""Minimal graphs, matching of latents, distances, confidence and chance."""

from itertools import permutations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.graphs import (
    edge_confidence,
    edge_scores,
    f1_null,
    levels,
    match_latents,
    minimal_graph,
    skeleton_scores,
    with_true_names,
)

seeds = st.integers(0, 10_000)


def leaves(*latents: str, n: int = 3) -> list[tuple[str, str]]:
    return [(latent, f"{latent}.x{i}") for latent in latents for i in range(n)]


def measured(graph: nx.DiGraph) -> set[str]:
    return {node for node in graph if ".x" in node}


def random_hierarchy(seed: int, n_latents: int) -> nx.DiGraph:
    """A tree of latents in random order of names, each with two to four measured children."""
    rng = np.random.default_rng(seed)
    names = [f"L{i}" for i in rng.permutation(n_latents)]
    graph = nx.DiGraph((names[int(rng.integers(i))], names[i]) for i in range(1, n_latents))
    graph.add_edges_from(edge for name in names for edge in leaves(name, n=int(rng.integers(2, 5))))
    return graph


def random_dag_of_latents(n: int, rng: np.random.Generator) -> nx.DiGraph:
    names = [f"L{i}" for i in range(n)]
    graph = nx.DiGraph(
        [(names[i], names[j]) for i in range(n) for j in range(i + 1, n) if rng.random() < 0.4]
    )
    graph.add_nodes_from(names)
    graph.add_edges_from(edge for name in names for edge in leaves(name, n=int(rng.integers(0, 3))))
    return graph


def test_a_root_with_two_latent_children_vanishes_and_they_become_adjacent() -> None:
    graph = nx.DiGraph([("root", "a"), ("root", "b"), *leaves("a", "b")])
    reduced = minimal_graph(graph, measured(graph))
    assert set(reduced.edges) == {("a", "b"), *leaves("a", "b")}
    assert "root" in graph


def test_a_root_with_a_third_neighbour_stays() -> None:
    with_leaf = nx.DiGraph([("root", "a"), ("root", "b"), ("root", "root.x0"), *leaves("a", "b")])
    three = nx.DiGraph([("root", "a"), ("root", "b"), ("root", "c"), *leaves("a", "b", "c")])
    under = nx.DiGraph([("top", "root"), ("root", "a"), ("root", "b"), *leaves("top", "a", "b")])
    for graph in (with_leaf, three, under):
        assert nx.utils.graphs_equal(minimal_graph(graph, measured(graph)), graph)


def test_a_diamond_keeps_its_far_side() -> None:
    graph = nx.DiGraph([("r", "a"), ("r", "b"), ("a", "c"), ("b", "c"), *leaves("a", "b", "c")])
    reduced = minimal_graph(graph, measured(graph))
    assert set(reduced.edges) - set(leaves("a", "b", "c")) == {("a", "b"), ("a", "c"), ("b", "c")}


def test_a_link_of_a_chain_and_a_latent_without_children_vanish() -> None:
    graph = nx.DiGraph([("a", "m"), ("m", "b"), ("a", "idle"), ("b", "idle"), *leaves("a", "b")])
    assert set(minimal_graph(graph, measured(graph)).edges) == {("a", "b"), *leaves("a", "b")}
    above = nx.DiGraph([("top", "a"), *leaves("a")])
    assert set(minimal_graph(above, measured(above)).edges) == set(leaves("a"))


def test_the_child_that_has_another_parent_becomes_the_target() -> None:
    graph = nx.DiGraph([("r", "a"), ("r", "b"), ("q", "a"), *leaves("a", "b", "q")])
    assert set(minimal_graph(graph, measured(graph)).edges) == {
        ("b", "a"),
        ("q", "a"),
        *leaves("a", "b", "q"),
    }
    both = nx.DiGraph([*graph.edges, ("p", "b"), *leaves("p")])
    assert nx.utils.graphs_equal(minimal_graph(both, measured(both)), both)


def test_reduction_makes_no_cycle_where_the_children_are_adjacent() -> None:
    graph = nx.DiGraph([("r", "b"), ("r", "a"), ("b", "a"), *leaves("a", "b")])
    assert set(minimal_graph(graph, measured(graph)).edges) == {("b", "a"), *leaves("a", "b")}


@settings(max_examples=40)
@given(seeds, st.integers(2, 9))
def test_reduction_is_a_projection_and_keeps_every_measured_variable(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"L{i}" for i in range(n)]
    graph = nx.DiGraph(
        [(names[i], names[j]) for i in range(n) for j in range(i + 1, n) if rng.random() < 0.4]
    )
    graph.add_nodes_from(names)
    graph.add_edges_from(edge for name in names for edge in leaves(name, n=int(rng.integers(0, 3))))
    reduced = minimal_graph(graph, measured(graph))
    assert nx.is_directed_acyclic_graph(reduced)
    assert measured(reduced) == measured(graph)
    assert nx.utils.graphs_equal(minimal_graph(reduced, measured(graph)), reduced)
    for node in set(reduced) - measured(graph):
        assert reduced.out_degree(node) > 0 and reduced.degree(node) > 1


def covariance(graph: nx.DiGraph, rng: np.random.Generator) -> tuple[np.ndarray, dict[str, int]]:
    """Covariance of a linear model with generic weights, and the place of each node in it."""
    place = {node: i for i, node in enumerate(graph)}
    weights = np.zeros((len(place), len(place)))
    for source, target in graph.edges:
        weights[place[target], place[source]] = rng.uniform(0.5, 1.5) * rng.choice([-1, 1])
    total = np.linalg.inv(np.eye(len(place)) - weights)
    return total @ np.diag(rng.uniform(0.5, 1.5, len(place))) @ total.T, place


def rank_between(model: tuple[np.ndarray, dict[str, int]], a: list[str], b: list[str]) -> int:
    matrix, place = model
    part = matrix[np.ix_([place[v] for v in a], [place[v] for v in b])]
    return int(np.linalg.matrix_rank(part, tol=1e-8 * max(1.0, np.abs(part).max())))


@settings(max_examples=60)
@given(seeds, st.integers(2, 7))
def test_reduction_changes_no_rank_between_measured_variables(seed: int, n: int) -> None:
    """Trek separation: the generic rank of a cross-covariance is the smallest cut, which the reduction must keep."""
    rng = np.random.default_rng(seed)
    graph = random_dag_of_latents(n, rng)
    observed = sorted(measured(graph))
    before, after = (covariance(g, rng) for g in (graph, minimal_graph(graph, observed)))
    for _ in range(30 if len(observed) > 1 else 0):
        order = rng.permutation(observed).tolist()
        size = int(rng.integers(1, len(order)))
        a, b = order[:size], order[size:][: int(rng.integers(1, len(order) - size + 1))]
        assert rank_between(before, a, b) == rank_between(after, a, b)


def test_cycles_are_refused() -> None:
    cyclic = nx.DiGraph([("a", "b"), ("b", "a")])
    with pytest.raises(ValueError, match="cycle"):
        minimal_graph(cyclic, set())
    with pytest.raises(ValueError, match="cycle"):
        levels(cyclic)


def test_levels_count_the_longest_way_down() -> None:
    graph = nx.DiGraph([("r", "a"), ("a", "x"), ("r", "x"), ("r", "y")])
    assert levels(graph) == {"r": 2, "a": 1, "x": 0, "y": 0}


@settings(max_examples=30)
@given(seeds, st.integers(1, 12))
def test_renamed_and_reversed_latents_are_found_again(seed: int, n: int) -> None:
    truth = random_hierarchy(seed, n)
    observed = measured(truth)
    rng = np.random.default_rng(seed + 1)
    latents = sorted(set(truth) - observed)
    names = dict(zip(latents, [f"L{i}" for i in rng.permutation(n)], strict=True))
    estimate = nx.relabel_nodes(truth, names)
    flipped = nx.DiGraph(
        (b, a) if b not in observed and rng.random() < 0.5 else (a, b) for a, b in estimate.edges
    )
    assert skeleton_scores(estimate, truth, observed).exact
    assert edge_scores(estimate, truth, observed).exact
    assert skeleton_scores(flipped, truth, observed).exact
    assert all(names[true] == ours for ours, true in match_latents(flipped, truth, observed).items())


def damaged(truth: nx.DiGraph, observed: set[str], rng: np.random.Generator) -> nx.DiGraph:
    """The truth with its latents renamed and four edges hung elsewhere."""
    latents = sorted(set(truth) - observed)
    graph = nx.relabel_nodes(truth, {name: f"M{i}" for i, name in enumerate(rng.permutation(latents))})
    for _ in range(4):
        source, target = list(graph.edges)[int(rng.integers(graph.number_of_edges()))]
        graph.remove_edge(source, target)
        others = sorted(set(graph) - observed - {source, target})
        graph.add_edge(others[int(rng.integers(len(others)))], target)
    return graph


def test_matching_nearly_always_finds_the_best_naming_of_a_damaged_graph() -> None:
    gaps = []
    for seed in range(25):
        truth = random_hierarchy(seed, 4)
        observed = measured(truth)
        estimate = damaged(truth, observed, np.random.default_rng(seed))
        ours, theirs = (sorted(set(graph) - observed) for graph in (estimate, truth))
        namings = (dict(zip(ours, order, strict=True)) for order in permutations(theirs))
        best = max(skeleton_scores(nx.relabel_nodes(estimate, names), truth).f1 for names in namings)
        gaps.append(best - skeleton_scores(estimate, truth, observed).f1)
    assert min(gaps) > -1e-9 and np.mean(np.array(gaps) < 1e-9) >= 0.9


def test_a_split_latent_costs_its_edges_and_a_missing_one_too() -> None:
    truth = nx.DiGraph([("a", "b"), *leaves("a", "b", n=4)])
    observed = measured(truth)
    split = nx.DiGraph(
        [("p", "a.x0"), ("p", "a.x1"), ("q", "a.x2"), ("q", "a.x3"), ("p", "q"), ("q", "r")]
        + [("r", f"b.x{i}") for i in range(4)]
    )
    scores = skeleton_scores(split, truth, observed)
    assert scores.n_edges == 10 and not scores.exact
    assert scores.recall == pytest.approx(7 / 9) or scores.recall == pytest.approx(6 / 9)
    nothing = nx.DiGraph()
    nothing.add_nodes_from(observed)
    empty = skeleton_scores(nothing, truth, observed)
    assert (empty.f1, empty.precision, empty.recall, empty.structural_hamming_distance) == (0, 0, 0, 9)


def test_latents_are_named_after_their_match_and_strangers_keep_clear_of_the_truth() -> None:
    truth = nx.DiGraph(leaves("A"))
    estimate = nx.DiGraph([("B", f"A.x{i}") for i in range(3)])
    estimate.add_edge("B", "A", directed=False)
    named = with_true_names(estimate, truth, measured(truth))
    assert set(named) == {"A", "A′", *measured(truth)}
    assert named.edges["A", "A′"]["directed"] is False


def test_a_hundred_nodes_are_matched() -> None:
    truth = random_hierarchy(3, 100)
    observed = measured(truth)
    estimate = nx.relabel_nodes(truth, {f"L{i}": f"M{(i * 37) % 100}" for i in range(100)})
    assert skeleton_scores(estimate, truth, observed).exact


def test_distances_are_counted_by_pair() -> None:
    truth = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "d")])
    estimate = nx.DiGraph([("b", "a"), ("b", "c"), ("a", "d")])
    found = edge_scores(estimate, truth)
    assert (found.precision, found.recall, found.f1) == pytest.approx((1 / 3, 1 / 3, 1 / 3))
    assert found.structural_hamming_distance == 3
    skeleton = skeleton_scores(estimate, truth)
    assert skeleton.f1 == pytest.approx(2 / 3) and skeleton.structural_hamming_distance == 2


def test_an_open_direction_is_no_hit_but_an_adjacency() -> None:
    truth = nx.DiGraph([("a", "b"), ("b", "c")])
    estimate = nx.DiGraph(truth)
    estimate.edges["a", "b"]["directed"] = False
    assert edge_scores(estimate, truth).f1 == pytest.approx(0.5)
    assert edge_scores(estimate, truth).structural_hamming_distance == 1
    assert skeleton_scores(estimate, truth).exact


def test_two_empty_graphs_agree() -> None:
    empty = nx.DiGraph()
    assert skeleton_scores(empty, empty).exact and edge_scores(empty, empty).f1 == 1
    assert skeleton_scores(nx.DiGraph([("a", "b")]), empty).f1 == 0


def test_confidence_is_a_share_of_the_graphs() -> None:
    graphs = [nx.DiGraph([("a", "b")]), nx.DiGraph([("b", "a"), ("b", "c")]), nx.DiGraph([("a", "b")])]
    assert edge_confidence(graphs) == pytest.approx({("a", "b"): 2 / 3, ("b", "a"): 1 / 3, ("b", "c"): 1 / 3})
    assert edge_confidence(graphs, directed=False) == pytest.approx({("a", "b"): 1, ("b", "c"): 1 / 3})
    with pytest.raises(ValueError, match="one graph"):
        edge_confidence([])


def test_random_edges_hit_as_often_as_counting_says() -> None:
    nodes = "abcdef"
    truth = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "d")])
    truth.add_nodes_from(nodes)
    estimate = nx.DiGraph([("a", "b"), ("b", "c"), ("c", "e")])
    chance = f1_null(estimate, truth, np.random.default_rng(0), draws=2_000)
    assert chance.mean == pytest.approx(3 / 15, abs=0.02)
    directed = f1_null(estimate, truth, np.random.default_rng(0), draws=2_000, directed=True)
    assert directed.mean == pytest.approx(3 / 30, abs=0.02)
    few = [("a", "b"), ("b", "c"), ("c", "d"), ("a", "d")]
    narrow = f1_null(estimate, truth, np.random.default_rng(0), candidates=few, directed=True)
    assert narrow.mean > 0.6
    with pytest.raises(ValueError, match="cannot be drawn"):
        f1_null(estimate, truth, np.random.default_rng(0), candidates=few[:2])


def test_shuffled_variables_keep_the_shape_and_lose_the_meaning() -> None:
    truth = random_hierarchy(5, 5)
    chance = f1_null(truth, truth, np.random.default_rng(0), observed=measured(truth), draws=100)
    assert 0.05 < chance.mean < 0.6 < 1 and chance.high < 0.9
