"""A run: the image tower where it is learnt, then every seed in a thread of its own, and the tables."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

from torch import Tensor

from engine.run import Run, Stopped
from engine.studies.sr2.training import one_thread_each
from engine.studies.srf.config import Config
from engine.studies.srf.learner import Learner, Trained
from engine.studies.srf.results import write_results
from engine.studies.srf.similarity import Compare, embedding_cosine, token_f1
from engine.studies.srf.small import TowerTraining, bundled_start, share
from engine.studies.srf.source import Material, open_material

SKIPPED_SHOWN = 20


def train(run: Run) -> None:
    """Train what the config asks for and write the tables. Raises UserError, and Stopped after a checkpoint."""
    with one_thread_each() as pool:
        run.progress(0, 1, "drawing images")
        session = Session(run, pool)
        session.train()
        run.progress(0, 1, "writing tables")
        tower = {name.removeprefix("tower/"): value for name, value in session.tower.items()}
        write_results(run, session.material, session.learners, tower)


class Session:
    """The learners of a run, as many at a time as there are cores; those of a published model one after the other."""

    def __init__(self, run: Run, pool: ThreadPoolExecutor) -> None:
        self.run, self.pool = run, pool
        self.config: Config = run.config
        self._lock = threading.Lock()
        self.material: Material = open_material(self.config)
        for sentence in self.material.skipped[:SKIPPED_SHOWN]:
            run.message(f"Skipped: {sentence}")
        self.checkpoints, self.kept, self.tower = 0, {}, {}  # type: int, dict[int, Any], dict[str, Tensor]
        restored = run.restore()
        tensors: Mapping[str, Tensor] = {}
        states: Mapping[str, Any] = {}
        if restored is not None:
            self.checkpoints, tensors, states = restored
        make = self._models(tensors, states)
        texts = texts_of(self.config)
        self.learners = [
            Learner(self.config, self.material, make(seed), texts, seed, run.data_seed, self._log)
            for seed in run.seeds
        ]
        for learner in self.learners:
            if str(learner.seed) in states:
                prefix = f"{learner.seed}/"
                mine = {
                    name.removeprefix(prefix): value
                    for name, value in tensors.items()
                    if name.startswith(prefix)
                }
                learner.restore(mine, states[str(learner.seed)])
        self.kept = {one.seed: (one.tensors(), deepcopy(one.state())) for one in self.learners}

    def _models(self, tensors: Mapping[str, Tensor], states: Mapping[str, Any]) -> Callable[[int], Trained]:
        """What makes the model of a seed. Raises Stopped when asked to stop while the tower still learns."""
        if self.config.model == "large":
            from engine.studies.srf.large import LargeModels

            return LargeModels(self.config, self.material, self.run.device).model
        if self.config.start != "none":
            return bundled_start(self.config, self.material, self.run.device).model
        tower = {
            name.removeprefix("tower/"): value for name, value in tensors.items() if name.startswith("tower/")
        }
        if "tower" in states or not tower:
            tower = self._train_tower(tower, states.get("tower"))
        self.tower = {f"tower/{name}": value for name, value in tower.items()}
        return share(self.config, self.material, tower, None, self.run.device).model

    def _train_tower(self, held: Mapping[str, Tensor], state: Mapping[str, Any] | None) -> dict[str, Tensor]:
        training = TowerTraining(self.config, self.material, self.run.data_seed, self.run.device)
        if state is not None:
            training.restore(held, state)
        while not training.finished:
            training.advance()
            done, total = training.optimiser.done, self.config.tower_steps
            self.run.progress(done, total, "the image tower learns captions")
            if done % max(1, total // 40) == 0:
                self.run.log(done, None, **{"tower.loss": training.loss})
            stops = self.run.should_stop
            if stops or (done % self.config.checkpoint_every == 0 and not training.finished):
                self.checkpoints += 1
                tensors = {f"tower/{name}": value for name, value in training.tensors().items()}
                self.run.checkpoint(self.checkpoints, tensors, {"tower": {"step": done}})
            if stops:
                raise Stopped
        return training.tower()

    def _log(self, step: int, seed: int, **values: float) -> None:
        with self._lock:
            self.run.log(step, seed, **values)

    def train(self) -> None:
        """Bring every seed to its end, with checkpoints on the way. Raises Stopped when asked to."""
        waiting = [learner for learner in self.learners if not learner.finished]
        if self.config.model == "large":
            for learner in waiting:
                self._to_its_end(learner)
        else:
            for done in [self.pool.submit(self._to_its_end, learner) for learner in waiting]:
                done.result()
        if not all(learner.finished for learner in self.learners):
            raise Stopped

    def _to_its_end(self, learner: Learner) -> None:
        saved = learner.work()[0]
        while not learner.finished and not self.run.should_stop:
            learner.advance()
            self._progress()
            due = learner.work()[0] - saved >= self.config.checkpoint_every
            if due or learner.finished or self.run.should_stop:
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
            tensors = {
                f"{seed}/{name}": value
                for seed, (held, _) in self.kept.items()
                for name, value in held.items()
            }
            states = {str(seed): state for seed, (_, state) in self.kept.items()}
            self.run.checkpoint(self.checkpoints, {**self.tower, **tensors}, states)


def texts_of(config: Config) -> Compare:
    """How texts are compared: words of scenes and emoji, sentence embeddings of a user's."""
    if config.similarity == "auto":
        return embedding_cosine if config.pictures == "folder" else token_f1
    return token_f1 if config.similarity == "tokens" else embedding_cosine
