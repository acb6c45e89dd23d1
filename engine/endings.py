"""Why a run ended that no last word of its worker explains, in one sentence."""

import shutil
from pathlib import Path

from engine import memory
from engine.entries import Entry
from engine.executors import OUT_OF_MEMORY, OUT_OF_SPACE, Executor
from engine.identity import find_study

FULL = 8e6  # bytes free, below which a worker that fell silent had no room for its last words
DIED = "The worker process died before it finished; resume to go on from the last checkpoint."
UNREADABLE = "Its tables cannot be read; resume to go on from the last checkpoint and write them anew."
SHUT_DOWN = "The engine was stopped; resume to go on from the last checkpoint."


def death(home: Path, executor: Executor, entry: Entry) -> str:
    """Why the worker of a run ended without saying so."""
    if shutil.disk_usage(home).free < FULL:
        return OUT_OF_SPACE
    why = executor.why(entry.state)
    if why != OUT_OF_MEMORY:
        return why or DIED
    study, found = find_study(entry.record["study"]), memory.available()
    if found is None:
        return f"{OUT_OF_MEMORY}; launch it again with a smaller batch."
    size, what = found
    config = study.Config(**entry.record["config"])
    return f"{OUT_OF_MEMORY}; {memory.ran_out(study, config, entry.record['seeds'], size, what)}"
