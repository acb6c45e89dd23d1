"""A run: every seed's arms, each seed in a thread of its own, then their evaluation on the test rows."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

from engine.run import Run, Stopped
from engine.studies.counterfactual_text.config import Config
from engine.studies.counterfactual_text.learner import Learner
from engine.studies.counterfactual_text.source import Source, is_shared, open_source
from engine.studies.sr2.training import one_thread_each


def train(run: Run) -> None:
    """Train what the config asks for, evaluate it and write the tables. Raises UserError, and Stopped after a checkpoint."""
    from threadpoolctl import threadpool_limits

    from engine.studies.counterfactual_text.results import write_results

    with warnings.catch_warnings(), one_thread_each() as pool, threadpool_limits(1):
        warnings.filterwarnings("ignore", message=".*sklearn.utils.parallel.delayed")
        run.progress(0, 1, "reading the data")
        session = Session(run, pool)
        session.train()
        write_results(run, session.learners, pool)


class Session:
    """The learners of a run, as many at a time as there are cores."""

    def __init__(self, run: Run, pool: ThreadPoolExecutor) -> None:
        self.run, self.pool = run, pool
        self.config: Config = run.config
        self._lock = threading.Lock()
        sources = self._sources()
        self.learners = [
            Learner(self.config, sources[seed], seed, run.data_seed, self._log) for seed in run.seeds
        ]
        self.checkpoints = 0
        restored = run.restore()
        if restored is not None:
            self.checkpoints, tensors, state = restored
            for learner in self.learners:
                learner.restore(tensors, state[str(learner.seed)])
        self.kept = {one.seed: (one.tensors(), deepcopy(one.state())) for one in self.learners}

    def _sources(self) -> dict[int, Source]:
        """The data of every seed; what left a file's rows out is reported."""
        seeds, data_seed = self.run.seeds, self.run.data_seed
        if not is_shared(self.config):
            return {seed: open_source(self.config, seed, data_seed) for seed in seeds}
        source = open_source(self.config, seeds[0], data_seed)
        for reason, rows in (source.texts.left_out if source.texts else {}).items():
            self.run.message(f"{rows:,} rows {reason} were left out.")
        return dict.fromkeys(seeds, source)

    def _log(self, step: int, seed: int, **values: float) -> None:
        with self._lock:
            self.run.log(step, seed, **values)

    def train(self) -> None:
        """Bring every seed to its end, with checkpoints on the way. Raises Stopped when asked to."""
        work = [self.pool.submit(self._to_its_end, one) for one in self.learners if not one.finished]
        for done in work:
            done.result()
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
        mine: tuple[Any, Any] = learner.tensors(), deepcopy(learner.state())
        with self._lock:
            self.kept[learner.seed] = mine
            self.checkpoints += 1
            tensors = {name: value for held, _ in self.kept.values() for name, value in held.items()}
            states = {str(seed): state for seed, (_, state) in self.kept.items()}
            self.run.checkpoint(self.checkpoints, tensors, states)
