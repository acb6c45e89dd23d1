"""The metric against exact values, brute force, scipy and SAELens; its chance level; its intervals."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from analyses.matching import (
    Null,
    analytic_null,
    bootstrap_interval,
    calibrated,
    match,
    mean_correlation_coefficient,
    mean_interval,
    random_direction_null,
)


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a / np.linalg.norm(a, axis=1)[:, None]) @ (b / np.linalg.norm(b, axis=1)[:, None]).T


@settings(max_examples=50)
@given(st.integers(1, 12), st.integers(2, 9), st.integers(0, 10_000), st.floats(1e-20, 1e20))
def test_permutation_sign_and_scale_do_not_matter(n: int, d: int, seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    a = rng.standard_normal((n, d))
    b = (a * rng.uniform(0.1, 10, (n, 1)) * scale)[rng.permutation(n)]
    assert mean_correlation_coefficient(a, b) == pytest.approx(1, abs=1e-6)
    assert mean_correlation_coefficient(a, b, signed=True) == pytest.approx(1, abs=1e-6)
    assert mean_correlation_coefficient(a, -b) == pytest.approx(1, abs=1e-6)


def test_half_of_the_signs_flipped() -> None:
    a = gaussian(20, 8)
    b = a * np.where(np.arange(20) < 10, -1, 1)[:, None]
    found = match(a, b)
    assert found.mcc_abs == pytest.approx(1, abs=1e-6)
    assert found.mcc_signed < 0.95
    assert (found.cosine < 0).sum() == 10


def test_worked_example() -> None:
    a, b = np.eye(2), np.array([[0.1, 1.0], [1.0, 0.2]])
    assert np.diag(cosines(a, b)).mean() == pytest.approx(0.148, abs=1e-3)
    assert mean_correlation_coefficient(a, b) == pytest.approx(0.98781, abs=1e-5)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("sizes", [(5, 7), (7, 5), (4, 4), (1, 6)])
def test_rectangular_equals_brute_force(sizes: tuple[int, int], signed: bool) -> None:
    a, b = gaussian(sizes[0], 3, seed=1), gaussian(sizes[1], 3, seed=2)
    values = cosines(a, b) if signed else np.abs(cosines(a, b))
    values = values if sizes[0] <= sizes[1] else values.T
    n = len(values)
    best = max(values[range(n), list(chosen)].mean() for chosen in permutations(range(values.shape[1]), n))
    assert mean_correlation_coefficient(a, b, signed) == pytest.approx(best, abs=1e-6)


def test_match_describes_its_own_pairs() -> None:
    a, b = gaussian(5, 4, seed=1), gaussian(9, 4, seed=2)
    found = match(a, b)
    values = cosines(a, b)[found.pairs[:, 0], found.pairs[:, 1]]
    assert found.pairs.shape == (5, 2) and found.pairs.dtype == np.int64
    assert len(set(found.pairs[:, 0])) == len(set(found.pairs[:, 1])) == 5
    np.testing.assert_allclose(found.cosine, values, atol=1e-6)
    assert np.all(np.diff(np.abs(found.cosine)) <= 0)
    assert found.mcc_abs == pytest.approx(np.abs(values).mean(), abs=1e-6)
    assert found.mcc_signed == mean_correlation_coefficient(a, b, signed=True)


@pytest.mark.parametrize("shape", [(300, 300), (300, 180)])
def test_assignment_equals_scipy(shape: tuple[int, int]) -> None:
    a = gaussian(shape[0], 32, seed=1)
    b = np.concatenate([a[:100] + 0.3 * gaussian(100, 32, seed=2), gaussian(shape[1] - 100, 32, seed=3)])
    values = np.abs(cosines(a, b))
    best = values[linear_sum_assignment(values, maximize=True)].mean()
    assert mean_correlation_coefficient(a, b) == pytest.approx(best, abs=1e-6)


def test_agrees_with_saelens() -> None:
    import torch
    from sae_lens.synthetic import mean_correlation_coefficient as theirs

    a = gaussian(200, 24, seed=1)
    trained = (a + 0.2 * gaussian(200, 24, seed=2))[::-1]
    for b in (gaussian(200, 24, seed=3), gaussian(120, 24, seed=4), trained):
        first, second = torch.tensor(a, dtype=torch.float32), torch.tensor(b.copy(), dtype=torch.float32)
        assert mean_correlation_coefficient(first, second) == pytest.approx(theirs(first, second), abs=1e-5)


def test_a_zero_row_counts_as_cosine_0() -> None:
    a = np.eye(4)
    b = a.copy()
    b[2] = 0
    assert mean_correlation_coefficient(a, b) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "width 3"),
        (np.ones((0, 3)), np.ones((2, 3)), "features_a must be a non-empty matrix"),
        (np.ones(3), np.ones((2, 3)), "features_a"),
        (np.ones((2, 3)), np.full((2, 3), np.nan), "features_b holds NaN"),
        (np.ones((2, 3)), np.full((2, 3), np.inf), "features_b holds NaN"),
    ],
)
def test_bad_input_is_one_sentence(a: np.ndarray, b: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        mean_correlation_coefficient(a, b)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


PUBLISHED_NULLS = [
    (8, 16, 16, 0.641, 0.02),
    (8, 80, 80, 0.769, 0.02),
    (8, 80, 800, 0.900, 0.02),
    (16, 32, 32, 0.530, 0.02),
    (16, 160, 80, 0.646, 0.02),
    (20, 160, 160, 0.578, 0.02),
    (40, 80, 80, 0.387, 0.02),
    (128, 1024, 1024, 0.288, 0.01),
]


@pytest.mark.parametrize(("d", "n_a", "n_b", "level", "tolerance"), PUBLISHED_NULLS)
def test_null_level(d: int, n_a: int, n_b: int, level: float, tolerance: float) -> None:
    null = random_direction_null(d, n_a, n_b)
    assert null.draws == (50 if max(n_a, n_b) <= 128 else 5) and null.std > 0
    assert null.mean == pytest.approx(level, abs=tolerance)
    assert analytic_null(d, n_a, n_b) == pytest.approx(null.mean, abs=0.025 if d < 64 else 0.01)


def test_large_null_is_analytic_and_says_so() -> None:
    null = random_direction_null(768, 3072, 3072)
    assert null == Null(analytic_null(768, 3072, 3072), 0.0, 0)
    assert null.mean == pytest.approx(0.130, abs=0.005)
    assert random_direction_null(1, 4, 4).mean == analytic_null(1, 4, 4) == 1


def test_null_is_repeatable_and_seeded() -> None:
    assert random_direction_null(16, 32, 32) == random_direction_null(16, 32, 32)
    assert random_direction_null(16, 32, 32) != random_direction_null(16, 32, 32, seed=1)


def test_calibrated() -> None:
    assert [calibrated(v, 0.5) for v in (0.5, 1.0, 0.75)] == [0.0, 1.0, 0.5]
    assert calibrated(1.0, 1.0) == 0.0


def symmetric(runs: int, effects: np.ndarray) -> np.ndarray:
    matrix = (effects[:, None] + effects[None, :]) / 2
    np.fill_diagonal(matrix, np.nan)
    return matrix[:runs, :runs]


def test_bootstrap_is_deterministic_and_contains_the_mean() -> None:
    matrix = symmetric(5, 0.8 + 0.05 * gaussian(5))
    interval = bootstrap_interval(matrix)
    assert interval == bootstrap_interval(matrix) != bootstrap_interval(matrix, seed=1)
    assert interval is not None
    assert np.nanmin(matrix) <= interval[0] < np.nanmean(matrix) < interval[1] <= np.nanmax(matrix)
    assert bootstrap_interval(matrix[:2, :2]) is None
    assert bootstrap_interval(symmetric(3, np.full(3, 0.7))) == pytest.approx((0.7, 0.7))


def test_bootstrap_over_runs_covers_where_pairs_are_dependent() -> None:
    covered = 0
    for seed in range(100):
        interval = bootstrap_interval(symmetric(12, 0.8 + 0.05 * gaussian(12, seed=seed)), n=400, seed=seed)
        assert interval is not None
        covered += interval[0] <= 0.8 <= interval[1]
    assert covered >= 85


def test_mean_interval_is_student_t() -> None:
    low, high = mean_interval([0.9, 1.0, 1.1])
    assert (low, high) == pytest.approx((1 - 4.302653 * 0.1 / 3**0.5, 1 + 4.302653 * 0.1 / 3**0.5), abs=1e-6)
    assert mean_interval([0.9]) == (-np.inf, np.inf)
