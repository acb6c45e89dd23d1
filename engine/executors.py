"""Where workers run: child processes of this machine (`engine.ray_executor` has those of a cluster)."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import psutil

Worker = dict[str, Any]
"""What names a worker in a run's state.json: process id and time of birth here, or the actor that holds it on a cluster."""

ON_A_CLUSTER = (
    "It ran on a Ray cluster, which this engine was not started with; start it with --ray to find the worker again, "
    "or resume to go on here from the last checkpoint."
)
OUT_OF_SPACE = "The disk is full; free some space or lower n_tokens, then resume the run."
OUT_OF_MEMORY = "Memory ran out and the system killed the worker"
KILLED = "The worker was killed from outside (signal 9), by hand or for want of memory; resume to go on from the last checkpoint."


class Executor(Protocol):
    """Starts the workers of launches and controls them; a run's state holds what `start` returned.

    `slots` is how many may run at once, `gpus` the names of what they run on, `place` says it in a word or two. `grace` is
    how many seconds a worker that was asked to stop gets.
    """

    grace: float

    @property
    def gpus(self) -> list[str]: ...

    @property
    def slots(self) -> int: ...

    @property
    def slots_of_one(self) -> int:
        """The most slots one worker can have."""

    @property
    def place(self) -> str: ...

    def start(self, directories: list[Path], slots: list[int], python: Path | None = None) -> Worker: ...

    def alive(self, worker: Worker) -> bool: ...

    def stop(self, worker: Worker, force: bool) -> None: ...

    def why(self, worker: Worker) -> str | None:
        """A sentence on why a worker ended, OUT_OF_MEMORY, or None where it isn't known."""

    def close(self) -> None: ...


def gpus_for(record: dict[str, Any]) -> int:
    """How many GPUs the worker of a run needs."""
    return int(record["config"].get("n_gpus", 1))


class LocalExecutor:
    """One child process per launch, in a session of its own, so it outlives a killed engine.

    A process is named by its id and its time of birth (seconds since the epoch), since ids are reused.
    """

    grace = 4.0

    def __init__(self) -> None:
        found = own_gpus()
        self.gpus, self._entries = [gpu.name for gpu in found], [gpu.entry for gpu in found]
        self.slots = max(1, len(self.gpus))
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._oom_kills: dict[int, int] = {}

    @property
    def slots_of_one(self) -> int:
        return self.slots

    @property
    def place(self) -> str:
        return self.gpus[0] if self.gpus else "CPU"

    def start(self, directories: list[Path], slots: list[int], python: Path | None = None) -> Worker:
        """Start the worker of a launch's run directories on the GPUs `slots`, if there are any.

        `python` is the interpreter it runs with, the engine's own by default.
        """
        for child in self._children.values():
            child.poll()  # whoever ended stays a zombie until it is asked
        device = {VISIBLE: ",".join(self._entries[slot] for slot in slots)} if self.gpus else {}
        before = oom_kills()
        with (directories[0] / "worker.log").open("ab") as log:
            child = subprocess.Popen(
                [str(python or sys.executable), "-m", "engine.worker", *map(str, directories)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    "CONCORDANCE_HOME": str(directories[0].parent.parent),
                    "OMP_WAIT_POLICY": "PASSIVE",
                    **device,
                },
            )
        self._children[child.pid], self._oom_kills[child.pid] = child, before
        return {"pid": child.pid, "born": psutil.Process(child.pid).create_time(), "actor": None}

    def alive(self, worker: Worker) -> bool:
        if worker["pid"] is None:
            return False
        child = self._children.get(worker["pid"])
        if child is not None:
            return child.poll() is None
        try:
            process = psutil.Process(worker["pid"])
            same = abs(process.create_time() - worker["born"]) < 1
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def stop(self, worker: Worker, force: bool) -> None:
        """Ask the worker to checkpoint and end (SIGTERM); with `force`, kill its process tree."""
        if not self.alive(worker):
            return
        process = psutil.Process(worker["pid"])
        if not force:
            process.send_signal(signal.SIGTERM)
            return
        for member in [*process.children(recursive=True), process]:
            try:
                member.kill()
            except psutil.NoSuchProcess:
                continue

    def why(self, worker: Worker) -> str | None:
        if worker["pid"] is None:
            return ON_A_CLUSTER
        child = self._children.get(worker["pid"])
        return why_ended(child.poll(), self._oom_kills[worker["pid"]]) if child else None

    def close(self) -> None:
        """Workers outlive the engine."""


def why_ended(status: int | None, kills_before: int) -> str | None:
    """Of a worker's exit status, and how often memory had run out when it began, what ended it; None where that is unknown."""
    if status != -signal.SIGKILL:
        return None
    return OUT_OF_MEMORY if oom_kills() > kills_before else KILLED


def oom_kills() -> int:
    """How many processes Linux has killed on this machine for want of memory; 0 elsewhere."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


VISIBLE = "CUDA_VISIBLE_DEVICES"
gpus_of_cluster: list[str] | None = None


class Gpu(NamedTuple):
    """A GPU of this machine: its entry in CUDA_VISIBLE_DEVICES, UUID, name, and bytes of memory (None where nobody tells)."""

    entry: str
    uuid: str
    name: str
    size: float | None


def gpu_names() -> list[str]:
    """Names of the NVIDIA GPUs runs can have, asked without loading torch: this machine's, or the cluster's."""
    if gpus_of_cluster is not None:
        return gpus_of_cluster
    return [gpu.name for gpu in own_gpus()]


def own_gpus() -> list[Gpu]:
    """The GPUs of this machine in the order of their slots; where CUDA_VISIBLE_DEVICES is set, those it names.

    As for CUDA, an entry is an index, the beginning of a UUID or a MIG part, and what follows an unknown one does not count.
    """
    listed = _nvidia_smi()
    wanted = os.environ.get(VISIBLE)
    if wanted is None or not listed:
        return listed
    found: list[Gpu] = []
    for entry in map(str.strip, wanted.split(",")):
        known = [*listed, Gpu(entry, entry, "MIG part", None)] if entry.startswith("MIG-") else listed
        named = [
            gpu for gpu in known if entry == gpu.entry or (entry[:4] == "GPU-" and gpu.uuid.startswith(entry))
        ]
        if not named:
            break
        found.append(named[0]._replace(entry=entry))
    return found


def _nvidia_smi() -> list[Gpu]:
    """Every GPU that nvidia-smi lists; nothing where there is none."""
    try:
        command = ["nvidia-smi", "--query-gpu=index,uuid,memory.total,name", "--format=csv,noheader,nounits"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    rows = (line.split(", ", 3) for line in listed.stdout.strip().splitlines())
    return [Gpu(i, uuid, name, float(mib) * 2**20 if mib.isdigit() else None) for i, uuid, mib, name in rows]
