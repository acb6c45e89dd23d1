"""The life of real runs under a real engine: finish, reuse, cancel, kill, resume, recover."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from data.files import read_json
from engine import client as engine_client
from engine.client import Client
from tests.conftest import TINY_WORLD, eventually

LONG = {**TINY_WORLD, "n_steps": 200_000, "checkpoint_every": 200}
BYTES = ("saes/**/*.safetensors", "saes/**/*.json", "tables/*.parquet", "manifest.json")


def results(home: Path, run_id: str) -> dict[str, bytes]:
    directory = home / "runs" / run_id
    return {
        str(p.relative_to(directory)): p.read_bytes() for pattern in BYTES for p in directory.glob(pattern)
    }


def wait_for(client: Client, run_id: str, step: int) -> None:
    """Until the run has logged past a step."""

    def reached() -> bool:
        rows = client.events(run_id)["rows"]
        return any(row["kind"] == "log" and row["step"] >= step for row in rows)

    eventually(reached, f"step {step} is reached")


@pytest.fixture
def home(engine: Client) -> Path:
    return Path(os.environ["CONCORDANCE_HOME"])


@pytest.fixture(scope="module")
def finished(engine: Client) -> dict:
    return engine.wait(engine.submit("sae_consistency", TINY_WORLD, [0, 1, 2])["id"])


def test_a_run_finishes_and_its_tables_are_in_the_store(engine: Client, finished: dict) -> None:
    assert finished["state"] == "done", finished
    saes = engine.table(finished["id"], "saes", order="-seed")
    assert saes["seed"].to_pylist() == [2, 1, 0]
    pairs = engine.table(finished["id"], "pairs", where={"subset": "all"})
    assert pairs.num_rows == 3
    assert engine.table(finished["id"], "metrics", where={"name": "loss"}).num_rows > 0
    assert engine.store_check() == {"sound": True, "problems": []}


def test_asking_again_returns_the_same_run(engine: Client, finished: dict) -> None:
    again = engine.submit("sae_consistency", TINY_WORLD, [0, 1, 2])
    assert (again["id"], again["state"]) == (finished["id"], "done")
    assert engine.submit("sae_consistency", TINY_WORLD, [0, 1, 3])["id"] != finished["id"]


def test_match_across_runs_agrees_with_the_run_itself(engine: Client, finished: dict) -> None:
    found = engine.match((finished["id"], 0), (finished["id"], 1), "all")
    pair = engine.table(
        finished["id"], "pairs", where={"subset": "all", "seed_a": 0, "seed_b": 1}
    ).to_pylist()[0]
    assert found["summary"]["pw_mcc_abs"] == pytest.approx(pair["pw_mcc_abs"], abs=1e-5)
    assert found["matches"].num_rows == pair["n"]


def test_cancel_stops_and_resume_goes_on(engine: Client) -> None:
    run_id = engine.submit("sae_consistency", LONG, [0, 1])["id"]
    wait_for(engine, run_id, 400)
    engine.cancel(run_id)
    assert engine.wait(run_id, poll=0.05)["state"] == "cancelled"
    engine.resume(run_id)
    eventually(
        lambda: any("Resuming" in row.get("text", "") for row in engine.events(run_id)["rows"]), "it resumes"
    )
    engine.cancel(run_id)
    engine.wait(run_id)


def test_a_queued_run_shows_its_place_and_cancels_at_once(engine: Client) -> None:
    first = engine.submit("sae_consistency", LONG, [5, 6])["id"]
    second = engine.submit("sae_consistency", LONG, [7, 8])["id"]
    while engine.run(first)["state"] == "queued":
        time.sleep(0.05)
    assert engine.run(second)["queue_place"] == 1
    assert engine.cancel(second)["state"] == "cancelled"
    engine.cancel(first)
    assert engine.wait(first)["state"] == "cancelled"


def test_killed_worker_is_interrupted_and_resumes_to_identical_bytes(
    engine: Client, home: Path, tmp_path: Path
) -> None:
    config = {**TINY_WORLD, "n_steps": 6000, "checkpoint_every": 100}
    run_id = engine.submit("sae_consistency", config, [0, 1])["id"]
    wait_for(engine, run_id, 350)
    os.kill(read_json(home / "runs" / run_id / "state.json")["pid"], signal.SIGKILL)
    ended = engine.wait(run_id)
    assert ended["state"] == "interrupted" and "resume" in ended["error"]
    assert engine.resume(run_id)["state"] in ("queued", "running")
    assert engine.wait(run_id)["state"] == "done"
    resumed = results(home, run_id)

    os.environ["CONCORDANCE_HOME"] = str(tmp_path)
    process = engine_client.start_engine()
    try:
        fresh = engine_client.connect(start=False)
        assert fresh.wait(fresh.submit("sae_consistency", config, [0, 1])["id"])["id"] == run_id
    finally:
        process.terminate()
        process.wait()
        os.environ["CONCORDANCE_HOME"] = str(home)
    assert results(tmp_path, run_id) == resumed
    assert len(resumed) >= 8


@pytest.fixture
def own_home(tmp_path: Path) -> Iterator[Path]:
    before = os.environ.get("CONCORDANCE_HOME")
    os.environ["CONCORDANCE_HOME"] = str(tmp_path)
    yield tmp_path
    engine_client.connect().shutdown()
    if before is not None:
        os.environ["CONCORDANCE_HOME"] = before


def test_killed_engine_loses_nothing(own_home: Path) -> None:
    process = engine_client.start_engine()
    client = engine_client.connect(start=False)
    run_id = client.submit("sae_consistency", LONG, [0])["id"]
    queued = client.submit("sae_consistency", TINY_WORLD, [0])["id"]
    wait_for(client, run_id, 100)
    worker = read_json(own_home / "runs" / run_id / "state.json")["pid"]
    process.kill()
    process.wait()
    assert psutil.pid_exists(worker)
    client = engine_client.connect()
    assert client.run(run_id)["state"] == "running"
    assert client.run(queued)["state"] == "queued"
    client.cancel(run_id)
    assert client.wait(run_id)["state"] == "cancelled"
    assert client.wait(queued)["state"] == "done"
    assert client.store_check()["sound"]


def test_engine_and_worker_killed_is_interrupted_at_the_next_start(own_home: Path) -> None:
    process = engine_client.start_engine()
    client = engine_client.connect(start=False)
    run_id = client.submit("sae_consistency", LONG, [0])["id"]
    wait_for(client, run_id, 100)
    process.kill()
    process.wait()
    os.kill(read_json(own_home / "runs" / run_id / "state.json")["pid"], signal.SIGKILL)
    assert engine_client.connect().run(run_id)["state"] == "interrupted"


def test_stopping_the_engine_checkpoints_its_runs(own_home: Path) -> None:
    process = engine_client.start_engine()
    client = engine_client.connect(start=False)
    run_id = client.submit("sae_consistency", {**LONG, "checkpoint_every": 100_000}, [0])["id"]
    wait_for(client, run_id, 100)
    process.terminate()
    process.wait(60)
    assert engine_client.connect().run(run_id)["state"] == "interrupted"
    assert list((own_home / "runs" / run_id / "checkpoints").glob("step-*"))


def test_damaged_database_is_rebuilt_from_the_run_directories(own_home: Path) -> None:
    process = engine_client.start_engine()
    client = engine_client.connect(start=False)
    run_id = client.wait(client.submit("sae_consistency", TINY_WORLD, [0, 1])["id"])["id"]
    rows = client.table(run_id, "features").num_rows
    assert client.store_rebuild() == {"runs": 1}
    assert client.table(run_id, "features").num_rows == rows
    process.terminate()
    process.wait()
    (own_home / "store.duckdb").write_bytes(b"not a database" * 1000)
    client = engine_client.connect()
    assert client.table(run_id, "features").num_rows == rows
    assert client.store_check()["sound"]


def test_a_second_engine_on_the_same_folder_is_refused(engine: Client) -> None:
    second = engine_client.start_engine()
    assert second.wait(120) != 0
    assert "already runs" in (Path(os.environ["CONCORDANCE_HOME"]) / "engine.log").read_text()
    assert engine.health()["pid"] != second.pid


def test_claims_are_measured_on_finished_runs_only_and_stored(engine: Client) -> None:
    before = len(engine.runs())
    rows = engine.measure_claims("sae_consistency", "world", 5)
    assert {row["verdict"] for row in rows} == {"not tested"}
    assert len(engine.runs()) == before
    assert engine.claims("sae_consistency").num_rows == len(rows) == 23
