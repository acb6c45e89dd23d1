"""Sentences: tokens and back, the judge, the lexicon, BLEU, what each route acts on, and how surprising a sentence is."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from engine.studies.counterfactual_text.classifier import StyleClassifier
from engine.studies.counterfactual_text.config import Config
from engine.studies.counterfactual_text.evaluation import EXO, RAW
from engine.studies.counterfactual_text.fluency import surprise
from engine.studies.counterfactual_text.learner import Learner
from engine.studies.counterfactual_text.lexicon import LexiconFlip
from engine.studies.counterfactual_text.networks import END, PAD, START, UNKNOWN
from engine.studies.counterfactual_text.rewriting import LATENT, Rewriter, examples, pair_rows
from engine.studies.counterfactual_text.source import Source, decode, encode, open_source, typed
from engine.studies.counterfactual_text.text_evaluation import corpus_bleu, sentence_bleu
from tests.counterfactual_text.conftest import TINY_TEXT, write_texts

WORDS = ("good", "bad", "film")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    path = write_texts(tmp_path_factory.mktemp("texts") / "own.jsonl", rows=600, domains=3)
    return Config(**{**TINY_TEXT, "table": str(path), "arms": "matte,beta_vae"})


@pytest.fixture(scope="module")
def source(config: Config) -> Source:
    return open_source(config, 0, 0)


@pytest.fixture(scope="module")
def learner(config: Config, source: Source) -> Learner:
    return untrained(config, source, "matte")


def untrained(config: Config, source: Source, arm: str) -> Learner:
    return Learner(config, source, arm, 0, 0, lambda *args, **values: None)


def test_tokens_and_back() -> None:
    places = {word: number for number, word in enumerate(WORDS, 4)}
    ids = encode([("good", "film"), ("odd", "film", "bad", "bad", "bad")], places, 4)
    assert ids.tolist() == [[4, 6, END, PAD, PAD], [UNKNOWN, 6, 5, 5, END]]
    assert decode(ids, WORDS) == [("good", "film"), ("…", "film", "bad", "bad")]


def test_the_decoder_never_writes_what_is_no_word_and_ends(learner: Learner) -> None:
    decoder = learner.model.decoder
    written = decoder.write(3 * torch.randn(50, 5))
    assert not ((written == UNKNOWN) | (written == START)).any()
    ended = (written == END).cumsum(dim=1)
    assert (written[ended.roll(1, dims=1).cummax(dim=1).values[:, :] > 0][:0] == PAD).all()
    for row in written.tolist():
        after = row[row.index(END) + 1 :] if END in row else []
        assert set(after) <= {PAD}


def test_the_decoder_writes_what_it_finds_most_likely(learner: Learner) -> None:
    """Greedy writing and teacher forcing agree: every written token is the likeliest after those before it."""
    decoder = learner.model.decoder
    z = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    written = decoder.write(z)
    logits = decoder.next(decoder.trace(z, torch.where(written == PAD, END, written)))
    logits[..., [PAD, UNKNOWN, START]] = -torch.inf
    real = written != PAD
    assert torch.equal(logits.argmax(dim=2)[real], written[real])


def test_the_judge_learns_and_comes_back_from_its_table() -> None:
    rng = np.random.default_rng(0)
    texts = [(*rng.choice(["good", "fine"] if i % 2 else ["bad", "poor"], 2), "film") for i in range(200)]
    labels = np.arange(200) % 2
    judge = StyleClassifier.fit(texts[:100], labels[:100], texts[100:150], labels[100:150])
    assert judge.accuracy(texts[150:], labels[150:]) == 1
    again = StyleClassifier.load(pa.table(judge.rows()))
    assert np.allclose(again.probability(texts), judge.probability(texts))
    assert 0 < judge.probability([("unseen",)])[0] < 1


def test_the_lexicon_turns_only_words_against_the_target() -> None:
    flip = LexiconFlip(
        ("the", "good", "bad", "awful", "great"), {"good": 1.9, "great": 3.1, "bad": -2.5, "awful": -3.0}
    )
    assert (
        flip(("the", "bad", "good"), 1) == ("the", "good", "good")
        or flip(("the", "bad", "good"), 1)[1] == "great"
    )
    assert flip(("awful", "film"), 1) == ("great", "film") and flip(("great", "film"), 0) == ("awful", "film")
    assert flip(("awful",), 0) == ("awful",)


def test_bleu_is_100_for_a_copy_and_less_for_less() -> None:
    texts = [("a", "good", "film", "it", "was"), ("two", "words")]
    assert np.allclose(sentence_bleu(texts, texts), 100)
    changed = [("a", "bad", "film", "it", "was"), ("two", "other")]
    assert (sentence_bleu(changed, texts) < 100).all() and sentence_bleu([()], [("a", "b")])[0] == 0
    assert corpus_bleu(["a b c d e"], ["a b c d e"]) == pytest.approx(100)


def test_labels_name_a_direction_and_nothing_else(config: Config, source: Source) -> None:
    chosen = examples(config, source, 0)
    texts = source.texts
    assert texts is not None and len(chosen) == config.labelled * 2 * 3
    assert set(chosen) <= set(texts.rows("train"))
    assert np.bincount(texts.label[chosen]).tolist() == [15, 15]


def test_pairs_go_to_the_other_style(config: Config, source: Source) -> None:
    places, targets = pair_rows(config, source, 0)
    texts = source.texts
    assert texts is not None and len(places) == 12 == len(set(places))
    assert (texts.label[texts.rows("test")[places]] == 1 - targets).all()


def test_each_route_acts_on_its_own_codes(config: Config, learner: Learner, source: Source) -> None:
    part = source.parts["test"]
    seen, domain, target = part.seen[:6], part.domain[:6], np.array([0, 1, 0, 1, 0, 1])
    matte = Rewriter(config, learner.model, source, 0)
    beta = Rewriter(config, untrained(config, source, "beta_vae").model, source, 0)
    assert set(matte.axes) == {EXO, RAW} and set(beta.axes) == {LATENT}
    assert np.count_nonzero(beta.axes[LATENT].unit) == 1, "a single latent"
    asked: list[torch.Tensor] = []
    original = matte.model.predict
    matte.model.predict = lambda *args: asked.append(args[1]) or original(*args)  # type: ignore[method-assign]
    assert len(matte.rewrite(seen, domain, target, EXO)) == 6
    axis = matte.axes[EXO]
    along = asked[0].double().numpy() @ axis.unit
    assert np.allclose(along, axis.level(target, config.push), atol=1e-4)
    latents = matte.abduct(seen, domain)
    still = asked[0].double().numpy() - np.outer(along, axis.unit)
    noise = latents.noise.double().numpy()
    assert np.allclose(still, noise - np.outer(noise @ axis.unit, axis.unit), atol=1e-4), (
        "the rest of s̃ is kept"
    )
    asked.clear()
    matte.rewrite(seen, domain, target, RAW)
    assert not asked, "the raw swap does not go through s̃"
    matte.model.predict = original  # type: ignore[method-assign]


def test_a_file_without_labels_is_moved_along_an_axis(tmp_path: Path) -> None:
    config = Config(
        **{**TINY_TEXT, "table": str(write_texts(tmp_path / "own.jsonl", label=False)), "arms": "matte"}
    )
    source = open_source(config, 0, 0)
    rewriter = Rewriter(config, untrained(config, source, "matte").model, source, 0)
    assert rewriter.axes[EXO].unit.tolist() == [1, 0] and len(pair_rows(config, source, 0)[0]) == 8


def test_a_sentence_of_one_word_is_refused(config: Config) -> None:
    assert typed("Two words, and more than six tokens", config) == (
        "two",
        "words",
        ",",
        "and",
        "more",
        "than",
    )
    with pytest.raises(Exception, match="two words"):
        typed("one!"[:3], config)


def test_nonsense_surprises_more_than_english() -> None:
    texts = [("the", "film", "was", "very", "good", "."), ("good", "the", ".", "very", "was", "film"), ()]
    english, shuffled, empty = surprise(texts, lambda: False, lambda done, total: None)
    assert english < shuffled - 0.5 and np.isnan(empty)
