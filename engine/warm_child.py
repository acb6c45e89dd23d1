"""One warm child of the engine that loads models once and answers requests, a line of JSON each, one at a time."""

import json
import os
import select
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import UserError
from engine.plain_text import one_line

if TYPE_CHECKING:
    from engine.scheduler import Scheduler

IDLE = 900  # seconds without a request after which the child ends
LONGEST = 500  # characters of a refusal
SECONDS = 60  # for one answer, loading libraries included
Message = dict[str, Any]


class WarmChild:
    """Starts `python -m module IDLE` when a request comes, and keeps it warm. `field` is named when it does not answer."""

    def __init__(self, module: str, field: str) -> None:
        self._module, self._field = module, field
        self._lock = threading.Lock()
        self._child: subprocess.Popen[str] | None = None

    def ask(self, message: Message) -> Message:
        """The child's answer. Raises UserError where it refuses, dies or takes too long."""
        with self._lock:
            answer = self._answer(json.dumps(message) + "\n")
        if "error" in answer:
            raise UserError(answer["field"], one_line(answer["error"], LONGEST))
        return answer

    def _answer(self, line: str) -> Message:
        if self._child is None or self._child.poll() is not None:
            self._child = self._start()
        assert self._child.stdin is not None and self._child.stdout is not None
        why = "the process that answers ended"
        try:
            self._child.stdin.write(line)
            self._child.stdin.flush()
            if not select.select([self._child.stdout], [], [], SECONDS)[0]:
                why = f"no answer within {SECONDS} s, other work may keep the machine busy"
            elif answer := self._child.stdout.readline():
                found: Message = json.loads(answer)
                return found
        except OSError:
            pass
        self.close()
        raise UserError(self._field, f"{why}; try again.")

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", self._module, str(IDLE)],
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


def finished_run(scheduler: "Scheduler", run_id: str, study: str) -> Path:
    """The folder of a finished run of `study`. Raises UserError for another study's run or an unfinished one."""
    entry = scheduler.get(run_id)
    if entry.record["study"] != study:
        raise UserError("run", f"{run_id} is a run of {entry.record['study']}; choose one of {study}.")
    if not scheduler.is_done(run_id):
        raise UserError("run", f"{run_id} is {entry.state['state']}; wait until it is done.")
    return entry.directory


def serve(answer: Callable[[Message], Message], field: str) -> None:
    """The child's side: answer requests until stdin closes or nothing comes for the seconds of the first argument."""
    while select.select([sys.stdin], [], [], float(sys.argv[1]))[0]:
        line = sys.stdin.readline()
        if not line:
            return
        try:
            found = answer(json.loads(line))
        except UserError as error:
            found = {"error": error.message, "field": error.field}
        except Exception as error:
            traceback.print_exc()
            found = {"error": f"it could not be done ({type(error).__name__}).", "field": field}
        print(json.dumps(found), flush=True)
