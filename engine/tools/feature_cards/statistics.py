"""What a feature's active tokens say of it: numbers, the tokens it stands on, a plain label, text to search."""

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine import schema
from engine.token_text import name, printable
from engine.tools.feature_cards.sorting import Active
from engine.tools.feature_cards.tokens import Tokens, around, first_in_windows

TOP_TOKENS = 5
LABEL_TOKENS = 3
ENOUGH = 0.5
DIFFUSE = 0.2
WINDOWS = 5
WIDTH = 16
SILENT = "never active on these tokens"


class Statistics:
    """Collects the rows of `cards` of one seed while its features pass by."""

    def __init__(self, tokens: Tokens, tokenizer: Any, seed: int, d_sae: int) -> None:
        self.tokens, self.tokenizer, self.seed, self.d_sae = tokens, tokenizer, seed, d_sae
        self._names: dict[int, str] = {}
        self._rows: dict[int, dict[str, Any]] = {}

    def passing(self, found: Iterable[Active]) -> Iterator[Active]:
        """The same features, each noted."""
        stretches: list[list[int]] = []
        features: list[int] = []
        for active in found:
            self._rows[active.feature] = self._row(active)
            mine = self._stretches(active)
            stretches += mine
            features += [active.feature] * len(mine)
            yield active
        texts = self.tokenizer.decode_batch(stretches, skip_special_tokens=False)
        for feature, text in zip(features, texts, strict=True):
            self._rows[feature]["text"].append(text)

    def table(self) -> pa.Table:
        """One row of `cards` per feature; those never active have none but their place."""
        silent: dict[str, Any] = {"n_active": 0, "density": 0.0, "max_activation": 0.0, "mean_activation": None,
                  "tokens": "[]", "label": SILENT, "text": []}  # fmt: skip
        rows = [
            {"seed": self.seed, "feature": feature, **self._rows.get(feature, silent)}
            for feature in range(self.d_sae)
        ]
        joined = [{**row, "text": "\n".join(row["text"])} for row in rows]
        return pa.Table.from_pylist(joined, schema=schema.run_columns("cards"))

    def _row(self, active: Active) -> dict[str, Any]:
        total = float(active.values.sum(dtype=np.float64))
        ids, sums = token_sums(self.tokens.ids[active.tokens], active.values)
        names = [self._name(token) for token in ids[:TOP_TOKENS].tolist()]
        return {
            "n_active": len(active.tokens),
            "density": len(active.tokens) / max(len(self.tokens.rows), 1),
            "max_activation": float(active.values[0]),
            "mean_activation": total / len(active.tokens),
            "tokens": json.dumps(names, ensure_ascii=False),
            "label": token_label(names, (sums[:TOP_TOKENS] / total).tolist()),
            "text": [],
        }

    def _stretches(self, active: Active) -> list[list[int]]:
        size = self.tokens.context_size
        best = first_in_windows(active.tokens, range(len(active.tokens)), WINDOWS, size, set())
        ends = (around(int(active.tokens[i]), WIDTH, size, len(self.tokens.ids)) for i in best)
        return [self.tokens.ids[start:end].tolist() for start, end in ends]

    def _name(self, token: int) -> str:
        if token not in self._names:
            self._names[token] = name(self.tokenizer, token)
        return self._names[token]


def token_sums(
    ids: NDArray[np.int32], values: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Distinct token ids and the summed values of each, the largest sum first, equal ones by id."""
    distinct, place = np.unique(ids, return_inverse=True)
    sums = np.bincount(place, weights=values).astype(np.float64)
    order = np.argsort(-sums, kind="stable")
    return distinct[order].astype(np.int64), sums[order]


def token_label(names: list[str], shares: list[float]) -> str:
    """The tokens that carry most of a feature's summed activation, with their joint share.

    As few as reach a half, three at most; where three hold less than a fifth the feature is said to be diffuse.
    """
    held = np.cumsum(shares[:LABEL_TOKENS])
    n = min(int(np.searchsorted(held, ENOUGH)) + 1, len(held))
    shown = ", ".join(f"‘{printable(text)}’" for text in names[:n])
    share = f"{100 * held[n - 1]:.0f} %" if held[n - 1] >= 0.01 else "under 1 %"
    return f"{shown} ({share})" if held[n - 1] >= DIFFUSE else f"diffuse, most on {shown} ({share})"
