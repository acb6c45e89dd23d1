"""Matching by lists of partners against the whole problem, and the certificate that it reports."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from analyses import assignment
from analyses.assignment import assign, assign_both
from analyses.matching import match

Rows = NDArray[np.float32]


def unit(rows: NDArray[np.float64]) -> Rows:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norms == 0, 1, norms)).astype(np.float32)


def random(n: int, d: int, seed: int) -> Rows:
    return unit(np.random.default_rng(seed).standard_normal((n, d)))


def shared(n: int, d: int, noise: float = 0.4) -> tuple[Rows, Rows]:
    """70 % of the rows are noisy copies in another order, some with the other sign; the rest is independent."""
    generator = np.random.default_rng(3)
    a, b = random(n, d, 1).astype(np.float64), random(n, d, 2).astype(np.float64)
    copies = int(0.7 * n)
    b[:copies] = a[:copies] + noise * generator.standard_normal((copies, d)) / np.sqrt(d)
    b[: copies // 5] *= -1
    return unit(a), unit(b[generator.permutation(n)])


def duplicated() -> tuple[Rows, Rows]:
    a = random(150, 16, 4)
    return np.repeat(a, 4, axis=0), np.repeat(a[:100], 6, axis=0)


CASES = {
    "random": (random(1200, 64, 1), random(1200, 64, 2)),
    "shared": shared(1500, 64),
    "wide": (random(300, 32, 1), random(1100, 32, 2)),
    "tall": (random(1100, 32, 1), random(300, 32, 2)),
    "duplicated": duplicated(),
    "flat": (random(500, 2, 1), random(500, 2, 2)),
    "line": (random(300, 1, 1), random(300, 1, 2)),
}


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("partners", [2, 64])
def test_lists_reach_the_whole_problems_value(
    name: str, signed: bool, partners: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also from lists of two partners, which only the certificate can widen."""
    a, b = CASES[name]
    monkeypatch.setattr(assignment, "WHOLE_UP_TO", 0)
    monkeypatch.setattr(assignment, "WHOLE_FITS", 0)
    monkeypatch.setattr(assignment, "PARTNERS", partners)
    monkeypatch.setattr(assignment, "TILE", (256, 512))
    found = assign(a, b, signed)
    similarity = a @ b.T if signed else np.abs(a @ b.T)
    best = similarity[linear_sum_assignment(similarity, maximize=True)].mean(dtype=np.float64)
    assert found.similarity.mean(dtype=np.float64) == pytest.approx(best, abs=1e-6)
    assert 0 <= found.gap <= 1e-6
    assert len(set(found.rows)) == len(set(found.columns)) == len(found.rows) == min(len(a), len(b))
    np.testing.assert_allclose(found.similarity, similarity[found.rows, found.columns], atol=1e-6)
    np.testing.assert_allclose(found.best_a, similarity.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.best_b, similarity.max(axis=0), atol=1e-6)


def test_short_lists_alone_are_not_optimal_and_the_gap_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = shared(1500, 64, noise=2.0)
    monkeypatch.setattr(assignment, "WHOLE_UP_TO", 0)
    monkeypatch.setattr(assignment, "PARTNERS", 2)
    monkeypatch.setattr(assignment, "TILE", (256, 512))
    monkeypatch.setattr(assignment, "ROUNDS", 1)
    monkeypatch.setattr(assignment, "WHOLE_FITS", 0)
    found = assign(a, b)
    similarity = np.abs(a @ b.T)
    best = similarity[linear_sum_assignment(similarity, maximize=True)].mean(dtype=np.float64)
    missing = best - found.similarity.mean(dtype=np.float64)
    assert missing > 1e-6
    assert found.gap >= missing - 1e-9


@pytest.mark.parametrize("sizes", [(1000, 1000), (700, 1000)])
def test_crowds_on_one_side_are_solved_whole(sizes: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of `a` crowds around a direction that `b` hardly has: the rounds do not end, the answer is exact."""
    generator = np.random.default_rng(5)
    centres = generator.standard_normal((20, 64))
    crowds = np.array([0.5] + [0.5 / 19] * 19)
    a, b = (
        unit(centres[generator.choice(20, n, p=p)] + 0.05 * generator.standard_normal((n, 64)))
        for n, p in zip(sizes, (crowds, crowds[::-1]), strict=True)
    )
    monkeypatch.setattr(assignment, "WHOLE_UP_TO", 0)
    for name, value in (("TILE", (256, 512)), ("PARTNERS", 8), ("NEW_PARTNERS", 8)):
        monkeypatch.setattr(assignment, name, value)
    found = assign(a, b)
    similarity = np.abs(a @ b.T)
    best = similarity[linear_sum_assignment(similarity, maximize=True)].mean(dtype=np.float64)
    assert found.gap == 0 and found.similarity.mean(dtype=np.float64) == pytest.approx(best, abs=1e-6)
    monkeypatch.setattr(assignment, "WHOLE_FITS", 0)
    monkeypatch.setattr(assignment, "ROUNDS", 5)
    unfinished = assign(a, b)
    missing = best - unfinished.similarity.mean(dtype=np.float64)
    assert unfinished.gap > 1e-6 and unfinished.gap >= missing - 1e-9


def test_zero_rows_are_matched_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = random(200, 16, 1), random(260, 16, 2)
    a[:20] = 0
    for limit in (0, 4096):
        monkeypatch.setattr(assignment, "WHOLE_UP_TO", limit)
        absolute, signed = assign_both(a, b)
        assert absolute.similarity[:20].max() == signed.similarity[:20].max() == 0
        assert (absolute.best_a[:20] == 0).all()


def test_match_is_the_same_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = CASES["shared"]
    whole = match(a, b)
    monkeypatch.setattr(assignment, "WHOLE_UP_TO", 0)
    lists = match(a, b)
    assert whole.gap == 0 and lists.gap <= 1e-6
    assert lists.mcc_abs == pytest.approx(whole.mcc_abs, abs=1e-6)
    assert lists.mcc_signed == pytest.approx(whole.mcc_signed, abs=1e-6)
    np.testing.assert_allclose(lists.best_a, whole.best_a, atol=1e-6)
    assert lists.cosine.min() < 0
    for found in (whole, lists):
        assert found.mcc_abs == pytest.approx(np.abs(found.cosine).mean(), abs=1e-12)
