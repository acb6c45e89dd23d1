"""Matching any two trained SAEs, of one run or of two, on demand."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file

from analyses.matching import match, match_summary, random_direction_null
from engine.errors import UserError
from engine.store import Store

CACHED = 64


class SaeMatcher:
    """Computes and remembers matchings; a result is an Arrow table whose metadata holds its summary."""

    def __init__(self, home: Path, store: Store) -> None:
        self.home, self.store = home, store
        self._cache: OrderedDict[tuple[Any, ...], pa.Table] = OrderedDict()

    def match(self, a: tuple[str, int], b: tuple[str, int], subset: str) -> pa.Table:
        """Optimal one-to-one matching of the decoder rows of `a` and `b`, each (run id, seed).

        `subset` is "alive" or "all". Raises UserError for an unknown SAE, subset or unequal d_in.
        """
        if subset not in ("alive", "all"):
            raise UserError("subset", f"{subset!r} does not exist; choose alive or all.")
        key = (a, b, subset)
        if key not in self._cache:
            self._cache[key] = self._compute(a, b, subset)
            while len(self._cache) > CACHED:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]

    def _compute(self, a: tuple[str, int], b: tuple[str, int], subset: str) -> pa.Table:
        rows_a, ids_a, frequency_a = self._dictionary(a, subset)
        rows_b, ids_b, frequency_b = self._dictionary(b, subset)
        if rows_a.shape[1] != rows_b.shape[1]:
            raise UserError(
                "run", f"{a[0]} and {b[0]} have different d_in; match SAEs of the same hook point width."
            )
        found = match(rows_a, rows_b)
        null = random_direction_null(rows_a.shape[1], len(rows_a), len(rows_b))
        summary = match_summary(found, null)
        first, second = found.pairs[:, 0], found.pairs[:, 1]
        table = pa.table(
            {
                "rank": np.arange(len(first), dtype=np.int32),
                "feature_a": ids_a[first],
                "feature_b": ids_b[second],
                "cosine": np.asarray(found.cosine, dtype=np.float64),
                "frequency_a": frequency_a[first],
                "frequency_b": frequency_b[second],
            }
        )
        return table.replace_schema_metadata({"summary": json.dumps(summary)})

    def _dictionary(self, sae: tuple[str, int], subset: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        run, seed = sae
        path = self.home / "runs" / run / "saes" / f"seed-{seed}" / "sae_weights.safetensors"
        if not run.isalnum() or not path.exists():
            raise UserError("run", f"{run} has no finished SAE of seed {seed}.")
        features = self.store.rows(run, "features", None, {"seed": seed}, "feature", None, 0).read_all()
        ids = features["feature"].to_numpy()
        if subset == "alive":
            ids = ids[features["alive"].to_numpy(zero_copy_only=False)]
        frequency = features["frequency"].to_numpy()[ids]
        return load_file(path)["W_dec"][ids], ids, frequency
