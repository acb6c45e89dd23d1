"""A run that does not fit: said before it is launched, and when memory runs out under it."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from data.files import write_json
from engine.client import Client
from engine.events import read_events
from engine.executors import KILLED, OUT_OF_MEMORY, LocalExecutor, why_ended
from engine.memory import batch_that_fits, outlook
from engine.studies import STUDIES
from tests.sr2.test_training import TINY

pytestmark = pytest.mark.timeout(900)
SR2 = STUDIES["sr2"]
LARGE = {**TINY, "d_model": 128, "d_inner": 256, "recurrences": 4, "batch_size": 8192}
ROOM = 600e6  # bytes beyond what the libraries alone take; a pass takes some 70 MB an array


def library_bytes() -> int:
    """Address space of a process that has what a worker loads."""
    code = "import os, torch, engine.worker, engine.studies.sr2.training; print(open('/proc/self/statm').read().split()[0])"
    pages = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_memory_that_runs_out_is_told_with_the_batch_that_fits(tmp_path: Path) -> None:
    directory = tmp_path / "runs" / ("a" * 12)
    directory.mkdir(parents=True)
    config = SR2.Config(**LARGE)
    record = {"id": directory.name, "study": "sr2", "seeds": [0], "data_seed": 0}
    write_json(directory / "config.json", {**record, "config": config.model_dump(mode="json")})
    limit = int(library_bytes() + ROOM)
    ended = subprocess.run(
        [sys.executable, "-m", "engine.worker", str(directory)],
        env={**os.environ, "CONCORDANCE_HOME": str(tmp_path), "CONCORDANCE_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=800,
    )
    last = read_events(directory / "events.jsonl", 0)[0][-1]
    assert last["state"] == "failed", ended.stderr
    error = last["error"]
    assert "batch_size: memory ran out at batch_size 8,192: this machine gave it" in error
    fits = int(error.partition("scaled to this, batch_size ")[2].partition(" fits")[0].replace(",", ""))
    assert 8192 > fits > 0 and fits & (fits - 1) == 0


def test_a_launch_that_does_not_fit_is_told_before(engine: Client) -> None:
    small = engine.estimate("sr2", TINY, [0])
    assert small["memory_problem"] is None
    assert small["memory_bytes"] < small["available_bytes"] <= psutil.virtual_memory().total
    enough = {
        **TINY,
        "side": 9,
        "clues": 30,
        "d_model": 1024,
        "d_inner": 4096,
        "batch_size": 8192,
        "recurrences": 8,
    }
    large = engine.estimate("sr2", enough, [0])
    assert large["memory_bytes"] > large["available_bytes"]
    assert (
        large["memory_problem"].startswith("batch_size: about ")
        and "this machine has" in large["memory_problem"]
    )


def test_the_batch_that_fits_is_the_largest_half_that_does() -> None:
    config = SR2.Config(**LARGE)
    found = batch_that_fits(SR2, config, 1, 2e9, 1.0)
    assert found is not None
    name, batch = found

    def needed(size: int) -> float:
        return SR2.estimate(config.model_copy(update={name: size}), 1)["memory_bytes"]

    assert needed(batch) <= 1.8e9 < needed(2 * batch)
    assert batch_that_fits(SR2, config, 1, 1e6, 1.0) is None
    assert outlook(SR2, SR2.Config(**TINY), 1)["memory_problem"] is None


def test_a_killed_worker_says_what_killed_it(tmp_path: Path) -> None:
    directory = tmp_path / "runs" / ("b" * 12)
    directory.mkdir(parents=True)
    local = LocalExecutor()
    worker = local.start([directory], [0])
    os.kill(worker["pid"], signal.SIGKILL)
    while local.alive(worker):
        time.sleep(0.01)
    assert local.why(worker) == KILLED
    assert why_ended(-signal.SIGKILL, -1) == OUT_OF_MEMORY
    assert why_ended(1, 0) is None
