"""The scheduler where files are damaged, its thread meets an error, or an engine died between two steps."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from data.files import read_json, write_json
from engine.executors import LocalExecutor
from engine.run import write_manifest
from engine.scheduler import Scheduler
from engine.store import Store
from engine.worker_lock import hold, holder
from tests.conftest import TINY_WORLD, eventually
from tests.engine.test_executors import Recorded

STUDY = "sae_consistency"
ENDLESS = {**TINY_WORLD, "n_steps": 200_000, "checkpoint_every": 200}


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    store = Store(tmp_path)
    yield Scheduler(tmp_path, store, Recorded())
    store.close()


def say(directory: Path, **row: Any) -> None:
    with (directory / "events.jsonl").open("a") as events:
        events.write(json.dumps({"t": 1.0, **row}) + "\n")


def finish(scheduler: Scheduler, run_id: str) -> Path:
    """Let the worker of a run report done, with a table that cannot be read."""
    directory = scheduler.home / "runs" / run_id
    (directory / "tables").mkdir()
    (directory / "tables" / "saes.parquet").write_text("PAR1 cut short")
    write_manifest(directory)
    say(directory, kind="state", state="done")
    return directory


def test_a_run_whose_tables_cannot_be_read_fails_and_the_queue_goes_on(scheduler: Scheduler) -> None:
    wide = {**TINY_WORLD, "n_gpus": 2}
    first, second = (scheduler.submit(STUDY, None, wide, [seed], 0) for seed in (0, 1))
    scheduler._tick()
    finish(scheduler, first)
    scheduler._tick()
    state = scheduler.get(first).state
    assert state["state"] == "failed" and state["error"].startswith("Its tables cannot be read; resume ")
    assert [started for started, _ in scheduler.executor.started] == [first, second]
    scheduler.resume(first)


@pytest.mark.parametrize("noted", [False, True])
def test_an_engine_starts_beside_a_finished_run_that_cannot_be_read(
    scheduler: Scheduler, noted: bool
) -> None:
    run = scheduler.submit(STUDY, None, TINY_WORLD, [0], 0)
    scheduler._tick()
    directory = finish(scheduler, run)
    if noted:
        write_json(directory / "state.json", {**read_json(directory / "state.json"), "state": "done"})
    again = Scheduler(scheduler.home, scheduler.store, Recorded())
    assert again.get(run).state["state"] == ("done" if noted else "failed")
    named = [f"run {run}: tables/saes.parquet is damaged"] if noted else []
    (directory / "tables" / "saes.parquet").write_text("PAR1")
    assert again.store.check(again.still) == named


def test_damaged_activations_and_events_hold_nothing_back(scheduler: Scheduler) -> None:
    run = scheduler.submit(STUDY, None, TINY_WORLD, [0], 0)
    manifest = scheduler.home / "activations" / "abc" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"shards": [')
    scheduler._tick()
    directory = scheduler.home / "runs" / run
    say(directory, kine="state", state="done")
    say(directory, kind="state", stave="done")
    say(directory, kind="progress", done=1, total=2, stage="training")
    again = Scheduler(scheduler.home, scheduler.store, Recorded())
    assert again.get(run).state["state"] == "running"
    say(directory, kind="state", state="failed", error="it ended")
    again._tick()
    assert again.get(run).state["state"] == "failed"
    shard = {"file": "a", "split": "train", "rows": 1, "sha256": "0"}
    manifest.write_text(json.dumps({"model": "m", "shards": [shard]}))
    again._register_activations()
    assert again.store.counts()["activation_shards"] == 1


def test_the_thread_outlives_any_error_and_prints_it_once(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = threading.Semaphore(0)

    def fails() -> None:
        calls.release()
        raise KeyError("kind")

    monkeypatch.setattr(scheduler, "_tick", fails)
    assert not scheduler.is_moving
    scheduler.start()
    for _ in range(3):
        assert calls.acquire(timeout=60)
    assert scheduler.is_moving
    scheduler.shutdown()
    assert capsys.readouterr().err.count("KeyError: 'kind'") == 1


def test_a_run_whose_config_was_changed_says_so_and_goes_on_when_it_is_launched_again(
    scheduler: Scheduler,
) -> None:
    run = scheduler.submit(STUDY, None, TINY_WORLD, [0], 0)
    path = scheduler.home / "runs" / run / "config.json"
    whole = read_json(path)
    write_json(path, {**whole, "config": {**whole["config"], "n_steps": 61}})
    again = Scheduler(scheduler.home, scheduler.store, Recorded())
    again._tick()
    assert again.executor.started == []
    assert again.get(run).state["error"].startswith("run: its config.json was changed")
    assert again.submit(STUDY, None, TINY_WORLD, [0], 0) == run
    again._tick()
    assert [started for started, _ in again.executor.started] == [run]
    assert read_json(path)["config"] == whole["config"]


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"id": "0123456789ab"}),
        ("config.json", {"data_seed": ...}),
        ("state.json", {"state": "dond"}),
        ("state.json", {"error": ...}),
        ("state.json", {"queued": ...}),
    ],
)
def test_records_that_lack_what_everyone_asks_for_are_put_aside(
    scheduler: Scheduler, name: str, change: dict[str, Any]
) -> None:
    run = scheduler.submit(STUDY, None, TINY_WORLD, [0], 0)
    path = scheduler.home / "runs" / run / name
    write_json(path, {k: v for k, v in {**read_json(path), **change}.items() if v is not ...})
    again = Scheduler(scheduler.home, scheduler.store, Recorded())
    assert again.listing(None, None, 10, 0) == []
    assert any(
        "was damaged; what is left of it is in" in problem for problem in again.store.check(again.still)
    )
    assert again.submit(STUDY, None, TINY_WORLD, [0], 0) == run


def test_a_run_of_a_study_unknown_here_stays_where_it_is_and_is_named(scheduler: Scheduler) -> None:
    run = scheduler.submit(STUDY, None, TINY_WORLD, [0], 0)
    path = scheduler.home / "runs" / run / "config.json"
    write_json(path, {**read_json(path), "study": "of_another_version"})
    again = Scheduler(scheduler.home, scheduler.store, Recorded())
    assert again.listing(None, None, 10, 0) == [] and path.exists()
    assert scheduler.store.rebuild() == 0
    assert again.store.check(again.still) == [f"run {run}: the store disagrees with state.json"]


def test_a_listing_orders_the_queue_once(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [scheduler.submit(STUDY, None, TINY_WORLD, [seed], 0) for seed in range(4)]
    asked = []
    queue = scheduler._queue
    monkeypatch.setattr(scheduler, "_queue", lambda: asked.append(1) or queue())
    shown = scheduler.listing(None, None, 10, 0)
    assert {run["id"]: run["queue_place"] for run in shown} == dict(zip(ids, (1, 2, 3, 4), strict=True))
    assert len(asked) == 1
    assert scheduler.describe(scheduler.get(ids[2])) == shown[1]


def test_a_launch_is_running_in_memory_before_anything_is_saved(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = scheduler.submit_group(STUDY, [{**TINY_WORLD, "k": k, "n_gpus": 2} for k in (1, 2)], [0], 0)
    saved = []
    monkeypatch.setattr(
        scheduler.store,
        "save_run",
        lambda *_: saved.append([scheduler.get(run).state["state"] for run in ids]),
    )
    scheduler._tick()
    assert saved == [["running", "running"]] * 2


def prepared(home: Path) -> str:
    """A state folder with one run in its queue."""
    store = Store(home)
    run = Scheduler(home, store, Recorded()).submit(STUDY, None, ENDLESS, [0], 0)
    store.close()
    return run


def running(directory: Path) -> list[int]:
    """Process ids of the workers that reported themselves."""
    path = directory / "events.jsonl"
    rows = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return [row["pid"] for row in rows if row.get("state") == "running"]


def test_a_second_worker_in_a_held_directory_trains_nothing(tmp_path: Path) -> None:
    run = prepared(tmp_path)
    directory, other = tmp_path / "runs" / run, tmp_path / "runs" / "0123456789ab"
    shutil.copytree(directory, other)
    write_json(other / "config.json", {**read_json(other / "config.json"), "id": other.name})
    code = f"import sys; from pathlib import Path; from engine.worker_lock import hold; l = hold(Path({str(directory)!r})); print(1, flush=True); sys.stdin.read()"
    holding = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holding.stdout and holding.stdout.readline()
    told = holder(directory)
    assert told is not None and told["pid"] == holding.pid and LocalExecutor().alive(told)
    worker = [sys.executable, "-m", "engine.worker"]
    done = subprocess.run([*worker, str(directory)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with subprocess.Popen([*worker, str(directory), str(other)]) as both:
        eventually(lambda: running(other), "the run that nobody holds begins")
        both.kill()
    holding.communicate()
    assert running(directory) == []
    lock = hold(directory)
    assert lock is not None
    lock.close()


def test_an_engine_killed_before_it_noted_a_worker_leaves_one_trainer(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = prepared(tmp_path)
    directory = tmp_path / "runs" / run
    unnoted = LocalExecutor().start([directory], [0])
    request.addfinalizer(lambda: LocalExecutor().stop(unnoted, force=True))
    eventually(lambda: running(directory), "it trains")
    store = Store(tmp_path)
    local = LocalExecutor()
    scheduler = Scheduler(tmp_path, store, local)
    scheduler._tick()
    state = scheduler.get(run).state
    ours = state["pid"]
    assert ours != unnoted["pid"]
    eventually(lambda: scheduler._tick() or state["pid"] != ours, "the earlier worker is found")
    assert (state["state"], state["pid"], running(directory)) == ("running", unnoted["pid"], [unnoted["pid"]])
    again = Scheduler(tmp_path, store, LocalExecutor())
    assert again.get(run).state["pid"] == unnoted["pid"]
    scheduler.cancel(run)
    os.waitpid(unnoted["pid"], 0)
    scheduler._tick()
    assert scheduler.get(run).state["state"] == "cancelled"
    store.close()
