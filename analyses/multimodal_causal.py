"""Numbers of a run of multimodal causal representation learning: agreement of its seeds, recovery, and their chance.

Frames have the columns of the tables `latents`, `latent_values`, `latent_scores` and `graph_scores`. Definitions:
arXiv 2411.06518; MCC and R² as in analyses/identifiability.py.
"""

from typing import Any

import numpy as np
import pandas as pd

from analyses.identifiability import mean_correlation, permutation_null, rotation_floor
from analyses.matching import bootstrap_interval, mean_interval
from analyses.streams import stream_seed

Frame = Any
Values = dict[str, np.ndarray]
OURS, PC, TRUTH, ALL = "two stages", "pc", "truth", "all"
METHODS = (OURS, "stage 1 alone", "no sparsity", "beta-VAE", "contrastive", PC)
DRAWS = 20
EMPTY = (None, None, None)


def methods_of(frame: Frame) -> list[str]:
    """The learning methods that a frame holds, ours first."""
    known = set(frame["method"]) - {TRUTH}
    return [one for one in METHODS if one in known] + sorted(known - set(METHODS))


def blocks(values: Frame, latents: Frame, seed: int, method: str) -> Values:
    """Values of one seed's latents (rows × latents) by modality, columns in the order of their names."""
    mine = latents[(latents["seed"] == seed) & (latents["method"] == method)].sort_values(
        "name", kind="stable"
    )
    rows = values[(values["seed"] == seed) & (values["method"] == method)]
    wide = rows.pivot_table(index="row", columns="latent", values="value")
    return {
        str(modality): wide[list(part["latent"])].to_numpy()
        for modality, part in mine.groupby("modality", sort=False)
        if set(part["latent"]) <= set(wide.columns)
    }


def agreement(one: Values, other: Values) -> float:
    """MCC (Spearman) of two seeds' latents, matched within each modality, mean over latents; NaN without a common one."""
    shared = [name for name in one if name in other]
    if not shared:
        return float("nan")
    scores = [mean_correlation(one[name], other[name], "spearman").value for name in shared]
    return float(np.average(scores, weights=[one[name].shape[1] for name in shared]))


def seed_agreement(values: Frame, latents: Frame, method: str) -> pd.DataFrame:
    """MCC of every two seeds' latents: seeds × seeds, NaN on the diagonal."""
    seeds = sorted(int(seed) for seed in latents.loc[latents["method"] == method, "seed"].unique())
    parts = [blocks(values, latents, seed, method) for seed in seeds]
    matrix = np.full((len(seeds), len(seeds)), np.nan)
    for i in range(len(seeds)):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = agreement(parts[i], parts[j])
    return pd.DataFrame(matrix, index=seeds, columns=seeds)


def chance_of_agreement(values: Frame, latents: Frame, method: str) -> tuple[float, float]:
    """What two seeds reach whose latents have nothing in common (rows permuted), and what they reach when each block is
    known but turned at random (mean over latents). NaN where there are fewer than two seeds."""
    seeds = sorted(int(seed) for seed in latents.loc[latents["method"] == method, "seed"].unique())
    if len(seeds) < 2:
        return float("nan"), float("nan")
    one, other = (blocks(values, latents, seed, method) for seed in seeds[:2])
    names = [name for name in one if name in other]
    sizes = [one[name].shape[1] for name in names]
    if not names:
        return float("nan"), float("nan")
    rng = np.random.default_rng(stream_seed("seed-agreement-null", *seeds[:2]))
    unrelated = [
        permutation_null(
            lambda a, b: mean_correlation(a, b, "spearman").value, one[name], other[name], rng, DRAWS
        ).mean
        for name in names
    ]
    turned = {d: rotation_floor(d, rng).mean for d in set(sizes)}
    return (
        float(np.average(unrelated, weights=sizes)),
        float(np.average([turned[d] for d in sizes], weights=sizes)),
    )


def over_seeds(frame: Frame, column: str) -> tuple[float | None, float | None, float | None]:
    """Mean of a column over seeds and its 95 % t interval; None for what is unknown."""
    values = frame[column].dropna()
    if not len(values):
        return EMPTY
    low, high = mean_interval(values) if len(values) > 1 else (None, None)
    return float(values.mean()), low, high


def overall(scores: Frame) -> pd.DataFrame:
    """The rows of `latent_scores` that are means over modalities."""
    return scores[scores["modality"] == ALL]


def summary(
    values: Frame, latents: Frame, scores: Frame, graph_scores: Frame, method: str = OURS
) -> dict[str, tuple[float | None, float | None, float | None]]:
    """The first strip of the study's pages: (value, low, high) of each figure, None for what is unknown.

    Keys: seeds (MCC between seeds; 95 % bootstrap over seeds), seeds_unrelated and seeds_turned (its chance), mcc, mcc_null,
    mcc_floor, r2, r2_null, edge_f1, edge_f1_null, cross_r2 (means over seeds, 95 % t).
    """
    matrix = seed_agreement(values, latents, method)
    interval = bootstrap_interval(matrix.to_numpy()) if len(matrix) > 1 else None
    between = float(np.nanmean(matrix.to_numpy())) if len(matrix) > 1 else None
    unrelated, turned = chance_of_agreement(values, latents, method)
    mine = overall(scores[scores["method"] == method])
    graphs = graph_scores[graph_scores["method"] == method]
    columns = {
        "mcc": "mcc_spearman",
        "mcc_null": "mcc_null",
        "mcc_floor": "mcc_rotation_floor",
        "r2": "r2_true_from_learnt",
        "r2_null": "r2_null",
        "cross_r2": "cross_modal_r2",
    }
    return {
        "seeds": (between, *(interval or (None, None))),
        "seeds_unrelated": (unrelated if len(matrix) > 1 else None, None, None),
        "seeds_turned": (turned if len(matrix) > 1 else None, None, None),
        **{name: over_seeds(mine, column) for name, column in columns.items()},
        "edge_f1": over_seeds(graphs, "edge_f1"),
        "edge_f1_null": over_seeds(graphs, "edge_f1_null"),
    }
