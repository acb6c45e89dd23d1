"""Worlds with known truth: who fires, how often, with whom, and within bounded memory."""

import hashlib
import tracemalloc
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from data.sae_consistency import KINDS, World, make_world, regime

EXACT = ("uniform", "zipf", "zipf_groups", "two_phase_zipf")


def world_of(kind: str, d: int = 60, m: int = 16, k: int = 4, **options: float) -> World:
    return make_world(kind, d, m, k, np.random.default_rng(0), **options)  # type: ignore[arg-type]


def firing(world: World, n: int) -> np.ndarray:
    """Which features fire (n × d)."""
    return world.sample_with_codes(n, np.random.default_rng(1))[1].toarray() > 0


def first_release(world: World, n: int, generator: np.random.Generator) -> np.ndarray:
    d = len(world.features)
    chosen = np.argpartition(generator.random((n, d)), world.true_sparsity - 1, axis=1)
    coefficients = np.zeros((n, d), dtype=np.float32)
    drawn = np.abs(generator.standard_normal((n, world.true_sparsity), dtype=np.float32))
    np.put_along_axis(coefficients, chosen[:, : world.true_sparsity], drawn, axis=1)
    return coefficients @ world.features


@pytest.mark.parametrize(("d", "m", "k", "n"), [(32, 16, 3, 10_000), (40, 40, 8, 3000), (4096, 24, 20, 5000)])
def test_uniform_world_keeps_the_vectors_of_the_first_release(d: int, m: int, k: int, n: int) -> None:
    """Same draws; the sums to float32 rounding, whose order a processor's product chooses by the number of rows."""
    world = world_of("uniform", d, m, k)
    before, now = np.random.default_rng(5), np.random.default_rng(5)
    np.testing.assert_allclose(world.sample(n, now), first_release(world, n, before), rtol=0, atol=3e-6)
    assert before.bit_generator.state == now.bit_generator.state


def test_uniform_world_keeps_the_hash_of_the_first_release() -> None:
    """One feature a vector, and the supports of three: both the same whatever processor multiplies."""
    one = make_world("uniform", 32, 16, 1, np.random.default_rng(7)).sample(5000, np.random.default_rng(8))
    assert hashlib.sha256(one.tobytes()).hexdigest()[:16] == "e5754a2500eb95fe"
    three = make_world("uniform", 32, 16, 3, np.random.default_rng(7))
    support = three.sample_with_codes(5000, np.random.default_rng(8))[1].indices.reshape(5000, 3)
    assert hashlib.sha256(support.astype(np.int32).tobytes()).hexdigest()[:16] == "e69e075693f1a379"


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_the_sums_their_codes_say(kind: str) -> None:
    world = world_of(kind, correlation=0.4)
    np.testing.assert_allclose(np.linalg.norm(world.features, axis=1), 1, rtol=1e-5)
    x, codes = world.sample_with_codes(500, np.random.default_rng(3))
    assert x.dtype == np.float32 and codes.dtype == np.float32 and codes.shape == (500, 60)
    assert codes.has_canonical_format and codes.data.min() > 0
    np.testing.assert_allclose(x, codes.toarray() @ world.features, atol=1e-5)
    assert np.array_equal(x, world.sample(500, np.random.default_rng(3)))
    assert world.sample(0, np.random.default_rng(3)).shape == (0, 16)
    assert abs(codes.data.mean() - np.sqrt(2 / np.pi)) < 0.06


@pytest.mark.parametrize("kind", EXACT)
@pytest.mark.parametrize("k", [1, 4, 60])
def test_four_kinds_draw_exactly_k_distinct_features(kind: str, k: int) -> None:
    codes = world_of(kind, k=k).sample_with_codes(300, np.random.default_rng(1))[1]
    assert (np.diff(codes.indptr) == k).all()
    assert (np.diff(np.sort(codes.indices.reshape(-1, k), axis=1), axis=1) > 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exponent", [0.5, 1.0])
def test_features_fire_as_often_as_expected(kind: str, exponent: float) -> None:
    n = 40_000
    world = world_of(kind, zipf_exponent=exponent, correlation=0.3)
    active = firing(world, n)
    expected = world.probabilities
    error = np.sqrt(expected * (1 - expected) / n)
    assert (np.abs(active.mean(axis=0) - expected) < 4.5 * error + 0.01 * expected).all()
    assert expected.sum() == pytest.approx(4, abs=0.01) and expected.max() <= 0.951
    per_vector = active.sum(axis=1)
    assert abs(per_vector.mean() - 4) < 5 * per_vector.std() / np.sqrt(n) + 1e-9


def test_features_are_drawn_one_after_the_other_with_zipf_odds() -> None:
    n, odds = 60_000, np.array([1, 1 / 2, 1 / 3, 1 / 4])
    active = firing(world_of("zipf", d=4, k=2), n)
    expected: dict[tuple[int, ...], float] = {}
    for a, b in permutations(range(4), 2):
        pair = tuple(sorted((a, b)))
        expected[pair] = expected.get(pair, 0) + odds[a] / odds.sum() * odds[b] / (odds.sum() - odds[a])
    counts = [(active[:, a] & active[:, b]).sum() for a, b in expected]
    assert stats.chisquare(counts, n * np.array(list(expected.values()))).pvalue > 1e-3


def test_two_phase_law_bends_at_a_tenth_of_the_ranks() -> None:
    log_rank = np.log(np.arange(1, 5001))
    log_weight = np.log(world_of("two_phase_zipf", d=5000, k=8).weights)
    slopes = np.diff(log_weight) / np.diff(log_rank)
    np.testing.assert_allclose(slopes[:498], -1, atol=1e-6)
    np.testing.assert_allclose(slopes[501:], -2, atol=1e-6)


def test_zipf_groups_are_ten_of_equal_size_and_falling_frequency() -> None:
    world = world_of("zipf_groups", d=800, k=2, zipf_exponent=1)
    assert (np.bincount(world.groups) == 80).all()
    share = np.bincount(world.groups, world.probabilities) / 2
    np.testing.assert_allclose(share * np.arange(1, 11) / share[0], 1, atol=0.01)


@pytest.mark.parametrize("d", [2, 12, 60, 131])
def test_a_child_fires_only_with_its_parent(d: int) -> None:
    world = world_of("hierarchy", d=d, k=1)
    active = firing(world, 20_000)
    children = np.flatnonzero(world.parents >= 0)
    assert not (active[:, children] & ~active[:, world.parents[children]]).any()
    assert (world.groups[children] == world.groups[world.parents[children]]).all()
    together = active[:, children].sum(axis=0) / np.maximum(active[:, world.parents[children]].sum(axis=0), 1)
    fires = active[:, world.parents[children]].sum(axis=0)
    assert (np.abs(together - 1 / 3) < 4.5 * np.sqrt(2 / 9 / np.maximum(fires, 1))).all()


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_features_of_a_factor_fire_together_as_a_gaussian_copula_says(correlation: float) -> None:
    n = 60_000
    world = world_of("correlated", d=24, k=4, correlation=correlation)
    active = firing(world, n)
    below = stats.norm.ppf(world.probabilities)
    for a, b in [(0, 8), (1, 17), (0, 1)]:
        rho = correlation if world.groups[a] == world.groups[b] else 0.0
        joint = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]]).cdf(below[[a, b]])
        error = np.sqrt(joint * (1 - joint) / n)
        assert abs((active[:, a] & active[:, b]).mean() - joint) < 4.5 * error


@pytest.mark.parametrize("kind", KINDS)
def test_a_large_world_is_never_dense(kind: str) -> None:
    """70,000 × 65,536 would be 18 GB."""
    world = world_of(kind, d=65_536, m=4, k=3, correlation=0.3)
    tracemalloc.start()
    x, codes = world.sample_with_codes(70_000, np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert x.shape == (70_000, 4) and codes.shape == (70_000, 65_536)
    assert peak < 300e6
    assert abs(codes.nnz / 70_000 - 3) < 0.1


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"kind": "pareto"}, "kind"),
        ({"k": 0}, "true_sparsity"),
        ({"k": 61}, "true_sparsity"),
        ({"kind": "hierarchy", "k": 20}, "at most|most that"),
        ({"kind": "correlated", "k": 58}, "most that"),
        ({"m": 0}, "d_in"),
        ({"zipf_exponent": -1.0}, "zipf_exponent"),
        ({"correlation": 1.0}, "correlation"),
    ],
)
def test_worlds_that_cannot_be_are_refused(change: dict[str, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        world_of(**{"kind": "zipf", **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("d_gt", "d_sae", "m", "k", "name", "spark_ok"),
    [
        (32, 32, 16, 3, "matched", True),
        (80, 160, 16, 8, "redundant", True),
        (800, 80, 15, 8, "compressive", False),
    ],
)
def test_regime_names_the_case_in_words(
    d_gt: int, d_sae: int, m: int, k: int, name: str, spark_ok: bool
) -> None:
    found = regime(d_gt, d_sae, m, k)
    assert (found.name, found.spark_ok) == (name, spark_ok)
    assert name in found.sentence.lower() and f"{d_sae} latents for {d_gt} true features" in found.sentence
    assert ("at least twice" in found.sentence) == spark_ok
