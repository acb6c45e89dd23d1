"""Worker processes of this machine."""

from pathlib import Path

import psutil

from engine.executors import LocalExecutor
from tests.engine.test_ray import eventually


def test_a_worker_that_ended_leaves_no_zombie_once_the_next_starts(tmp_path: Path) -> None:
    executor = LocalExecutor()
    first = executor.start([tmp_path], 0, Path("/bin/true"))
    eventually(lambda: psutil.Process(first["pid"]).status() == psutil.STATUS_ZOMBIE, "it ended")
    second = executor.start([tmp_path], 0, Path("/bin/true"))
    assert not psutil.pid_exists(first["pid"])
    eventually(lambda: not executor.alive(second), "it ended")
