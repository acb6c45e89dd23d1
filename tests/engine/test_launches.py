"""Several runs in one launch under a real engine: one process, killed and cancelled and resumed together."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from engine.client import Client, EngineError
from engine.pooling import pooled_weights, shared_features
from tests.conftest import TINY_WORLD, eventually
from tests.engine.test_lifecycle import results, wait_for

STUDY = "sae_consistency"
GRID = [{**TINY_WORLD, "k": k} for k in (1, 2)] + [{**TINY_WORLD, "architecture": "relu"}]
LONG = [{**TINY_WORLD, "k": k, "n_steps": 200_000, "checkpoint_every": 200} for k in (1, 2)]


def home() -> Path:
    return Path(os.environ["CONCORDANCE_HOME"])


def states(client: Client, runs: list[dict[str, Any]], wanted: str) -> bool:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if all(client.run(run["id"])["state"] == wanted for run in runs):
            return True
        time.sleep(0.1)
    return False


def test_a_grid_trains_in_one_process_and_equals_single_runs(engine: Client) -> None:
    alone = engine.wait(engine.submit(STUDY, GRID[0], [0, 1])["id"])
    before = results(home(), alone["id"])
    runs = engine.launch(STUDY, GRID, [0, 1])
    assert runs[0]["id"] == alone["id"]
    assert len({run["id"] for run in runs}) == 3
    finished = [engine.wait(run["id"]) for run in runs]
    assert [run["state"] for run in finished] == ["done"] * 3, finished
    pids = [engine.events(run["id"])["rows"][0]["pid"] for run in runs[1:]]
    assert len(set(pids)) == 1
    assert results(home(), alone["id"]) == before
    assert [run["id"] for run in engine.launch(STUDY, GRID, [0, 1])] == [run["id"] for run in runs]


def test_a_killed_launch_is_resumed_as_one(engine: Client) -> None:
    runs = engine.launch(STUDY, LONG, [5])
    wait_for(engine, runs[1]["id"], 400)
    assert len({engine.run(run["id"])["group"] for run in runs}) == 1
    os.kill(engine.events(runs[0]["id"])["rows"][0]["pid"], signal.SIGKILL)
    assert states(engine, runs, "interrupted")
    engine.resume(runs[1]["id"])
    assert states(engine, runs, "running")

    def resumed(run: dict[str, Any]) -> bool:
        rows = engine.events(run["id"])["rows"]
        return any(row.get("text", "").startswith("Resuming from step") for row in rows)

    eventually(lambda: all(map(resumed, runs)), "both go on")
    engine.cancel(runs[0]["id"])
    assert states(engine, runs, "cancelled")


def test_a_launch_with_one_bad_run_queues_nothing(engine: Client) -> None:
    before = len(engine.runs(limit=500))
    with pytest.raises(EngineError, match="k: k = 99 exceeds"):
        engine.launch(STUDY, [{**TINY_WORLD, "world_seed": 8}, {**TINY_WORLD, "k": 99}], [0])
    with pytest.raises(EngineError, match="sweep: 'nonsense' does not exist; choose one of architectures"):
        engine.launch(STUDY, [], [0], sweep="nonsense")
    assert len(engine.runs(limit=500)) == before


def test_the_architecture_sweep_holds_seven_architectures_at_four_sparsities(engine: Client) -> None:
    settings = engine.studies()[0]["sweeps"]["architectures"]
    assert len({(one["architecture"], one.get("control")) for one in settings}) == 7
    assert len(settings) == 28
    for one in settings:
        engine.estimate(STUDY, {k: v for k, v in one.items() if k != "preset"}, [0, 1, 2], one["preset"])


def test_a_stable_dictionary_is_pooled_evaluated_and_kept(engine: Client) -> None:
    world = {**TINY_WORLD, "n_steps": 400, "learning_rate": 0.01}
    run = engine.wait(engine.submit(STUDY, world, [0, 1, 2])["id"])
    matches = engine.table(run["id"], "matches")
    chosen = shared_features(matches, [0, 1, 2], 3, 0.7)
    made = engine.wait(engine.stable_dictionary(run["id"], 3, 0.7)["id"])
    assert made["state"] == "done", made
    assert made["config"]["d_sae"] == len(chosen) <= 12
    fvu = engine.table(made["id"], "saes")["fvu"].to_pylist()[0]
    assert 0 <= fvu < 1.5
    folder = home() / "runs" / run["id"] / "saes"
    weights = {seed: load_file(folder / f"seed-{seed}" / "sae_weights.safetensors") for seed in (0, 1, 2)}
    pooled = pooled_weights(weights, chosen)
    seed, feature = chosen[0]
    assert (pooled["W_dec"][0] == weights[seed]["W_dec"][feature]).all()
    with pytest.raises(EngineError, match="min_seeds"):
        engine.stable_dictionary(run["id"], 4, 0.7)


def test_saved_saes_become_a_run(engine: Client) -> None:
    run = engine.wait(engine.submit(STUDY, TINY_WORLD, [0, 1])["id"])
    folder = home() / "runs" / run["id"] / "saes"
    again = {**TINY_WORLD, "n_steps": 0, "start_from": f"{folder / 'seed-0'},{folder / 'seed-1'}"}
    imported = engine.wait(engine.submit(STUDY, again, [0, 1])["id"])
    assert imported["state"] == "done", imported
    found = engine.match((run["id"], 0), (imported["id"], 0), "all")["summary"]
    assert found["pw_mcc_abs"] == pytest.approx(1, abs=1e-5)
    with pytest.raises(EngineError, match="start_from: 2 folders for 1 seeds"):
        engine.submit(STUDY, again, [0])
    with pytest.raises(EngineError, match=r"start_from: .* is not a folder"):
        engine.submit(STUDY, {**again, "start_from": "/nowhere/at/all"}, [0])
