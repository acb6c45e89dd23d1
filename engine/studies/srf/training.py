"""A run: the image tower where it is learnt, then every seed by itself, and the tables."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from engine.run import Run, Stopped
from engine.studies.seeds import SeedSession, Threads, one_thread_each, under
from engine.studies.srf.config import Config
from engine.studies.srf.learner import Learner, Trained
from engine.studies.srf.results import write_results
from engine.studies.srf.similarity import Compare, embedding_cosine, token_f1
from engine.studies.srf.small import TowerTraining, bundled_start, share
from engine.studies.srf.source import Material, open_material

SKIPPED_SHOWN = 20


def train(run: Run) -> None:
    """Train what the config asks for and write the tables. Raises UserError, and Stopped after a checkpoint."""
    with one_thread_each(1 if run.config.model == "large" else None) as pool:
        run.progress(0, 1, "drawing images")
        session = Session(run, pool)
        session.train()
        run.progress(0, 1, "writing tables")
        tower = under("tower/", session.tower)
        write_results(run, session.material, session.learners, tower)


class Session(SeedSession[Learner]):
    """The learners of a run, as many at a time as there are cores; those of a published model one after the other."""

    def __init__(self, run: Run, pool: Threads) -> None:
        super().__init__(run, pool)
        self.config: Config = run.config
        self.material: Material = open_material(self.config)
        for sentence in self.material.skipped[:SKIPPED_SHOWN]:
            run.message(f"Skipped: {sentence}")
        self.tower: dict[str, Tensor] = {}
        restored = run.restore(run.device)
        tensors: Mapping[str, Tensor] = {}
        states: Mapping[str, Any] = {}
        if restored is not None:
            self.checkpoints, tensors, states = restored
        make = self._models(tensors, states)
        texts = texts_of(self.config)
        self.learners = [
            Learner(self.config, self.material, make(seed), texts, seed, run.data_seed, self.log)
            for seed in run.seeds
        ]
        for learner in self.learners:
            if str(learner.seed) in states:
                learner.restore(under(f"{learner.seed}/", tensors), states[str(learner.seed)])
        self.keep_all()

    def _models(self, tensors: Mapping[str, Tensor], states: Mapping[str, Any]) -> Callable[[int], Trained]:
        """What makes the model of a seed. Raises Stopped when asked to stop while the tower still learns."""
        if self.config.model == "large":
            from engine.studies.srf.large import LargeModels

            return LargeModels(self.config, self.material, self.run.device).model
        if self.config.start != "none":
            return bundled_start(self.config, self.material, self.run.device).model
        tower = under("tower/", tensors)
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

    def held(self) -> dict[str, Tensor]:
        tensors = {
            f"{seed}/{name}": value for seed, (held, _) in self.kept.items() for name, value in held.items()
        }
        return {**self.tower, **tensors}


def texts_of(config: Config) -> Compare:
    """How texts are compared: words of scenes and emoji, sentence embeddings of a user's."""
    if config.similarity == "auto":
        return embedding_cosine if config.pictures == "folder" else token_f1
    return token_f1 if config.similarity == "tokens" else embedding_cosine
