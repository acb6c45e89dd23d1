"""How the world answers a deployed classifier, and the rows of each round.

P(Y) of the next round is a function of the class accuracies S of this one: log p = log softmax(−(M S + b)/τ). M is the
identity and b zero under the paper's Eq. 6.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from analyses.streams import stream_seed
from engine.studies.label_shift.backbones import class_means
from engine.studies.label_shift.config import Config
from engine.studies.label_shift.source import Source

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
START_CONCENTRATION = 100.0


@dataclass(frozen=True)
class Reaction:
    """`slope` (K × K, d log p / dS before normalisation) and `bias` (K) of log p.

    `directions` (K × K): over the class means, the direction that each class' inputs take where the world moves them.
    """

    slope: Floats
    bias: Floats
    directions: Floats
    reacts: bool

    def next(self, statistic: Floats, start: Floats) -> Floats:
        """log P(Y) of the next round (K); `start` for a world that does not react with its shares."""
        return np.asarray(log_softmax(self.slope @ statistic + self.bias)) if self.reacts else start


def make_reaction(config: Config, n_classes: int) -> Reaction:
    """The mechanism a config names, the same for all seeds of a run."""
    rng = np.random.default_rng(stream_seed("label shift reaction", config.world_seed))
    order = rng.permutation(n_classes)
    other = np.empty(n_classes, dtype=np.int64)
    other[order] = np.roll(order, 1)
    noise, directions = rng.standard_normal(n_classes), rng.standard_normal((n_classes, n_classes))
    if config.mechanism == "adversarial":
        return Reaction(-np.eye(n_classes) / config.tau, np.zeros(n_classes), directions, True)
    if config.mechanism == "mixed":
        mixing = config.own_share * np.eye(n_classes)
        mixing[np.arange(n_classes), other] += 1 - config.own_share
        return Reaction(-mixing / config.tau, -config.bias * noise / config.tau, directions, True)
    return Reaction(np.zeros((n_classes, n_classes)), np.zeros(n_classes), directions, False)


def first_prior(n_classes: int, data_seed: int, seed: int) -> Floats:
    """log P(Y) of round 0: nearly uniform, a draw from a Dirichlet distribution with concentration 100."""
    rng = np.random.default_rng(stream_seed("label shift start", data_seed, seed))
    return np.asarray(np.log(rng.dirichlet(np.full(n_classes, START_CONCENTRATION))))


@dataclass(frozen=True)
class Draw:
    """Random numbers of one round, shared by all arms, so that arms that deploy alike meet the same rows."""

    test: Floats
    labelled: Floats
    extra: Floats

    @classmethod
    def of(cls, name: str, config: Config, n_classes: int, data_seed: int, seed: int, number: int) -> "Draw":
        rng = np.random.default_rng(stream_seed(f"label shift {name}", data_seed, seed, number))
        return cls(
            rng.random((2, config.test_rows)),
            rng.random((2, config.labels)),
            rng.random((n_classes, config.least_per_class)),
        )


@dataclass(frozen=True)
class Round:
    """Row numbers: `test` measures, `extra` only helps to measure accuracies of rare classes, `labelled` is fed back."""

    test: Ints
    extra: Ints
    labelled: Ints

    @property
    def measured(self) -> Ints:
        """The rows behind S: tested ones first, then the extra ones."""
        return np.concatenate([self.test, self.extra])


class Rows:
    """The rows of a split by class, drawn with replacement."""

    def __init__(self, labels: Ints, rows: Ints, n_classes: int) -> None:
        order = rows[np.argsort(labels[rows], kind="stable")]
        self.order = order
        self.sizes = np.bincount(labels[rows], minlength=n_classes)
        self.starts = np.cumsum(self.sizes) - self.sizes

    def draw(self, log_p: Floats, numbers: Floats) -> Ints:
        """n rows with classes from exp(log_p), by the uniform numbers (2 × n): one for the class, one for the row."""
        edges = np.cumsum(np.exp(log_p))
        labels = np.searchsorted(edges / edges[-1], numbers[0], side="right")
        return self.of_class(np.minimum(labels, len(self.sizes) - 1), numbers[1])

    def of_class(self, labels: Ints, numbers: Floats) -> Ints:
        """A row of each of the given classes."""
        return np.asarray(self.order[self.starts[labels] + (numbers * self.sizes[labels]).astype(np.int64)])


def _directions(means: Floats, weights: Floats) -> Floats:
    """For each class a direction within the span of the class means (K × d), as long as two means are apart on average."""
    centred = means - means.mean(axis=0)
    found = weights @ centred
    apart = np.linalg.norm(means[:, None] - means, axis=2).sum() / (len(means) * (len(means) - 1))
    return np.asarray(apart * found / np.linalg.norm(found, axis=1, keepdims=True))


class World:
    """Draws rounds: measured rows from the test split, labelled ones from the training split."""

    def __init__(self, config: Config, source: Source, rows: dict[str, Ints], reaction: Reaction) -> None:
        self.config, self.source, self.reaction = config, source, reaction
        self.test = Rows(source.labels, rows["test"], source.n_classes)
        self.train = Rows(source.labels, rows["train"], source.n_classes)
        self.steps: dict[str, Floats] = {}
        if config.mechanism == "features":
            for view, features in source.views.items():
                means = class_means(features[rows["train"]], source.labels[rows["train"]], source.n_classes)
                self.steps[view] = config.feature_step * _directions(means, reaction.directions)

    def round(self, log_p: Floats, draw: Draw) -> Round:
        """The rows of a round under log P(Y) (K)."""
        test = self.test.draw(log_p, draw.test)
        rows = np.bincount(self.source.labels[test], minlength=self.source.n_classes)
        short = np.maximum(0, self.config.least_per_class - rows)
        labels, places = np.nonzero(np.arange(draw.extra.shape[1]) < short[:, None])
        extra = self.test.of_class(labels, draw.extra[labels, places])
        return Round(test, extra, self.train.draw(log_p, draw.labelled))

    def moved(self, view: str, rows: Ints, statistic: Floats | None) -> Floats | None:
        """Features of rows after the world has moved them (n × d); None where it leaves P(X | Y) alone."""
        if view not in self.steps:
            return None
        features, labels = self.source.views[view][rows], self.source.labels[rows]
        if statistic is None:
            return features
        return np.asarray(features + statistic[labels, None] * self.steps[view][labels])
