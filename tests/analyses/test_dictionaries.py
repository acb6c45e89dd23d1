"""Duplicates, subspaces, contributions and stability against plain computations."""

from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analyses.dictionaries import (
    contributions,
    encoder_alignment,
    feature_stability,
    log_spaced_bins,
    neighbours,
    subspace_overlap,
)
from analyses.sae_frames import frequency_bins


def random_rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


@pytest.mark.parametrize("block", [1, 7, 50, 64, 4096])
def test_blocks_give_what_the_whole_matrix_gives(block: int) -> None:
    rows = random_rows(50, 6)
    rows[31] = -2 * rows[4]
    rows[40] = 0
    unit = rows / np.where(norms := np.linalg.norm(rows, axis=1, keepdims=True), norms, 1)
    cosine = np.abs(unit @ unit.T)
    np.fill_diagonal(cosine, 0)
    found = neighbours(rows, block)
    np.testing.assert_allclose(found.nearest, cosine.max(axis=1), atol=1e-6)
    np.testing.assert_allclose(found.nearest_above, np.tril(cosine).max(axis=1), atol=1e-6)
    assert found.mutual_coherence == pytest.approx(1.0, abs=1e-6)


def test_the_first_of_three_duplicates_is_unique() -> None:
    rows = np.eye(8)[[0, 1, 0, 2, 0, 3]]
    found = neighbours(rows)
    assert found.near_duplicates().tolist() == [True, False, True, False, True, False]
    assert found.uniqueness() == pytest.approx(4 / 6)
    assert neighbours(np.eye(4)).uniqueness() == 1 and neighbours(np.eye(4)).mutual_coherence == 0
    assert neighbours(np.eye(1)).nearest.tolist() == [0]


@pytest.mark.parametrize("features", [np.zeros(3), np.full((2, 2), np.nan)])
def test_what_is_no_dictionary_is_refused(features: np.ndarray) -> None:
    with pytest.raises(ValueError, match="finite matrix"):
        neighbours(features)


def test_encoder_alignment_is_a_signed_cosine() -> None:
    decoder = random_rows(5, 4)
    scale = np.array([[1.0], [0.2], [-3.0], [5.0], [0.0]])
    np.testing.assert_allclose(encoder_alignment(decoder * scale, decoder), [1, 1, -1, 1, 0], atol=1e-6)
    with pytest.raises(ValueError, match="must agree"):
        encoder_alignment(decoder, decoder[:, :3])


def test_the_same_plane_overlaps_wholly_and_random_ones_by_chance() -> None:
    generator = np.random.default_rng(3)
    basis = np.linalg.qr(generator.standard_normal((40, 40)))[0]
    in_plane = [generator.standard_normal((60, 5)) @ basis[:5] for _ in range(2)]
    overlap, chance = subspace_overlap(*in_plane)
    assert overlap == pytest.approx(1.0, abs=1e-6) and chance <= 5 / 40
    assert subspace_overlap(in_plane[0], generator.standard_normal((60, 5)) @ basis[5:10])[0] < 1e-6
    found = [
        subspace_overlap(generator.standard_normal((6, 40)), generator.standard_normal((6, 40)))
        for _ in range(60)
    ]
    assert np.mean([overlap for overlap, _ in found]) == pytest.approx(found[0][1], abs=0.02)


def test_rank_is_shared_and_capped() -> None:
    many, few = random_rows(200, 10), random_rows(2, 10, 1)
    assert subspace_overlap(many, random_rows(200, 10, 2))[1] == 0.5
    assert subspace_overlap(many, few)[1] == 0.2
    assert np.isnan(subspace_overlap(many, few[:0])).all()
    assert np.isnan(subspace_overlap(many, 0 * few)).all()


def test_principal_angles_equal_scipys() -> None:
    from scipy.linalg import subspace_angles

    a, b = random_rows(4, 30), random_rows(4, 30, 1)
    overlap, chance = subspace_overlap(a, b, energy=1.0)
    assert chance == 4 / 30
    assert overlap == pytest.approx(np.mean(np.cos(subspace_angles(a.T, b.T)) ** 2), abs=1e-6)


@pytest.mark.parametrize("never", [0, 3, 40])
def test_contributions_add_up_to_pw_mcc(never: int) -> None:
    generator = np.random.default_rng(never)
    cosine, frequency = generator.uniform(-1, 1, 40), 10 ** generator.uniform(-6, 0, 40)
    frequency[:never] = 0
    found = contributions(cosine, frequency)
    assert found["contribution"].sum() == pytest.approx(np.abs(cosine).mean(), abs=1e-9)
    assert found["count"].sum() == 40 and found["count"][0] == never
    assert len(found["low"]) == (1 if never == 40 else 6)
    if never < 40:
        ratios = found["high"][1:] / found["low"][1:]
        np.testing.assert_allclose(ratios, ratios[0])
        assert found["low"][1] == frequency[frequency > 0].min() and found["high"][-1] == frequency.max()
    halved = contributions(cosine, frequency, n=80)
    assert halved["contribution"].sum() == pytest.approx(np.abs(cosine).sum() / 80, abs=1e-9)


def test_every_value_is_in_its_log_spaced_bin() -> None:
    values = np.array([0.0, 1, 9.9, 10.1, 99, 101, 1000])
    edges, place = log_spaced_bins(values, 3)
    np.testing.assert_allclose(edges, [1, 10, 100, 1000])
    assert place.tolist() == [0, 1, 1, 2, 2, 3, 3]
    assert len({*log_spaced_bins([5.0, 5.0, 5.0])[1]}) == 1


def test_frames_and_contributions_are_one() -> None:
    matches = pd.DataFrame(
        {
            "seed_a": 0, "seed_b": 1, "subset": ["all", "all", "alive"], "cosine": [0.9, -0.5, 0.1],
            "frequency_a": [0.1, 0.01, 0.3], "frequency_b": [0.2, 0.0, 0.3],
        }
    )  # fmt: skip
    bins = frequency_bins(matches, bins=2)
    assert bins["count"].tolist() == [1, 0, 1] and bins["contribution"].sum() == pytest.approx(0.7)


def test_stability_is_the_share_of_other_runs_with_a_partner() -> None:
    cosines = {(0, 1): [0.9, -0.8, 0.1], (0, 2): [0.95, 0.2, 0.1], (1, 2): [0.7, 0.69, 0.3]}
    rows = [
        {"seed_a": a, "seed_b": b, "subset": subset, "feature_a": i, "feature_b": i, "cosine": cosine}
        for a, b in combinations(range(3), 2)
        for subset in ("all", "alive")
        for i, cosine in enumerate(cosines[a, b])
    ]
    for table in (pa.Table.from_pylist(rows), pd.DataFrame(rows)):
        found = feature_stability(table)
        assert found["seed"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        assert found["feature"].tolist() == [0, 1, 2] * 3
        assert found["stability"].tolist() == [1, 0.5, 0, 1, 0.5, 0, 1, 0, 0]
    assert feature_stability(pd.DataFrame(rows), threshold=0.99)["stability"].max() == 0
