"""Probes on few features (after Gurnee et al., arXiv 2305.01610): logistic regression, chosen on validation, tested once."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)
SHARES = (0.5, 0.2)
RESAMPLES = 2000


@dataclass(frozen=True)
class Split:
    """Rows of the documents to fit on, to choose on, and to report on."""

    train: Ints
    validation: Ints
    test: Ints


@dataclass(frozen=True)
class Probe:
    """A fitted probe on `features`, and its accuracy on validation."""

    features: Ints
    model: Any
    validation: float

    def correct(self, x: Floats, labels: Ints, rows: Ints) -> NDArray[np.bool_]:
        """Whether it is right on each of `rows` (n)."""
        return self.model.predict(x[np.ix_(rows, self.features)]) == labels[rows]


def stratified_split(strata: Ints, generator: np.random.Generator) -> Split:
    """Half of every stratum's rows to train on, a fifth to validate, the rest to test."""
    parts: list[list[Ints]] = [[], [], []]
    for stratum in np.unique(strata):
        rows = generator.permutation(np.flatnonzero(strata == stratum))
        ends = np.round(np.cumsum(SHARES) * len(rows)).astype(np.int64)
        for part, chosen in zip(parts, np.split(rows, ends), strict=True):
            part.append(chosen)
    return Split(*(np.sort(np.concatenate(part)) for part in parts))


def features_by_difference(x: Floats, labels: Ints) -> Ints:
    """Features of x (n × d), best first, by |mean in a class − mean elsewhere|.

    Of several classes each names its best in turn, the one with the largest difference first.
    """
    classes = np.unique(labels)
    difference = np.stack(
        [np.abs(x[labels == c].mean(axis=0) - x[labels != c].mean(axis=0)) for c in classes]
    )
    strongest_first = -difference[np.argsort(-difference.max(axis=1), kind="stable")]
    in_turn = strongest_first.argsort(axis=1, kind="stable").T.flatten()
    return in_turn[np.sort(np.unique(in_turn, return_index=True)[1])].astype(np.int64)


def fit_probe(x: Floats, labels: Ints, split: Split, features: Ints) -> Probe:
    """Logistic regression on standardised `features`, fitted on train, its L2 strength chosen on validation."""
    probes = (_fit(x, labels, split, features, strength) for strength in STRENGTHS)
    return max(probes, key=lambda probe: probe.validation)


def _fit(x: Floats, labels: Ints, split: Split, features: Ints, strength: float) -> Probe:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000))
    model.fit(x[np.ix_(split.train, features)], labels[split.train])
    found = Probe(features, model, 0.0)
    accuracy = float(found.correct(x, labels, split.validation).mean())
    return Probe(features, model, accuracy)


def majority_share(labels: Ints, split: Split) -> float:
    """Accuracy on test of always naming the class that is most frequent in train."""
    return float((labels[split.test] == np.bincount(labels[split.train]).argmax()).mean())


def bootstrap_accuracy(correct: NDArray[np.bool_], generator: np.random.Generator) -> tuple[float, float]:
    """95 % percentile interval of the accuracy over documents."""
    resampled = generator.binomial(len(correct), correct.mean(), RESAMPLES) / len(correct)
    low, high = np.percentile(resampled, [2.5, 97.5])
    return float(low), float(high)
