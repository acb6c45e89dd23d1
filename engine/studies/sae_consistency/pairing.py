"""Every pair of a run's SAEs matched one to one, and compared in decoder, encoder and codes."""

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analyses.dictionaries import subspace_overlap
from analyses.matching import Match, match, match_summary, random_direction_null
from engine import schema
from engine.studies.sae_consistency.codes import code_consistency
from engine.studies.sae_consistency.evaluation import Evaluation
from engine.studies.sae_consistency.saes import Sae

SAME_FEATURE = 0.7
SUBSETS = ("all", "alive")


class Pairing:
    """Rows of `pairs`, tables of `matches`, and per seed and feature its `stability` and `max_cosine`.

    Stability: share of the other seeds with a one-to-one partner of |cosine| ≥ 0.7. Max cosine: mean over the other
    seeds of the best |cosine| to any of their features. Both are over all features, alive or not; a run of one seed has
    no pairs and stability 0.
    """

    def __init__(
        self,
        saes: Mapping[int, Sae],
        found: Mapping[int, Evaluation],
        alive: Mapping[int, NDArray[np.bool_]],
        check: Callable[[], None],
    ) -> None:
        self.found, self.alive = found, alive
        self.decoders = {seed: sae.decoder.cpu().numpy() for seed, sae in saes.items()}
        self.encoders = {seed: _unit(sae.encoder.cpu().numpy()) for seed, sae in saes.items()}
        self.pairs: list[dict[str, Any]] = []
        self.matches: list[pa.Table] = []
        self.stability = {seed: np.zeros(len(rows)) for seed, rows in self.decoders.items()}
        self.max_cosine = {seed: np.zeros(len(rows)) for seed, rows in self.decoders.items()}
        for a, b in combinations(self.decoders, 2):
            matched: dict[tuple[int, int], Match] = {}
            for subset in SUBSETS:
                check()
                self._pair(a, b, subset, matched)

    def _pair(self, a: int, b: int, subset: str, matched: dict[tuple[int, int], Match]) -> None:
        """`matched` holds this pair's matchings by size: where all features are alive, the subsets are the same."""
        ids_a, ids_b = self._ids(a, subset), self._ids(b, subset)
        if not (len(ids_a) and len(ids_b)):
            return
        size = len(ids_a), len(ids_b)
        if size not in matched:
            matched[size] = match(self.decoders[a][ids_a], self.decoders[b][ids_b])
        found = matched[size]
        null = random_direction_null(self.decoders[a].shape[1], *size)
        first, second = ids_a[found.pairs[:, 0]], ids_b[found.pairs[:, 1]]
        correlation, jaccard = code_consistency(
            self.found[a].codes, self.found[b].codes, np.stack([first, second], axis=1)
        )
        encoder = (self.encoders[a][first] * self.encoders[b][second]).sum(axis=1)
        same = np.abs(found.cosine) >= SAME_FEATURE
        overlap, chance = _overlap(self.decoders[a][first[~same]], self.decoders[b][second[~same]])
        self.pairs.append(
            {
                "seed_a": a,
                "seed_b": b,
                "subset": subset,
                **match_summary(found, null),
                "shared_share": float(same.mean()),
                "encoder_cosine": float(encoder.mean()),
                "code_correlation": _mean(correlation),
                "support_jaccard": _mean(jaccard),
                "unstable_overlap": overlap,
                "unstable_overlap_chance": chance,
            }
        )
        compared = {"encoder_cosine": encoder, "code_correlation": correlation, "support_jaccard": jaccard}
        self.matches.append(self._table(a, b, subset, found, first, second, compared))
        if subset == "all":
            others = len(self.decoders) - 1
            for seed, ids, best in ((a, first, found.best_a), (b, second, found.best_b)):
                self.stability[seed][ids[same]] += 1 / others
                self.max_cosine[seed] += best / others

    def _ids(self, seed: int, subset: str) -> NDArray[np.int64]:
        return np.arange(len(self.decoders[seed])) if subset == "all" else np.flatnonzero(self.alive[seed])

    def _table(
        self,
        a: int,
        b: int,
        subset: str,
        found: Match,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        compared: dict[str, NDArray[np.float64]],
    ) -> pa.Table:
        n = len(first)
        columns = {
            "seed_a": np.full(n, a),
            "seed_b": np.full(n, b),
            "subset": [subset] * n,
            "rank": np.arange(n),
            "feature_a": first,
            "feature_b": second,
            "cosine": found.cosine,
            "frequency_a": self.found[a].frequency[first],
            "frequency_b": self.found[b].frequency[second],
            **{name: pa.array(values, pa.float64(), from_pandas=True) for name, values in compared.items()},
        }
        return pa.table(columns).cast(schema.run_columns("matches"))


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(norms == 0, 1, norms)).astype(np.float32)


def _mean(values: NDArray[np.float64]) -> float | None:
    return float(np.nanmean(values)) if np.isfinite(values).any() else None


def _overlap(rows_a: NDArray[np.float32], rows_b: NDArray[np.float32]) -> tuple[float | None, float | None]:
    if not len(rows_a):
        return None, None
    overlap, chance = subspace_overlap(rows_a, rows_b)
    return (overlap, chance) if np.isfinite(overlap) else (None, None)
