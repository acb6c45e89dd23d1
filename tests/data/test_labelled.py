"""Labelled texts: what is in them, and that no text has a copy outside its group."""

import numpy as np
import pytest

from data.assets import ASSETS
from data.corpora import rated_snippets
from data.labelled import RUN, SENTIMENT, SHARED, TASKS, TOPIC, Labelled, _runs, _words, labelled


@pytest.fixture(scope="module")
def corpora() -> dict[str, Labelled]:
    return {task: labelled(task) for task in TASKS}


def test_sentiment_is_read_from_the_mean_rating(corpora: dict[str, Labelled]) -> None:
    found = corpora[SENTIMENT]
    assert found.names == ("negative", "positive") and set(found.domains) == {
        "amazon",
        "movie",
        "nyt",
        "tweets",
    }
    ratings: dict[str, list[float]] = {}
    for rows in rated_snippets().values():
        for _, rating, text in rows:
            ratings.setdefault(" ".join(_words(text)), []).append(rating)
    mine = np.array([np.mean(ratings[" ".join(_words(text))]) for text in found.texts])
    assert np.abs(mine).min() >= 1 and len(mine) > 10_000
    assert np.array_equal(mine > 0, found.labels == 1)


def test_news_has_five_topics(corpora: dict[str, Labelled]) -> None:
    found = corpora[TOPIC]
    assert found.names == ("business", "entertainment", "politics", "sport", "tech")
    assert np.bincount(found.labels).min() > 300 and len(found.texts) > 2_000
    shares = [np.mean(["election" in text for text, label in zip(found.texts, found.labels, strict=True) if label == c])
              for c in range(5)]  # fmt: skip
    assert np.argmax(shares) == 2


def test_a_corpus_states_licence_and_tier_and_comes_the_same_again(corpora: dict[str, Labelled]) -> None:
    for task, asset in zip(TASKS, ("rated-snippets", "bbc-news"), strict=True):
        assert corpora[task].licence == ASSETS[asset].licence and corpora[task].tier == "real data"
    found, again = corpora[SENTIMENT], labelled(SENTIMENT)
    assert found.texts == again.texts and np.array_equal(found.groups, again.groups)
    with pytest.raises(KeyError):
        labelled("nothing")


@pytest.mark.parametrize("task", TASKS)
def test_no_text_has_a_copy_in_another_group(corpora: dict[str, Labelled], task: str) -> None:
    found = corpora[task]
    assert len({" ".join(_words(text)) for text in found.texts}) == len(found.texts)
    one_each = np.unique(found.groups, return_index=True)[1]
    runs = {place: _runs(_words(found.texts[place])) for place in one_each}
    holders: dict[tuple[str, ...], list[int]] = {}
    for place, mine in runs.items():
        for run in mine:
            holders.setdefault(run, []).append(place)
    shared: dict[tuple[int, int], int] = {}
    for places in holders.values():
        if len(places) == 2:
            shared[places[0], places[1]] = shared.get((places[0], places[1]), 0) + 1
    assert all(n < SHARED * min(len(runs[a]), len(runs[b])) for (a, b), n in shared.items())


def test_sentences_of_a_review_and_variants_of_a_tweet_are_one_group(corpora: dict[str, Labelled]) -> None:
    found = corpora[SENTIMENT]
    first = [row[2].strip() for row in rated_snippets()["amazonReviewSnippets"] if row[0].startswith("2_")]
    mine = [found.groups[found.texts.index(text)] for text in first if text in found.texts]
    assert len(mine) > 5 and len(set(mine)) == 1
    gravity = [
        g for text, g in zip(found.texts, found.groups, strict=True) if "Gravity is such a damn bitch" in text
    ]
    assert len(set(gravity)) == 1
    assert len(_runs(["a"] * 3)) == 1 and len(_runs(list("abcdefg"))) == 7 - RUN + 1
