"""The study end to end on tiny worlds: tables, repeatable bytes, stop and resume, refusals, tables of one's own."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from data.files import sha256_file, write_json
from engine.errors import UserError
from engine.run import Run, Stopped
from engine.studies import STUDIES
from engine.studies.base import parse_config
from engine.studies.concept_hierarchy import diffusion, training
from engine.studies.concept_hierarchy.training import train

STUDY = STUDIES["concept_hierarchy"]
WORLD: dict[str, Any] = {
    "shape": "chain",
    "n_states": 2,
    "n_samples": 1_500,
    "n_latent_states": 2,
    "n_bootstraps": 2,
}
IMAGES: dict[str, Any] = {
    "source": "images",
    "diffusion_steps": 30,
    "n_generated": 16,
    "checkpoint_every": 20,
}


class WatchedRun(Run):
    """A real run that calls `watch(stage, calls so far)` at every report of progress."""

    calls = 0
    watch: Callable[["WatchedRun", str], None] = staticmethod(lambda run, stage: None)

    def progress(self, done: float, total: float, stage: str) -> None:
        super().progress(done, total, stage)
        self.calls += 1
        self.watch(self, stage)


def make_run(folder: Path, seeds: list[int], **changes: Any) -> WatchedRun:
    folder.mkdir(parents=True, exist_ok=True)
    config = parse_config(STUDY, None, changes)
    record = {"id": "h", "study": STUDY.name, "seeds": seeds, "data_seed": 0}
    write_json(folder / "config.json", {**record, "config": config.model_dump(mode="json")})
    return WatchedRun(folder, config)


def done(folder: Path, seeds: list[int], **changes: Any) -> Path:
    train(make_run(folder, seeds, **changes))
    return folder


def table(folder: Path, name: str) -> pd.DataFrame:
    return pq.read_table(folder / "tables" / f"{name}.parquet").to_pandas()


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted((folder / "tables").glob("*.parquet"))}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return done(tmp_path_factory.mktemp("world"), [0, 4], **WORLD)


class TestTables:
    def test_every_declared_table_is_there(self, world: Path) -> None:
        assert sorted(hashes(world)) == sorted(f"{name}.parquet" for name in STUDY.tables)

    def test_graphs_of_truth_and_every_method(self, world: Path) -> None:
        nodes, edges = table(world, "hierarchy_nodes"), table(world, "hierarchy_edges")
        methods = {"truth", "truth before reduction", "discrete rank", "linear rank", "latent classes",
                   "pairwise clustering"}  # fmt: skip
        assert set(nodes["method"]) == methods and set(edges["method"]) <= methods
        observed = nodes[(nodes["method"] == "truth") & (nodes["kind"] == "observed") & (nodes["seed"] == 0)]
        assert sorted(observed["node"]) == [f"x{i + 1}" for i in range(8)]
        assert set(observed["group"]) == {"z1", "z2"} and set(observed["level"]) == {0}
        assert edges[edges["method"] == "truth"]["in_truth"].all()

    def test_edges_of_the_estimate_know_the_truth(self, world: Path) -> None:
        edges, scores = table(world, "hierarchy_edges"), table(world, "hierarchy_scores")
        for row in scores[scores["method"] == "discrete rank"].itertuples():
            mine = edges[(edges["method"] == row.method) & (edges["seed"] == row.seed)]
            assert mine["in_truth"].mean() == pytest.approx(row.skeleton_precision)
            assert mine["bootstrap_share"].isin([0.0, 0.5, 1.0]).all()
        others = edges[~edges["method"].isin(["discrete rank"])]
        assert others["bootstrap_share"].isna().all()

    def test_scores_have_their_chance(self, world: Path) -> None:
        scores = table(world, "hierarchy_scores")
        ours = scores[scores["method"] == "discrete rank"]
        assert len(ours) == 2 and set(ours["states"]) == {"true states"}
        assert (ours["skeleton_f1"] > ours["chance"]).all() and (ours["n_latents_true"] == 2).all()

    def test_concepts_have_members_states_and_examples(self, world: Path) -> None:
        members, states = table(world, "concept_members"), table(world, "concept_states")
        examples = table(world, "concept_examples")
        ours = members[members["method"] == "discrete rank"]
        assert set(zip(ours["seed"], ours["concept"], ours["member"], strict=True)) == set(
            zip(states["seed"], states["concept"], states["member"], strict=True)
        )
        shares = (
            states.drop_duplicates(["seed", "concept", "state"]).groupby(["seed", "concept"])["share"].sum()
        )
        assert np.allclose(shares, 1)
        given = states.groupby(["seed", "concept", "state", "member"])["probability"].sum()
        assert np.allclose(given, 1)
        assert examples["text"].str.contains("x").all() and set(examples["rank"]) <= {1, 2, 3}

    def test_rank_statistics_hold_every_pair(self, world: Path) -> None:
        assert len(table(world, "rank_statistics")) == 2 * 28

    def test_seeds_draw_worlds_of_their_own(self, world: Path, tmp_path: Path) -> None:
        ranks = table(world, "rank_statistics")
        first, second = (ranks[ranks["seed"] == seed]["statistic"].to_numpy() for seed in (0, 4))
        assert not np.allclose(first, second)
        moved = done(tmp_path / "moved", [0], **WORLD, world_seed=4)
        assert np.allclose(table(moved, "rank_statistics")["statistic"], second)


def test_same_seeds_same_bytes(world: Path, tmp_path: Path) -> None:
    assert hashes(done(tmp_path / "again", [0, 4], **WORLD)) == hashes(world)


def test_a_search_that_is_stopped_goes_on_to_the_same_bytes(world: Path, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    run = make_run(folder, [0, 4], **WORLD)

    def stop(run: WatchedRun, stage: str) -> None:
        run.should_stop = stage.endswith("seed 4") and run.calls > 4

    run.watch = stop
    with pytest.raises(Stopped):
        train(run)
    assert not (folder / "tables").exists()
    state = json.loads(next((folder / "checkpoints").glob("step-*/state.json")).read_text())
    assert state["done"] in (0, 1)
    resumed = make_run(folder, [0, 4], **WORLD)
    stages: list[str] = []
    resumed.watch = lambda run, stage: stages.append(stage)
    train(resumed)
    assert not any(stage.endswith("seed 0") for stage in stages)
    assert hashes(folder) == hashes(world)


@pytest.mark.parametrize("stop_at", [30, 45])
def test_a_denoiser_that_is_stopped_goes_on_to_the_same_bytes(
    tmp_path: Path, images: Path, stop_at: int
) -> None:
    folder = tmp_path / "stopped"
    run = make_run(folder, [1], **IMAGES)

    def stop(run: WatchedRun, stage: str) -> None:
        run.should_stop = run.calls == stop_at

    run.watch = stop
    with pytest.raises(Stopped):
        train(run)
    train(make_run(folder, [1], **IMAGES))
    assert hashes(folder) == hashes(images)


@pytest.fixture(scope="module", autouse=True)
def two_starts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffusion, "STARTS", (0.0, 1.0))
        yield


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return done(tmp_path_factory.mktemp("images"), [1], **IMAGES)


def test_images_fill_the_diffusion_tables_alone(images: Path) -> None:
    for name in training.DIFFUSION_TABLES:
        assert set(table(images, name)["energies"]) == {"natural", "equal"}
    assert all(table(images, name).empty for name in training.SEARCH_TABLES)
    assert len(list((images / "tensors").glob("denoiser-seed-1-*.safetensors"))) == 2


def test_continuous_blocks_score_both_kinds_of_states(tmp_path: Path) -> None:
    off = {"linear_rank": False, "latent_classes": False, "pairwise_clustering": False}
    config = {
        **WORLD,
        **off,
        "n_bootstraps": 0,
        "observed": "continuous",
        "separation": 8.0,
        "blocks": "unknown",
    }
    folder = done(tmp_path / "run", [0], **config)
    scores = table(folder, "hierarchy_scores")
    assert sorted(scores["states"]) == ["estimated states", "true states"]
    states = table(folder, "discrete_states")
    assert len(states) == 8 and (states["accuracy"] > 0.95).all()


class TestOwnTable:
    @pytest.fixture(scope="class")
    def csv(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        rng = np.random.default_rng(0)
        first = np.arange(800) % 2
        z = np.stack([first, first ^ (rng.random(800) < 0.15)], axis=1)
        noisy = {f"{'ab'[k]}{i}": z[:, k] ^ (rng.random(800) < 0.1) for k in range(2) for i in range(4)}
        columns = {name: 10 * state + rng.integers(9, size=800) for name, state in noisy.items()}
        path = tmp_path_factory.mktemp("table") / "own.csv"
        pd.DataFrame(columns).to_csv(path, index=False)
        return path

    def test_is_cut_at_the_median_and_shows_its_own_values(self, csv: Path, tmp_path: Path) -> None:
        config = {"source": "table", "table": str(csv), "linear_rank": False, "latent_classes": False}
        folder = done(tmp_path / "run", [0, 1], **config)
        scores = table(folder, "hierarchy_scores")
        assert scores["skeleton_f1"].isna().all() and (scores["n_samples"] == 640).all()
        assert table(folder, "concept_examples")["text"].str.contains("a0 = ").any()
        nodes = table(folder, "hierarchy_nodes")
        assert set(nodes[nodes["kind"] == "observed"]["n_states"]) == {2}

    def test_a_true_graph_is_scored(self, csv: Path, tmp_path: Path) -> None:
        graph = tmp_path / "graph.csv"
        edges = ["p,q", *(f"{'pq'[k]},{'ab'[k]}{i}" for k in range(2) for i in range(4))]
        graph.write_text("\n".join(["source,target", *edges]))
        config = {"source": "table", "table": str(csv), "true_graph": str(graph), "linear_rank": False}
        folder = done(tmp_path / "run", [0], **config, latent_classes=False, pairwise_clustering=False)
        assert table(folder, "hierarchy_scores")["skeleton_f1"].notna().all()

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"n_bins": 0}, "n_bins"),
            ({"table": "/nowhere.csv"}, "table"),
            ({"true_graph": "/nowhere.csv"}, "true_graph"),
        ],
    )
    def test_refusals_name_the_field(
        self, csv: Path, tmp_path: Path, changes: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(UserError) as error:
            config = {"source": "table", "table": str(csv), **changes}
            STUDY.fingerprint(parse_config(STUDY, None, config), [0])
            done(tmp_path / "run", [0], **config)
        assert error.value.field == field

    def test_its_content_is_part_of_the_identity(self, csv: Path, tmp_path: Path) -> None:
        other = tmp_path / "other.csv"
        other.write_text(csv.read_text() + "1,2,3,4,5,6,7,8\n")
        found = {
            STUDY.fingerprint(parse_config(STUDY, None, {"source": "table", "table": str(path)}), [0])
            for path in (csv, other)
        }
        assert len(found) == 2 and "" not in found


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"source": "table"}, "table"),
        ({"true_graph": "g.csv"}, "true_graph"),
        ({"n_states": 5, "row_distance": 0.6}, "row_distance"),
        ({"source": "features"}, "of"),
        ({"source": "features", "of": "nosuchrun"}, "of"),
    ],
)
def test_bad_settings_are_refused_before_training(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError) as error:
        STUDY.fingerprint(parse_config(STUDY, None, changes), [0])
    assert error.value.field == field


@pytest.mark.parametrize("preset", list(STUDY.presets))
def test_presets_are_valid_and_have_a_cost(preset: str) -> None:
    cost = STUDY.estimate(parse_config(STUDY, preset, {}), 3)
    assert cost["seconds"] > 0 and cost["memory_bytes"] > 1e8 and cost["disk_bytes"] > 0
