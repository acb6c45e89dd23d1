"""The arms of a comparison, and what each believes of the class shares before, or while, a round is classified."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from analyses.label_shift import ADAPTER, EM, LAST, TAU, bbse_prior, em_prior, sharpness, smoothed, uniform
from engine.studies.label_shift.adapter import Adapter

Floats = NDArray[np.float64]
SCORES = ("accuracy", "nll", "accuracy_before", "nll_before", "nll_oracle", "nll_exact")
BY_CLASS = ("log_p", "log_forecast", "statistic", "counts", "rows")


@dataclass
class Trajectory:
    """What an arm went through, T rounds of which `done` are filled in, the others NaN.

    T × K each: `log_p` true log P(Y); `log_forecast` what the arm corrected with; `statistic` class accuracies S; `counts`
    labelled and `rows` measured rows of each class. `scores` (T × SCORES): "before" is with the correction of the round
    before, "oracle" with the true P(Y), "exact" that of the mixture's own posterior.
    """

    log_p: Floats
    log_forecast: Floats
    statistic: Floats
    counts: Floats
    rows: Floats
    scores: Floats
    done: int = 0

    @classmethod
    def empty(cls, rounds: int, n_classes: int) -> "Trajectory":
        log_p, log_forecast, statistic, counts, rows = (
            np.full((rounds, n_classes), np.nan) for _ in BY_CLASS
        )
        return cls(log_p, log_forecast, statistic, counts, rows, np.full((rounds, len(SCORES)), np.nan))

    def arrays(self) -> dict[str, Floats]:
        """The arrays by name, to be saved or filled."""
        return {name: getattr(self, name) for name in (*BY_CLASS, "scores")}

    @property
    def marginals(self) -> Floats:
        """Class shares of the labelled rows (T × K)."""
        return self.counts / self.counts.sum(axis=1, keepdims=True)

    def pairs(self, rounds: int) -> tuple[Floats, Floats]:
        """S of each round and the class shares of the next (n × K each), within the first `rounds` rounds."""
        n = max(0, min(self.done, rounds) - 1)
        return self.statistic[:n], self.marginals[1 : n + 1]


def forecast(arm: str, so_far: Trajectory, adapter: Adapter, rounds: int) -> Floats:
    """Log prior (K) of the next round from past rounds alone; uniform where there is nothing to go by.

    The fit and the adapter know the pairs of the first `rounds` rounds and are frozen afterwards.
    """
    n_classes = so_far.log_p.shape[1]
    if not so_far.done or arm not in (LAST, TAU, ADAPTER):
        return uniform(n_classes)
    if arm == LAST:
        return smoothed(so_far.counts[so_far.done - 1])
    statistic = so_far.statistic[so_far.done - 1]
    if arm == TAU:
        return one_parameter(sharpness(*so_far.pairs(rounds)), statistic)
    return adapter.forecast(statistic) if adapter.pairs else uniform(n_classes)


def one_parameter(beta: float, statistics: Floats) -> Floats:
    """log softmax(−β S) over the last axis."""
    return np.asarray(log_softmax(-beta * statistics, axis=-1))


def estimate(arm: str, log_probs: Floats, confusion: Floats) -> Floats:
    """Log prior (K) of a round from its own unlabelled rows, by EM or BBSE."""
    if arm == EM:
        return em_prior(log_probs, uniform(log_probs.shape[1]))
    return bbse_prior(log_probs, confusion)
