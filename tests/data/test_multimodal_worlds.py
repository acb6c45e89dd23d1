"""Worlds of several modalities: their graphs, laws, interventions, and the image version."""

import networkx as nx
import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor

from data.multimodal_causal.images import ImageWorld, make_image_world
from data.multimodal_causal.worlds import GRAPH_KINDS, NOISE_KINDS, make_world, separable


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def edges(graph: str, **options: object) -> set[tuple[str, str]]:
    return set(make_world(graph, **options).graph.edges)


def test_the_named_graphs_are_what_they_say() -> None:
    chains = {("a1", "b1"), ("b1", "c1"), ("a2", "b2"), ("b2", "c2")}
    assert edges("sparse") == chains
    assert edges("inseparable") == chains | {("a1", "b2"), ("a2", "b1")}
    assert len(edges("dense")) == 12 and ("a1", "c2") in edges("dense")
    assert edges("random", density=1.0) == edges("dense") and not edges("random", density=0.0)
    assert len(edges("sparse", block=4)) == 8 and len(edges("sparse", modalities=4, block=3)) == 9
    rich = edges("rich", block=3, density=0.5)
    assert edges("sparse", block=3) < rich < edges("dense", block=3)


def test_rich_graphs_stay_separable_and_dense_ones_are_not() -> None:
    for seed in range(20):
        world = make_world("rich", block=3, density=0.6, world_seed=seed)
        assert all(separable(world.graph).values()) and nx.is_directed_acyclic_graph(world.graph)
    assert all(separable(make_world("sparse", block=4).graph).values())
    assert not any(separable(make_world("dense", block=3).graph).values())
    pair = separable(make_world("inseparable", block=3).graph)
    assert [latent for latent, apart in pair.items() if not apart] == ["a1", "a2"]


def test_separability_needs_a_pattern_of_ones_own() -> None:
    graph = nx.DiGraph([("a1", "b1"), ("a2", "b1"), ("a2", "b2"), ("a1", "a2")])
    graph.add_node("a3")
    assert separable(graph) == {"a1": False, "b1": True, "a2": True, "b2": False, "a3": False}


def test_edges_within_blocks_are_added_where_wanted() -> None:
    world = make_world("sparse", block=3, within=1.0)
    inside = {edge for edge in world.graph.edges if edge[0][0] == edge[1][0]}
    assert len(inside) == 9 and ("a1", "a3") in inside
    assert nx.is_directed_acyclic_graph(world.graph)
    assert edges("sparse", block=3, within=0.5) - edges("sparse", block=3) < inside


@pytest.mark.parametrize("kind", GRAPH_KINDS)
def test_a_seed_fixes_everything_and_every_column_is_standard(kind: str) -> None:
    world, again = (make_world(kind, block=3, world_seed=4) for _ in range(2))
    sample, same = world.sample(4_000, rng(1)), again.sample(4_000, rng(1))
    np.testing.assert_array_equal(sample.latents, same.latents)
    for modality, values in sample.observations.items():
        np.testing.assert_array_equal(values, same.observations[modality])
        assert values.shape == (4_000, 8)
        np.testing.assert_allclose(values.std(axis=0), 1, atol=0.1)
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(sample.latents.std(axis=0), 1, atol=0.1)
    other = make_world(kind, block=3, world_seed=5).sample(4_000, rng(1))
    assert not np.allclose(other.observations["b"], sample.observations["b"])


@pytest.mark.parametrize("noise", NOISE_KINDS)
def test_noise_has_unit_variance_and_the_named_shape(noise: str) -> None:
    latents = make_world("sparse", noise=noise, world_seed=1).sample(40_000, rng()).latents[:, 0]
    assert latents.mean() == pytest.approx(0, abs=0.03) and latents.std() == pytest.approx(1, abs=0.03)
    kurtosis = np.mean(latents**4)
    expected = {"gaussian": 3, "laplace": 6, "uniform": 1.8, "skewed": 9}[noise]
    assert kurtosis == pytest.approx(expected, rel=0.15)


def test_parents_and_only_parents_decide() -> None:
    world = make_world("rich", block=2, density=0.5, world_seed=3)
    base = world.sample(300, rng(7)).latents
    for i, latent in enumerate(world.latents):
        changed = world.do(latent, 2.0, 300, rng(7)).latents
        moved = {world.latents[j] for j in range(6) if not np.allclose(changed[:, j], base[:, j])}
        assert moved == {latent, *nx.descendants(world.graph, latent)}
        np.testing.assert_array_equal(changed[:, i], 2.0)


def test_an_intervention_cuts_the_parents_off_and_reaches_what_is_observed() -> None:
    world = make_world("sparse", world_seed=2)
    base, done = world.sample(2_000, rng(3)), world.do("b1", 1.5, 2_000, rng(3))
    np.testing.assert_array_equal(done.observations["a"], base.observations["a"])
    assert not np.allclose(done.observations["b"], base.observations["b"])
    assert not np.allclose(done.observations["c"], base.observations["c"])
    low, high = (world.do("a1", value, 4_000, rng(5)).latents[:, 4].mean() for value in (-1.5, 1.5))
    assert abs(high - low) > 0.4
    with pytest.raises(KeyError, match="not a latent"):
        world.do("z9", 0, 10, rng())


def test_the_block_can_be_read_off_its_modality_and_not_linearly() -> None:
    world = make_world("sparse", world_seed=0)
    sample = world.sample(6_000, rng())
    seen, block = sample.observations["a"], sample.latents[:, world.block("a")]
    straight = LinearRegression().fit(seen[:3_000], block[:3_000]).score(seen[3_000:], block[3_000:])
    bent = MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=60, random_state=0).fit(
        seen[:3_000], block[:3_000]
    )
    assert straight < 0.97 < bent.score(seen[3_000:], block[3_000:])


def test_mechanisms_are_not_linear_but_strong() -> None:
    latents = make_world("sparse", world_seed=0).sample(20_000, rng()).latents
    cause, effect = latents[:, 0], latents[:, 2]
    line = np.corrcoef(cause, effect)[0, 1]
    assert 0.6 < abs(line) < 0.79
    bins = np.quantile(cause, np.linspace(0, 1, 41)[1:-1])
    which = np.digitize(cause, bins)
    means = np.array([effect[which == i].mean() for i in range(40)])[which]
    assert 1 - np.var(effect - means) == pytest.approx(0.64, abs=0.03)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"modalities": 1}, "modalities"),
        ({"block": 0}, "1 to 9"),
        ({"graph": "inseparable", "block": 1}, "inseparable"),
        ({"density": 1.5}, "probabilities"),
        ({"block": 6, "noise_dims": 3}, "make it larger"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        make_world(**options)


def test_modality_noise_is_private() -> None:
    world = make_world("sparse", noise_dims=0, block=2)
    assert world.mixings["a"].layers[0].shape == (2, 8)
    singular = np.linalg.svd(np.vstack([world.mixings["a"].layers[1]]), compute_uv=False)
    np.testing.assert_allclose(singular, 1)


@pytest.fixture(scope="module")
def images() -> ImageWorld:
    return make_image_world()


def test_pictures_show_what_the_latents_say(images: ImageWorld) -> None:
    sample = images.sample(2_000, rng())
    a, b = (images.images(m, sample.observations[m]) for m in ("a", "b"))
    assert a.shape == (2_000, 2, 8, 8) and b.shape == (2_000, 1, 8, 8)
    assert min(a.min(), b.min()) > -1e-9 and max(a.max(), b.max()) < 1 + 1e-9
    share = a[:, 1].sum(axis=(1, 2)) / a.sum(axis=(1, 2, 3))
    assert (np.argsort(share) == np.argsort(sample.latents[:, 0])).mean() > 0.99
    upright = images.do("b1", 0.0, 50, rng(1))
    digit = images.images("b", upright.observations["b"])[0, 0]
    stored = images.handwriting[int(upright.latents[0, 3] > 0)]
    assert np.abs(stored - digit).sum(axis=(1, 2)).min() < 1e-6


def test_rotation_turns_by_the_angle(images: ImageWorld) -> None:
    turned = [
        images.images("b", images.do("b1", v, 300, rng(2)).observations["b"])[:, 0] for v in (-1.0, 0.0, 1.0)
    ]
    moments = []
    for stack in turned:
        y, x = np.mgrid[-3.5:4, -3.5:4]
        mass = stack.sum(axis=(1, 2))
        moments.append((stack * x * y).sum(axis=(1, 2)) / mass)
    assert abs(moments[0].mean() - moments[2].mean()) > 0.5
    assert (
        min(moments[0].mean(), moments[2].mean())
        < moments[1].mean()
        < max(moments[0].mean(), moments[2].mean())
    )


def test_the_laws_of_the_image_world(images: ImageWorld) -> None:
    latents = images.sample(20_000, rng(4)).latents
    np.testing.assert_allclose(latents.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(latents.std(axis=0), 1, atol=0.03)
    assert (latents[:, 1] == latents[:, 3]).mean() == pytest.approx(0.9, abs=0.01)
    assert abs(np.corrcoef(latents[:, 0], latents[:, 3])[0, 1]) < 0.03
    base, done = images.sample(200, rng(5)), images.do("a1", 1.0, 200, rng(5))
    np.testing.assert_array_equal(base.latents[:, 3], done.latents[:, 3])
    assert not np.allclose(base.latents[:, 2], done.latents[:, 2])
    assert set(images.graph.edges) == {("a1", "b1"), ("a2", "b2")}
    with pytest.raises(KeyError, match="not a latent"):
        images.do("c1", 0.0, 5, rng())
