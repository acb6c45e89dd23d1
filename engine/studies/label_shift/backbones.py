"""Frozen classifiers: linear heads and a small network, class-balanced and scaled by one temperature on validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from analyses.label_shift import balanced_weights, smoothed, temperature
from analyses.streams import stream_seed
from engine.studies.label_shift.source import Source

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Layers = tuple[tuple[Floats, Floats], ...]
LOGISTIC, NETWORK, EVEN, ODD, FEW_FIRST, FEW_LAST = (
    "logistic regression",
    "two-layer network",
    "logistic, even features",
    "logistic, odd features",
    "logistic, few rows of the first classes",
    "logistic, few rows of the last classes",
)
PENALTIES = (1.0, 0.1, 0.01, 0.001)
NETWORK_PENALTIES = (1e-3, 1.0, 10.0)
HIDDEN, EPOCHS = 64, 60
FIT_STEPS, TUNING_STEPS = 200, 50
FEW, FEWEST_KEPT = 0.3, 3


@dataclass(frozen=True)
class Backbone:
    """A classifier on one view: affine `layers` (in × out, out) with ReLU between them, logits over `temperature`.

    `penalty` is the inverse strength C of the head's L2 penalty, also when it is fitted again.
    """

    name: str
    view: str
    layers: Layers
    penalty: float
    temperature: float = 1.0

    def represent(self, rows: Floats) -> Floats:
        """What the head reads (n × width): the rows themselves, or the hidden layer."""
        for weights, bias in self.layers[:-1]:
            rows = np.maximum(rows @ weights + bias, 0.0)
        return rows

    def logits(self, rows: Floats) -> Floats:
        """Unscaled logits (n × K) of rows of the backbone's view."""
        weights, bias = self.layers[-1]
        return self.represent(rows) @ weights + bias

    def log_probs(self, rows: Floats) -> Floats:
        """Calibrated log P(Y | X) (n × K) under the uniform prior."""
        return np.asarray(log_softmax(self.logits(rows) / self.temperature, axis=1))


def first_backbone(source: Source, rows: dict[str, Ints]) -> Backbone:
    """The deployed backbone: logistic regression on the first view."""
    return _logistic(LOGISTIC, source, rows)


def second_backbone(source: Source, rows: dict[str, Ints], seed: int) -> Backbone:
    """Another architecture: logistic regression on the other view where there is one, else a network on the same."""
    views = list(source.views)
    if len(views) > 1:
        return _logistic(f"logistic on {views[1]}", source, rows, view=views[1])
    return _network(source, rows, seed)


def further_candidates(source: Source, rows: dict[str, Ints]) -> list[Backbone]:
    """Four more classifiers whose weak classes differ: on either half of the features, or with 30 % of the training rows
    of either half of the classes."""
    even = np.arange(source.views[source.first].shape[1]) % 2 == 0
    early = source.labels[rows["train"]] < source.n_classes / 2
    return [
        *(
            _logistic(name, source, rows, kept=kept)
            for name, kept in ((EVEN, even), (ODD, ~even))
            if not even.all()
        ),
        _logistic(FEW_FIRST, source, rows, rare=early),
        _logistic(FEW_LAST, source, rows, rare=~early),
    ]


def fine_tuned(backbone: Backbone, source: Source, rows: Ints, moved: Floats | None) -> Backbone:
    """The backbone with its head tuned to labelled rows: from where their class shares, by Bayes' rule, put it.

    Minimises the log loss over a change of weights and bias under the head's own L2 penalty. `moved` (n × d) replaces the
    rows' features where the world has moved them.
    """
    features = backbone.represent(source.views[backbone.view][rows] if moved is None else moved)
    labels, n_classes = source.labels[rows], source.n_classes
    weights, bias = backbone.layers[-1]
    shares = smoothed(np.bincount(labels, minlength=n_classes))
    start = (features @ weights + bias) / backbone.temperature + shares
    centre, scale = _scaling(features)
    x = np.hstack([(features - centre) / scale, np.ones((len(rows), 1))])
    wanted = np.eye(n_classes)[labels]

    def loss(change: Floats) -> tuple[float, Floats]:
        delta = change.reshape(x.shape[1], n_classes)
        log_probs = log_softmax(start + x @ delta, axis=1)
        value = -backbone.penalty * float((wanted * log_probs).sum()) + float((change**2).sum()) / 2
        return value, (backbone.penalty * (x.T @ (np.exp(log_probs) - wanted)) + delta).ravel()

    found = minimize(
        loss, np.zeros(x.shape[1] * n_classes), jac=True, method="L-BFGS-B", options={"maxiter": TUNING_STEPS}
    )
    delta = found.x.reshape(x.shape[1], n_classes)
    slope = delta[:-1] / scale[:, None]
    head = (
        weights / backbone.temperature + slope,
        bias / backbone.temperature + shares + delta[-1] - centre @ slope,
    )
    return replace(backbone, layers=(*backbone.layers[:-1], head), temperature=1.0)


def _logistic(
    name: str,
    source: Source,
    rows: dict[str, Ints],
    view: str = "",
    kept: NDArray[np.bool_] | None = None,
    rare: NDArray[np.bool_] | None = None,
) -> Backbone:
    """Class-balanced logistic regression on a view, or on `kept` of its features; few of the training rows `rare` are used."""
    view = view or source.first
    train = (
        rows["train"]
        if rare is None
        else np.concatenate([rows["train"][~rare], _few(source, rows["train"][rare])])
    )
    features, labels = source.views[view][train], source.labels[train]
    tried = []
    for penalty in PENALTIES:
        if kept is None:
            weights, bias = _fit(features, labels, source.n_classes, penalty)
        else:
            weights = np.zeros((features.shape[1], source.n_classes))
            weights[kept], bias = _fit(features[:, kept], labels, source.n_classes, penalty)
        tried.append(Backbone(name, view, ((weights, bias),), penalty))
    return _best(tried, source, rows["validation"])


def _best(tried: Sequence[Backbone], source: Source, validation: Ints) -> Backbone:
    """The classifier with the lowest class-balanced log loss on validation rows, each at its best temperature there."""
    labels = source.labels[validation]
    weights = balanced_weights(labels, source.n_classes)
    losses, scaled = [], []
    for one in tried:
        features = source.views[one.view][validation]
        scaled.append(replace(one, temperature=temperature(one.logits(features), labels)))
        losses.append(
            float(-(weights * scaled[-1].log_probs(features)[np.arange(len(labels)), labels]).mean())
        )
    return scaled[int(np.argmin(losses))]


def _fit(features: Floats, labels: Ints, n_classes: int, penalty: float) -> tuple[Floats, Floats]:
    """Weights (d × K) and bias (K) of a class-balanced multinomial logistic regression on standardised features."""
    from sklearn.linear_model import LogisticRegression

    centre, scale = _scaling(features)
    model: Any = LogisticRegression(C=penalty, class_weight="balanced", max_iter=FIT_STEPS)
    model.fit((features - centre) / scale, labels)
    weights, bias = model.coef_.T / scale[:, None], model.intercept_
    if n_classes == 2:
        weights, bias = np.hstack([-weights, weights]) / 2, np.hstack([-bias, bias]) / 2
    return weights, bias - centre @ weights


def _scaling(features: Floats) -> tuple[Floats, Floats]:
    centre, scale = features.mean(axis=0), features.std(axis=0)
    return centre, np.where(scale > 1e-9 * np.maximum(np.abs(centre), 1e-9), scale, 1.0)


def _network(source: Source, rows: dict[str, Ints], seed: int) -> Backbone:
    """A hidden layer of 64, class-balanced, its weight decay chosen on validation rows."""
    from sklearn.neural_network import MLPClassifier

    features, labels = source.views[source.first][rows["train"]], source.labels[rows["train"]]
    centre, scale = _scaling(features)
    weights, start = (
        balanced_weights(labels, source.n_classes),
        stream_seed("label shift network", seed) % 2**32,
    )
    tried = []
    for decay in NETWORK_PENALTIES:
        model: Any = MLPClassifier((HIDDEN,), alpha=decay, max_iter=EPOCHS, random_state=start)
        model.fit((features - centre) / scale, labels, sample_weight=weights)
        (inner, outer), (inner_bias, outer_bias) = model.coefs_, model.intercepts_
        if source.n_classes == 2:
            outer, outer_bias = np.hstack([-outer, outer]) / 2, np.hstack([-outer_bias, outer_bias]) / 2
        inner = inner / scale[:, None]
        layers = ((inner, inner_bias - centre @ inner), (outer, outer_bias))
        tried.append(Backbone(NETWORK, source.first, layers, penalty=1.0))
    return _best(tried, source, rows["validation"])


def _few(source: Source, rows: Ints) -> Ints:
    """The first 30 % of each class' rows, three at least."""
    labels = source.labels[rows]
    parts = [rows[labels == k] for k in np.unique(labels)]
    return np.concatenate([part[: max(FEWEST_KEPT, round(FEW * len(part)))] for part in parts])


def class_means(features: Floats, labels: Ints, n_classes: int) -> Floats:
    """Mean of every class (K × d); every class needs a row."""
    return np.stack([features[labels == k].mean(axis=0) for k in range(n_classes)])
