"""Worker processes of this machine."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from data.files import read_json, write_json
from engine import memory
from engine import scheduler as scheduling
from engine.errors import UserError
from engine.executors import LocalExecutor, Worker
from engine.scheduler import Scheduler
from engine.store import Store
from tests.conftest import TINY_WORLD, eventually


def test_a_worker_that_ended_leaves_no_zombie_once_the_next_starts(tmp_path: Path) -> None:
    executor = LocalExecutor()
    first = executor.start([tmp_path], [0], Path("/bin/true"))
    eventually(lambda: psutil.Process(first["pid"]).status() == psutil.STATUS_ZOMBIE, "it ended")
    second = executor.start([tmp_path], [0], Path("/bin/true"))
    assert not psutil.pid_exists(first["pid"])
    eventually(lambda: not executor.alive(second), "it ended")


class Recorded:
    """An executor of two GPUs that notes what it is asked to start and lets every worker live."""

    grace, gpus, slots, slots_of_one, place = 1.0, ["A", "B"], 2, 2, "two GPUs"

    def __init__(self) -> None:
        self.started: list[tuple[str, list[int]]] = []

    def start(self, directories: list[Path], slots: list[int], python: Path | None = None) -> Worker:
        self.started.append((directories[0].name, slots))
        return {"pid": len(self.started), "born": 0.0, "actor": None}

    def alive(self, worker: Worker) -> bool:
        return True

    def stop(self, worker: Worker, force: bool) -> None: ...

    def why(self, worker: Worker) -> str | None:
        return None

    def close(self) -> None: ...


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[Scheduler]:
    (tmp_path / "activations").mkdir()
    store = Store(tmp_path)
    yield Scheduler(tmp_path, store, Recorded())
    store.close()


def end(scheduler: Scheduler, run_id: str) -> None:
    line = json.dumps({"t": 1.0, "kind": "state", "state": "failed", "error": "it ended"})
    (scheduler.home / "runs" / run_id / "events.jsonl").write_text(line + "\n")


def test_a_run_that_needs_two_gpus_gets_two_and_waits_until_they_are_free(scheduler: Scheduler) -> None:
    wide, narrow = {**TINY_WORLD, "n_gpus": 2}, TINY_WORLD
    first = scheduler.submit("sae_consistency", None, narrow, [0], 0)
    second = scheduler.submit("sae_consistency", None, wide, [0], 0)
    third = scheduler.submit("sae_consistency", None, narrow, [1], 0)
    started = scheduler.executor.started
    scheduler._tick()
    assert started == [(first, [0])]
    end(scheduler, first)
    scheduler._tick()
    assert started == [(first, [0]), (second, [0, 1])]
    end(scheduler, second)
    scheduler._tick()
    assert started[2:] == [(third, [0])]


def test_a_worker_that_an_engine_before_slots_were_several_started_keeps_its_gpu(
    scheduler: Scheduler,
) -> None:
    older = scheduler.submit("sae_consistency", None, TINY_WORLD, [0], 0)
    scheduler._tick()
    state = scheduler._entries[older].state
    state["slot"] = state.pop("slots")[0]
    newer = scheduler.submit("sae_consistency", None, TINY_WORLD, [1], 0)
    scheduler._tick()
    assert scheduler.executor.started[1:] == [(newer, [1])]


def test_a_row_that_a_killed_engine_left_behind_follows_its_state(scheduler: Scheduler) -> None:
    run = scheduler.submit("sae_consistency", None, TINY_WORLD, [0], 0)
    state = scheduler.home / "runs" / run / "state.json"
    write_json(state, {**read_json(state), "state": "running", "pid": 1, "born": 0.0, "actor": None})
    assert scheduler.store.check(scheduler.still) == [f"run {run}: the store disagrees with state.json"]
    again = Scheduler(scheduler.home, scheduler.store, Recorded())
    assert again.get(run).state["state"] == "running"
    assert again.store.check(again.still) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", '{"id": "06d8'), ("state.json", ""), ("state.json", '{"stat": "queued"}')],
)
def test_a_run_whose_record_is_damaged_is_put_aside_and_named(
    scheduler: Scheduler, name: str, content: str
) -> None:
    broken = scheduler.submit("sae_consistency", None, TINY_WORLD, [0], 0)
    sound = scheduler.submit("sae_consistency", None, TINY_WORLD, [1], 0)
    (scheduler.home / "runs" / broken / name).write_text(content)
    again = Scheduler(scheduler.home, scheduler.store, Recorded())
    assert [run["id"] for run in again.listing(None, None, 10, 0)] == [sound]
    problems = again.store.check(again.still)
    assert all(problem.startswith(f"run {broken}: ") for problem in problems)
    assert any("was damaged; what is left of it is in" in problem for problem in problems)
    assert scheduler.store.rebuild() == 1
    assert again.submit("sae_consistency", None, TINY_WORLD, [0], 0) == broken


def test_what_a_full_disk_refuses_is_written_once_there_is_room(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = scheduler.submit("sae_consistency", None, TINY_WORLD, [0], 0)
    with monkeypatch.context() as full:
        full.setattr(scheduling, "write_json", refuse)
        with pytest.raises(OSError, match="No space"):
            scheduler._tick()
    assert scheduler.get(run).state["state"] == "running"
    scheduler._tick()
    assert read_json(scheduler.home / "runs" / run / "state.json")["state"] == "running"
    assert scheduler.store.check(scheduler.still) == []


def test_a_run_whose_directory_was_deleted_does_not_hold_back_the_others(scheduler: Scheduler) -> None:
    gone = scheduler.submit("sae_consistency", None, TINY_WORLD, [0], 0)
    other = scheduler.submit("sae_consistency", None, TINY_WORLD, [1], 0)
    scheduler._tick()
    shutil.rmtree(scheduler.home / "runs" / gone)
    scheduler._change(scheduler.get(gone), error="it is gone")
    end(scheduler, other)
    scheduler._tick()
    assert scheduler.get(other).state["state"] == "failed"
    assert read_json(scheduler.home / "runs" / other / "state.json")["state"] == "failed"


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_run_that_goes_on_while_the_store_is_checked_is_no_disagreement(
    scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler.submit("sae_consistency", None, TINY_WORLD, [0], 0)
    states = scheduler.store.states

    def then_it_starts() -> dict[str, str]:
        found = states()
        scheduler._tick()
        return found

    monkeypatch.setattr(scheduler.store, "states", then_it_starts)
    assert scheduler.store.check(scheduler.still) == []


def test_more_gpus_than_a_machine_has_are_refused_in_one_sentence(scheduler: Scheduler) -> None:
    with pytest.raises(UserError, match=r"n_gpus: 3 are set and one machine here has 2; lower it."):
        scheduler.submit("sae_consistency", None, {**TINY_WORLD, "n_gpus": 3}, [0], 0)
    with pytest.raises(UserError, match="launch those of another n_gpus apart"):
        scheduler.submit_group("sae_consistency", [TINY_WORLD, {**TINY_WORLD, "n_gpus": 2}], [0], 0)


GPUS = "0, GPU-3a51, 81920, A\n1, GPU-77c0, 40960, B\n2, GPU-77d9, [N/A], C"


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of three GPUs, by an nvidia-smi of ours."""
    told = tmp_path / "bin" / "nvidia-smi"
    told.parent.mkdir()
    told.write_text(f"#!/bin/sh\ncat <<END\n{GPUS}\nEND\n")
    told.chmod(0o755)
    monkeypatch.setenv("PATH", str(told.parent), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(memory, "version", lambda name: "2.13.0")


def seen_by_a_worker(folder: Path, slots: list[int]) -> str:
    """CUDA_VISIBLE_DEVICES as the worker on these slots has it."""
    shows = folder / "shows"
    shows.write_text(f'#!/bin/sh\necho "${{CUDA_VISIBLE_DEVICES-unset}}" > {folder}/seen\n')
    shows.chmod(0o755)
    executor = LocalExecutor()
    worker = executor.start([folder], slots, shows)
    eventually(lambda: not executor.alive(worker), "it ended")
    return (folder / "seen").read_text().strip()


@pytest.mark.usefixtures("gpus")
def test_a_worker_sees_the_gpus_it_was_given(tmp_path: Path) -> None:
    assert LocalExecutor().gpus == ["A", "B", "C"]
    assert seen_by_a_worker(tmp_path, [0, 2]) == "0,2"
    assert memory.available() == (40960 * 2**20, memory.GPU)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("wanted", "names", "mib"),
    [
        ("1", ["B"], 40960),
        ("1,0", ["B", "A"], 40960),
        ("GPU-3a51", ["A"], 81920),
        ("GPU-77c", ["B"], 40960),
        ("0,-1,1", ["A"], 81920),
        ("MIG-5e1c", ["MIG part"], None),
        ("2", ["C"], None),
        ("", [], None),
        ("-1", [], None),
    ],
)
def test_only_the_gpus_that_the_user_names_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wanted: str, names: list[str], mib: int | None
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", wanted)
    executor = LocalExecutor()
    assert (executor.gpus, executor.slots) == (names, max(1, len(names)))
    assert seen_by_a_worker(tmp_path, [0]) == (wanted.split(",")[0] if names else wanted)
    found = memory.available()
    assert found is not None
    assert found == (mib * 2**20, memory.GPU) if mib else found[1] == "this machine"


@pytest.mark.usefixtures("gpus")
def test_a_torch_without_cuda_has_the_memory_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "version", lambda name: "2.13.0+cpu")
    found = memory.available()
    assert found is not None and found[1] == "this machine"
