"""The table `explanations`: how alike a sample of matched features are in meaning."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

from analyses.streams import stream_seed
from engine.studies.sae_consistency.explanations import (
    Agreement,
    Context,
    embedding_agreement,
    judge_agreement,
    sample_pairs,
)

if TYPE_CHECKING:
    from engine.studies.sae_consistency.evaluation import Evaluation
    from engine.studies.sae_consistency.pairing import Pairing
    from engine.studies.sae_consistency.training import Training


def explanation_rows(training: "Training", pairing: "Pairing") -> list[dict[str, Any]]:
    """Rows for `explained_pairs` matched pairs of alive features, sampled over bins of |cosine|, of all pairs of seeds.

    By an embedding of their top contexts, or by the judge the config names. Raises UserError, Stopped.
    """
    run, config = training.run, training.config
    matches = pa.concat_tables(pairing.matches)
    matches = matches.filter(pa.compute.equal(matches["subset"], "alive"))
    if not len(matches):
        return []
    generator = np.random.default_rng(stream_seed("explained pairs", run.data_seed, *run.seeds))
    rows = matches.take(
        sample_pairs(matches["cosine"].to_numpy(), config.explained_pairs, generator)
    ).to_pylist()
    run.progress(0, 1, f"comparing the meaning of {len(rows)} matched pairs")
    sides = [
        _contexts(training, pairing.found, [(row[f"seed_{s}"], row[f"feature_{s}"]) for row in rows])
        for s in "ab"
    ]
    found = _agreement(training, *sides)
    return [
        {
            "seed_a": row["seed_a"],
            "seed_b": row["seed_b"],
            "feature_a": row["feature_a"],
            "feature_b": row["feature_b"],
            "cosine": row["cosine"],
            "agreement": float(value),
            "chance": found.chance,
            "method": found.method,
        }
        for row, value in zip(rows, found.values, strict=True)
        if np.isfinite(value)
    ]


def _agreement(training: "Training", a: Sequence[Any], b: Sequence[Any]) -> Agreement:
    run, config = training.run, training.config
    if config.judge_endpoint:
        return judge_agreement(a, b, config.judge_endpoint, config.judge_model, lambda: run.should_stop)
    return embedding_agreement(a, b, lambda: run.should_stop)


def _contexts(
    training: "Training", found: "Mapping[int, Evaluation]", features: list[tuple[int, int]]
) -> list[list[Context]]:
    """The top held-out contexts of each (seed, feature)."""
    activations = training.source.activations
    assert activations is not None
    wanted: list[NDArray[np.int64]] = []
    for seed, feature in features:
        evaluation = found[seed]
        fired = evaluation.top_values[feature] > 0
        wanted.append(evaluation.top_rows[feature][fired].numpy())
    texts = iter(activations.contexts(np.concatenate(wanted)))
    return [[next(texts) for _ in rows] for rows in wanted]
