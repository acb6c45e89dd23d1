"""What a Ray node does for a launch: an actor that runs the worker as its child. Ray makes it again elsewhere when it is lost."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from data.files import read_json
from data.paths import cache_dir
from engine.errors import UserError
from engine.events import read_events
from engine.executors import oom_kills, why_ended
from engine.identity import code_version
from engine.remote_storage import RemoteStorage

POLL, PUSH_EVERY, PUSH_TRIES = 0.5, 2.0, 30


class NodeWorker:
    """The worker of the runs `run_ids` of the state folder `home`, started when the actor is made.

    Without `storage` the node must see that folder under the same path. With it (a URL), the runs and what they read
    (`reads`, folders of the state folder) are downloaded to a folder of the node's own, and uploaded as they grow.
    `code` is the engine's version of the study's code; `python` the worker's interpreter, the node's own by default.
    """

    def __init__(
        self,
        home: str,
        run_ids: list[str],
        threads: int,
        code: str,
        python: str | None,
        storage: str | None,
        reads: list[str],
    ) -> None:
        self.run_ids, self.threads, self.python = run_ids, threads, python
        self._why: str | None = None
        self._announced = False
        self._child: subprocess.Popen[bytes] | None = None
        try:
            self.storage = RemoteStorage(storage) if storage else None
            self.home = self._download(reads) if self.storage else Path(home)
            self._check(code)
            self._start()
        except (UserError, OSError) as error:
            self._why = str(error)
            self._thread = threading.Thread(target=lambda: None)
        else:
            self._thread = threading.Thread(target=self._tend, daemon=True)
        self._thread.start()

    def wait(self) -> str | None:
        """Block until the worker has ended and what it wrote is on the storage; why it ended early, where that is known."""
        self._thread.join()
        return self._why

    def stop(self) -> None:
        """Ask the worker to checkpoint and end."""
        if self._child and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)

    @property
    def _directories(self) -> list[Path]:
        return [self.home / "runs" / run_id for run_id in self.run_ids]

    def _download(self, reads: list[str]) -> Path:
        assert self.storage is not None
        home = cache_dir() / "cluster" / hashlib.sha256(self.storage.url.encode()).hexdigest()[:12]
        home.mkdir(parents=True, exist_ok=True)
        for run_id in self.run_ids:
            shutil.rmtree(home / "runs" / run_id, ignore_errors=True)
            self.storage.pull(home, f"runs/{run_id}")
        for folder in reads:
            self.storage.pull(home, folder)
        return home

    def _check(self, code: str) -> None:
        """Raises UserError where the node cannot do what the engine asks of it."""
        node = socket.gethostname()
        for directory in self._directories:
            if not (directory / "config.json").exists():
                raise UserError(
                    "storage",
                    f"the node {node} cannot see {directory}; put CONCORDANCE_HOME on a folder that every node mounts under the "
                    "same path, or start the engine with --storage URL.",
                )
        if code_version(read_json(self._directories[0] / "config.json")["study"]) != code:
            raise UserError(
                "ray", f"the node {node} has another version of Concordance; install the same on every node."
            )
        if self.python and not Path(self.python).exists():
            raise UserError(
                "environment", f"the node {node} lacks {self.python}; make it there with `concordance env`."
            )

    def _start(self) -> None:
        """Start the worker on a leash: it ends when its standard input does, which is when this process is gone."""
        self._oom_kills = oom_kills()
        with (self._directories[0] / "worker.log").open("ab") as log:
            self._child = subprocess.Popen(
                [self.python or sys.executable, "-m", "engine.worker", *map(str, self._directories)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    "CONCORDANCE_HOME": str(self.home),
                    "CONCORDANCE_LEASH": "1",
                    "CONCORDANCE_THREADS": str(self.threads),
                    "OMP_WAIT_POLICY": "PASSIVE",
                },
            )

    def _tend(self) -> None:
        """Upload what the child writes until it ends, and end it where another worker has taken the run."""
        assert self._child is not None
        cursor, pushed = 0, time.monotonic()
        while self._child.poll() is None:
            time.sleep(POLL)
            if self.storage is None:
                cursor = self._yield_to_another(cursor)
            elif time.monotonic() - pushed > PUSH_EVERY:
                self._push(tries=1)
                pushed = time.monotonic()
        self._why = why_ended(self._child.returncode, self._oom_kills)
        if self.storage is not None:
            self._push(PUSH_TRIES)

    def _yield_to_another(self, cursor: int) -> int:
        """End the child once another worker reports itself in the run's events after it did; the next cursor."""
        assert self._child is not None
        rows, cursor = read_events(self._directories[0] / "events.jsonl", cursor)
        for row in rows:
            if row["kind"] == "state" and row["state"] == "running":
                mine = (row.get("pid"), row.get("host")) == (self._child.pid, socket.gethostname())
                if self._announced and not mine:
                    self._child.kill()
                self._announced = self._announced or mine
        return cursor

    def _push(self, tries: int) -> None:
        """Bring the storage up to date; what is missing after the last try is told as the end of the run."""
        assert self.storage is not None
        for left in reversed(range(tries)):
            try:
                for run_id in self.run_ids:
                    self.storage.push(self.home, f"runs/{run_id}")
                return
            except Exception as error:
                if tries > 1 and not left:
                    host = socket.gethostname()
                    self._why = f"storage: {self.storage.url} cannot be written to from {host} ({error})."
                time.sleep(PUSH_EVERY if left else 0)
