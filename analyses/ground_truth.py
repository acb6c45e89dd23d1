"""A learned dictionary against the true one: recovery, latents as classifiers, allocation, frequency.

Sources: arXiv 2505.20254 (GT-MCC, cosine decay, capacity allocation, frequency stratification); uniqueness and the
classification scores as in SynthSAEBench (arXiv 2602.14687). f latents, d true features, m dimensions, n vectors.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from analyses.matching import Match, cosine_matrix, match
from analyses.sae_frames import as_pandas

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
BLOCK = 2048


@dataclass(frozen=True)
class TrueMatch:
    """`found`: the one-to-one matching, pairs (latent, true feature).

    `latent` (d): the latent matched to each true feature, −1 where latents ran out; `latent_cosine` (d): their signed
    cosine, NaN there. `nearest` (f): the true feature nearest to each latent, whoever else has it; `nearest_cosine`
    (f): their |cosine|.
    """

    found: Match
    latent: Ints
    latent_cosine: Floats
    nearest: Ints
    nearest_cosine: Floats

    @property
    def pairs(self) -> Ints:
        """Latent and true feature of each matched pair (min(f, d) × 2), by falling |cosine|."""
        return self.found.pairs

    @property
    def cosine(self) -> Floats:
        """Signed cosine of each of `pairs`."""
        return self.found.cosine

    @property
    def mcc_abs(self) -> float:
        """GT-MCC: mean |cosine| of the matched pairs."""
        return self.found.mcc_abs

    @property
    def uniqueness(self) -> float:
        """Number of true features that are some latent's nearest, over the number of latents."""
        return len(np.unique(self.nearest)) / len(self.nearest)

    @property
    def decay(self) -> Floats:
        """`nearest_cosine` in falling order (f), the paper's cosine-decay curve."""
        return np.sort(self.nearest_cosine)[::-1]


@dataclass(frozen=True)
class FrequencyCorrelation:
    """`spearman` of frequency and |cosine|, NaN where one is constant; `means`: |cosine| from rare to frequent."""

    spearman: float
    means: Floats


def true_feature_match(decoder: ArrayLike, truth: ArrayLike) -> TrueMatch:
    """Match a decoder (f × m) with the true features (d × m), one-to-one and many-to-one, by |cosine|.

    Raises ValueError for empty, non-finite or differently wide input.
    """
    rows, features = np.asarray(decoder), np.asarray(truth)
    found = match(rows, features)
    latent, cosine = np.full(len(features), -1), np.full(len(features), np.nan)
    latent[found.pairs[:, 1]], cosine[found.pairs[:, 1]] = found.pairs[:, 0], found.cosine
    nearest, nearest_cosine = np.empty(len(rows), dtype=np.int64), np.empty(len(rows))
    for start in range(0, len(rows), BLOCK):
        block = slice(start, start + BLOCK)
        similarity = np.abs(cosine_matrix(rows[block], features))
        nearest[block], nearest_cosine[block] = similarity.argmax(axis=1), similarity.max(axis=1)
    return TrueMatch(found, latent, cosine, nearest, nearest_cosine)


def latent_f1(latent_codes: Any, true_codes: Any, pairs: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and F1 (each p) of a latent's firing (> 0) as a test of its true feature being active (> 0).

    `latent_codes` (n × f) and `true_codes` (n × d): scipy sparse, same vectors; `pairs` (p × 2): latent, true
    feature. A score with denominator 0 is 0. Mean F1 over true features: the sum over one-to-one pairs by d, a
    feature without a latent counting 0; over latents, as SAELens takes it: the mean with each latent's nearest
    feature. Raises ValueError for different n.
    """
    chosen = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    if latent_codes.shape[0] != true_codes.shape[0]:
        raise ValueError(
            f"{latent_codes.shape[0]} vectors of latents, {true_codes.shape[0]} of true features."
        )
    fires = (sparse.csc_array(latent_codes) > 0)[:, chosen[:, 0]]
    active = (sparse.csc_array(true_codes) > 0)[:, chosen[:, 1]]
    both = fires.multiply(active).sum(axis=0)
    precision, recall = _ratio(both, fires.sum(axis=0)), _ratio(both, active.sum(axis=0))
    return precision, recall, _ratio(2 * precision * recall, precision + recall)


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    return np.divide(numerator, denominator, out=np.zeros(len(numerator)), where=denominator > 0)


def allocation(best_true: ArrayLike, groups: ArrayLike) -> Ints:
    """Latents per group of true features: `best_true` (f) as `TrueMatch.nearest`, `groups` (d) ids from 0."""
    ids = np.asarray(groups)
    return np.bincount(ids[np.asarray(best_true)], minlength=int(ids.max()) + 1)


def allocation_exponent(latents: ArrayLike, frequency: ArrayLike) -> tuple[float, int]:
    """α of latents ∝ frequency^α over groups (paper, capacity allocation; α ≈ 1.4), and the groups it rests on.

    Least squares in logarithms over the groups that have a latent and a frequency above 0; NaN when fewer than two
    different frequencies are left.
    """
    counts, shares = np.asarray(latents, dtype=np.float64), np.asarray(frequency, dtype=np.float64)
    used = (counts > 0) & (shares > 0)
    x, y = np.log(shares[used]), np.log(counts[used])
    if len(np.unique(x)) < 2:
        return np.nan, int(used.sum())
    return float(np.polyfit(x, y, 1)[0]), int(used.sum())


def frequency_correlation(matches: Any, bins: int = 4, subset: str = "all") -> FrequencyCorrelation:
    """Is similarity higher for frequent features? (paper, stratified analysis)

    `matches`: frame of one pair's matched features with columns cosine, frequency_a, frequency_b and, if it has one,
    `subset`. The frequency of a pair is the lower of the two; `means` cuts the pairs into `bins` equally large parts,
    quartiles unless told, equal frequencies in the frame's order. Log-spaced bins: `sae_frames.frequency_bins`.
    """
    table = as_pandas(matches)
    if "subset" in table:
        table = table[table["subset"] == subset]
    frequency = table[["frequency_a", "frequency_b"]].min(axis=1).to_numpy(dtype=np.float64)
    similarity = table["cosine"].abs().to_numpy(dtype=np.float64)
    varies = len(table) > 1 and np.ptp(frequency) > 0 and np.ptp(similarity) > 0
    from scipy.stats import spearmanr

    spearman = float(spearmanr(frequency, similarity).statistic) if varies else np.nan
    parts = np.array_split(similarity[np.argsort(frequency, kind="stable")], bins)
    return FrequencyCorrelation(spearman, np.array([part.mean() if len(part) else np.nan for part in parts]))
