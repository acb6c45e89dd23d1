"""Where workers run: a child process of this machine."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import psutil


class Executor(Protocol):
    """Starts the worker of a launch and controls it by process id."""

    slots: int
    gpus: list[str]

    def start(self, directories: list[Path], slot: int, python: Path | None = None) -> tuple[int, float]: ...

    def alive(self, pid: int, born: float) -> bool: ...

    def stop(self, pid: int, born: float, force: bool) -> None: ...


class LocalExecutor:
    """One child process per launch, in a session of its own, so it outlives a killed engine.

    A process is named by its id and its time of birth (seconds since the epoch), since ids are reused.
    """

    def __init__(self) -> None:
        self.gpus = gpu_names()
        self.slots = max(1, len(self.gpus))
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def start(self, directories: list[Path], slot: int, python: Path | None = None) -> tuple[int, float]:
        """Start the worker of a launch's run directories on GPU `slot`, if there is one; its process id and time of birth.

        `python` is the interpreter it runs with, the engine's own by default.
        """
        device = {"CUDA_VISIBLE_DEVICES": str(slot)} if self.gpus else {}
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
        self._children[child.pid] = child
        return child.pid, psutil.Process(child.pid).create_time()

    def alive(self, pid: int, born: float) -> bool:
        child = self._children.get(pid)
        if child is not None:
            return child.poll() is None
        try:
            process = psutil.Process(pid)
            return abs(process.create_time() - born) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def stop(self, pid: int, born: float, force: bool) -> None:
        """Ask the worker to checkpoint and end (SIGTERM); with `force`, kill its process tree."""
        if not self.alive(pid, born):
            return
        process = psutil.Process(pid)
        if not force:
            process.send_signal(signal.SIGTERM)
            return
        for member in [*process.children(recursive=True), process]:
            try:
                member.kill()
            except psutil.NoSuchProcess:
                continue


def gpu_names() -> list[str]:
    """Names of this machine's NVIDIA GPUs, asked without loading torch."""
    try:
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return listed.stdout.strip().splitlines()
