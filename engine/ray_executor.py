"""Where workers run with `concordance up --ray ADDRESS`: actors on the nodes of a Ray cluster.

An actor has a name of its run's and outlives the engine, which finds it again. Ray makes it again on another node when its
node is lost, and the worker goes on from its last checkpoint. One thread of the engine follows each.
"""

import json
import os
import socket
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from data.files import read_json
from engine import executors
from engine.errors import UserError
from engine.executors import Worker
from engine.identity import RUN_ID, code_version
from engine.ray_worker import NodeWorker
from engine.remote_storage import RemoteStorage

NAMESPACE = "concordance"
POLL, REMOTE_POLL, LOOK_AGAIN, ANSWER = 0.3, 1.0, 5.0, 5.0
RESTARTS, TRIES = 10, 20
GRACE, REMOTE_GRACE = 12.0, 60.0
INSTALL = "install it with `.venv/bin/pip install 'ray>=2.60,<2.61'`"
LOST = "The Ray cluster no longer has its worker; resume to go on from the last checkpoint."


class RayExecutor:
    """Workers as actors of the cluster at `address` ("host:port", or "auto" for the one this machine is a node of).

    A slot is a GPU; on a cluster without any, as many processor cores as its smallest node has. `storage` is a URL of
    fsspec that runs travel through; without it every node must see the state folder under the same path.
    """

    def __init__(self, home: Path, address: str, storage: str | None = None) -> None:
        """Raises UserError in one sentence where ray is missing or the cluster does not answer."""
        self.home, self.address = home, address
        self.storage = RemoteStorage(storage) if storage else None
        self.grace = REMOTE_GRACE if storage else GRACE
        self._ray = connect(address)
        self._followers: dict[str, Follower] = {}
        self._looked, self._nodes = 0.0, []  # type: float, list[dict[str, Any]]
        executors.gpus_of_cluster = self.gpus

    @property
    def nodes(self) -> list[dict[str, float]]:
        """Resources of every living node that takes work, looked up every few seconds."""
        if time.monotonic() - self._looked > LOOK_AGAIN:
            found = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._nodes = [resources for resources in found if resources.get("CPU", 0) >= 1]
            self._looked = time.monotonic()
        return self._nodes

    @property
    def gpus(self) -> list[str]:
        """The kind of every GPU of the cluster, as Ray names it."""
        return [
            next((name.partition(":")[2] for name in node if name.startswith("accelerator_type:")), "GPU")
            for node in self.nodes
            for _ in range(int(node.get("GPU", 0)))
        ]

    @property
    def slots(self) -> int:
        return len(self.gpus) or sum(int(node["CPU"] // self._share()["num_cpus"]) for node in self.nodes)

    @property
    def slots_of_one(self) -> int:
        share = self._share()["num_cpus"]
        return max((int(node.get("GPU", 0) or node["CPU"] // share) for node in self.nodes), default=1)

    @property
    def place(self) -> str:
        what = (
            f"{len(self.gpus)} GPUs" if self.gpus else f"{int(sum(node['CPU'] for node in self.nodes))} cores"
        )
        return f"Ray cluster, {len(self.nodes)} nodes, {what}"

    def _share(self) -> dict[str, int]:
        """What one worker takes of a node."""
        nodes = [node for node in self.nodes if node.get("GPU", 0) >= 1]
        if nodes:
            return {"num_gpus": 1, "num_cpus": max(1, min(int(n["CPU"] // n["GPU"]) for n in nodes))}
        return {"num_gpus": 0, "num_cpus": min((int(node["CPU"]) for node in self.nodes), default=1)}

    def start(self, directories: list[Path], slots: list[int], python: Path | None = None) -> Worker:
        """Hand the launch to the cluster; Ray chooses the node."""
        name = f"run-{directories[0].name}"
        study = read_json(directories[0] / "config.json")["study"]
        share = {name: value * len(slots) for name, value in self._share().items()}
        run_ids = [directory.name for directory in directories]
        arguments = {
            "home": str(self.home),
            "run_ids": run_ids,
            "threads": share["num_cpus"],
            "code": code_version(study),
            "python": str(python) if python else None,
            "storage": self.storage.url if self.storage else None,
            "reads": named_folders(self.home, directories) if self.storage else [],
        }
        self._followers[name] = Follower(self, name, run_ids, arguments, share)
        return {"pid": None, "born": None, "actor": name, "runs": run_ids}

    def alive(self, worker: Worker) -> bool:
        """Whether the launch goes on; an actor that another engine made is looked up by its name."""
        name = worker.get("actor")
        if not name:
            return False
        if name not in self._followers:
            self._followers[name] = Follower(self, name, worker["runs"])
        return self._followers[name].alive

    def stop(self, worker: Worker, force: bool) -> None:
        """Ask the worker to checkpoint and end; with `force`, end its actor."""
        if self.alive(worker):
            self._followers[worker["actor"]].stop(force)

    def why(self, worker: Worker) -> str | None:
        follower = self._followers.get(worker.get("actor") or "")
        return follower.why if follower else None

    def close(self) -> None:
        """Leave the cluster; what still runs there goes on."""
        self._ray.shutdown()


class Follower:
    """One thread that makes or finds an actor, brings home what its runs write, and waits for its end.

    `why` says, once `alive` is false, why the worker ended early, where that is known.
    """

    def __init__(
        self,
        executor: RayExecutor,
        name: str,
        run_ids: list[str],
        arguments: dict[str, Any] | None = None,
        share: dict[str, int] | None = None,
    ) -> None:
        self.ray, self.home, self.storage = executor._ray, executor.home, executor.storage
        self.name, self.run_ids = name, run_ids
        self.why: str | None = None
        self._actor: Any = None
        self._stopping = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._follow, args=(arguments, share), daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, force: bool) -> None:
        with self._lock:
            self._stopping = True
            if self._actor is not None and force:
                self.ray.kill(self._actor, no_restart=True)
            elif self._actor is not None:
                self._actor.stop.remote()

    def _follow(self, arguments: dict[str, Any] | None, share: dict[str, int] | None) -> None:
        try:
            actor = self._make(arguments, share) if arguments and share else self._find()
            if actor is not None:
                self.why = self._wait(actor)
                self.ray.kill(actor, no_restart=True)
        except (UserError, OSError) as error:
            self.why = str(error)
        except Exception as error:  # Ray's own, and whatever a storage raises
            traceback.print_exc()
            self.why = _sentence(error)

    def _find(self) -> Any:
        """The actor an earlier engine made; None where the cluster has it no more."""
        try:
            actor = self.ray.get_actor(self.name, NAMESPACE)
        except ValueError:
            self._bring()
            self.why = LOST
            return None
        with self._lock:
            self._actor = actor
        return actor

    def _make(self, arguments: dict[str, Any], share: dict[str, int]) -> Any:
        self._end_earlier()
        if self.storage:
            self._pull()
            for folder in [*(f"runs/{run_id}" for run_id in self.run_ids), *arguments["reads"]]:
                self.storage.push(self.home, folder)
        made = self.ray.remote(NodeWorker).options(
            name=self.name,
            namespace=NAMESPACE,
            lifetime="detached",
            max_restarts=RESTARTS,
            max_task_retries=-1,
            max_concurrency=4,
            scheduling_strategy="SPREAD",
            **share,
        )
        with self._lock:
            if self._stopping:
                return None
            self._actor = made.remote(**arguments)
        return self._actor

    def _end_earlier(self) -> None:
        """End an actor of this name that an engine left; a name is free again a moment later."""
        deadline = time.monotonic() + ANSWER
        while time.monotonic() < deadline:
            try:
                self.ray.kill(self.ray.get_actor(self.name, NAMESPACE), no_restart=True)
            except ValueError:
                return
            time.sleep(POLL)

    def _wait(self, actor: Any) -> str | None:
        waiting = actor.wait.remote()
        try:
            while not self.ray.wait([waiting], timeout=REMOTE_POLL if self.storage else POLL)[0]:
                with suppress(Exception):  # whatever a storage raises: the next round asks again
                    self._pull(only_events=True)
            why: str | None = self.ray.get(waiting)
            return why
        finally:
            self._bring()

    def _pull(self, only_events: bool = False) -> None:
        if self.storage is not None:
            for run_id in self.run_ids:
                self.storage.pull(self.home, f"runs/{run_id}", only_events)

    def _bring(self) -> None:
        """Bring home what the runs have on the storage. Raises UserError where it does not answer."""
        for left in reversed(range(TRIES)):
            try:
                return self._pull()
            except Exception as error:
                if not left:
                    raise UserError("storage", f"it cannot be read ({error}); mend it and resume.") from None
                time.sleep(POLL)


def connect(address: str) -> Any:
    """The ray module, connected to a cluster. Raises UserError."""
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        import ray
    except ImportError:
        raise UserError("ray", f"the package ray is not installed here; {INSTALL}.") from None
    if address != "auto":
        _require_answer(address)
    try:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, include_dashboard=False)
    except ray.exceptions.AuthenticationError:
        raise UserError(
            "ray",
            "the cluster's token is missing or wrong here; put it into ~/.ray/auth_token (RAY_AUTH_TOKEN_PATH names another file).",
        ) from None
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UserError(
            "ray",
            f"this machine is no node of a cluster at {address} ({_first_line(error)}); join it with "
            f"`ray start --address={address} --num-cpus=0`, or correct the address.",
        ) from None
    ray.put(None)  # Ray imports what it needs to send objects here, not in two threads at once
    return ray


def _require_answer(address: str) -> None:
    """Ray itself would try for a minute and end the process."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
    except (OSError, ValueError) as error:
        raise UserError(
            "ray",
            f"nothing answers at {address} ({error}); give HOST:PORT of the cluster's head, such as 10.0.0.1:6379.",
        ) from None


def named_folders(home: Path, directories: list[Path]) -> list[str]:
    """Folders of the state folder that runs read: those of runs their configs name, of runs these name, and their reviews."""
    found: dict[str, None] = {}
    waiting = list(directories)
    while waiting:
        config = read_json(waiting.pop() / "config.json")["config"]
        for run_id in RUN_ID.findall(json.dumps(config)):
            folder = f"runs/{run_id}"
            if folder not in found and (home / folder / "config.json").exists():
                found[folder] = None
                waiting.append(home / folder)
                if (home / "reviews" / run_id).is_dir():
                    found[f"reviews/{run_id}"] = None
    return list(found)


def _sentence(error: Exception) -> str:
    """What became of an actor that ended without an answer."""
    if "ModuleNotFoundError" in str(error):
        return f"ray: Concordance is not installed on a node of the cluster ({_first_line(error)}); install it on every node."
    return (
        f"The Ray cluster lost its worker ({_first_line(error)}); resume to go on from the last checkpoint."
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
