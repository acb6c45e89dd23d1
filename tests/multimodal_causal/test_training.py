"""A run end to end: the same bytes again, resumed to the bit at any stage, every table filled."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from engine.run import Run, Stopped
from engine.studies.multimodal_causal import MultimodalCausal
from engine.studies.multimodal_causal.stages import Stage
from engine.studies.multimodal_causal.training import train
from tests.multimodal_causal.conftest import MakeRun


def results(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.rglob("*.parquet")}


def stop_at(run: Run, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Ask the run to stop after `count` optimiser steps of all its stages."""
    original, done = Stage.step_together, [0]

    def stepping(self: Stage, *arguments: Any) -> None:
        done[0] += 1
        run.should_stop = done[0] == count
        original(self, *arguments)

    monkeypatch.setattr(Stage, "step_together", stepping)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


def test_every_table_is_written_and_repeats(tmp_path: Path, whole: Path, make_run: MakeRun) -> None:
    train(make_run(whole))
    train(make_run(tmp_path / "again"))
    assert results(whole) == results(tmp_path / "again")
    assert {name.removesuffix(".parquet") for name in results(whole)} == set(MultimodalCausal.tables)
    for name in MultimodalCausal.tables:
        assert pq.read_table(whole / "tables" / f"{name}.parquet").num_rows, name


@pytest.mark.parametrize("steps", [1, 30, 50, 62, 80, 95])
def test_stopped_and_resumed_equals_uninterrupted(
    tmp_path: Path, whole: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    stopped = make_run(tmp_path / "run")
    with monkeypatch.context() as patch:
        stop_at(stopped, patch, steps)
        with pytest.raises(Stopped):
            train(stopped)
    train(make_run(tmp_path / "run"))
    assert results(tmp_path / "run") == results(whole)


def test_tables_speak_of_the_same_latents(whole: Path) -> None:
    latents, edges, values, path = (
        pq.read_table(whole / "tables" / f"{name}.parquet").to_pandas()
        for name in ("latents", "latent_edges", "latent_values", "sparsity_path")
    )
    ours = latents[latents["method"] == "two stages"]
    assert set(edges["source"]) | set(edges["target"]) == set(ours["name"]) == {"a1", "a2", "b1", "b2"}
    assert set(values["method"]) == set(latents["method"]) | {"truth"}
    assert values.groupby(["method", "latent", "seed"], dropna=False)["row"].nunique().nunique() == 1
    assert (path.groupby("seed")["chosen"].sum() == 1).all()
    assert edges["in_truth"].notna().all()
    mine = edges[edges["method"] == "two stages"]
    assert mine["bootstrap_share"].between(0, 1).all()


def test_a_run_with_null_learnt_order_and_inner_edges(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(
        tmp_path / "run", (0,), edge_null=True, modality_order="learnt", within_edges=True, baselines=False
    )
    train(run)
    edges = pq.read_table(tmp_path / "run" / "tables" / "latent_edges.parquet").to_pandas()
    assert (edges["source"].str[0] == edges["target"].str[0]).any()
    assert edges["strength"].ge(0).all()
