"""Which style a sentence has: logistic regression on TF-IDF of words and word pairs, fitted on training texts only."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from data.domain_texts import Tokens

Floats = NDArray[np.float64]
PENALTIES = (0.3, 1.0, 3.0, 10.0)
LEAST_TEXTS = 2
BIAS = "\n"  # no token holds it


def ngrams(tokens: Tokens) -> list[str]:
    """Words and neighbouring pairs."""
    return [*tokens, *(" ".join(pair) for pair in pairwise(tokens))]


class StyleClassifier:
    """`probability` of the second style; `weights` by n-gram, times its inverse document frequency, and a bias."""

    def __init__(self, names: Sequence[str], idf: Floats, weights: Floats, bias: float) -> None:
        self.names, self.idf, self.weights, self.bias = list(names), idf, weights, bias
        self.places = {name: place for place, name in enumerate(self.names)}

    @classmethod
    def fit(
        cls,
        texts: Sequence[Tokens],
        labels: NDArray[np.int64],
        held: Sequence[Tokens],
        held_labels: NDArray[np.int64],
    ) -> "StyleClassifier":
        """Fitted on `texts`; the penalty is chosen by accuracy on the held-out validation texts."""
        vectoriser: Any = TfidfVectorizer(analyzer=ngrams, min_df=LEAST_TEXTS)
        x = vectoriser.fit_transform(texts)
        tried = []
        for penalty in PENALTIES:
            model: Any = LogisticRegression(C=penalty, class_weight="balanced", max_iter=1_000)
            model.fit(x, labels)
            names = vectoriser.get_feature_names_out().tolist()
            tried.append(cls(names, vectoriser.idf_, model.coef_[0], float(model.intercept_[0])))
        return max(tried, key=lambda one: one.accuracy(held, held_labels))

    def probability(self, texts: Sequence[Tokens]) -> Floats:
        """Probability of the second style (n)."""
        found = np.zeros(len(texts))
        for row, text in enumerate(texts):
            places = [self.places[name] for name in ngrams(text) if name in self.places]
            which, counts = (
                np.unique(places, return_counts=True) if places else (np.array([], int), np.array([]))
            )
            values = counts * self.idf[which]
            size = float(np.linalg.norm(values))
            found[row] = (values @ self.weights[which]) / size + self.bias if size else self.bias
        return np.asarray(1 / (1 + np.exp(-found)))

    def accuracy(self, texts: Sequence[Tokens], labels: NDArray[np.int64]) -> float:
        """Share of right answers; NaN without texts."""
        return float(((self.probability(texts) > 0.5) == labels).mean()) if len(texts) else float("nan")

    def rows(self) -> dict[str, list[Any]]:
        """As a table; the bias is the row of an empty line."""
        return {
            "ngram": [*self.names, BIAS],
            "idf": [*self.idf.tolist(), 0.0],
            "weight": [*self.weights.tolist(), self.bias],
        }

    @classmethod
    def load(cls, table: pa.Table) -> "StyleClassifier":
        """The inverse of `rows`."""
        names, idf, weights = (table.column(name).to_pylist() for name in ("ngram", "idf", "weight"))
        return cls(names[:-1], np.array(idf[:-1]), np.array(weights[:-1]), weights[-1])
