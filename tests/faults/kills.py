"""Workers, engine and app are killed at random moments while ten studies train; every byte must come out as if none had been."""

import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.faults.stage import LAUNCHES, Stage, kill, patiently, until

VICTIMS = ("worker", "engine", "app", "engine and worker")


def reference(folder: Path) -> dict[str, dict[str, str]]:
    """Results of the launches when nothing happens to them."""
    with Stage(folder) as stage:
        stage.launch()
        stage.finish()
        return stage.manifests()


def kills(
    folder: Path, expected: dict[str, dict[str, str]], n: int, seed: int, say: Callable[[str], None]
) -> Counter[str]:
    """Kill until `n` processes have died, in as many rounds of all launches as that takes; how often each victim fell.

    After every kill the store must be sound and no finished run may be lost. Raises AssertionError otherwise.
    """
    rng = random.Random(seed)
    fallen: Counter[str] = Counter()
    round_ = 0
    while fallen.total() < n:
        with Stage(folder / f"round-{round_}") as stage:
            _round(stage, rng, fallen, n, expected)
            stage.finish()
            assert stage.manifests() == expected, _difference(stage.manifests(), expected)
            assert stage.problems() == []
        round_ += 1
        say(f"round {round_}: {fallen.total()} killed so far ({dict(fallen)}); all results as without a kill")
    return fallen


def _round(
    stage: Stage, rng: random.Random, fallen: Counter[str], n: int, expected: dict[str, dict[str, str]]
) -> None:
    finished: set[str] = set()
    while fallen.total() < n:
        ids = patiently(stage.launch)
        stage.open_app()
        states = stage.states()
        lost = {run for run in finished if states.get(run) != "done"}
        assert not lost, f"finished results lost: {lost}"
        finished = {run for run in ids if states[run] == "done"}
        if len(finished) == len(LAUNCHES):
            return
        time.sleep(rng.uniform(0.2, 4.0))
        _strike(stage, rng.choice(VICTIMS), fallen)
        problems = patiently(stage.problems)
        assert problems == [], problems
        for run, files in stage.manifests().items():
            assert files == expected[run], f"run {run}: {_difference({run: files}, expected)}"


def _strike(stage: Stage, victim: str, fallen: Counter[str]) -> None:
    workers = set(stage.worker_pids())
    if "engine" in victim:
        fallen["engine"] += kill(stage.engine_pid())
    if "worker" in victim:
        fallen["worker"] += sum(map(kill, workers))
        until(
            lambda: not workers & set(stage.worker_pids()) or not patiently(stage.states),
            "dead workers are noticed",
        )
    if victim == "app" and stage.app is not None:
        fallen["app"] += kill(stage.app.pid)
        stage.app.wait()


def _difference(found: dict[str, dict[str, str]], expected: dict[str, dict[str, str]]) -> str:
    lines = []
    for run, files in found.items():
        wanted = expected.get(run, {})
        lines += [f"{run}/{name}" for name in {*files, *wanted} if files.get(name) != wanted.get(name)]
    return f"differ: {', '.join(sorted(lines)[:10])}"
