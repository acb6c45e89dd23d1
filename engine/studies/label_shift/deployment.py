"""One seed's deployments: every arm lives through its own rounds, on the same random numbers."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyses.label_shift import (
    ADAPTER,
    ARMS,
    BBSE,
    EM,
    FINE_TUNE,
    ORACLE,
    class_accuracy,
    corrected,
    log_loss,
    smoothed,
    soft_confusion,
    uniform,
)
from engine.studies.label_shift.adapter import Adapter
from engine.studies.label_shift.arms import Trajectory, estimate, forecast
from engine.studies.label_shift.backbones import (
    Backbone,
    fine_tuned,
    first_backbone,
    further_candidates,
    second_backbone,
)
from engine.studies.label_shift.choosing import Choices, decide
from engine.studies.label_shift.config import Config
from engine.studies.label_shift.source import Source, split_rows
from engine.studies.label_shift.world import Draw, Round, World, first_prior, make_reaction

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FEW = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)


class Deployment:
    """The backbones of a seed and the trajectory of every arm; `step` plays one round of all of them."""

    def __init__(self, config: Config, source: Source, data_seed: int, seed: int) -> None:
        self.config, self.source, self.data_seed, self.seed = config, source, data_seed, seed
        self.n_classes = source.n_classes
        self.train_prior = uniform(self.n_classes)
        self.rows = split_rows(source, data_seed, seed)
        self.first = first_backbone(source, self.rows)
        self.second = second_backbone(source, self.rows, seed)
        further = further_candidates(source, self.rows) if config.decisions else []
        self.candidates = [self.first, self.second, *further]
        self.reaction = make_reaction(config, self.n_classes)
        self.world = World(config, source, self.rows, self.reaction)
        self.start = first_prior(self.n_classes, data_seed, seed)
        self.adapter = Adapter(config, self.n_classes, seed)
        self.snapshots: dict[int, dict[str, Tensor]] = {}
        self.trajectories = {
            arm: Trajectory.empty(config.all_rounds, self.n_classes)
            for arm in ARMS
            if arm != FINE_TUNE or config.fine_tune
        }
        self.choices = Choices.empty(config, len(self.candidates), self.n_classes)
        self._known: dict[str, Floats] = {}
        self._confusion: dict[str, Floats] = {}
        self._heads: dict[int, Backbone] = {}

    @property
    def done(self) -> int:
        """Rounds that every arm has been through."""
        return min(trajectory.done for trajectory in self.trajectories.values())

    def backbone(self, number: int) -> Backbone:
        """The backbone deployed in a round."""
        return self.first if number < self.config.rounds else self.second

    def step(self) -> None:
        """One round of every arm."""
        number = self.done
        draw = self.draw(number)
        for arm in self.trajectories:
            self._play(arm, number, draw)

    def draw(self, number: int, name: str = "round") -> Draw:
        """The random numbers of a round."""
        return Draw.of(name, self.config, self.n_classes, self.data_seed, self.seed, number)

    def log_probs(self, backbone: Backbone, rows: Ints, statistic: Floats | None) -> Floats:
        """A backbone's uncorrected log probabilities (n × K) of rows, in a world that answers S with P(X | Y) or not."""
        moved = self.world.moved(backbone.view, rows, statistic)
        if moved is not None:
            return backbone.log_probs(moved)
        if backbone.name not in self._known:
            self._known[backbone.name] = backbone.log_probs(self.source.views[backbone.view])
        return self._known[backbone.name][rows]

    def correct(self, log_probs: Floats, log_prior: Floats) -> Floats:
        return corrected(log_probs, log_prior, self.train_prior)

    def _play(self, arm: str, number: int, draw: Draw) -> None:
        past, labels = self.trajectories[arm], self.source.labels
        answered = past.statistic[number - 1] if number else None
        past.log_p[number] = self.start if answered is None else self.reaction.next(answered, self.start)
        met = self.world.round(past.log_p[number], draw)
        measured, n, tested = met.measured, len(met.test), labels[met.test]
        backbone = self.backbone(number)
        raw = self.log_probs(backbone, measured, answered)
        past.counts[number] = np.bincount(labels[met.labelled], minlength=self.n_classes)
        past.rows[number] = np.bincount(tested, minlength=self.n_classes)
        if arm == FINE_TUNE:
            past.log_forecast[number] = smoothed(past.counts[number])
            old = self._by_head(number - 1, met.test, answered)
            posterior = self._by_head(number, measured, answered)
        else:
            past.log_forecast[number] = self._believe(arm, number, backbone, raw[:n])
            old = self.correct(raw[:n], past.log_forecast[number - 1] if number else self.train_prior)
            posterior = self.correct(raw, past.log_forecast[number])
        past.statistic[number] = class_accuracy(posterior.argmax(axis=1), labels[measured], self.n_classes)
        past.scores[number] = (
            float((posterior[:n].argmax(axis=1) == tested).mean()),
            log_loss(posterior[:n], tested),
            float((old.argmax(axis=1) == tested).mean()),
            log_loss(old, tested),
            log_loss(self.correct(raw[:n], past.log_p[number]), tested),
            self._exact_loss(met.test, past.log_p[number]),
        )
        past.done = number + 1
        if arm == ADAPTER and number < self.config.rounds:
            self._learn(number, met, answered)

    def _believe(self, arm: str, number: int, backbone: Backbone, raw: Floats) -> Floats:
        """The arm's log prior (K) of a round: the true one, an estimate from its rows, or a forecast."""
        past = self.trajectories[arm]
        if arm == ORACLE:
            return past.log_p[number]
        if arm in (EM, BBSE):
            return estimate(arm, raw, self._confusion_of(backbone))
        return forecast(arm, past, self.adapter, self.config.rounds)

    def _confusion_of(self, backbone: Backbone) -> Floats:
        if backbone.name not in self._confusion:
            rows = self.rows["validation"]
            log_probs = self.log_probs(backbone, rows, None)
            self._confusion[backbone.name] = soft_confusion(
                log_probs, self.source.labels[rows], self.n_classes
            )
        return self._confusion[backbone.name]

    def _by_head(self, number: int, rows: Ints, answered: Floats | None) -> Floats:
        """Log probabilities of rows by the head fitted in a round; before the first round by the backbone as it is."""
        head = self._head(number) if number >= 0 else self.first
        moved = self.world.moved(head.view, rows, answered)
        return head.log_probs(self.source.views[head.view][rows] if moved is None else moved)

    def _head(self, number: int) -> Backbone:
        """The head that fine-tuning fitted on a round's labelled rows; found again from the trajectory after a restart."""
        if number not in self._heads:
            past = self.trajectories[FINE_TUNE]
            labelled = self.world.round(past.log_p[number], self.draw(number)).labelled
            backbone = self.backbone(number)
            moved = self.world.moved(backbone.view, labelled, past.statistic[number - 1] if number else None)
            fitted = fine_tuned(backbone, self.source, labelled, moved)
            self._heads = {k: head for k, head in self._heads.items() if k == number - 1} | {number: fitted}
        return self._heads[number]

    def _exact_loss(self, rows: Ints, log_p: Floats) -> float:
        """Loss of the mixture's own posterior under the true P(Y); NaN where there is none."""
        if self.source.mixture is None or self.config.mechanism == "features":
            return float("nan")
        if "exact" not in self._known:
            features = self.source.views[self.source.first]
            self._known["exact"] = self.source.mixture.log_posterior(features, self.train_prior)
        return log_loss(self.correct(self._known["exact"][rows], log_p), self.source.labels[rows])

    def _learn(self, number: int, met: Round, answered: Floats | None) -> None:
        """The adapter takes in the round; then candidates are compared where that is due."""
        statistics, marginals = self.trajectories[ADAPTER].pairs(self.config.rounds)
        if len(statistics):
            self.adapter.learn(statistics, marginals)
        if len(statistics) in FEW:
            self.snapshots[len(statistics)] = self.adapter.weights()
        place = self.choices.place(number)
        if place is not None:
            decide(self, place, number, met, answered)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the rounds so far have left."""
        found = {f"adapter.{name}": value for name, value in self.adapter.tensors().items()}
        for arm, past in self.trajectories.items():
            found |= {
                f"arm.{arm}.{name}": torch.from_numpy(value.copy()) for name, value in past.arrays().items()
            }
        for name, array in self.choices.arrays().items():
            found[f"choice.{name}"] = torch.from_numpy(array.copy())
        for pairs, weights in self.snapshots.items():
            found |= {f"snapshot.{pairs}.{name}": value for name, value in weights.items()}
        return found

    def load(self, tensors: dict[str, Tensor], done: int) -> None:
        """Go on from `tensors()` after `done` rounds."""
        self.adapter.load(
            {k.removeprefix("adapter."): v for k, v in tensors.items() if k.startswith("adapter.")}
        )
        for arm, past in self.trajectories.items():
            for name, array in past.arrays().items():
                array[:] = tensors[f"arm.{arm}.{name}"].cpu().numpy()
            past.done = done
        for name, array in self.choices.arrays().items():
            array[:] = tensors[f"choice.{name}"].cpu().numpy()
        for key, value in tensors.items():
            if key.startswith("snapshot."):
                _, pairs, name = key.split(".", 2)
                self.snapshots.setdefault(int(pairs), {})[name] = value
