"""Which classifier to deploy: by its accuracy now, or by what it is forecast to have after the world has answered it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from analyses.label_shift import ADAPTER, class_accuracy, log_loss, sharpness
from engine.studies.label_shift.arms import one_parameter
from engine.studies.label_shift.config import Config
from engine.studies.label_shift.world import Round

if TYPE_CHECKING:
    from engine.studies.label_shift.deployment import Deployment

Floats = NDArray[np.float64]
SCORES = ("present", "by_adapter", "by_fit", "revealed", "revealed_nll")


@dataclass
class Choices:
    """D decisions between C candidates. `scores` (D × C × SCORES): accuracy now, forecast by the adapter and by the
    one-parameter fit, and accuracy and loss in the round after deployment. D × C × K: `statistic` S of the candidate now,
    `log_forecast` the adapter's and `log_revealed` the true log P(Y) that it brings about.
    """

    rounds: tuple[int, ...]
    scores: Floats
    statistic: Floats
    log_forecast: Floats
    log_revealed: Floats

    @classmethod
    def empty(cls, config: Config, n_candidates: int, n_classes: int) -> "Choices":
        """Decisions spread over the second half of the rounds with the first backbone."""
        rounds = np.linspace(config.rounds // 2, config.rounds - 1, config.decisions).round().astype(int)
        size = (config.decisions, n_candidates)
        by_class = [np.full((*size, n_classes), np.nan) for _ in range(3)]
        return cls(tuple(rounds.tolist()), np.full((*size, len(SCORES)), np.nan), *by_class)

    def place(self, number: int) -> int | None:
        """Which decision is due after a round, if any."""
        return self.rounds.index(number) if number in self.rounds else None

    def arrays(self) -> dict[str, Floats]:
        """The arrays by name, to be saved or filled."""
        return {
            "scores": self.scores,
            "statistic": self.statistic,
            "log_forecast": self.log_forecast,
            "log_revealed": self.log_revealed,
        }


def decide(deployment: "Deployment", place: int, number: int, met: Round, answered: Floats | None) -> None:
    """Compare all candidates as if each were deployed in the adapter's round `number`, then let the world answer each.

    Accuracy by class, behind a forecast, is measured under the forecast's own correction on all labelled rows at hand,
    validation rows and this round's: P(X | Y) is taken to stay. All candidates meet the same random numbers.
    """
    choices, past = deployment.choices, deployment.trajectories[ADAPTER]
    beta = sharpness(*past.pairs(deployment.config.rounds))
    draw = deployment.draw(number, "choice")
    labels = deployment.source.labels
    at_hand = np.concatenate([labels[met.measured], labels[deployment.rows["validation"]]])
    for i, candidate in enumerate(deployment.candidates):
        raw = deployment.log_probs(candidate, met.measured, answered)
        predicted = deployment.correct(raw, past.log_forecast[number]).argmax(axis=1)
        right = predicted == labels[met.measured]
        statistic = class_accuracy(predicted, labels[met.measured], deployment.n_classes)
        believed, fitted = deployment.adapter.forecast(statistic), one_parameter(beta, statistic)
        revealed = deployment.reaction.next(statistic, deployment.start)
        after = deployment.world.round(revealed, draw).test
        posterior = deployment.correct(deployment.log_probs(candidate, after, statistic), believed)
        known = np.concatenate([raw, deployment.log_probs(candidate, deployment.rows["validation"], None)])
        choices.statistic[place, i], choices.log_forecast[place, i] = statistic, believed
        choices.log_revealed[place, i] = revealed
        choices.scores[place, i] = (
            float(right[: len(met.test)].mean()),
            expected_accuracy(deployment.correct(known, believed), at_hand, believed),
            expected_accuracy(deployment.correct(known, fitted), at_hand, fitted),
            float((posterior.argmax(axis=1) == labels[after]).mean()),
            log_loss(posterior, labels[after]),
        )


def expected_accuracy(posterior: Floats, labels: NDArray[np.int64], log_prior: Floats) -> float:
    """Accuracy under a log prior (K), from the accuracies by class of rows (n × K) corrected with it."""
    return float(np.exp(log_prior) @ class_accuracy(posterior.argmax(axis=1), labels, posterior.shape[1]))
