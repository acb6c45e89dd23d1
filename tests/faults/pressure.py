"""The disk fills up under a run; a worker's clock stops."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from data.files import read_json
from tests.faults.stage import LAUNCHES, Launch, Stage, patiently, until

DISK_MB, LOG_ROOM = 96, 400_000
VICTIM: Launch = LAUNCHES[0]


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A folder on a file system of `DISK_MB`; needs the right to mount."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take every free byte."""
    path = folder / "filler"
    with suppress(OSError), path.open("wb", buffering=0) as out:
        while True:
            out.write(b"\0" * 65536)
    with suppress(OSError), path.open("ab", buffering=0) as out:
        while True:
            out.write(b"\0")
    return path


def full_disk(folder: Path, expected: dict[str, dict[str, str]]) -> str:
    """A run on a disk that fills up says so, and goes on to the same bytes when there is room. What it said."""
    with small_disk(folder / "small") as home, Stage(home) as stage:
        (run,) = stage.launch((VICTIM,))
        until(lambda: list((home / "runs" / run).glob("checkpoints/step-*")), "it checkpoints")
        filler = fill(home)
        until(lambda: patiently(stage.states)[run] != "running", "the run ends", 120)
        ended = patiently(lambda: stage.client().run(run))
        assert ended["state"] in ("failed", "interrupted"), ended
        said = f"{ended['state']}: {ended['error']}"
        assert "space" in said.lower() or "disk" in said.lower(), said
        filler.unlink()
        patiently(lambda: stage.client().resume(run))
        stage.finish()
        assert stage.problems() == [] and stage.manifests()[run] == expected[run]
    return said


def full_disk_at_the_end(folder: Path, expected: dict[str, dict[str, str]]) -> str:
    """The disk is full when the engine takes in a finished run: first to the last byte, then but for what a log needs.

    The same engine must take it in once there is room. How long that took.
    """
    with small_disk(folder / "finishing") as home, Stage(home) as stage:
        (run,) = stage.launch((VICTIM,))
        events, engine = home / "runs" / run / "events.jsonl", stage.engine_pid()
        until(lambda: list((home / "runs" / run).glob("checkpoints/step-*")), "it checkpoints")
        os.kill(engine, signal.SIGSTOP)
        until(lambda: '"state": "done"' in events.read_text(), "the worker is done", 120)
        filler = fill(home)
        os.kill(engine, signal.SIGCONT)
        for room in (0, LOG_ROOM):
            os.truncate(filler, filler.stat().st_size - room)
            time.sleep(4)
            said = patiently(stage.states)[run]
            assert said == "running", said
        filler.unlink()
        start = time.monotonic()
        until(lambda: stage.states()[run] == "done", "it is taken in")
        took = time.monotonic() - start
        assert stage.engine_pid() == engine and patiently(stage.problems) == []
        assert stage.manifests()[run] == expected[run]
    return f"{took:.1f} s after there was room"


def stopped_clock(folder: Path, expected: dict[str, dict[str, str]]) -> str:
    """A worker that stands still for five seconds goes on to the same bytes; one that stands still can be cancelled."""
    with Stage(folder / "clock") as stage:
        (run,) = stage.launch((VICTIM,))
        until(stage.worker_pids, "it runs")
        pid = _running(stage, run)
        os.kill(pid, signal.SIGSTOP)
        time.sleep(5)
        os.kill(pid, signal.SIGCONT)
        until(lambda: list((stage.home / "runs" / run).glob("checkpoints/step-*")), "it goes on")
        os.kill(_running(stage, run), signal.SIGSTOP)
        stage.client().cancel(run)
        start = time.monotonic()
        until(lambda: stage.states()[run] == "cancelled", "a stopped worker is cancelled", 30)
        took = time.monotonic() - start
        assert stage.problems() == []
        stage.finish()
        assert stage.manifests()[run] == expected[run]
    return f"cancelled after {took:.1f} s, then resumed to the same bytes"


def _running(stage: Stage, run: str) -> int:
    return int(read_json(stage.home / "runs" / run / "state.json")["pid"])
