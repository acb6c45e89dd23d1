"""Training the seeds of a run in lockstep on the same batches, each on a core of its own."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch import Tensor

from data.sr2 import PuzzleSet
from engine.run import Run, Stopped
from engine.studies.sr2.config import Config
from engine.studies.sr2.cost import flops_per_step
from engine.studies.sr2.results import write_results
from engine.studies.sr2.source import open_puzzles, training_batch
from engine.studies.sr2.trainer import Trainer, Validation

LOGGED_POINTS = 200
T = TypeVar("T")


class Training:
    """One run: a trainer for each seed; batch b lasts for the N steps of its blocks, or for one without alignment."""

    def __init__(self, run: Run, puzzles: PuzzleSet, pool: ThreadPoolExecutor) -> None:
        self.run, self.puzzles, self.pool = run, puzzles, pool
        self.config: Config = run.config
        self.trainers = {seed: Trainer(self.config, seed, run.device) for seed in run.seeds}
        self.steps_per_batch = self.config.n_blocks if self.config.alignment else 1
        held = puzzles.splits["validation"]
        boards = held.inputs, held.targets, puzzles.open_cells(held.inputs)
        self.held_out = tuple(torch.from_numpy(board).to(run.device) for board in boards)
        self.validations: list[dict[str, Any]] = []
        self.step = self._restore()
        self._batch: tuple[int, tuple[Tensor, Tensor]] | None = None
        self._since, self._mark = time.perf_counter(), self.step

    @property
    def evaluated_at(self) -> set[int]:
        """Steps after which the validation puzzles are solved, the last among them."""
        times = self.config.evaluations
        return {round(self.config.steps * (i + 1) / times) for i in range(times)}

    def train(self) -> None:
        """Train to the end. Raises Stopped after a checkpoint when asked to stop."""
        total = self.config.steps
        while self.step < total:
            if self.run.should_stop:
                self.checkpoint()
                raise Stopped
            self.advance()
            self.run.progress(self.step, total, "training")
            if self.step % self.config.checkpoint_every == 0 or self.step == total:
                self.checkpoint()

    def advance(self) -> None:
        """One optimiser step of every seed, and what is due after it."""
        inputs, targets = self._batch_of(self.step // self.steps_per_batch)
        losses = self.each(lambda trainer: trainer.step(self.step, inputs, targets))
        self.step += 1
        if self.step % max(1, self.config.steps // LOGGED_POINTS) == 0 or self.step == self.config.steps:
            self._log(losses)
        if self.step in self.evaluated_at:
            self._validate()

    def each(self, action: Callable[[Trainer], T]) -> dict[int, T]:
        """`action` of every seed's trainer, on as many threads as there are cores."""
        return dict(zip(self.trainers, self.pool.map(action, self.trainers.values()), strict=True))

    def _batch_of(self, number: int) -> tuple[Tensor, Tensor]:
        if self._batch is None or self._batch[0] != number:
            data_seed, size = self.run.data_seed, self.config.batch_size
            made = training_batch(self.puzzles, size, number, data_seed, self.run.device)
            self._batch = number, made
        return self._batch[1]

    def _log(self, losses: dict[int, float]) -> None:
        puzzles = (self.step - self._mark) * self.config.batch_size * len(losses)
        speed = puzzles / (time.perf_counter() - self._since)
        self._since, self._mark = time.perf_counter(), self.step
        for seed, loss in losses.items():
            self.run.log(self.step, seed, loss=loss)
        self.run.log(self.step, puzzles_per_second=speed)

    def _validate(self) -> None:
        found = self.each(lambda trainer: trainer.validate(self.step, *self.held_out))
        for seed, validation in found.items():
            teraflops = self.step * flops_per_step(self.config) / 1e12
            self.validations.append({"seed": seed, "teraflops": teraflops, **asdict(validation)})
            self.run.log(self.step, seed, exact=validation.exact, cell=validation.cell)

    def checkpoint(self) -> None:
        tensors = {
            f"seed-{seed}.{name}": value
            for seed, trainer in self.trainers.items()
            for name, value in trainer.tensors().items()
        }
        chosen = {
            str(seed): asdict(trainer.chosen) for seed, trainer in self.trainers.items() if trainer.chosen
        }
        self.run.checkpoint(self.step, tensors, {"chosen": chosen, "validations": self.validations})

    def _restore(self) -> int:
        restored = self.run.restore()
        if restored is None:
            return 0
        step, tensors, state = restored
        self.validations = state["validations"]
        for seed, trainer in self.trainers.items():
            prefix = f"seed-{seed}."
            mine = {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}
            chosen = state["chosen"].get(str(seed))
            trainer.load(mine, Validation(**chosen) if chosen else None)
        return step


def train(runs: Sequence[Run], finish: Callable[[Run], None] = lambda run: None) -> None:
    """Train runs one after the other, those of a launch on puzzles drawn once; write each one's results.

    Raises UserError when a setting fails, Stopped when asked to stop.
    """
    with one_thread_each() as pool:
        for run in runs:
            run.progress(0, 1, "drawing puzzles")
            puzzles = open_puzzles(run.config)
            training = Training(run, puzzles, pool)
            training.train()
            write_results(training)
            finish(run)


@contextmanager
def one_thread_each() -> Iterator[ThreadPoolExecutor]:
    """A pool with a thread for each core, in which torch uses one: these shapes gain nothing from more."""
    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0))
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(cores, initializer=lambda: torch.set_num_threads(1)) as pool:
            yield pool
    finally:
        torch.set_num_threads(before)
