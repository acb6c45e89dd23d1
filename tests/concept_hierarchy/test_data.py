"""Worlds of discrete hierarchies, images with two levels, questionnaires."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from data.assets import AssetMissing, locate
from data.concept_hierarchy import (
    FLOOR,
    SHAPES,
    hierarchy_graph,
    make_hierarchy,
    make_mixing,
    random_table,
    row_spread,
)
from data.concept_images import SIDE, blob_patterns, blob_stripes, digits, energy, stripe_patterns
from data.questionnaires import BURNOUT_FILE, questionnaire


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_a_dag_whose_leaves_are_observed(shape: str) -> None:
    graph = hierarchy_graph(shape, rng(3))
    assert nx.is_directed_acyclic_graph(graph) and nx.is_weakly_connected(graph)
    leaves = [node for node in graph if graph.out_degree(node) == 0]
    assert sorted(leaves) == sorted(node for node in graph if node.startswith("x"))
    assert list(graph)[-1] == f"x{len(leaves)}"


def test_random_graphs_differ_and_need_a_generator() -> None:
    graphs = {tuple(sorted(hierarchy_graph("random", rng(seed)).edges)) for seed in range(5)}
    assert len(graphs) > 1
    with pytest.raises(ValueError, match="generator"):
        hierarchy_graph("random")


@pytest.mark.parametrize("n_states", [2, 3, 4])
@pytest.mark.parametrize("n_parents", [1, 2])
def test_every_state_of_every_parent_moves_the_child(n_states: int, n_parents: int) -> None:
    table = random_table(n_parents, n_states, 0.3, rng(n_states))
    assert np.allclose(table.sum(axis=-1), 1) and table.min() >= FLOOR - 1e-12
    for parent in range(n_parents):
        lines = np.moveaxis(table, parent, -2).reshape(-1, n_states, n_states)
        assert min(row_spread(line) for line in lines) >= 0.3


def test_row_spread_sees_three_states_that_act_as_two() -> None:
    line = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0, 1, 0]])
    assert row_spread(line) == 0
    assert row_spread(np.array([[0.9, 0.1], [0.2, 0.8]])) == pytest.approx(0.7)
    assert row_spread(np.eye(3)) == pytest.approx(np.sqrt(1.5) / np.sqrt(2))


def test_tables_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="row_distance"):
        make_hierarchy(hierarchy_graph("chain"), 2, rng(), row_distance=0.97)


def test_samples_follow_the_tables_and_repeat() -> None:
    world = make_hierarchy(hierarchy_graph("diamond"), 3, rng(1))
    states = world.sample(100_000, rng(2))
    assert all(np.array_equal(states[n], world.sample(100_000, rng(2))[n]) for n in states)
    given = (states["z2"] == 1) & (states["z3"] == 2)
    found = np.bincount(states["z4"][given], minlength=3) / given.sum()
    assert np.allclose(found, world.tables["z4"][1, 2], atol=0.02)
    assert world.observed == [f"x{i + 1}" for i in range(9)]


def test_mixing_is_invertible_and_keeps_the_separation() -> None:
    mixing = make_mixing(4, 3, 5.0, rng(0))
    for centres in mixing.centres:
        distances = np.linalg.norm(centres[:, None] - centres, axis=2)[np.triu_indices(3, 1)]
        assert distances.min() == pytest.approx(5.0)
    states = rng(1).integers(3, size=(500, 4))
    x = mixing.observe(states, rng(2))
    assert x.shape == (500, 12)
    hidden = np.einsum("pji,npj->npi", mixing.second, x.reshape(500, 4, 3))
    sources = np.einsum("pji,npj->npi", mixing.first, np.where(hidden > 0, hidden, hidden / mixing.slope))
    nearest = np.linalg.norm(sources[:, :, None, :2] - mixing.centres, axis=3).argmin(axis=2)
    assert (nearest == states).mean() > 0.95


class TestImages:
    def test_templates_are_read_back(self) -> None:
        for energies in ("natural", "equal"):
            data = blob_stripes(2_000, energies, rng())
            high, low = data.read(data.images)
            assert (high == data.high).mean() == 1 and (low == data.low).mean() > 0.99

    def test_equal_energies_are_equal(self) -> None:
        assert energy(blob_patterns()) > 20 * energy(stripe_patterns())
        data = blob_stripes(40_000, "equal", rng())
        images = data.images.reshape(-1, SIDE * SIDE)
        spreads = [
            energy(np.stack([images[concept == k].mean(axis=0) for k in range(4)]))
            for concept in (data.high, data.low)
        ]
        assert spreads[0] == pytest.approx(spreads[1], rel=0.1)

    def test_digits_are_read_back(self) -> None:
        data = digits()
        high, low = data.read(data.images)
        assert (high == data.high).mean() > 0.98 and (low == data.low).mean() > 0.98
        assert len(np.unique(data.low)) == data.n_low


class TestQuestionnaires:
    def test_bfi_has_five_factors_of_five_items(self) -> None:
        try:
            locate("bfi")
        except AssetMissing as error:
            pytest.skip(str(error))
        found = questionnaire("bfi")
        assert found.values.shape == (2436, 25)
        assert {found.factors.count(factor) for factor in found.factors} == {5}
        assert found.wording[0] == "Am indifferent to the feelings of others."
        assert set(np.unique(found.values)) == {1, 2, 3, 4, 5, 6}

    def test_burnout_says_where_the_file_belongs(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("CONCORDANCE_CACHE", str(tmp_path))
        with pytest.raises(AssetMissing, match=BURNOUT_FILE):
            questionnaire("burnout")
        folder = tmp_path / "corpora"
        folder.mkdir()
        header = ",".join(f"AB{i + 1}" for i in range(32))
        row = ",".join(["1"] * 32)
        (folder / BURNOUT_FILE).write_text("\n".join([header, *[row] * 598]))
        with pytest.raises(AssetMissing, match="598 rows"):
            questionnaire("burnout")
        (folder / BURNOUT_FILE).write_text("\n".join([header, *[row] * 599]))
        assert questionnaire("burnout").factors[0] == "AB"
