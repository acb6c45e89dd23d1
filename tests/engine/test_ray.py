"""Runs on a real Ray cluster of several nodes on this machine: spread, lost with their node, found again, brought home."""

import os
import secrets
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from data.files import read_json, write_json
from engine import client as engine_client
from engine.client import Client, EngineError
from engine.errors import UserError
from engine.executors import LocalExecutor
from tests.conftest import TINY_WORLD, eventually
from tests.engine.test_lifecycle import results

pytestmark = [
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),
    pytest.mark.timeout(900),
]
CONFIG = {**TINY_WORLD, "n_steps": 12_000, "checkpoint_every": 100}
ENDLESS = {**CONFIG, "k": 3, "n_steps": 200_000}
SEEDS = [0, 1]
PATIENT = {
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_raylet_start_wait_time_s": "200",
}


class Nodes:
    """A head that takes no work, and nodes of one core, each with a cache of its own."""

    def __init__(self, folder: Path) -> None:
        from ray.cluster_utils import Cluster

        self.folder = folder
        self.stopped: list[int] = []
        self.cluster = Cluster(True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self.nodes: list[Any] = []

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def add(self) -> None:
        cache = {"CONCORDANCE_CACHE": str(self.folder / f"node-{len(self.nodes)}")}
        self.nodes.append(self.cluster.add_node(num_cpus=1, env_vars=cache))

    def lose_node_of(self, pid: int) -> None:
        """Kill the raylet that a process descends from, which is how a node is lost."""
        ancestors = {parent.pid for parent in psutil.Process(pid).parents()}
        raylets = [node.all_processes["raylet"][0].process for node in self.nodes]
        (lost,) = [raylet for raylet in raylets if raylet.pid in ancestors]
        lost.kill()
        lost.wait()
        self.go_on()
        eventually(lambda: not psutil.pid_exists(pid), "the worker of a lost node ended")

    def hold(self, pid: int) -> None:
        """Keep a worker from going on for a while."""
        os.kill(pid, signal.SIGSTOP)
        self.stopped.append(pid)

    def go_on(self) -> None:
        while self.stopped:
            with suppress(ProcessLookupError):
                os.kill(self.stopped.pop(), signal.SIGCONT)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
        "RAY_USAGE_STATS_ENABLED": "0",
        **PATIENT,
    }
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    made = Nodes(tmp_path_factory.mktemp("nodes"))
    try:
        made.add()
        made.add()
        yield made
    finally:
        made.cluster.shutdown()
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def start(nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Starts an engine of this test's state folder with some options."""
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path / "home"))
    started = []

    def start(*options: str) -> tuple[Any, Client]:
        process = engine_client.start_engine("--ray", nodes.address, *options)
        started.append(process)
        return process, engine_client.connect(start=False)

    yield start
    nodes.go_on()
    for process in started:
        process.terminate()
        process.wait(60)


def workers(client: Client, run_id: str) -> list[int]:
    """Process ids of the workers a run has had."""
    return [row["pid"] for row in client.events(run_id)["rows"] if row.get("state") == "running"]


def wait_for(client: Client, run_id: str, step: int) -> None:
    """Until the run has logged past a step."""

    def reached() -> bool:
        return any(row["kind"] == "log" and row["step"] >= step for row in client.events(run_id)["rows"])

    eventually(reached, f"step {step} was reached")


def resumed(client: Client, run_id: str) -> bool:
    """Whether a second worker went on from a checkpoint of the first."""
    texts = [row.get("text", "") for row in client.events(run_id)["rows"]]
    return len(set(workers(client, run_id))) == 2 and any("Resuming from step" in text for text in texts)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], dict[str, bytes]]:
    """The results of a run of another state folder, trained once more by one worker of this machine in one go."""
    here = tmp_path_factory.mktemp("local")

    def train(home: Path, run_id: str) -> dict[str, bytes]:
        directory = here / "runs" / run_id
        if not directory.exists():
            directory.mkdir(parents=True)
            write_json(directory / "config.json", read_json(home / "runs" / run_id / "config.json"))
            local = LocalExecutor()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("CONCORDANCE_THREADS", "1")
                worker = local.start([directory], [0])
            try:
                eventually(lambda: not local.alive(worker), "the local run ended")
            finally:
                local.stop(worker, force=True)
        return results(here, run_id)

    return train


def test_a_launch_is_spread_and_a_lost_node_s_run_goes_on_elsewhere_to_the_same_bytes(
    nodes: Nodes, start: Callable[..., Any], uninterrupted: Callable[..., Any], tmp_path: Path
) -> None:
    process, client = start()
    assert client.health()["place"] == "Ray cluster, 2 nodes, 2 cores"
    first, second = (run["id"] for run in client.launch("sae_consistency", [CONFIG, ENDLESS], SEEDS))
    eventually(lambda: workers(client, first) and workers(client, second), "both began")
    assert workers(client, first) != workers(client, second)
    wait_for(client, first, 60)
    nodes.lose_node_of(workers(client, first)[0])
    assert client.run(first)["state"] == "running"
    client.cancel(second)
    assert client.wait(second)["state"] == "cancelled"
    assert client.wait(first)["state"] == "done", client.run(first)
    assert resumed(client, first)
    home = tmp_path / "home"
    assert uninterrupted(home, first) == results(home, first) != {}

    client.resume(second)
    eventually(lambda: len(workers(client, second)) == 2, "the cancelled one began again")
    last = workers(client, second)[-1]
    process.terminate()
    process.wait(60)
    eventually(lambda: not psutil.pid_exists(last), "its worker ended with the engine", 5)
    assert read_json(home / "runs" / second / "state.json")["state"] == "interrupted"


def test_runs_travel_through_storage_and_outlive_the_engine(
    nodes: Nodes, start: Callable[..., Any], uninterrupted: Callable[..., Any], tmp_path: Path
) -> None:
    nodes.add()
    storage = ("--storage", f"file://{tmp_path / 'storage'}")
    process, client = start(*storage)
    run_id = client.submit("sae_consistency", CONFIG, SEEDS)["id"]
    wait_for(client, run_id, 60)
    stored = tmp_path / "storage" / "runs" / run_id / "checkpoints"
    eventually(lambda: list(stored.glob("step-*/hashes.json")), "a checkpoint is on the storage")
    (worker,) = workers(client, run_id)
    nodes.hold(worker)
    process.kill()
    process.wait()
    process, client = start(*storage)
    assert client.run(run_id)["state"] == "running", client.run(run_id)["error"]
    nodes.lose_node_of(worker)
    assert client.wait(run_id)["state"] == "done", client.run(run_id)
    assert resumed(client, run_id)
    assert client.store_check()["sound"]
    home = tmp_path / "home"
    assert uninterrupted(home, run_id) == results(home, run_id) != {}


def test_a_cluster_that_does_not_answer_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONCORDANCE_HOME", str(tmp_path))
    with pytest.raises(
        EngineError, match=r"ends with: ray: nothing answers at 127.0.0.1:1 .*; give HOST:PORT"
    ):
        engine_client.start_engine("--ray", "127.0.0.1:1")


def test_without_ray_the_way_to_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.ray_executor import connect

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"ray: the package ray is not installed here; install it with"):
        connect("127.0.0.1:1")


def test_a_node_that_cannot_see_the_run_says_so(tmp_path: Path) -> None:
    from engine.ray_worker import NodeWorker

    node = NodeWorker(str(tmp_path), ["0" * 12], 1, "", None, None, [])
    assert "cannot see" in str(node.wait()) and "--storage URL" in str(node.wait())
