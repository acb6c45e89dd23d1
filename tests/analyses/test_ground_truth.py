"""Scores against the truth: exact cases, and sae-lens as the oracle."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import sparse, stats

from analyses import ground_truth
from analyses.ground_truth import (
    allocation,
    allocation_exponent,
    frequency_correlation,
    latent_f1,
    true_feature_match,
)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((30, 12)).astype(np.float32)


def random_codes(n: int, width: int, seed: int) -> sparse.csr_array:
    generator = np.random.default_rng(seed)
    dense = generator.random((n, width)) * (generator.random((n, width)) < generator.random(width) * 0.3)
    dense[:, 0] = 0
    return sparse.csr_array(dense.astype(np.float32))


def test_a_copy_with_signs_and_duplicates_is_found_again(truth: np.ndarray) -> None:
    order = np.random.default_rng(1).permutation(30)
    decoder = np.concatenate([-2 * truth[order], truth[:5]])
    found = true_feature_match(decoder, truth)
    assert found.mcc_abs == pytest.approx(1, abs=1e-6)
    assert np.array_equal(found.nearest, np.concatenate([order, np.arange(5)]))
    np.testing.assert_allclose(found.decay, 1, atol=1e-6)
    assert found.uniqueness == 30 / 35
    assert np.array_equal(found.nearest[found.latent], np.arange(30))
    assert (found.latent_cosine[5:] < -0.999).all()


def test_true_features_beyond_the_latents_have_none(truth: np.ndarray) -> None:
    found = true_feature_match(truth[[4, 7]], truth)
    assert found.latent[4] == 0 and found.latent[7] == 1
    rest = np.delete(np.arange(30), [4, 7])
    assert (found.latent[rest] == -1).all() and np.isnan(found.latent_cosine[rest]).all()


@pytest.mark.parametrize(("f", "d"), [(30, 30), (50, 30), (10, 30), (200, 40)])
def test_matching_agrees_with_sae_lens(monkeypatch: pytest.MonkeyPatch, f: int, d: int) -> None:
    from sae_lens.synthetic import feature_uniqueness, mean_correlation_coefficient

    monkeypatch.setattr(ground_truth, "BLOCK", 64)
    generator = np.random.default_rng(f)
    truth = generator.standard_normal((d, 12)).astype(np.float32)
    decoder = truth[generator.integers(d, size=f)] + 0.4 * generator.standard_normal((f, 12))
    tensors = torch.from_numpy(decoder.astype(np.float32)), torch.from_numpy(truth)
    found = true_feature_match(decoder, truth)
    assert found.mcc_abs == pytest.approx(mean_correlation_coefficient(*tensors), abs=1e-5)
    assert found.uniqueness == pytest.approx(feature_uniqueness(*tensors), abs=1e-5)


def test_classification_agrees_with_sae_lens(truth: np.ndarray) -> None:
    from sae_lens.synthetic.evals import compute_classification_metrics

    decoder = np.random.default_rng(2).standard_normal((45, 12)).astype(np.float32)
    latents, codes = random_codes(800, 45, 3), random_codes(800, 30, 4)
    nearest = true_feature_match(decoder, truth).nearest
    precision, recall, f1 = latent_f1(latents, codes, np.column_stack([np.arange(45), nearest]))
    dense = [torch.from_numpy(matrix.toarray()) for matrix in (latents, codes)]
    oracle = compute_classification_metrics(*dense, torch.from_numpy(decoder), torch.from_numpy(truth))
    assert precision.mean() == pytest.approx(oracle.precision, abs=1e-5)
    assert recall.mean() == pytest.approx(oracle.recall, abs=1e-5)
    assert f1.mean() == pytest.approx(oracle.f1_score, abs=1e-5)


@pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array, sparse.coo_array])
def test_f1_counts_by_hand(kind: type) -> None:
    latents = kind(np.array([[1.0, -1, 0], [2, 0, 0], [0, 0, 0], [3, 0, 0]]))
    codes = kind(np.array([[0.0, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    precision, recall, f1 = latent_f1(latents, codes, [(0, 1), (1, 0), (2, 2)])
    np.testing.assert_allclose(precision, [2 / 3, 0, 0])
    np.testing.assert_allclose(recall, [1, 0, 0])
    np.testing.assert_allclose(f1, [0.8, 0, 0])
    with pytest.raises(ValueError, match="vectors"):
        latent_f1(latents, kind(np.zeros((3, 4))), [(0, 1)])


def test_no_pairs_no_scores() -> None:
    assert [len(score) for score in latent_f1(random_codes(5, 3, 0), random_codes(5, 4, 0), [])] == [0, 0, 0]


def test_f1_never_makes_the_codes_dense() -> None:
    """Densely, 20,000 × 131,072 would be 10 GB."""
    generator = np.random.default_rng(0)
    rows = np.repeat(np.arange(20_000), 8)
    codes = sparse.csr_array((np.ones(160_000), (rows, generator.integers(131_072, size=160_000))))
    codes.resize(20_000, 131_072)
    same = np.column_stack([np.arange(131_072)] * 2)
    assert set(np.unique(latent_f1(codes, codes, same)[2])) == {0.0, 1.0}


def test_allocation_counts_latents_of_each_group() -> None:
    assert allocation([0, 0, 3, 4], [0, 0, 1, 2, 2, 3]).tolist() == [2, 0, 2, 0]


def test_allocation_exponent_is_recovered_and_empty_groups_are_left_out() -> None:
    frequency = 1 / np.arange(1, 11)
    exponent, used = allocation_exponent(40 * frequency**1.4, frequency)
    assert exponent == pytest.approx(1.4) and used == 10
    latents = 40 * frequency**1.4
    latents[4:] = 0
    exponent, used = allocation_exponent(latents, frequency)
    assert exponent == pytest.approx(1.4) and used == 4
    assert np.isnan(allocation_exponent([80, 0, 0], [0.5, 0.3, 0.2])[0])
    assert np.isnan(allocation_exponent([4, 5], [0.5, 0.5])[0])


def matches(frequency: np.ndarray, cosine: np.ndarray, subset: str = "all") -> pd.DataFrame:
    return pd.DataFrame(
        {"frequency_a": frequency, "frequency_b": frequency * 2, "cosine": cosine, "subset": subset}
    )


def test_frequency_correlation_is_spearman_of_the_lower_frequency() -> None:
    generator = np.random.default_rng(0)
    frequency, cosine = generator.random(41), generator.uniform(-1, 1, 41)
    found = frequency_correlation(pd.concat([matches(frequency, cosine), matches(cosine, cosine, "alive")]))
    assert found.spearman == pytest.approx(stats.spearmanr(frequency, np.abs(cosine)).statistic)
    ranked = np.abs(cosine)[np.argsort(frequency)]
    expected = [ranked[:11].mean(), ranked[11:21].mean(), ranked[21:31].mean(), ranked[31:].mean()]
    np.testing.assert_allclose(found.means, expected)


def test_frequency_correlation_without_variation_is_unknown() -> None:
    found = frequency_correlation(matches(np.full(8, 0.1), np.linspace(0, 1, 8)))
    assert np.isnan(found.spearman) and len(found.means) == 4
    assert np.isnan(frequency_correlation(matches(np.array([0.1]), np.array([0.5]))).means).sum() == 3
