"""Figures of rewritten sentences on test texts, the same for every arm, route and baseline; once, after training."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU, CHRF

from analyses.counterfactual_text import g_score
from data.domain_texts import Tokens
from engine.studies.counterfactual_text.classifier import StyleClassifier
from engine.studies.counterfactual_text.config import Config
from engine.studies.counterfactual_text.fluency import surprise
from engine.studies.counterfactual_text.learner import Learner
from engine.studies.counterfactual_text.lexicon import LexiconFlip
from engine.studies.counterfactual_text.rewriting import Rewriter, joined, pair_rows, routes_of, styles_of
from engine.studies.counterfactual_text.source import Source

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Row = dict[str, Any]
LEXICON, COPY = "lexicon_flip", "identity_copy"
WRITTEN, COPIED = "words", "copy"
SHARED_SEED = -1
ALL = "all"


@dataclass(frozen=True)
class Written:
    """What one arm (or baseline) of one seed wrote by one route for every pair, and for the same texts unmoved."""

    seed: int
    arm: str
    route: str
    texts: list[Tokens]
    unmoved: list[Tokens]


@dataclass(frozen=True)
class Pairs:
    """Test texts that are rewritten: place in the split, source, domain name and target style (n each)."""

    places: Ints
    texts: list[Tokens]
    domains: list[str]
    targets: Ints


def fit_classifier(source: Source) -> StyleClassifier | None:
    """The judge of styles; None where no two styles are labelled."""
    texts = source.texts
    assert texts is not None
    rows = {split: [i for i in texts.rows(split) if texts.label[i] >= 0] for split in ("train", "validation")}
    if not texts.styles or len(np.unique(texts.label[rows["train"]])) < 2:
        return None
    both = {split: ([texts.tokens[i] for i in mine], texts.label[mine]) for split, mine in rows.items()}
    return StyleClassifier.fit(*both["train"], *both["validation"])


def classifier_accuracy(judge: StyleClassifier, source: Source) -> dict[str, float]:
    """The judge's own accuracy on test texts by domain: the ceiling of style accuracy."""
    texts = source.texts
    assert texts is not None
    rows = texts.rows("test")
    rows = rows[texts.label[rows] >= 0]
    found = {ALL: judge.accuracy([texts.tokens[i] for i in rows], texts.label[rows])}
    for place, name in enumerate(texts.domains):
        mine = rows[texts.domain[rows] == place]
        found[name] = judge.accuracy([texts.tokens[i] for i in mine], texts.label[mine])
    return found


def choose_pairs(config: Config, source: Source, data_seed: int) -> Pairs:
    texts = source.texts
    assert texts is not None
    places, targets = pair_rows(config, source, data_seed)
    rows = texts.rows("test")[places]
    return Pairs(
        places, [texts.tokens[i] for i in rows], [texts.domains[d] for d in texts.domain[rows]], targets
    )


def rewritten(learner: Learner, pairs: Pairs) -> list[Written]:
    """Every route of an arm of a seed."""
    seed, arm, part = learner.seed, learner.arm, learner.source.parts["test"]
    seen, domain = part.seen[pairs.places], part.domain[pairs.places]
    rewriter = Rewriter(learner.config, learner.model, learner.source, learner.data_seed)
    unmoved = rewriter.reconstruct(seen, domain)
    return [
        Written(seed, arm, route, rewriter.rewrite(seen, domain, pairs.targets, route), unmoved)
        for route in routes_of(arm)
    ]


def baselines(source: Source, pairs: Pairs) -> list[Written]:
    """Lexicon flip, where the two styles have a valence, and identity copy."""
    texts = source.texts
    assert texts is not None
    found = [Written(SHARED_SEED, COPY, COPIED, pairs.texts, pairs.texts)]
    if texts.styles == ("negative", "positive"):
        flip = LexiconFlip(source.words)
        turned = [flip(text, int(target)) for text, target in zip(pairs.texts, pairs.targets, strict=True)]
        found.append(Written(SHARED_SEED, LEXICON, WRITTEN, turned, pairs.texts))
    return found


def surprises(
    written: Sequence[Written],
    pairs: Pairs,
    should_stop: Callable[[], bool],
    progress: Callable[[int, int], None],
) -> dict[str, float]:
    """Mean negative log-likelihood of a token, by sentence, of everything written and of the sources."""
    every = sorted({" ".join(text) for one in written for text in one.texts} | set(joined(pairs.texts)))
    values = surprise([tuple(text.split(" ")) if text else () for text in every], should_stop, progress)
    return dict(zip(every, values.tolist(), strict=True))


def pair_table(
    written: Written, pairs: Pairs, source: Source, judge: StyleClassifier | None, nll: dict[str, float]
) -> list[Row]:
    """A row for each pair, with what was written as it is."""
    names = styles_of(source)
    before, after = (_towards(judge, texts, pairs.targets) for texts in (pairs.texts, written.texts))
    bleu = sentence_bleu(written.texts, pairs.texts)
    chrf = [_chrf().sentence_score(out, [src]).score for out, src in _sides(written.texts, pairs.texts)]
    g = np.full(len(bleu), np.nan) if judge is None else g_score(after, bleu)
    rows = []
    for i, (src, out) in enumerate(zip(pairs.texts, written.texts, strict=True)):
        rows.append(
            {
                "seed": written.seed,
                "arm": written.arm,
                "route": written.route,
                "pair": int(pairs.places[i]),
                "domain": pairs.domains[i],
                "target": names[pairs.targets[i]],
                "source": " ".join(src),
                "output": " ".join(out),
                "unmoved": " ".join(written.unmoved[i]),
                "style_before": _known(before[i]),
                "style_after": _known(after[i]),
                "bleu": float(bleu[i]),
                "chrf": float(chrf[i]),
                "g": _known(g[i]),
                "nll_before": _known(nll.get(" ".join(src), np.nan)),
                "nll_after": _known(nll.get(" ".join(out), np.nan)),
                "unchanged": src == out,
            }
        )
    return rows


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _towards(judge: StyleClassifier | None, texts: Sequence[Tokens], targets: Ints) -> Floats:
    """Probability of each pair's target style; NaN without a judge."""
    if judge is None:
        return np.full(len(texts), np.nan)
    found = judge.probability(texts)
    return np.where(targets == 1, found, 1 - found)


def sentence_bleu(outputs: Sequence[Tokens], sources: Sequence[Tokens]) -> Floats:
    """Smoothed sentence BLEU of each output against its source, 0 to 100."""
    metric = BLEU(effective_order=True, tokenize="none")
    return np.array([metric.sentence_score(out, [src]).score for out, src in _sides(outputs, sources)])


def corpus_bleu(outputs: Sequence[str], sources: Sequence[str]) -> float:
    """Corpus BLEU of outputs against their sources, 0 to 100."""
    return float(BLEU(tokenize="none").corpus_score(list(outputs), [list(sources)]).score)


def corpus_chrf(outputs: Sequence[str], sources: Sequence[str]) -> float:
    """chrF of outputs against their sources, 0 to 100."""
    return float(_chrf().corpus_score(list(outputs), [list(sources)]).score)


def _chrf() -> CHRF:
    return CHRF()


def _sides(outputs: Sequence[Tokens], sources: Sequence[Tokens]) -> list[tuple[str, str]]:
    return list(zip(joined(outputs), joined(sources), strict=True))


def score_table(rows: Sequence[Row], domains: Sequence[str]) -> list[Row]:
    """Figures of one arm and route, over all pairs and by domain."""
    found = {domain: [row for row in rows if domain in (ALL, row["domain"])] for domain in (ALL, *domains)}
    return [_scores(mine, domain) for domain, mine in found.items() if mine]


def _scores(rows: Sequence[Row], domain: str) -> Row:
    first = rows[0]
    outputs, sources, unmoved = ([row[name] for row in rows] for name in ("output", "source", "unmoved"))
    after, nll = (
        [row[name] for row in rows if row[name] is not None] for name in ("style_after", "nll_after")
    )
    g = [row["g"] for row in rows if row["g"] is not None]
    bleu = corpus_bleu(outputs, sources)
    return {
        **{name: first[name] for name in ("seed", "arm", "route")},
        "domain": domain,
        "pairs": len(rows),
        "accuracy": float(np.mean(np.array(after) > 0.5)) if after else None,
        "confidence": float(np.mean(after)) if after else None,
        "bleu": bleu,
        "chrf": corpus_chrf(outputs, sources),
        "unmoved_bleu": corpus_bleu(unmoved, sources),
        "g": float(np.mean(g)) if g else None,
        "g_accuracy": float(g_score([np.mean(np.array(after) > 0.5)], [bleu])[0]) if after else None,
        "perplexity": float(np.exp(np.mean(nll))) if nll else None,
        "unchanged": float(np.mean([row["unchanged"] for row in rows])),
        "empty": float(np.mean([not row["output"] for row in rows])),
    }
