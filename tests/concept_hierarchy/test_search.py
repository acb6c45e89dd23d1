import networkx as nx
import numpy as np
import pytest

from analyses.graphs import minimal_graph, skeleton_scores
from data.concept_hierarchy import SHAPES, hierarchy_graph, make_hierarchy
from engine.studies.concept_hierarchy.covers import Cover, deal, estimate_states
from engine.studies.concept_hierarchy.linking import directions
from engine.studies.concept_hierarchy.ordering import natural
from engine.studies.concept_hierarchy.rank import RankTester
from engine.studies.concept_hierarchy.search import discover

ROWS = 6000


def world(shape: str, n_states: int, seed: int, n: int = ROWS) -> tuple[nx.DiGraph, list[str], np.ndarray]:
    """The reduced truth, names and codes (n × p); development seeds, as no figure is reported from here."""
    graph, tables, rows = (np.random.default_rng(seed + part) for part in (7000, 8000, 9000))
    hierarchy = make_hierarchy(hierarchy_graph(shape, graph), n_states, tables)
    states = hierarchy.sample(n, rows)
    names = hierarchy.observed
    return minimal_graph(hierarchy.graph, names), names, np.stack([states[name] for name in names], axis=1)


@pytest.fixture(scope="module")
def deep():
    return world("deep", 3, 101)


@pytest.mark.parametrize("shape", ["chain", "mixed", "tree", "skip"])
def test_known_hierarchies_are_found(shape):
    truth, names, states = world(shape, 3, 100)
    found = discover(states, names, n_latent_states=3)
    assert skeleton_scores(found.graph, truth, names).exact
    assert set(found.n_states.values()) == {3}
    assert found.n_tests > 0


def test_a_depth_three_hierarchy_is_found(deep):
    truth, names, states = deep
    found = discover(states, names, n_latent_states=3)
    assert skeleton_scores(found.graph, truth, names).exact
    assert nx.is_directed_acyclic_graph(found.graph)
    assert all(found.graph.in_degree(name) > 0 for name in names)


def test_only_the_collider_of_a_diamond_has_known_directions():
    truth, names, states = world("diamond", 3, 100, 10_000)
    found = discover(states, names, n_latent_states=3).graph
    assert skeleton_scores(found, truth, names).exact
    bottom = next(p for p in found.predecessors("x7") if p.startswith("L"))
    known = {(a, b) for a, b, d in found.edges(data="directed") if d and b.startswith("L")}
    assert {b for _, b in known} == {bottom} and len(known) == 2
    undirected = [(a, b) for a, b, d in found.edges(data="directed") if not d]
    assert len(undirected) == 2 and all(a.startswith("L") and b.startswith("L") for a, b in undirected)


@pytest.mark.parametrize("shape", [s for s in SHAPES if s != "deep"])
def test_the_order_of_columns_does_not_matter(shape):
    _, names, states = world(shape, 2, 103, 2000)
    plain = discover(states, names, n_latent_states=2)
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(names))
        shuffled = discover(states[:, order], [names[j] for j in order], n_latent_states=2)
        assert dict(shuffled.graph.edges) == dict(plain.graph.edges)
        assert shuffled.n_states == plain.n_states


def test_the_names_of_columns_do_not_matter(deep):
    _, names, states = deep
    plain = discover(states, names, n_latent_states=3).graph
    other = [f"v{j}" for j in np.random.default_rng(0).permutation(len(names))]
    renamed = nx.relabel_nodes(plain, dict(zip(names, other, strict=True)))
    assert skeleton_scores(discover(states, other, n_latent_states=3).graph, renamed, other).exact


@pytest.mark.parametrize("n_states", [2, 3, 4])
def test_the_number_of_states_is_read_from_the_data(n_states):
    _, _, states = world("mixed", n_states, 100, 10_000)
    assert estimate_states(RankTester(states)) == n_states


def test_both_statistics_agree_on_a_clear_case():
    truth, names, states = world("chain", 2, 100)
    for statistic in ("bartlett", "kleibergen_paap"):
        found = discover(states, names, n_latent_states=2, statistic=statistic)
        assert skeleton_scores(found.graph, truth, names).exact


def test_independent_columns_stay_alone():
    states = np.random.default_rng(0).integers(2, size=(2000, 5))
    found = discover(states, list("abcde"), alpha=1e-4, n_latent_states=2)
    assert found.graph.number_of_edges() == 0 and not found.n_states


def test_two_latents_with_shared_children_need_max_k_two():
    rng = np.random.default_rng(1)
    n = 20_000
    z = rng.integers(2, size=(n, 2))
    w = np.where(rng.random((n, 2)) < 0.9, z, 1 - z)
    chance = np.array(
        [[0.1, 0.4, 0.6, 0.9], [0.9, 0.2, 0.8, 0.3], [0.1, 0.8, 0.3, 0.7], [0.85, 0.6, 0.1, 0.3]]
    )
    chance = np.concatenate([chance, chance[:, [2, 0, 3, 1]]])
    up, down = z[:, 0] * 2 + z[:, 1], w[:, 0] * 2 + w[:, 1]
    states = (
        rng.random((n, 8)) < np.stack([(chance[j][up if j < 4 else down]) for j in range(8)], axis=1)
    ) * 1
    found = discover(states, [f"x{j}" for j in range(8)], n_latent_states=2, max_k=2).graph
    assert {frozenset(p for p in found.predecessors(f"x{j}")) for j in range(8)} == {
        frozenset({"L1", "L2"}),
        frozenset({"L3", "L4"}),
    }


def test_names_are_checked():
    states = np.zeros((10, 3), dtype=int)
    with pytest.raises(ValueError, match="3 columns need as many different names"):
        discover(states, ["a", "a", "b"])
    with pytest.raises(ValueError, match="'L1' is a name of a latent"):
        discover(states, ["a", "L1", "b"])


def test_colliders_and_meek_rules():
    a, b, c, d = (Cover(1, (j,)) for j in range(4))
    skeleton = nx.Graph([(a, c), (b, c), (c, d)])
    found = directions(skeleton, {frozenset((a, b)): frozenset()})
    assert set(found.edges) == {(a, c), (b, c), (c, d)}
    assert not directions(skeleton, {frozenset((a, b)): frozenset({c})}).edges
    square = nx.Graph([(a, b), (a, c), (b, d), (c, d)])
    assert set(directions(square, {frozenset((b, c)): frozenset({a})}).edges) == {(b, d), (c, d)}


def test_leaves_are_dealt_evenly_and_names_sorted_by_number():
    assert deal([[1], [2, 3], [4]]) == ((2, 3), (1, 4))
    assert sorted(["x10", "x2", "x1"], key=natural) == ["x1", "x2", "x10"]
