"""Step 1: states of known blocks, blocks found from dependence, and the models of a concept's states."""

import networkx as nx
import numpy as np
import pytest

from data.concept_hierarchy import hierarchy_graph, make_hierarchy, make_mixing
from engine.studies.concept_hierarchy.clustering import factor_clusters, rank_clusters
from engine.studies.concept_hierarchy.concepts import latent_classes, members_of
from engine.studies.concept_hierarchy.discretise import (
    dependence,
    discretise,
    find_blocks,
    match_blocks,
    matched_accuracy,
    mixture_states,
)

NAMES = [f"x{i + 1}" for i in range(8)]


def observed(separation: float, n: int = 2_000) -> tuple[np.ndarray, np.ndarray]:
    world = make_hierarchy(hierarchy_graph("chain"), 3, np.random.default_rng(0))
    drawn = world.sample(n, np.random.default_rng(1))
    states = np.stack([drawn[name] for name in NAMES], axis=1)
    mixing = make_mixing(8, 3, separation, np.random.default_rng(2))
    return states, mixing.observe(states, np.random.default_rng(3))


def test_far_states_are_found_and_near_ones_are_not() -> None:
    accuracy = {}
    for separation in (2.0, 7.0):
        states, x = observed(separation)
        found = discretise(x, states, NAMES, known=True, seed=0)
        assert found.names == tuple(NAMES) and found.blocks_f1 == 1 and found.states.shape == states.shape
        accuracy[separation] = np.mean([row["accuracy"] for row in found.rows])
    assert accuracy[7.0] > 0.98 > 0.9 > np.mean([row["accuracy_k_means"] for row in found.rows])
    assert accuracy[2.0] < 0.9


def test_the_number_of_states_is_found_through_a_bent_mixing() -> None:
    _, x = observed(7.0)
    counts = [int(mixture_states(x[:, 3 * i : 3 * i + 3], 0, i).max()) + 1 for i in range(4)]
    assert counts == [3, 3, 3, 3]


def test_states_repeat_for_a_seed() -> None:
    _, x = observed(4.0, 1_000)
    first, second = (mixture_states(x[:, :3], 5, 0) for _ in range(2))
    assert np.array_equal(first, second)


def test_unknown_blocks_are_found_whatever_the_order_of_coordinates() -> None:
    states, x = observed(7.0)
    order = np.random.default_rng(5).permutation(24)
    blocks = [np.sort(order[block]) for block in find_blocks(x[:, order])]
    truth = list(np.split(np.arange(24), 8))
    assert match_blocks(blocks, truth)[1] == 1
    found = discretise(x, states, NAMES, known=False, seed=0)
    assert found.blocks_f1 == 1 and sorted(found.names) == NAMES


def test_independent_columns_do_not_depend() -> None:
    x = np.random.default_rng(0).standard_normal((5_000, 2))
    found = dependence(np.column_stack([x, x[:, 0] ** 2 + 0.1 * x[:, 1]]))
    assert found[0, 1] < 0.2 and found[0, 2] > 0.8


def test_a_split_block_costs_f1_and_keeps_a_name_of_its_own() -> None:
    truth = [np.arange(3), np.arange(3, 6)]
    pairs, f1 = match_blocks([np.arange(2), np.array([2]), np.arange(3, 6)], truth)
    assert pairs == {0: 0, 2: 1}
    assert f1 == pytest.approx(2 * 5 / 12)


def test_accuracy_ignores_the_names_of_states() -> None:
    truth = np.array([0, 0, 1, 1, 2, 2])
    assert matched_accuracy((truth + 1) % 3, truth) == 1
    assert matched_accuracy(np.zeros(6, dtype=int), truth) == pytest.approx(1 / 3)


def test_latent_classes_find_the_shares_and_order_the_states() -> None:
    rng = np.random.default_rng(0)
    z = (rng.random(6_000) < 0.3).astype(int)
    members = np.stack([(rng.random(6_000) < np.where(z, 0.9, 0.1)).astype(int) for _ in range(4)], axis=1)
    model = latent_classes(members, 2, np.random.default_rng(1))
    assert model.shares[1] == pytest.approx(0.3, abs=0.03)
    for table in model.tables:
        assert table[1, 1] == pytest.approx(0.9, abs=0.04) and np.allclose(table.sum(axis=1), 1)
    assert ((model.posterior[:, 1] > 0.5) == z).mean() > 0.95


def test_members_are_neighbours_or_else_descendants() -> None:
    graph = nx.DiGraph([("L1", "L2"), ("L2", "x1"), ("L2", "x2"), ("L1", "L3"), ("L3", "x3")])
    assert members_of(graph, "L2", ["x1", "x2", "x3"]) == ["x1", "x2"]
    assert members_of(graph, "L1", ["x1", "x2", "x3"]) == ["x1", "x2", "x3"]


def test_factor_analysis_groups_items_of_one_factor() -> None:
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((2_000, 2))
    items = np.stack([factors[:, i // 3] + 0.5 * rng.standard_normal(2_000) > 0 for i in range(6)], axis=1)
    found = factor_clusters(items.astype(int), list("abcdef"), 2)
    assert len({found[name] for name in "abc"}) == 1 == len({found[name] for name in "def"})
    assert found["a"] != found["d"]


def test_rank_clusters_join_pairs_of_a_low_statistic_in_any_order() -> None:
    statistics = np.full((6, 6), 400.0)
    statistics[:3, :3] = statistics[3:, 3:] = 100.0
    order = [4, 0, 5, 2, 1, 3]
    for places in (range(6), order):
        places = list(places)
        found = rank_clusters(statistics[np.ix_(places, places)], [f"i{p}" for p in places], 2)
        assert len({found[f"i{p}"] for p in range(3)}) == 1 == len({found[f"i{p}"] for p in range(3, 6)})
        assert found["i0"] != found["i5"]
