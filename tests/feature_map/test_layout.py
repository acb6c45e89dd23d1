"""Exact neighbours, and a layout that repeats, keeps neighbourhoods and can be stopped."""

import numpy as np
import pytest

from engine.run import Stopped
from engine.tools.feature_map.layout import keep_compiled_code, layout
from engine.tools.feature_map.neighbours import nearest


def ignore(done: int, total: int) -> None:
    pass


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def clusters() -> tuple[np.ndarray, np.ndarray]:
    """Unit rows around 6 directions, and which of them each belongs to."""
    generator = np.random.default_rng(0)
    member = np.arange(600) % 6
    return unit(generator.normal(size=(6, 32))[member] * 2 + generator.normal(size=(600, 32)) * 0.5), member


@pytest.fixture(scope="module", autouse=True)
def compiled() -> None:
    keep_compiled_code()


class TestNearest:
    def test_equals_a_full_sort(
        self, clusters: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows, _ = clusters
        monkeypatch.setattr("engine.tools.feature_map.neighbours.BLOCK_VALUES", 600 * 70)
        indices, distances = nearest(rows, 10, "cpu", ignore)
        cosine = rows.astype(np.float64) @ rows.T.astype(np.float64)
        np.fill_diagonal(cosine, 2)
        found = np.take_along_axis(cosine, indices, axis=1)
        np.testing.assert_allclose(found, -np.sort(-cosine, axis=1)[:, :10], atol=1e-6)
        np.testing.assert_allclose(distances[:, 1:], 1 - found[:, 1:], atol=1e-6)
        assert (distances[:, 0] == 0).all()

    def test_itself_is_first_among_copies(self) -> None:
        rows = np.repeat(np.eye(4, dtype=np.float32), 5, axis=0)
        indices, distances = nearest(rows, 5, "cpu", ignore)
        assert indices[:, 0].tolist() == list(range(20)) and (distances == 0).all()

    def test_stops_between_blocks(
        self, clusters: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("engine.tools.feature_map.neighbours.BLOCK_VALUES", 600 * 100)
        seen = []

        def report(done: int, total: int) -> None:
            seen.append(done)
            if done >= 200:
                raise Stopped

        with pytest.raises(Stopped):
            nearest(clusters[0], 5, "cpu", report)
        assert seen == [0, 100, 200]


class TestLayout:
    def test_same_seed_same_bytes(self, clusters: tuple[np.ndarray, np.ndarray]) -> None:
        rows, _ = clusters
        found = [layout(rows, nearest(rows, 15, "cpu", ignore), seed, 0.1, ignore) for seed in (3, 3, 4)]
        assert found[0].shape == (600, 2) and np.isfinite(found[0]).all()
        assert found[0].tobytes() == found[1].tobytes() != found[2].tobytes()

    def test_neighbours_stay_together(self, clusters: tuple[np.ndarray, np.ndarray]) -> None:
        rows, member = clusters
        positions = layout(rows, nearest(rows, 15, "cpu", ignore), 0, 0.1, ignore)
        apart = np.linalg.norm(positions[:, None] - positions[None], axis=2)
        np.fill_diagonal(apart, np.inf)
        assert (member[apart.argmin(axis=1)] == member).mean() > 0.98

    def test_reports_epochs_and_stops_within_one_report(
        self, clusters: tuple[np.ndarray, np.ndarray]
    ) -> None:
        rows, _ = clusters
        seen: list[tuple[int, int]] = []

        def report(done: int, total: int) -> None:
            seen.append((done, total))
            raise Stopped

        with pytest.raises(Stopped):
            layout(rows, nearest(rows, 15, "cpu", ignore), 0, 0.1, report)
        done, total = seen[0]
        assert 0 < done <= total == 500

    def test_identical_and_empty_directions_are_laid_out(self) -> None:
        rows = np.concatenate(
            [np.repeat(np.eye(8, dtype=np.float32), 10, axis=0), np.zeros((5, 8), np.float32)]
        )
        assert np.isfinite(layout(rows, nearest(rows, 15, "cpu", ignore), 0, 0.1, ignore)).all()
