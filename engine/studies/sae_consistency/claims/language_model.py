"""Claims of arXiv 2505.20254 on a real language model's activations."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from engine.studies.base import NOT_TESTED, Claim, Measurement
from engine.studies.measuring import Tables, beyond_tour, measurement, over_runs, pair_matrix
from engine.studies.sae_consistency.claims.measuring import (
    n_seeds,
    null_of,
    pair_frame,
    pairs_value,
    per_pair,
    per_seed,
    step_zero,
)
from engine.studies.sae_consistency.presets import L1, SPARSITIES

PUBLISHED_ORDER = ("topk", "batch_topk", "gated", "jumprelu", "relu")


def standard(preset: str) -> list[dict[str, Any]]:
    return [{"preset": preset if preset in ("tour", "paper") else "standard", "config": {}}]


def sweep_runs(architecture: str, **config: Any) -> list[dict[str, Any]]:
    """The runs of one architecture in the sweep of that name, by rising sparsity weight."""
    grid = (
        [{"l1_coefficient": weight} for weight in L1[architecture]]
        if architecture in L1
        else [{"k": k} for k in SPARSITIES]
    )
    return [{"preset": "sweep", "config": {"architecture": architecture, **config, **one}} for one in grid]


def in_sweep(*architectures: str) -> Any:
    """Runs of the sweep; none at the tour's preset, where they would take half an hour."""
    return beyond_tour(*(run for architecture in architectures for run in sweep_runs(architecture)))


def measure_above_null(tables: list[Tables]) -> Measurement:
    (run,) = tables
    value, chance = pairs_value(run, subset="alive"), null_of(run, "alive")
    spread = float(pair_frame(run, "alive")["null_std"].max())
    untrained = step_zero(run, "trajectory", "pw_mcc_abs")
    shown = value[1] > max(chance + 3 * spread, untrained) + 0.1
    return measurement(value, n_seeds(run), chance, untrained, shown)


def measure_headline(tables: list[Tables]) -> Measurement:
    (run,) = tables
    value, untrained = pairs_value(run), step_zero(run, "trajectory", "pw_mcc_abs")
    shown = value[2] >= 0.79 and value[1] > untrained + 0.1
    return measurement(value, n_seeds(run), null_of(run), untrained, shown)


def _spearman(a: ArrayLike, b: ArrayLike) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic)


def _kendall(a: ArrayLike, b: ArrayLike) -> float:
    from scipy.stats import kendalltau

    return float(kendalltau(a, b).statistic)


def _with_frequency(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return rows[["frequency_a", "frequency_b"]].min(axis=1).to_numpy(), rows["cosine"].abs().to_numpy()


def measure_frequency(tables: list[Tables]) -> Measurement:
    """Spearman of lower frequency and |cosine|; the rule also wants the means of five log-spaced bins to rise."""

    def spearman(rows: pd.DataFrame) -> float:
        return _spearman(*_with_frequency(rows))

    (run,) = tables
    value = per_pair(run, "matches", spearman)
    frame = run["matches"].to_pandas()
    frequency, cosine = _with_frequency(frame[frame["subset"] == "alive"])
    fires = frequency > 0
    edges = np.geomspace(frequency[fires].min(), frequency[fires].max(), 6)
    place = np.clip(np.searchsorted(edges, frequency[fires], side="right"), 1, 5)
    means = [cosine[fires][place == b].mean() for b in range(1, 6) if (place == b).sum() >= 20]
    rises = all(low < high for low, high in pairwise(means))
    return measurement(value, n_seeds(run), 0.0, None, value[1] > 0.1 and rises and len(means) > 2)


def measure_explanations(tables: list[Tables]) -> Measurement:
    """Spearman of |cosine| and agreement in meaning; baseline: of the pair's lower frequency and agreement."""
    (run,) = tables
    rows = run["explanations"].to_pandas()
    if rows.empty:
        return NOT_TESTED
    keys = ["seed_a", "seed_b", "feature_a", "feature_b"]
    matches = run["matches"].to_pandas().query("subset == 'alive'")
    rows = rows.merge(matches[[*keys, "frequency_a", "frequency_b"]], on=keys)

    def spearman(part: pd.DataFrame) -> float:
        return _spearman(part["cosine"].abs(), part["agreement"])

    value = per_pair({"explanations": _table(rows)}, "explanations", spearman)
    frequency = rows[["frequency_a", "frequency_b"]].min(axis=1)
    baseline = _spearman(frequency, rows["agreement"])
    return measurement(value, n_seeds(run), 0.0, baseline, value[1] > 0.3 and value[1] > baseline)


def _table(frame: pd.DataFrame) -> Any:
    import pyarrow as pa

    return pa.Table.from_pandas(frame, preserve_index=False)


def measure_k_choice(tables: list[Tables]) -> Measurement:
    """Calibrated PW-MCC at the best k less that at the largest k, pair by pair; FVU must fall with every larger k."""
    curves = []
    for run in tables:
        frame = pair_frame(run, "alive").sort_values(["seed_a", "seed_b"])
        curves.append(frame["calibrated"].to_numpy())
    best = int(np.argmax([curve.mean() for curve in curves]))
    frame = pair_frame(tables[0], "alive").sort_values(["seed_a", "seed_b"])
    value = over_runs(pair_matrix(frame["seed_a"], frame["seed_b"], curves[best] - curves[-1]))
    fvu = [per_seed(run, "fvu") for run in tables]
    monotone = all((low > high).all() for low, high in pairwise(fvu))
    return measurement(
        value, n_seeds(tables[0]), 0.0, 0.0, monotone and best < len(tables) - 1 and value[1] > 0
    )


def measure_ordering(tables: list[Tables]) -> Measurement:
    """Kendall's τ between the published order and that of each architecture's best PW-MCC; baseline: that of FVU."""
    groups = _by_architecture(tables)
    best = [max((pairs_value(run, subset="alive") for run in runs), key=lambda v: v[0]) for runs in groups]
    published = -np.arange(len(groups))
    tau = _kendall(published, [value[0] for value in best])
    draws = [
        _kendall(published, [_drawn(runs, seed) for runs in groups]) for seed in range(n_seeds(tables[0]))
    ]
    fvu = [min(float(per_seed(run, "fvu").mean()) for run in runs) for runs in groups]
    baseline = _kendall(published, -np.array(fvu))
    apart = all(low[1] > high[2] for low, high in pairwise(best))
    value = (tau, min([tau, *draws]), max([tau, *draws]))
    return measurement(value, n_seeds(tables[0]), 0.0, baseline, apart)


def _by_architecture(tables: list[Tables]) -> list[list[Tables]]:
    size = len(tables) // len(PUBLISHED_ORDER)
    return [tables[i * size : (i + 1) * size] for i in range(len(PUBLISHED_ORDER))]


def _drawn(runs: list[Tables], left_out: int) -> float:
    """The best PW-MCC without one seed."""
    values = []
    for run in runs:
        frame = pair_frame(run, "alive")
        seeds = sorted({*frame["seed_a"], *frame["seed_b"]})
        kept = frame[(frame["seed_a"] != seeds[left_out]) & (frame["seed_b"] != seeds[left_out])]
        values.append(float(kept["pw_mcc_abs"].mean()))
    return max(values)


def _paper_only(preset: str) -> list[dict[str, Any]]:
    return [{"preset": "paper", "config": {}}] if preset == "paper" else []


LANGUAGE_MODEL_CLAIMS = (
    Claim(
        name="lm_above_null",
        sentence="On a real language model's residual stream, PW-MCC of alive latents stands clearly above the random-direction null.",
        paper="0.80 for TopK on Pythia-160M layer 8 (no null reported; about 0.13 at that width)",
        rule="Shown when the lower end of the 95 % bootstrap interval over runs exceeds null + 3 sd and the untrained SAEs by 0.1.",
        baseline_name="the same SAEs before training",
        runs=standard,
        measure=measure_above_null,
    ),
    Claim(
        name="similarity_rises_with_frequency",
        sentence="On the language model, frequent features agree more: Spearman of a pair's lower frequency and its |cosine|.",
        paper="0.51 to 0.96 over five frequency bins",
        rule="Shown when the lower end of the interval exceeds 0.1 and the mean |cosine| rises over all log-spaced frequency bins of 20 pairs or more.",
        baseline_name="none: no simpler predictor is claimed",
        runs=standard,
        measure=measure_frequency,
    ),
    Claim(
        name="agreement_in_meaning_rises_with_similarity",
        sentence="The more alike two matched features are, the more alike is what they mean: Spearman of |cosine| and the agreement of their top contexts.",
        paper="1.71 to 8.28 of 10 over five bins of similarity, by an LLM judge",
        rule="Shown when the lower end of the 95 % bootstrap interval over runs exceeds 0.3 and the baseline. A text embedding stands for the judge unless one is given.",
        baseline_name="Spearman of the pair's lower frequency and the agreement",
        runs=standard,
        measure=measure_explanations,
    ),
    Claim(
        name="pw_mcc_selects_k",
        sentence="Reconstruction only gets better with k and so cannot choose it; PW-MCC can: calibrated PW-MCC at its best k less that at the largest (TopK, k 16 to 128).",
        paper="best at k = 20 of 20 to 640",
        rule="Shown when FVU falls with every larger k in every seed, the best k is not the largest, and the interval of the difference lies above 0.",
        baseline_name="reconstruction, which always chooses the largest k: 0",
        runs=in_sweep("topk"),
        measure=measure_k_choice,
    ),
    Claim(
        name="architecture_ordering",
        sentence="At their best settings TopK is the most consistent, then BatchTopK, Gated, JumpReLU and ReLU + L1: Kendall's τ with that order.",
        paper="0.82, 0.77, 0.74, 0.49, 0.47 on Pythia-160M layer 8",
        rule="Shown when the order is the published one and neighbouring 95 % intervals do not overlap. The interval given is the range when one seed is left out.",
        baseline_name="the order of the best FVU",
        runs=in_sweep(*PUBLISHED_ORDER),
        measure=measure_ordering,
    ),
    Claim(
        name="topk_pythia_headline",
        sentence="TopK SAEs of width 16,384 on Pythia-160M layer 8 after 500 M tokens reach PW-MCC 0.80.",
        paper="0.80 (abstract), 0.8181 (appendix, k = 20)",
        rule="Shown when the 95 % bootstrap interval over runs reaches 0.79; needs the paper preset on a GPU.",
        baseline_name="the same SAEs before training",
        runs=_paper_only,
        measure=measure_headline,
    ),
)
