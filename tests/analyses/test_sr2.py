"""Likeness of states: CKA by hand and under rotations, and its chance."""

import numpy as np
import pytest
from scipy.stats import ortho_group

from analyses.sr2 import likeness, linear_cka, paths

RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(200, 6)) * np.arange(1, 7)


def test_cka_of_rotated_scaled_and_shifted_states_is_one() -> None:
    turned = 3 * STATES @ ortho_group.rvs(6, random_state=1) + 5
    assert linear_cka(STATES, turned) == pytest.approx(1)
    assert linear_cka(STATES, np.ones((200, 3))) == 0


def test_cka_by_hand() -> None:
    """Columns a and b with correlation r: CKA of the two single columns is r²."""
    a, b = RNG.normal(size=(2, 50))
    assert linear_cka(a[:, None], b[:, None]) == pytest.approx(np.corrcoef(a, b)[0, 1] ** 2)
    with pytest.raises(ValueError, match="same rows"):
        linear_cka(STATES, STATES[:10])


def test_likeness_of_the_same_states_and_of_unrelated_ones() -> None:
    same = likeness(STATES, STATES @ ortho_group.rvs(6, random_state=2), np.random.default_rng(0))
    assert same.mcc > 0.98 and same.cka == pytest.approx(1) and same.cka_null < 0.2
    other = likeness(STATES, RNG.normal(size=(200, 6)), np.random.default_rng(0))
    assert abs(other.mcc - other.mcc_null) < 0.1 and abs(other.cka - other.cka_null) < 0.1


def test_paths_keep_distances_in_the_plane() -> None:
    states = np.zeros((4, 3, 5))
    states[..., 1] = RNG.normal(size=(4, 3))
    states[..., 3] = RNG.normal(size=(4, 3)) * 2
    places, explained = paths(states)
    assert places.shape == (4, 3, 2) and explained.sum() == pytest.approx(1)
    assert np.linalg.norm(places[0, 0] - places[3, 2]) == pytest.approx(
        np.linalg.norm(states[0, 0] - states[3, 2])
    )
