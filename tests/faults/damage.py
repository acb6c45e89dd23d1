"""Every kind of file a state folder holds is cut short and has a byte turned; the engine must start, name it, and go on."""

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.run import LOG_DAMAGED
from tests.faults.stage import LAUNCHES, Stage, kill, patiently, until

FINISHED, STOPPED = LAUNCHES[0], LAUNCHES[5]
METRICS = "tables/metrics.parquet"
Damage = Callable[[Path, random.Random], None]


def truncate(path: Path, rng: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: rng.randrange(max(1, path.stat().st_size))])


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(bytes(content))


KINDS: dict[str, Damage] = {"truncated": truncate, "a bit turned": flip}


def prepared(folder: Path) -> Path:
    """A state folder with a finished run and one that was killed half-way, and no process on it."""
    with Stage(folder) as stage:
        stage.launch((FINISHED,))
        stage.finish()
        (run,) = stage.launch((STOPPED,))
        until(
            lambda: len(list((folder / "runs" / run).glob("checkpoints/step-*"))) > 1, "it checkpoints twice"
        )
        for pid in stage.worker_pids():
            kill(pid)
        until(lambda: stage.states()[run] == "interrupted", "the kill is noticed")
        stage.stop_engine()
    return folder


def files(home: Path) -> Iterator[Path]:
    """One file of every kind: results by suffix, records, logs, checkpoints, database."""
    kinds: dict[tuple[str, ...], Path] = {}
    for path in sorted(home.rglob("*")):
        if path.is_file() and path.stat().st_size and path.name not in ("engine.lock", "engine.log"):
            parts = path.relative_to(home).parts
            kinds.setdefault(
                (*parts[:2], *parts[-2:-1], path.suffix if "tables" in parts else path.name), path
            )
    yield from kinds.values()


def damage(folder: Path, expected: dict[str, dict[str, str]], seed: int, say: Callable[[str], None]) -> int:
    """Damage a copy of a state folder once for every file and kind; how many were survived. Raises AssertionError.

    A damaged result must be named by `store check`; whatever else was damaged, both runs must end with the bytes they would
    have had, or the engine must say in one sentence why a run cannot. Of a damaged log the metrics may differ where the run says so.
    """
    rng = random.Random(seed)
    whole = prepared(folder / "whole")
    n = 0
    for path in list(files(whole)):
        for kind, broken in KINDS.items():
            name = str(path.relative_to(whole))
            copy = folder / "copy"
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(whole, copy)
            broken(copy / name, rng)
            say(f"{name} {kind}: {_survive(copy, name, expected)}")
            n += 1
    return n


def _survive(home: Path, name: str, expected: dict[str, dict[str, str]]) -> str:
    with Stage(home) as stage:
        runs = stage.states()
        problems = patiently(stage.problems)
        is_result = any(part in name for part in ("tables/", "saes/", "tensors/", "manifest.json"))
        if is_result:
            owner = name.split("/")[1]
            assert any(owner in problem for problem in problems), f"nobody noticed: {problems}"
            return f"named ({problems[0]})"
        if len(runs) < 2:
            assert problems, "a run vanished without a word"
            return f"run set aside ({problems[0]})"
        for run, state in runs.items():
            if state != "done":
                stage.client().resume(run)
                ended = stage.client().wait(run)
                assert ended["state"] == "done" or ended["error"], ended
                if ended["state"] != "done":
                    return f"run says why not ({ended['error']})"
        assert stage.problems() == [], stage.problems()
        for run, found in stage.manifests().items():
            rows = stage.client().events(run)["rows"]
            told = {METRICS} if any(row.get("text") == LOG_DAMAGED for row in rows) else set()
            differing = {file for file in found | expected[run] if found.get(file) != expected[run].get(file)}
            assert differing <= told, f"{run} has other bytes in {sorted(differing)}"
            if differing:
                return f"same bytes in the end but for the metrics ({LOG_DAMAGED})"
    return "same bytes in the end" + (f" ({problems[0]})" if problems else "")
