"""MCC, block R², DCI and their chance: invariances, known values, and learners that must not score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

from analyses.identifiability import (
    Chance,
    block_correlation,
    block_r2,
    correlations,
    dci,
    mean_correlation,
    pairwise_mcc,
    permutation_null,
    rotated_null,
    rotation_floor,
)

sizes = st.integers(1, 6)
seeds = st.integers(0, 10_000)


def gaussian(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def test_correlations_are_those_of_numpy() -> None:
    a, b = gaussian(50, 3), gaussian(50, 2, seed=1)
    np.testing.assert_allclose(correlations(a, b), np.corrcoef(a.T, b.T)[:3, 3:])


@settings(max_examples=40)
@given(sizes, seeds, st.sampled_from(["pearson", "spearman"]))
def test_order_sign_and_scale_do_not_matter(d: int, seed: int, method: str) -> None:
    rng = np.random.default_rng(seed)
    true = rng.standard_normal((40, d))
    order = rng.permutation(d)
    learnt = true[:, order] * rng.uniform(0.01, 100, d) * rng.choice([-1, 1], d) + rng.standard_normal(d)
    found = mean_correlation(true, learnt, method)
    assert found.value == pytest.approx(1)
    assert (order[found.assignment] == np.arange(d)).all()
    noisy = learnt + rng.standard_normal(learnt.shape)
    shuffled = -noisy[:, rng.permutation(d)]
    assert mean_correlation(true, noisy, method).value == pytest.approx(
        mean_correlation(true, shuffled, method).value
    )


@settings(max_examples=40)
@given(sizes, seeds)
def test_spearman_is_invariant_to_monotone_maps_and_pearson_is_not(d: int, seed: int) -> None:
    true = gaussian(60, d, seed)
    bent = np.exp(3 * true)
    assert mean_correlation(true, bent, "spearman").value == pytest.approx(1)
    assert mean_correlation(true, bent, "pearson").value < 0.97


@pytest.mark.parametrize("d", [2, 3, 4])
def test_a_rotation_of_gaussian_latents_scores_its_floor_and_not_one(d: int) -> None:
    true = gaussian(4_000, d)
    floor = rotation_floor(d, np.random.default_rng(5))
    turns = ortho_group.rvs(d, size=200, random_state=9)
    values = [mean_correlation(true, true @ turn).value for turn in turns]
    assert np.mean(values) == pytest.approx(floor.mean, abs=0.02)
    assert max(values[:20]) <= 1 and min(values) < 0.9
    quarter = np.eye(d)
    quarter[:2, :2] = [[np.sqrt(0.5), np.sqrt(0.5)], [-np.sqrt(0.5), np.sqrt(0.5)]]
    assert mean_correlation(true, true @ quarter).value < 0.92


def test_the_floor_of_two_dimensions_is_known_exactly() -> None:
    floor = rotation_floor(2, np.random.default_rng(0), draws=20_000)
    assert floor.mean == pytest.approx(2 * np.sqrt(2) / np.pi, abs=0.002)
    assert floor.low == pytest.approx(np.cos(0.975 * np.pi / 4), abs=0.005) and floor.high > 0.99
    assert rotation_floor(1, np.random.default_rng(0)).mean == 1
    with pytest.raises(ValueError, match="dimension"):
        rotation_floor(0, np.random.default_rng(0))


def test_dependent_latents_have_a_floor_of_their_own() -> None:
    rng = np.random.default_rng(3)
    independent = gaussian(3_000, 2)
    tied = independent @ np.array([[1.0, 0.8], [0.0, 0.6]])
    assert rotated_null(independent, rng).mean == pytest.approx(0.9, abs=0.02)
    assert rotated_null(tied, rng).mean < 0.89
    assert rotated_null(gaussian(50, 1), rng).mean == pytest.approx(1)


def test_missing_latents_and_constant_columns_earn_nothing() -> None:
    true = gaussian(100, 4)
    found = mean_correlation(true, true[:, [2, 0]])
    assert found.value == pytest.approx(0.5)
    assert found.assignment.tolist() == [1, -1, 0, -1]
    assert mean_correlation(true, np.full((100, 4), 0.1)).value == 0
    with_more = np.hstack([gaussian(100, 5, seed=8), true])
    assert mean_correlation(true, with_more).value == pytest.approx(1)


def test_blocks_are_matched_within_themselves() -> None:
    true = {"a": gaussian(200, 2), "b": gaussian(200, 2, seed=1)}
    swapped = {"a": true["b"], "b": true["a"]}
    assert all(found.value < 0.3 for found in block_correlation(true, swapped).values())
    assert all(found.value == pytest.approx(1) for found in block_correlation(true, true).values())


def test_runs_are_compared_with_each_other() -> None:
    latents = gaussian(300, 3)
    values = pairwise_mcc([latents, -latents[:, ::-1], gaussian(300, 3, seed=4)])
    np.testing.assert_allclose(values, values.T)
    assert values[0, 1] == pytest.approx(1) and values[0, 2] < 0.3
    np.testing.assert_allclose(np.diag(values), 1)


def test_shuffled_rows_give_the_chance_level() -> None:
    true = gaussian(400, 3)
    rng = np.random.default_rng(1)
    chance = permutation_null(lambda t, m: mean_correlation(t, m).value, true, true @ np.eye(3), rng)
    assert 0 < chance.low <= chance.mean <= chance.high < 0.15
    assert chance.draws == 100
    unrelated = mean_correlation(true, gaussian(400, 3, seed=77)).value
    assert unrelated < chance.mean + 5 * chance.std


def test_a_chance_summarises_its_draws() -> None:
    chance = Chance.of(np.arange(101) / 100)
    assert (chance.mean, chance.low, chance.high) == pytest.approx((0.5, 0.025, 0.975))


def test_block_r2_sees_any_invertible_map_and_nothing_where_there_is_nothing() -> None:
    true = gaussian(1_200, 2)
    bent = np.tanh(true @ np.array([[1.0, 0.7], [-0.5, 1.0]])) + 0.3 * true
    assert block_r2(true, bent, np.random.default_rng(0)) > 0.97
    assert block_r2(bent, true, np.random.default_rng(0)) > 0.97
    assert block_r2(true, gaussian(1_200, 2, seed=5), np.random.default_rng(0)) < 0.02


def test_block_r2_tells_the_two_directions_apart() -> None:
    true = gaussian(1_000, 2)
    more = np.hstack([true, gaussian(1_000, 1, seed=3)])
    assert block_r2(true, more, np.random.default_rng(0)) > 0.97
    assert block_r2(more, true, np.random.default_rng(0)) == pytest.approx(2 / 3, abs=0.04)


@settings(max_examples=5)
@given(seeds)
def test_block_r2_does_not_depend_on_order_sign_or_units(seed: int) -> None:
    rng = np.random.default_rng(seed)
    true, learnt = gaussian(200, 2, seed), gaussian(200, 2, seed) ** 3
    changed = -learnt[:, ::-1] * np.array([1e-6, 1e6])
    first = block_r2(true, learnt, np.random.default_rng(seed))
    second = block_r2(true[:, ::-1], changed, np.random.default_rng(seed))
    assert first == pytest.approx(second, abs=1e-6)
    assert first <= 1 and rng is not None


def test_dci_of_a_copy_and_of_a_mixture() -> None:
    true = np.random.default_rng(0).uniform(-1, 1, (1_500, 3))
    copy = dci(true, -true[:, [2, 0, 1]], np.random.default_rng(0))
    assert copy.disentanglement > 0.9 and copy.completeness > 0.9 and copy.informativeness > 0.95
    assert copy.importance.argmax(axis=0).tolist() == [1, 2, 0]
    np.testing.assert_allclose(copy.importance.sum(axis=0), 1)
    mixed = dci(true, true @ ortho_group.rvs(3, random_state=1), np.random.default_rng(0))
    assert mixed.disentanglement < 0.6 and mixed.informativeness < copy.informativeness
    nothing = dci(true, gaussian(1_500, 3), np.random.default_rng(0))
    assert nothing.informativeness < 0.05 and nothing.disentanglement < 0.1


def test_dci_tells_split_from_merged_latents() -> None:
    true = np.random.default_rng(2).uniform(-1, 1, (1_200, 2))
    rng = np.random.default_rng(0)
    noise = 0.3 * rng.standard_normal((1_200, 4))
    split = dci(true, np.repeat(true, 2, axis=1) + noise, rng)
    assert split.disentanglement > 0.8 > split.completeness
    one = dci(true, true.sum(axis=1, keepdims=True), rng)
    assert one.completeness == 1 > one.disentanglement


@pytest.mark.parametrize(
    ("true", "learnt", "sentence"),
    [
        (np.zeros(5), np.zeros((5, 1)), "rows × latents"),
        (np.zeros((5, 0)), np.zeros((5, 1)), "rows × latents"),
        (np.full((5, 1), np.nan), np.zeros((5, 1)), "not finite"),
        (np.zeros((5, 1)), np.zeros((6, 1)), "same rows"),
    ],
)
def test_unusable_tables_are_refused_in_a_sentence(
    true: np.ndarray, learnt: np.ndarray, sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        mean_correlation(true, learnt)
    with pytest.raises(ValueError, match=sentence):
        block_r2(true, learnt, np.random.default_rng(0))
