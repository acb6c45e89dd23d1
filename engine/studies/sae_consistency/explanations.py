"""Whether matched features mean the same: their top contexts compared by an embedding, or by an LLM judge.

The paper (arXiv 2505.20254, explanation similarity) lets an LLM explain both features of a pair and another rate
the two texts from 1 to 10. Its prompts and models were not seen, so the prompts here are ours.
"""

import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analyses.dictionaries import log_spaced_bins
from analyses.streams import stream_seed
from data.assets import AssetMissing, locate
from engine.chat import Chat, without_thoughts
from engine.errors import UserError
from engine.run import Stopped

Floats = NDArray[np.float64]
Context = tuple[str, str, str]
Feature = Sequence[Context]
EMBEDDING = "context embedding (substitute for the paper's LLM judge)"
KEY = "CONCORDANCE_JUDGE_KEY"
NEAR = 3
BATCH = 64
MAX_TOKENS = 64
WORKERS = 4


@dataclass(frozen=True)
class Agreement:
    """`values` (n, one a pair, NaN where a feature has no context), their mean over re-paired features, the method.

    `explanations` holds an LLM's two sentences of each pair; empty for the embedding.
    """

    values: Floats
    chance: float
    method: str
    explanations: list[tuple[str, str]] = field(default_factory=list)


def sample_pairs(
    cosine: ArrayLike, n: int, generator: np.random.Generator, bins: int = 5
) -> NDArray[np.int64]:
    """Up to `n` indices of pairs, sorted, as evenly as can be over `bins` log-spaced bins of |cosine|.

    The paper's bins; what a small bin lacks, the larger ones give. A zero cosine counts to the lowest bin.
    """
    place = np.maximum(log_spaced_bins(np.abs(cosine), bins)[1], 1)
    members = sorted((np.flatnonzero(place == index) for index in range(1, bins + 1)), key=len)
    chosen: list[NDArray[np.int64]] = []
    for number, group in enumerate(members):
        quota = (n - sum(map(len, chosen))) // (bins - number)
        chosen.append(generator.choice(group, min(quota, len(group)), replace=False))
    return np.sort(np.concatenate(chosen))


def _usable(contexts_a: Sequence[Feature], contexts_b: Sequence[Feature]) -> NDArray[np.int64]:
    pairs = zip(contexts_a, contexts_b, strict=True)
    return np.array([i for i, (a, b) in enumerate(pairs) if len(a) and len(b)], dtype=np.int64)


def embedding_agreement(
    contexts_a: Sequence[Feature],
    contexts_b: Sequence[Feature],
    should_stop: Callable[[], bool] = lambda: False,
) -> Agreement:
    """Cosine of the mean MiniLM embeddings of two features' top contexts, for n matched pairs.

    A context is read as its token with the three words before it: longer ones add the topic of the text, which
    raises chance. Chance is the mean over all re-pairings within the sample, as random ones would be on average.
    This is no explanation: it is high wherever two features are most active on the same text, and its scale is
    not the paper's 1 to 10. Raises UserError when
    MiniLM is not installed, Stopped once `should_stop` says so.
    """
    usable = _usable(contexts_a, contexts_b)
    values, chance = np.full(len(contexts_a), np.nan), np.nan
    if len(usable):
        a, b = (_embed_features([side[i] for i in usable], should_stop) for side in (contexts_a, contexts_b))
        cosine = a @ b.T
        values[usable] = np.diag(cosine)
        if len(usable) > 1:
            chance = float((cosine.sum() - np.trace(cosine)) / (cosine.size - len(cosine)))
    return Agreement(values, chance, EMBEDDING)


def near_text(context: Context) -> str:
    """The token with the three words before it."""
    before, token, _ = context
    starts = [found.start() for found in re.finditer(r"\S+", before)]
    return " ".join((before[starts[-NEAR] :] + token if len(starts) > NEAR else before + token).split())


def _embed_features(features: list[Feature], should_stop: Callable[[], bool]) -> Floats:
    """Unit mean embedding of each feature's contexts (n × 384)."""
    texts = [near_text(context) for feature in features for context in feature]
    owner = np.repeat(np.arange(len(features)), [len(feature) for feature in features])
    total = np.zeros((len(features), 384))
    np.add.at(total, owner, embed(texts, should_stop))
    return total / np.linalg.norm(total, axis=1, keepdims=True).clip(1e-12)


def embed(texts: Sequence[str], should_stop: Callable[[], bool] = lambda: False) -> Floats:
    """all-MiniLM-L6-v2 sentence embeddings (n × 384): mean pooling, norm 1. Raises UserError, Stopped."""
    import torch

    tokenizer, model = _minilm()
    found = np.zeros((len(texts), 384))
    order = np.argsort([len(text) for text in texts], kind="stable")
    for start in range(0, len(texts), BATCH):
        if should_stop():
            raise Stopped
        part = order[start : start + BATCH]
        inputs = tokenizer(
            [texts[i] for i in part],
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        )
        with torch.inference_mode():
            hidden = model(**inputs).last_hidden_state
        mask = inputs["attention_mask"][..., None]
        found[part] = torch.nn.functional.normalize((hidden * mask).sum(dim=1), dim=1).numpy()
    return found


@cache
def _minilm() -> tuple[Any, Any]:
    try:
        folder = str(locate("minilm"))
    except AssetMissing as error:
        raise UserError("explanations", str(error)) from error
    import torch
    from transformers import AutoModel, AutoTokenizer

    model: Any = AutoModel.from_pretrained(folder, dtype=torch.float32)
    return AutoTokenizer.from_pretrained(folder), model.eval()


EXPLAIN = (
    "Below are texts on which one feature of a language model is most active. The token it is active on stands "
    "between << and >>.\n\n{contexts}\n\nSay in one sentence what this feature responds to. Answer with that "
    "sentence only."
)
RATE = (
    "Two features of a language model were explained independently.\n\nFeature 1: {a}\nFeature 2: {b}\n\nHow similar "
    "are the two explanations in meaning, from 1 (unrelated) to 10 (the same)? Answer with one whole number only."
)


def judge_agreement(
    contexts_a: Sequence[Feature],
    contexts_b: Sequence[Feature],
    endpoint: str,
    model: str,
    should_stop: Callable[[], bool] = lambda: False,
    timeout: float = 60.0,
    backoff: float = 1.0,
) -> Agreement:
    """An LLM's rating (1 to 10) of how similar its own explanations of n matched features are.

    `endpoint` is the base address of any service with POST /v1/chat/completions. A key is read from the
    environment variable CONCORDANCE_JUDGE_KEY alone. Each feature is explained once from its top contexts; then
    every pair is rated, and for chance as many pairs again under a derangement of the second features (stream
    "judge-chance"). A rating that cannot be read three times is NaN. `timeout` and the first `backoff` between
    attempts are in seconds. Raises UserError when the endpoint does not answer or no rating can be read, Stopped
    once `should_stop` says so.
    """
    usable = _usable(contexts_a, contexts_b)
    values, chance = np.full(len(contexts_a), np.nan), np.nan
    texts = [("", "")] * len(contexts_a)
    generator = np.random.default_rng(stream_seed("judge-chance", len(usable)))
    with Judge(endpoint, model, should_stop, timeout, backoff) as judge, ThreadPoolExecutor(WORKERS) as pool:
        features = list(dict.fromkeys(tuple(side[i]) for side in (contexts_a, contexts_b) for i in usable))
        explained = dict(zip(features, pool.map(judge.explain, features), strict=True))
        for i in usable:
            texts[i] = explained[tuple(contexts_a[i])], explained[tuple(contexts_b[i])]
        a, b = [texts[i][0] for i in usable], [texts[i][1] for i in usable]
        values[usable] = list(pool.map(judge.rate, a, b))
        if len(usable) and np.isnan(values).all():
            raise UserError(
                "judge_model", f"{model!r} never answered with a rating from 1 to 10; choose another."
            )
        if len(usable) > 1:
            ratings = list(pool.map(judge.rate, a, [b[i] for i in derangement(len(b), generator)]))
            chance = float(np.nanmean(ratings)) if not np.isnan(ratings).all() else np.nan
    return Agreement(values, chance, f"LLM judge {model} (1 to 10)", texts)


def derangement(n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """A random permutation of n ≥ 2 items, one cycle, that leaves none in its place."""
    order = generator.permutation(n)
    found = np.empty(n, dtype=np.int64)
    found[order] = np.roll(order, -1)
    return found


class Judge(Chat):
    """A chat endpoint that explains features and rates explanations."""

    def __init__(
        self, endpoint: str, model: str, should_stop: Callable[[], bool], timeout: float, backoff: float
    ) -> None:
        super().__init__(endpoint, model, KEY, "judge_endpoint", should_stop, timeout, backoff)

    def explain(self, feature: Feature) -> str:
        """One sentence on a feature's contexts."""
        shown = "\n".join(
            f"{i}. {before}<<{token}>>{after}" for i, (before, token, after) in enumerate(feature, 1)
        )
        return " ".join(without_thoughts(self.ask(EXPLAIN.format(contexts=shown))).split())

    def rate(self, a: str, b: str) -> float:
        """How similar two explanations are, 1 to 10; NaN when three answers hold no rating."""
        for _ in range(3):
            rating = read_rating(self.ask(RATE.format(a=a, b=b)))
            if rating is not None:
                return rating
        return np.nan


NUMBER = r"(\d+(?:\.\d+)?)"
RATINGS = (
    rf"{NUMBER}\s*(?:/|out of)\s*10\b",
    rf"(?:rating|score|similarity)\W*(?:is|of|as)?\W*{NUMBER}",
    rf"(?<![\d.]){NUMBER}(?![\d.]*\d)",
)


def read_rating(text: str) -> float | None:
    """The rating, 1 to 10, in an answer: "7", "Rating: **7**", "7/10", {"rating": 7}; None when there is none."""
    answer = re.sub(r"\b1\s*(?:-|–|to)\s*10\b", "", without_thoughts(text), flags=re.IGNORECASE)
    for pattern in RATINGS:
        found = [float(value) for value in re.findall(pattern, answer, flags=re.IGNORECASE)]
        allowed = [value for value in found if 1 <= value <= 10]
        if allowed:
            return allowed[-1]
    return None
