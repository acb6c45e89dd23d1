import networkx as nx
import numpy as np
import pytest

from analyses.graphs import skeleton_scores
from engine.studies.concept_hierarchy.baselines import latent_classes, linear_rlcd, pairwise_clusters
from engine.studies.concept_hierarchy.search import discover
from tests.concept_hierarchy.test_search import world

BASELINES = {
    "linear": linear_rlcd,
    "classes": latent_classes,
    "pairwise": pairwise_clusters,
}


def test_the_linear_rank_equals_the_discrete_one_with_two_states():
    truth, names, states = world("chain", 2, 100)
    assert skeleton_scores(linear_rlcd(states, names).graph, truth, names).exact
    assert skeleton_scores(discover(states, names, n_latent_states=2).graph, truth, names).exact


def test_the_linear_rank_falls_behind_with_three_states():
    truth, names, states = world("mixed", 3, 100, 10_000)
    ours = skeleton_scores(discover(states, names, n_latent_states=3).graph, truth, names).f1
    for max_k in (1, 2):
        assert skeleton_scores(linear_rlcd(states, names, max_k=max_k).graph, truth, names).f1 < ours - 0.2


@pytest.mark.parametrize("name", BASELINES)
def test_the_order_of_columns_does_not_matter(name):
    _, names, states = world("chain", 2, 100, 1500)
    plain = BASELINES[name](states, names)
    order = np.random.default_rng(1).permutation(len(names))
    shuffled = BASELINES[name](states[:, order], [names[j] for j in order])
    assert set(shuffled.graph.edges) == set(plain.graph.edges)


@pytest.mark.parametrize("name", ["classes", "pairwise"])
def test_clear_clusters_are_found(name):
    truth, names, states = world("chain", 2, 100, 3000)
    found = BASELINES[name](states, names)
    assert skeleton_scores(found.graph, truth, names).f1 > 0.8
    assert nx.is_directed_acyclic_graph(found.graph)
    assert found.n_tests == 0 and set(found.n_states.values()) == {2}


def test_a_number_of_clusters_can_be_asked_for():
    _, names, states = world("mixed", 2, 100, 1500)
    found = pairwise_clusters(states, names, n_clusters=3).graph
    parents = [next((p for p in found.predecessors(x) if p.startswith("L")), x) for x in names]
    assert len(set(parents)) == 3
