"""Training the seeds of a run in lockstep on the same batches, each on a core of its own."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from math import ceil
from queue import Empty, PriorityQueue
from typing import Any, TypeVar

import torch

from data.sr2 import PuzzleSet
from engine.run import Run, Stopped
from engine.studies.seeds import one_after_the_other, one_thread_each, under
from engine.studies.sr2.config import Config
from engine.studies.sr2.cost import flops_per_step
from engine.studies.sr2.results import write_results
from engine.studies.sr2.source import open_puzzles, training_batch
from engine.studies.sr2.trainer import Trainer, Validation

LOGGED_POINTS = 200
T = TypeVar("T")


class Training:
    """One run: a trainer for each seed; batch b lasts for the N steps of its blocks, or for one without alignment.

    Seeds wait for each other only where something is logged, validated or saved. They read the same batches.
    """

    def __init__(self, run: Run, puzzles: PuzzleSet, pool: ThreadPoolExecutor) -> None:
        self.run, self.puzzles, self.pool = run, puzzles, pool
        self.config: Config = run.config
        self.trainers = {seed: Trainer(self.config, seed, run.device) for seed in run.seeds}
        held = puzzles.splits["validation"]
        boards = held.inputs, held.targets, puzzles.open_cells(held.inputs)
        self.held_out = tuple(torch.from_numpy(board).to(run.device) for board in boards)
        self.validations: list[dict[str, Any]] = []
        self._restore()
        times, total, points = self.config.evaluations, self.config.steps, LOGGED_POINTS
        self.evaluated_at = {ceil(total * (i + 1) / times) for i in range(times)}
        self.logged_at = {ceil(total * (i + 1) / points) for i in range(points)}
        self._since, self._mark = time.perf_counter(), self.step

    @property
    def step(self) -> int:
        """Steps that every seed has taken."""
        return min(trainer.done for trainer in self.trainers.values())

    def train(self) -> None:
        """Train to the end. Raises Stopped after a checkpoint when asked to stop."""
        total, every = self.config.steps, self.config.checkpoint_every
        saved_at = {*range(every, total, every), total}
        for target in sorted(self.evaluated_at | self.logged_at | saved_at):
            if target <= self.step:
                continue
            self._work_until(target)
            if self.step < target:
                self.checkpoint()
                raise Stopped
            if target in self.logged_at:
                self._log()
            if target in self.evaluated_at:
                self._validate()
            if target in saved_at or self.run.should_stop:
                self.checkpoint()
            self.run.progress(target, total, "training")
            if self.run.should_stop:
                raise Stopped

    def _work_until(self, target: int) -> None:
        """Bring every seed to step `target`, those behind first, one step at a time, unless asked to stop."""
        waiting: PriorityQueue[tuple[int, int]] = PriorityQueue()
        for seed, trainer in self.trainers.items():
            waiting.put((trainer.done, seed))

        def work(_: int) -> None:
            while not self.run.should_stop:
                try:
                    done, seed = waiting.get_nowait()
                except Empty:
                    return
                if done < target:
                    self._step(self.trainers[seed])
                    waiting.put((done + 1, seed))

        list(self.pool.map(work, range(len(self.trainers))))

    def _step(self, trainer: Trainer) -> None:
        number = trainer.done // (self.config.n_blocks if self.config.alignment else 1)
        data_seed, size = self.run.data_seed, self.config.batch_size
        trainer.step(*training_batch(self.puzzles, size, number, data_seed, self.run.device))

    def each(self, action: Callable[[Trainer], T]) -> dict[int, T]:
        """`action` of every seed's trainer, on as many threads as there are cores."""
        return dict(zip(self.trainers, self.pool.map(action, self.trainers.values()), strict=True))

    def _log(self) -> None:
        puzzles = (self.step - self._mark) * self.config.batch_size * len(self.trainers)
        speed = puzzles / (time.perf_counter() - self._since)
        self._since, self._mark = time.perf_counter(), self.step
        for seed, trainer in self.trainers.items():
            self.run.log(self.step, seed, loss=trainer.loss)
        self.run.log(self.step, puzzles_per_second=speed)

    def _validate(self) -> None:
        found = self.each(lambda trainer: trainer.validate(*self.held_out))
        for seed, validation in found.items():
            teraflops = self.step * flops_per_step(self.config) / 1e12
            self.validations.append({"seed": seed, "teraflops": teraflops, **asdict(validation)})
            self.run.log(self.step, seed, validation_exact=validation.exact, validation_cell=validation.cell)

    def checkpoint(self) -> None:
        tensors = {
            f"seed-{seed}.{name}": value
            for seed, trainer in self.trainers.items()
            for name, value in trainer.tensors().items()
        }
        state = {
            str(seed): {
                "done": trainer.done,
                "loss": trainer.loss,
                "chosen": asdict(trainer.chosen) if trainer.chosen else None,
            }
            for seed, trainer in self.trainers.items()
        }
        self.run.checkpoint(self.step, tensors, {"seeds": state, "validations": self.validations})

    def _restore(self) -> None:
        restored = self.run.restore(self.run.device)
        if restored is None:
            return
        _, tensors, state = restored
        self.validations = state["validations"]
        for seed, trainer in self.trainers.items():
            mine = state["seeds"][str(seed)]
            chosen = Validation(**mine["chosen"]) if mine["chosen"] else None
            trainer.load(under(f"seed-{seed}.", tensors), mine["done"], mine["loss"], chosen)


def train(runs: Sequence[Run], finish: Callable[[Run], None] = lambda run: None) -> None:
    """Train runs one after the other, those of a launch on puzzles drawn once; write each one's results.

    Raises UserError when a setting fails, Stopped when asked to stop.
    """
    with one_thread_each() as pool:

        def one(run: Run) -> None:
            run.progress(0, 1, "drawing puzzles")
            training = Training(run, open_puzzles(run.config), pool)
            training.train()
            write_results(training)
            finish(run)

        one_after_the_other(runs, one)
