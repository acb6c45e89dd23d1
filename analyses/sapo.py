"""Is each denoising step doing work? Figures of denoising trajectories, plain numbers in and out.

Steps count denoising steps done, from 0 (fully masked) to S. None of these figures is defined in arXiv 2510.01544, which
only speaks of unstructured refinement; each docstring defines its own.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]

JUNK_LIMIT = 0.3
Z95 = float(ndtri(0.975))


def wilson(successes: float, n: int) -> tuple[float, float]:
    """95 % Wilson interval of a share; (0, 1) without trials."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = successes / n, Z95**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def step_gains(values: Sequence[float] | Floats) -> Floats:
    """V(s) − V(s − 1) for s = 1 … S, of a value curve V(0) … V(S)."""
    return np.diff(np.asarray(values, dtype=np.float64))


def last_share(values: Sequence[float] | Floats, share: float = 0.1) -> float:
    """Share of the whole gain V(S) − V(0) made in the last `share` of the steps (at least one); NaN without a gain."""
    gains = step_gains(values)
    total = float(gains.sum())
    n = max(1, round(share * len(gains)))
    return float(gains[-n:].sum()) / total if total > 0 else float("nan")


def gini(amounts: Sequence[float] | Floats) -> float:
    """Gini coefficient of amounts ≥ 0: 0 when all are alike, (n − 1) / n when one has everything; NaN when all are 0."""
    x = np.sort(np.asarray(amounts, dtype=np.float64))
    total = x.sum()
    if total <= 0:
        return float("nan")
    ranks = np.arange(1, len(x) + 1)
    return float(2 * (ranks * x).sum() / (len(x) * total) - (len(x) + 1) / len(x))


def evenness(values: Sequence[float] | Floats) -> float:
    """1 − Gini of the rises of a value curve: how evenly the steps share the gain; NaN without a rise."""
    return 1 - gini(np.maximum(step_gains(values), 0))


def rep3(words: Sequence[object]) -> float:
    """1 − distinct / all word trigrams; 0 with fewer than three words."""
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(trigrams)) / len(trigrams) if trigrams else 0.0


def longest_run(words: Sequence[object]) -> int:
    """Length of the longest run of one repeated word."""
    longest, run, before = 0, 0, object()
    for word in words:
        run = run + 1 if word == before else 1
        longest, before = max(longest, run), word
    return longest


def is_junk(words: Sequence[object]) -> bool:
    """Whether a text repeats itself: rep-3 above 0.3."""
    return rep3(words) > JUNK_LIMIT


def given(values: Sequence[float] | Floats, condition: Sequence[float] | Floats) -> float:
    """Mean of `values` where `condition` is 1, such as P(junk | correct); NaN where that never is."""
    chosen = np.asarray(values, dtype=np.float64)[np.asarray(condition, dtype=np.float64) == 1]
    return float(chosen.mean()) if len(chosen) else float("nan")


def answer_lead(committed_at: Floats, trace: Sequence[int], answer: Sequence[int]) -> float:
    """Step of the last trace token less that of the last answer token, as a share of all steps.

    `committed_at` (L) is the step each position was committed at. Positive: the answer stood before its reasons. NaN
    without a trace.
    """
    if not len(trace) or not len(answer):
        return float("nan")
    steps = float(np.max(committed_at))
    lead = float(np.max(committed_at[list(trace)]) - np.max(committed_at[list(answer)]))
    return lead / steps if steps else 0.0


@dataclass(frozen=True)
class OrderAgreement:
    """Mean rank correlations of commit orders over prompts, and the same with one side's positions permuted."""

    n: int
    spearman: float
    kendall: float
    null_spearman: float
    null_high: float


def order_agreement(a: Floats, b: Floats, rng: np.random.Generator, draws: int = 200) -> OrderAgreement:
    """How alike two policies' commit orders (n prompts × L steps) are.

    The null permutes the positions of `b` within each prompt, anew for every draw; `null_high` is its 97.5 % quantile.
    """
    if a.shape != b.shape or a.ndim != 2 or a.shape[1] < 2:
        raise ValueError(
            f"orders of shapes {a.shape} and {b.shape}; give two n × L arrays alike, L at least 2."
        )
    from scipy.stats import kendalltau

    kendall = [kendalltau(x, y).statistic for x, y in zip(a, b, strict=True)]
    null = [_rank_correlation(a, rng.permuted(b, axis=1)) for _ in range(draws)]
    return OrderAgreement(
        len(a),
        _rank_correlation(a, b),
        float(np.nanmean(kendall)),
        float(np.mean(null)),
        float(np.quantile(null, 0.975)),
    )


def _rank_correlation(a: Floats, b: Floats) -> float:
    from scipy.stats import rankdata

    ranks = [rankdata(side, axis=1) for side in (a, b)]
    x, y = (side - side.mean(axis=1, keepdims=True) for side in ranks)
    spread = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return (
        float(np.mean((x * y).sum(axis=1)[spread > 0] / spread[spread > 0])) if spread.any() else float("nan")
    )


_STATEMENT = re.compile(r"([0-9()+\-*/ ]{1,400}+)=\s*(-?[0-9]+(?:\.[0-9]+)?)")


def statements(text: str) -> list[tuple[str, str]]:
    """Every `expression = number` of a text, LaTeX's × and ÷ read as * and /; of a longer expression its last 400 characters."""
    for old, new in ((r"\times", "*"), (r"\cdot", "*"), (r"\div", "/"), ("×", "*"), ("÷", "/"), ("−", "-")):
        text = text.replace(old, new)
    found = [(left.strip(), right) for left, right in _STATEMENT.findall(text)]
    return [(left, right) for left, right in found if any(sign in left for sign in "+-*/")]
