"""Own puzzles, solved live: one warm child of the engine that holds reasoners of finished runs, and its route."""

import json
import os
import select
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from engine.errors import UserError
from engine.scheduler import Scheduler

STUDY = "sr2"
IDLE = 900  # seconds without a puzzle after which the child ends
SECONDS = 60  # for one puzzle, loading libraries included


class PuzzleRequest(BaseModel):
    """A puzzle in text, and how many alignment blocks to run on it; None runs those trained."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(default=0, ge=0, lt=2**31)
    puzzle: str = Field(max_length=10_000)
    blocks: int | None = Field(default=None, ge=1, le=512)


class PuzzleSolver:
    """Starts `engine.studies.sr2.solving` when a puzzle comes, keeps it warm, and answers one puzzle at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None

    def solve(self, folder: Path, request: PuzzleRequest) -> dict[str, Any]:
        """What `engine.studies.sr2.solving.solve` returns. Raises UserError."""
        message = {"folder": str(folder), **request.model_dump()}
        with self._lock:
            answer = self._ask(json.dumps(message) + "\n")
        if "error" in answer:
            raise UserError(answer["field"], answer["error"])
        return answer

    def _ask(self, line: str) -> dict[str, Any]:
        if self._child is None or self._child.poll() is not None:
            self._child = self._start()
        assert self._child.stdin is not None and self._child.stdout is not None
        try:
            self._child.stdin.write(line)
            self._child.stdin.flush()
            if select.select([self._child.stdout], [], [], SECONDS)[0] and (
                answer := self._child.stdout.readline()
            ):
                found: dict[str, Any] = json.loads(answer)
                return found
        except OSError:
            pass
        self.close()
        raise UserError("puzzle", "the solver did not answer; try again.")

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "engine.studies.sr2.solving", str(IDLE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "CUDA_VISIBLE_DEVICES": ""},
        )

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
            self._child.wait()
        self._child = None


def add_puzzles(app: FastAPI, guarded: list[Any], scheduler: Scheduler, solver: PuzzleSolver) -> None:
    """Add the route that solves a puzzle with a finished run."""

    @app.post("/runs/{run_id}/puzzle", dependencies=guarded)
    def solve_puzzle(run_id: str, request: PuzzleRequest) -> dict[str, Any]:
        entry = scheduler.get(run_id)
        if entry.record["study"] != STUDY:
            raise UserError("run", f"{run_id} is a run of {entry.record['study']}; choose one of {STUDY}.")
        if not scheduler.is_done(run_id):
            raise UserError("run", f"{run_id} is {entry.state['state']}; wait until it is done.")
        return solver.solve(entry.directory, request)
