"""Corrections, estimators and accuracies, each against something known."""

import numpy as np
import pytest
from scipy.special import log_softmax

from analyses.label_shift import (
    bbse_prior,
    calibration,
    centred,
    class_accuracy,
    corrected,
    divergence,
    em_prior,
    likeness,
    sharpness,
    smoothed,
    soft_confusion,
    temperature,
    uniform,
)
from data.label_shift import Mixture, make_mixture, noisy_digits


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    return make_mixture(20, 10, 0.9, np.random.default_rng(3))


def test_correction_equals_the_analytic_posterior(mixture: Mixture) -> None:
    rng = np.random.default_rng(0)
    rows, _ = mixture.sample(500, rng)
    trained = log_softmax(rng.normal(size=20))
    for spread in (1.0, 60.0):
        prior = log_softmax(spread * rng.normal(size=20))
        found = corrected(mixture.log_posterior(rows, trained), prior, trained)
        exact = mixture.log_posterior(rows, prior)
        assert np.abs(np.exp(found) - np.exp(exact)).max() < 1e-6
        assert np.abs(found - exact).max() < 1e-6 * max(1.0, np.abs(exact).max())
        assert np.allclose(np.exp(found).sum(axis=1), 1)


def test_the_exact_posterior_is_calibrated(mixture: Mixture) -> None:
    rows, labels = mixture.sample(20_000, np.random.default_rng(1))
    log_probs = mixture.log_posterior(rows, uniform(20))
    assert calibration(log_probs, labels, np.ones(len(labels))).error < 0.02
    assert temperature(2.5 * log_probs, labels) == pytest.approx(2.5, rel=0.05)
    assert calibration(log_softmax(4 * log_probs, axis=1), labels, np.ones(len(labels))).error > 0.1


def test_em_and_bbse_find_a_shifted_prior(mixture: Mixture) -> None:
    rng = np.random.default_rng(2)
    rows, labels = mixture.sample(40_000, rng)
    prior = log_softmax(1.5 * rng.normal(size=20))
    taken = rng.choice(len(labels), 6_000, p=(p := np.exp(prior)[labels]) / p.sum())
    log_probs = mixture.log_posterior(rows, uniform(20))
    confusion = soft_confusion(log_probs, labels, 20)
    assert np.allclose(confusion.sum(axis=0), 1)
    for found in (em_prior(log_probs[taken], uniform(20)), bbse_prior(log_probs[taken], confusion)):
        assert divergence(prior, found) < 0.02 < divergence(prior, uniform(20))
        assert np.exp(found).sum() == pytest.approx(1)


def test_one_parameter_is_fitted_exactly() -> None:
    rng = np.random.default_rng(4)
    s = rng.random((30, 8))
    for tau in (0.02, 0.1, 3.0):
        assert 1 / sharpness(s, np.exp(log_softmax(-s / tau, axis=1))) == pytest.approx(tau, rel=1e-6)
    assert sharpness(s, np.exp(log_softmax(s / 0.5, axis=1))) == pytest.approx(-2, rel=1e-6)
    assert sharpness(np.empty((0, 8)), np.empty((0, 8))) == 0
    assert np.isfinite(sharpness(s[:1], np.eye(8)[[int(s[0].argmin())]]))


def test_absent_classes_take_the_mean_of_the_others() -> None:
    found = class_accuracy(np.array([0, 0, 1, 2]), np.array([0, 0, 2, 2]), 4)
    assert found.tolist() == [1.0, 0.75, 0.5, 0.75]
    shares = np.exp(smoothed([10, 0, 0]))
    assert shares.sum() == pytest.approx(1) and shares[1] == pytest.approx(0.5 / 11.5)


def test_likeness_of_matrices_and_its_chance() -> None:
    rng = np.random.default_rng(5)
    truth = centred(-np.eye(10) / 0.1)
    assert np.allclose(truth.sum(axis=0), 0)
    found = likeness(truth, 0.5 * truth, rng)
    assert found.value == pytest.approx(1) and abs(found.null_mean) < 0.05 and found.null_high < 0.5
    assert likeness(np.zeros((4, 4)), np.ones((4, 4)), rng).value == 0


def test_digits_repeat_and_noise_is_added() -> None:
    one, labels = noisy_digits(0.45, np.random.default_rng(0))
    again, _ = noisy_digits(0.45, np.random.default_rng(0))
    clean, _ = noisy_digits(0.0, np.random.default_rng(0))
    assert (one == again).all() and one.shape == (1797, 64) and set(labels) == set(range(10))
    assert (one - clean).std() == pytest.approx(0.45, rel=0.01) and clean.max() == 1
