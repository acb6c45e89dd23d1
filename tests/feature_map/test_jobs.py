"""The map job against a real engine: what it writes, what it refuses, which features it draws."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from data.paths import state_dir
from engine.client import Client, EngineError
from engine.errors import UserError
from engine.run import Run, Stopped
from engine.studies.base import parse_config
from engine.tools.feature_map import FeatureMap
from engine.tools.feature_map.dictionaries import draw, saes, shares, unit_rows
from engine.tools.feature_map.mapping import make_map
from tests.conftest import TINY_WORLD

WIDE = {**TINY_WORLD, "d_in": 16}


@pytest.fixture(scope="module")
def runs(engine: Client) -> list[str]:
    """Two runs of one width, the second with 60 latents, and one of another width."""
    settings = [TINY_WORLD, {**TINY_WORLD, "d_sae": 60}, WIDE]
    return [engine.wait(engine.submit("sae_consistency", one, [0, 2])["id"])["id"] for one in settings]


@pytest.fixture(scope="module")
def made(engine: Client, runs: list[str]) -> dict:
    return engine.wait(engine.make_map(runs[:2], seed=5)["id"])


def points(engine: Client, run_id: str) -> pa.Table:
    return engine.table(run_id, "map_points")


class TestJob:
    def test_every_feature_has_a_place(self, engine: Client, runs: list[str], made: dict) -> None:
        assert made["state"] == "done", made["error"]
        table = points(engine, made["id"]).to_pandas()
        assert len(table) == 2 * 12 + 2 * 60
        keys = table[["of_run", "seed", "feature"]]
        assert keys.equals(keys.sort_values(["of_run", "seed", "feature"]))
        assert set(table["of_run"]) == set(runs[:2]) and set(table["seed"]) == {0, 2}
        assert np.isfinite(table[["x", "y"]]).all(axis=None)
        messages = [row["text"] for row in engine.events(made["id"])["rows"] if row["kind"] == "message"]
        assert "144 of 144 features are laid out." in messages

    def test_order_of_the_runs_does_not_matter(self, engine: Client, runs: list[str], made: dict) -> None:
        again = engine.make_map([runs[1], runs[0], runs[1]], seed=5)
        assert again["id"] == made["id"] and again["state"] == "done"

    def test_same_seed_same_bytes_in_another_process(
        self, engine: Client, runs: list[str], made: dict
    ) -> None:
        other = engine.wait(engine.make_map(runs[:2], seed=5, max_points=200)["id"])
        assert other["id"] != made["id"]
        first, second = (points(engine, run["id"]).drop_columns(["run_id"]) for run in (made, other))
        assert first.equals(second)

    def test_sample_takes_the_same_share_of_every_sae(self, engine: Client, runs: list[str]) -> None:
        small = engine.wait(engine.make_map(runs[:2], max_points=100)["id"])
        assert small["state"] == "done", small["error"]
        table = points(engine, small["id"]).to_pandas()
        counts = table.groupby(["of_run", "seed"]).size()
        assert counts.sum() == 100
        assert sorted(counts) == [8, 8, 42, 42]
        assert not table.duplicated(["of_run", "seed", "feature"]).any()

    def test_estimate(self, engine: Client, runs: list[str]) -> None:
        cost = engine.estimate("feature_map", {"runs": runs[0]}, [0])
        assert 0 < cost["seconds"] < 60 and cost["memory_bytes"] > 0
        assert cost["command"] == f"concordance run feature_map --seeds 1 --set runs={runs[0]}"


class TestRefused:
    def test_bad_runs(self, engine: Client, runs: list[str], made: dict) -> None:
        for bad, words in [
            ([runs[0], runs[2]], "d_in"),
            (["nowhere"], "nowhere does not exist"),
            (["../../etc"], "not a run id"),
            ([made["id"]], "feature_map run"),
            ([" , "], "at least one"),
        ]:
            with pytest.raises(EngineError, match=words) as refused:
                engine.make_map(bad)
            assert refused.value.status == 422 and refused.value.message.startswith("runs:")

    def test_bad_settings(self, engine: Client, runs: list[str]) -> None:
        for settings, field in [
            ({"n_neighbors": 1}, "n_neighbors"),
            ({"min_dist": 2.0}, "min_dist"),
            ({"max_points": 5}, "max_points"),
        ]:
            with pytest.raises(EngineError) as refused:
                engine.make_map(runs[:1], **settings)
            assert refused.value.message.startswith(f"{field}:")
        with pytest.raises(EngineError, match="one seed"):
            engine.submit("feature_map", {"runs": runs[0]}, [0, 1])

    def test_too_many_neighbours(self, engine: Client, runs: list[str]) -> None:
        with pytest.raises(EngineError, match="24 is too many for 24 features"):
            engine.make_map(runs[:1], n_neighbors=24)

    def test_unfinished_run(self, engine: Client) -> None:
        config = {**TINY_WORLD, "n_steps": 500_000, "world_seed": 3}
        running = engine.submit("sae_consistency", config, [0])["id"]
        with pytest.raises(EngineError, match="wait until it is done"):
            engine.make_map([running])
        engine.cancel(running)
        engine.wait(running)


class TestStopping:
    @pytest.mark.parametrize("stage", ["reading decoders", "finding nearest neighbours", "laying out"])
    def test_stops_in_every_stage(self, engine: Client, runs: list[str], made: dict, stage: str) -> None:
        config = parse_config(FeatureMap(), None, {"runs": ",".join(runs[:2])})
        run = Run(state_dir() / "runs" / made["id"], config)
        events = run.event
        run.event = lambda *_, **__: None  # type: ignore[method-assign]

        def progress(done: float, total: float, name: str) -> None:
            run.should_stop = run.should_stop or name == stage

        run.progress = progress  # type: ignore[method-assign]
        with pytest.raises(Stopped):
            make_map(run)
        run.event = events  # type: ignore[method-assign]


class TestDictionaries:
    @pytest.mark.parametrize(
        ("sizes", "most", "wanted"),
        [
            ([5, 5], 20, [5, 5]),
            ([2304] * 3, 1000, [334, 333, 333]),
            ([10, 30], 20, [5, 15]),
            ([1, 999], 100, [0, 100]),
        ],
    )
    def test_shares(self, sizes: list[int], most: int, wanted: list[int]) -> None:
        assert shares(sizes, most) == wanted

    def test_draws_differ_by_sae_and_seed_and_repeat(self, engine: Client, runs: list[str]) -> None:
        first, second = saes([runs[1]])
        drawn = draw(first, 30, 0)
        assert (np.diff(drawn) > 0).all() and len(drawn) == 30
        np.testing.assert_array_equal(drawn, draw(first, 30, 0))
        assert (drawn != draw(second, 30, 0)).any() and (drawn != draw(first, 30, 1)).any()

    def test_rows_have_length_one(self, engine: Client, runs: list[str]) -> None:
        rows = unit_rows(saes([runs[0]])[0], np.arange(12, dtype=np.int32))
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)

    def test_damaged_weights_are_named(self, engine: Client, runs: list[str]) -> None:
        path: Path = saes([runs[2]])[0].path
        sound = path.read_bytes()
        path.write_bytes(b"\xff" * 100)
        with pytest.raises(UserError, match="no readable SAE of seed 0"):
            saes([runs[2]])
        path.write_bytes(sound)
