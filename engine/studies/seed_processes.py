"""Seeds trained in processes of their own: small models spend most of their time in Python, where threads wait for each other.

A process is a fork that trains its seed and writes nothing; what it logs, how far it is and its checkpoints go through a
pipe to the run's process, which holds the seed's learner and restores it from the last checkpoint.
"""

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from types import FrameType
from typing import TYPE_CHECKING, Any

from safetensors.torch import load, save

from engine.errors import UserError

if TYPE_CHECKING:
    from engine.studies.seeds import SeedLearner, SeedSession

PATIENCE = 0.2  # seconds until a wish to stop is noticed
Message = dict[str, Any]


class Reporter:
    """The session's end of the pipe inside a seed's process."""

    def __init__(self, pipe: Connection, parent: int) -> None:
        self.pipe, self.parent = pipe, parent

    def tell(self, message: Message, tensors: dict[str, Any] | None = None) -> None:
        """Ends this process where nobody listens any more."""
        if os.getppid() != self.parent:
            os._exit(1)
        self.pipe.send_bytes(json.dumps(message).encode())
        if tensors is not None:
            self.pipe.send_bytes(save({name: value.contiguous() for name, value in tensors.items()}))


def in_processes(session: "SeedSession[Any]", learners: Sequence["SeedLearner"], at_once: int) -> None:
    """Bring learners to their end, `at_once` at a time; raises the first error once the others have checkpointed."""
    waiting = list(learners)
    going: dict[Connection, tuple[ForkProcess, SeedLearner]] = {}
    error: Exception | None = None
    while going or (waiting and not error and not session.run.should_stop):
        while waiting and len(going) < at_once and not error and not session.run.should_stop:
            learner = waiting.pop(0)
            ours, theirs = get_context("fork").Pipe(duplex=False)
            process = get_context("fork").Process(target=_train, args=(session, learner, theirs), daemon=True)
            process.start()
            theirs.close()
            going[ours] = process, learner
        for pipe in wait(list(going), PATIENCE):
            assert isinstance(pipe, Connection)
            process, learner = going[pipe]
            try:
                error = _heard(session, learner, pipe) or error
            except EOFError:
                del going[pipe]
                process.join()
                learner.restore(*session.kept[learner.key])
                # Killed by hand or for want of memory, it takes the run with it, as when they were one process.
                if process.exitcode == -signal.SIGKILL:
                    os.kill(os.getpid(), signal.SIGKILL)
                if process.exitcode and error is None:
                    error = RuntimeError(f"the process of seed {learner.key} ended ({process.exitcode}).")
        if error or session.run.should_stop:
            for process, _ in going.values():
                process.terminate()
    if error:
        raise error


def _heard(session: "SeedSession[Any]", learner: "SeedLearner", pipe: Connection) -> Exception | None:
    """Pass on what a seed's process says; the error it ended with. Raises EOFError when it has nothing more to say."""
    message = json.loads(pipe.recv_bytes())
    kind = message["kind"]
    if kind == "log":
        session.log(message["step"], learner.seed, **message["values"])
    elif kind == "work":
        session.show_progress(learner.key, tuple(message["work"]))
    elif kind == "checkpoint":
        session.keep(learner.key, load(pipe.recv_bytes()), message["state"])
    else:
        kinds: dict[str, Callable[..., Exception]] = {"UserError": UserError, "MemoryError": MemoryError}
        return kinds.get(message["type"], RuntimeError)(*message["words"])
    return None


def _train(session: "SeedSession[Any]", learner: "SeedLearner", pipe: Connection) -> None:
    """What a seed's process does."""

    def stop(signum: int, frame: FrameType | None) -> None:
        session.run.should_stop = True

    signal.signal(signal.SIGTERM, stop)
    reporter = session.reporter = Reporter(pipe, os.getppid())
    try:
        session.to_its_end(learner)
    except UserError as error:
        reporter.tell({"kind": "error", "type": "UserError", "words": [error.field, error.message]})
    except Exception as error:
        traceback.print_exc()
        name = type(error).__name__
        words = str(error) if name in ("MemoryError", "RuntimeError") else f"{name}: {error}"
        reporter.tell({"kind": "error", "type": name, "words": [words]})
    sys.stderr.flush()
