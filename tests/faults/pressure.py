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

DISK_MB = 96
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
