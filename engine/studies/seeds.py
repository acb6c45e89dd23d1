"""What studies share that train every seed by itself: threads or processes, launches, and checkpoints when a seed is due."""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from engine.errors import UserError
from engine.run import Run, Stopped
from engine.studies.seed_processes import Reporter, in_processes

Item = TypeVar("Item")


class Threads(ThreadPoolExecutor):
    """A pool of `size` threads in each of which torch uses one."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(size, initializer=lambda: torch.set_num_threads(1))


@contextmanager
def one_thread_each(most: int | None = None) -> Iterator[Threads]:
    """A pool with a thread for each core, or `most`, in which torch uses one: these shapes gain nothing from more."""
    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    try:
        with Threads(min(cores, most or cores)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)


@contextmanager
def surviving(run: Run, alone: bool) -> Iterator[None]:
    """Let a bad setting fail its run only, where others go on."""
    try:
        yield
    except UserError as error:
        if alone:
            raise
        run.end("failed", str(error))


def one_after_the_other(runs: Sequence[Run], train: Callable[[Run], None]) -> None:
    """Train the runs of a launch in turn; a bad setting fails its run only. Raises UserError for a run alone, Stopped."""
    for run in runs[1:]:
        run.progress(0, 1, "waiting for the runs of this launch before it")
    for run in runs:
        with surviving(run, alone=len(runs) == 1):
            train(run)


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, named by what follows it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


class SeedLearner(Protocol):
    """One seed's training, or a part of it that needs no other, by whose `key` checkpoints name it.

    `work` is units done and in all, `state` what JSON holds of a checkpoint.
    """

    seed: int

    @property
    def key(self) -> str: ...

    @property
    def finished(self) -> bool: ...

    def advance(self) -> None: ...

    def work(self) -> tuple[float, float]: ...

    def tensors(self) -> dict[str, Tensor]: ...

    def state(self) -> dict[str, Any]: ...

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None: ...


Learner = TypeVar("Learner", bound=SeedLearner)


class SeedSession(Generic[Learner]):
    """The learners of a run, as many at a time as the pool has threads; each seed's own work is in one thread or process.

    A subclass makes `learners`, with `log` for what they report, takes `checkpoints` from what was restored, and calls
    `keep_all`. A checkpoint holds a seed where it is and the others where they last were. `reporter` is set in the
    process of a seed only.
    """

    learners: list[Learner]
    reporter: Reporter | None = None

    def __init__(self, run: Run, pool: Threads) -> None:
        self.run, self.pool = run, pool
        self.lock = threading.Lock()
        self.checkpoints = 0
        self.kept: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {}
        self.done: dict[str, tuple[float, float]] = {}

    def log(self, step: int, seed: int, **values: float) -> None:
        if self.reporter:
            named = {name: float(value) for name, value in values.items()}
            return self.reporter.tell({"kind": "log", "step": step, "values": named})
        with self.lock:
            self.run.log(step, seed, **values)

    def resume(self, device: str = "cpu") -> bool:
        """Bring every learner to where the newest checkpoint has it; whether there is one."""
        restored = self.run.restore(device)
        if restored is None:
            return False
        self.checkpoints, tensors, states = restored
        for learner in self.learners:
            learner.restore(tensors, states[learner.key])
        return True

    def keep_all(self) -> None:
        self.kept = {one.key: (one.tensors(), deepcopy(one.state())) for one in self.learners}

    def train(self) -> None:
        """Bring every seed to its end, with checkpoints on the way. Raises Stopped when asked to."""
        waiting = [learner for learner in self.learners if not learner.finished]
        self.done = {learner.key: learner.work() for learner in self.learners}
        if self.run.device == "cpu" and sys.platform == "linux" and min(len(waiting), self.pool.size) > 1:
            in_processes(self, waiting, self.pool.size)
        else:
            self.each(waiting, self.to_its_end)
        if not all(learner.finished for learner in self.learners):
            raise Stopped

    def each(self, items: Sequence[Item], action: Callable[[Item], None]) -> None:
        """Do something to each item; the first error is raised, and what has not begun by then is left."""
        waiting = [self.pool.submit(action, item) for item in items]
        try:
            for done in waiting:
                done.result()
        finally:
            for done in waiting:
                done.cancel()

    def to_its_end(self, learner: Learner) -> None:
        saved = learner.work()[0]
        while not learner.finished and not self.run.should_stop:
            learner.advance()
            self.progress(learner)
            due = learner.work()[0] - saved >= self.run.config.checkpoint_every
            if due or learner.finished or self.run.should_stop:
                self.checkpoint(learner)
                saved = learner.work()[0]

    def progress(self, learner: Learner) -> None:
        if self.reporter:
            return self.reporter.tell({"kind": "work", "work": learner.work()})
        with self.lock:
            self.show_progress(learner.key, learner.work())

    def show_progress(self, key: str, work: tuple[float, float]) -> None:
        self.done[key] = work
        parts = self.done.values()
        self.run.progress(sum(done for done, _ in parts), sum(total for _, total in parts), "training")

    def checkpoint(self, learner: Learner) -> None:
        """Save where `learner` is now and where the others last were."""
        tensors, state = learner.tensors(), deepcopy(learner.state())
        if self.reporter:
            return self.reporter.tell({"kind": "checkpoint", "state": state}, tensors)
        with self.lock:
            self.keep(learner.key, tensors, state)

    def keep(self, key: str, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self.kept[key] = tensors, state
        self.checkpoints += 1
        states = {key: state for key, (_, state) in self.kept.items()}
        self.run.checkpoint(self.checkpoints, self.held(), states)

    def held(self) -> dict[str, Tensor]:
        """The tensors of a checkpoint, from what is kept of every seed."""
        return {name: value for tensors, _ in self.kept.values() for name, value in tensors.items()}
