"""At most one worker trains in a run directory: it holds `worker.lock` there for its life."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any, TextIO

import psutil

from data.files import read_json

LOCK = "worker.lock"


def hold(directory: Path) -> TextIO | None:
    """The lock of a run directory, to be kept open; None where another process has it.

    The system frees it when the process ends, and its forks do not have it. Where a file system knows no locks, everyone gets one.
    Workers on a Ray cluster take none: their actor's name is unique there, and who reports itself later takes over
    (`engine.ray_worker`).
    """
    file = (directory / LOCK).open("a")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # which of the two is up to the system
        file.close()
        return None
    except OSError:
        return file
    file.truncate(0)
    json.dump({"pid": os.getpid(), "born": psutil.Process().create_time()}, file)
    file.flush()
    return file


def holder(directory: Path) -> dict[str, Any] | None:
    """The worker of this machine that last held a run directory, as `LocalExecutor` names it; it may be gone."""
    try:
        told = read_json(directory / LOCK)
        return {"pid": int(told["pid"]), "born": float(told["born"]), "actor": None}
    except (OSError, ValueError, LookupError, TypeError):
        return None
