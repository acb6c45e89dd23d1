import numpy as np
import pytest
from scipy.stats import chi2

from engine.studies.concept_hierarchy.baselines import CovarianceTester
from engine.studies.concept_hierarchy.rank import (
    STATISTICS,
    RankTester,
    Side,
    pairwise_rank_statistics,
    rank_test,
)


def mixture(n: int, k: int, p: int, seed: int, strength: float = 0.8) -> np.ndarray:
    """n × p codes with k states that copy one latent of k states with probability `strength`."""
    rng = np.random.default_rng(seed)
    latent = rng.integers(k, size=n)
    noise = rng.integers(k, size=(n, p))
    return np.where(rng.random((n, p)) < strength, latent[:, None], noise)


def two_latents(n: int, k: int, seed: int) -> np.ndarray:
    return np.concatenate([mixture(n, k, 3, seed), mixture(n, k, 3, seed + 1000)], axis=1)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("k", [2, 3])
def test_true_ranks_stand_and_smaller_ones_fall(statistic, k):
    rejected = 0
    for seed in range(25):
        x = mixture(2000, k, 5, seed)
        rejected += not rank_test(x[:, :2], x[:, 2:], k, statistic).accepted
        assert not rank_test(x[:, :2], x[:, 2:], k - 1, statistic).accepted
    assert rejected <= 2


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_statistic_follows_its_chi_square_under_the_null(statistic):
    values = [
        rank_test(x[:, :2], x[:, 2:], 2, statistic) for x in (mixture(2000, 2, 5, s) for s in range(150))
    ]
    assert {value.dof for value in values} == {(4 - 2) * (4 - 2)}
    assert np.mean([value.statistic for value in values]) == pytest.approx(4, abs=1.0)
    assert np.mean([value.p_value < 0.1 for value in values]) == pytest.approx(0.1, abs=0.09)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_pairs_from_two_clusters_have_a_larger_rank(statistic):
    x = two_latents(3000, 3, 0)
    found = pairwise_rank_statistics(x, 3, statistic)
    same = np.equal.outer(np.arange(6) < 3, np.arange(6) < 3)
    off = ~np.eye(6, dtype=bool)
    assert (found.statistic[~same] > found.critical[~same]).all()
    assert found.statistic[same & off].max() < found.statistic[~same].min()
    assert np.isnan(np.diag(found.statistic)).all()


@pytest.mark.parametrize("statistic", STATISTICS)
def test_the_order_and_names_of_states_and_columns_do_not_matter(statistic):
    x = two_latents(1500, 3, 3)
    recoded = np.array([[5, 2, 9], [0, 7, 1], [2, 0, 1], [1, 2, 0], [8, 3, 4], [2, 1, 0]])[np.arange(6), x]
    order = [4, 0, 5, 2, 1, 3]
    plain = pairwise_rank_statistics(x, 3, statistic)
    shuffled = pairwise_rank_statistics(recoded[:, order], 3, statistic)
    np.testing.assert_allclose(shuffled.statistic, plain.statistic[np.ix_(order, order)], rtol=1e-6)


def test_a_table_too_small_to_exceed_the_rank_tells_nothing():
    x = mixture(500, 2, 5, 0)
    result = rank_test(x[:, :1], x[:, 1:], 2)
    assert (result.dof, result.p_value, result.stands) == (0, 1.0, False)


def test_a_constant_column_and_a_copied_one_are_no_obstacle():
    x = np.concatenate([mixture(800, 2, 4, 0), np.ones((800, 1), dtype=int)], axis=1)
    x = np.concatenate([x, x[:, 3:4]], axis=1)
    assert np.isfinite(rank_test(x[:, :2], x[:, 2:], 2).statistic)
    assert rank_test(x[:, 4:5], x[:, :2], 1).dof == 0


def test_the_critical_value_belongs_to_the_level():
    x = mixture(800, 2, 5, 0)
    result = rank_test(x[:, :2], x[:, 2:], 2, alpha=0.2)
    assert result.critical == pytest.approx(chi2.isf(0.2, result.dof))


def test_conditioning_on_a_column_in_both_sides():
    rng = np.random.default_rng(0)
    z = rng.integers(2, size=4000)
    a, b = (np.where(rng.random(4000) < 0.8, z, 1 - z) for _ in range(2))
    tester = RankTester(np.stack([a, b, z], axis=1))
    assert tester.test(Side((0, 2)), Side((1, 2)), 2).accepted
    assert not tester.test(Side((0,)), Side(plain=(1,)), 1).accepted
    assert tester.tests == 2


def test_the_linear_test_decides_as_causal_learns():
    from causallearn.search.HiddenCausal.RLCD.Chi2RankTest import Chi2RankTest

    decisions = []
    for seed in range(12):
        x = two_latents(800, 3, seed).astype(float)
        ours, theirs = CovarianceTester(x), Chi2RankTest(x)
        for a, b in (([0, 1], [2, 3, 4]), ([0, 3], [1, 2, 4, 5])):
            mine = ours.test(Side(plain=tuple(a)), Side(plain=tuple(b)), 2).accepted
            decisions.append((mine, bool(theirs.test(a, b, 1, 0.01))))
    assert all(mine == other for mine, other in decisions)
    assert len(set(decisions)) == 2
