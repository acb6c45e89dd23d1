"""A run: every seed is trained by itself, two at a time, then evaluated on the same test prompts."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import torch

from engine.run import Run, Stopped
from engine.studies.sapo.base_models import base_tensors
from engine.studies.sapo.config import Config
from engine.studies.sapo.evaluation import Evaluation, Evaluator
from engine.studies.sapo.importing import import_run
from engine.studies.sapo.learner import Learner
from engine.studies.sapo.policies import open_policies, sampler_of
from engine.studies.sapo.results import write_results


def train(run: Run) -> None:
    """Train base and arms of every seed, evaluate them and write the tables; or import files. Raises UserError, Stopped.

    A large policy has its base already, and its seeds share one model, one after the other.
    """
    config: Config = run.config
    if config.imported:
        return import_run(run)
    torch.set_num_threads(1)
    session = Session(run)
    session.train()
    write_results(run, session.learners, session.evaluate())


class Session:
    """The learners of a run. Python threads share the cores between seeds; each seed's own work is in one thread."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.config: Config = run.config
        self._lock = threading.Lock()
        if self.config.is_large:
            run.progress(0, 1, "loading the model")
            if self.config.policy == "llada":
                run.message(f"Running the code that comes with {self.config.large_model}, its owner's.")
        self.policies = open_policies(self.config, run.device)
        self.learners = [Learner(self.policies, seed, run.data_seed, self._log) for seed in run.seeds]
        self.checkpoints = 0
        self._start()
        self.kept = {one.seed: (one.tensors(), deepcopy(one.state())) for one in self.learners}

    def _start(self) -> None:
        restored = self.run.restore()
        if restored is not None:
            self.checkpoints, tensors, state = restored
            for learner in self.learners:
                learner.restore(tensors, state[str(learner.seed)])
        elif not self.config.trains_base:
            for learner in self.learners:
                named = self.config.start_from
                learner.start_from(base_tensors(self.config, learner.seed) if named else None)

    def _log(self, step: int, seed: int, **values: float) -> None:
        with self._lock:
            self.run.log(step, seed, **values)

    def train(self) -> None:
        """Advance every seed to its end, with a checkpoint after every few units of each. Raises Stopped when asked to."""
        self._each([learner for learner in self.learners if not learner.finished], self._to_its_end)
        if not all(learner.finished for learner in self.learners):
            raise Stopped

    def _to_its_end(self, learner: Learner) -> None:
        while not learner.finished and not self.run.should_stop:
            for _ in range(self.config.checkpoint_every):
                if learner.finished or self.run.should_stop:
                    break
                learner.advance()
                self._progress()
            self._checkpoint(learner)

    def _progress(self) -> None:
        parts = [learner.work() for learner in self.learners]
        with self._lock:
            self.run.progress(sum(done for done, _ in parts), sum(total for _, total in parts), "training")

    def _checkpoint(self, learner: Learner) -> None:
        """Save where `learner` is now and where the others last were."""
        mine = learner.tensors(), deepcopy(learner.state())
        with self._lock:
            self.kept[learner.seed] = mine
            self.checkpoints += 1
            tensors = {name: value for held, _ in self.kept.values() for name, value in held.items()}
            states = {str(seed): state for seed, (_, state) in self.kept.items()}
            self.run.checkpoint(self.checkpoints, tensors, states)

    def evaluate(self) -> dict[tuple[int, str], Evaluation]:
        """Every policy's evaluation, by seed and arm. Raises Stopped between two of them; they are then made anew."""
        wanted = [(learner, arm) for learner in self.learners for arm in learner.stages]
        found: dict[tuple[int, str], Evaluation] = {}

        def one(place: tuple[Learner, str]) -> None:
            learner, arm = place
            if self.run.should_stop:
                return
            sampler = sampler_of(self.policies, self.policies.loaded(learner.ends[arm]))
            evaluator = Evaluator(sampler, learner.seed, arm, self.run.data_seed)
            found[learner.seed, arm] = evaluator.run()
            with self._lock:
                self.run.progress(len(found), len(wanted), "evaluation")

        self._each(wanted, one)
        if len(found) < len(wanted):
            raise Stopped
        return found

    def _each(self, items: Sequence[Any], action: Callable[[Any], None]) -> None:
        """Do something to each item, as many at a time as policies and cores allow; the first error is raised."""
        workers = max(1, min(self.policies.workers, len(items), len(os.sched_getaffinity(0))))
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(action, item) for item in items]:
                done.result()
