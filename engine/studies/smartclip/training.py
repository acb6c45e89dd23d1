"""A run: every seed's CLIP and arms, each seed in a thread of its own, then their evaluation on the same test pictures."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

from engine.run import Run, Stopped
from engine.studies.smartclip.config import Config
from engine.studies.smartclip.evaluation import Evaluation
from engine.studies.smartclip.learner import Learner
from engine.studies.smartclip.models import open_model
from engine.studies.smartclip.results import write_results
from engine.studies.smartclip.source import base_tensors, open_pictures
from engine.studies.sr2.training import one_thread_each


def train(run: Run) -> None:
    """Train what the config asks for, evaluate it and write the tables. Raises UserError, and Stopped after a checkpoint."""
    with one_thread_each() as pool:
        run.progress(0, 1, "drawing pictures")
        session = Session(run, pool)
        session.train()
        write_results(run, session.learners, session.evaluate())


class Session:
    """The learners of a run, as many at a time as there are cores."""

    def __init__(self, run: Run, pool: ThreadPoolExecutor) -> None:
        self.run, self.pool = run, pool
        self.config: Config = run.config
        self._lock = threading.Lock()
        pictures = open_pictures(self.config)
        for sentence in pictures.skipped[:20]:
            run.message(f"Skipped: {sentence}")
        model = open_model(self.config, pictures, run.device)
        self.learners = [
            Learner(self.config, pictures, model, seed, run.data_seed, self._log) for seed in run.seeds
        ]
        self.checkpoints = 0
        self._start()
        self.kept = {one.seed: (one.tensors(), deepcopy(one.state())) for one in self.learners}

    def _start(self) -> None:
        restored = self.run.restore()
        for learner in self.learners:
            if restored is not None:
                self.checkpoints, tensors, state = restored
                learner.restore(tensors, state[str(learner.seed)])
            elif not self.config.trains_clip:
                learner.start_from(
                    base_tensors(self.config, learner.seed) if self.config.start_from else None
                )

    def _log(self, step: int, seed: int, **values: float) -> None:
        with self._lock:
            self.run.log(step, seed, **values)

    def train(self) -> None:
        """Bring every seed to its end, with checkpoints on the way. Raises Stopped when asked to."""
        self._each([learner for learner in self.learners if not learner.finished], self._to_its_end)
        if not all(learner.finished for learner in self.learners):
            raise Stopped

    def _to_its_end(self, learner: Learner) -> None:
        saved = learner.work()[0]
        while not learner.finished and not self.run.should_stop:
            learner.advance()
            self._progress()
            if (
                learner.work()[0] - saved >= self.config.checkpoint_every
                or learner.finished
                or self.run.should_stop
            ):
                self._checkpoint(learner)
                saved = learner.work()[0]

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
        """Every arm's evaluation, by seed and arm. Raises Stopped between two of them; they are then made anew."""
        found: dict[tuple[int, str], Evaluation] = {}
        total = sum(len(learner.stages) for learner in self.learners)

        def one(learner: Learner) -> None:
            for arm in learner.stages:
                if self.run.should_stop:
                    return
                learner.network.load_state_dict(learner.ends[arm])
                found[learner.seed, arm] = learner.evaluator(arm).run(learner.seed)
                with self._lock:
                    self.run.progress(len(found), total, "evaluation")

        self._each(self.learners, one)
        if len(found) < total:
            raise Stopped
        return found

    def _each(self, items: Sequence[Any], action: Callable[[Any], None]) -> None:
        """Do something to each item; the first error is raised."""
        for done in [self.pool.submit(action, item) for item in items]:
            done.result()
