"""Labelled texts that are at hand offline: sentiment of rated snippets, topics of news articles.

Texts come in groups that belong together: sentences of one review or editorial (amazon and nyt state it, movie and
tweets do not), and near-duplicates, which share 30 % of the five-word runs of the shorter one. A split that keeps a
group whole, or takes one text of each, has no copy on both sides. What remains: two movie snippets on the same film.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.assets import ASSETS, Tier
from data.corpora import MIN_CHARACTERS, bbc_articles, rated_snippets

Ints = NDArray[np.int64]
SENTIMENT, TOPIC = "sentiment (4 domains)", "news topic (5 topics)"
TASKS = (SENTIMENT, TOPIC)
DEAD_ZONE = 1.0
RUN = 5
SHARED = 0.3
COMMON = 20
DOMAINS = {
    "amazonReviewSnippets": "amazon",
    "movieReviewSnippets": "movie",
    "nytEditorialSnippets": "nyt",
    "tweets": "tweets",
}
TOPICS = {
    "business": "business",
    "entertainment": "entertainment",
    "politics": "politics",
    "sports": "sport",
    "tech": "tech",
}


@dataclass(frozen=True)
class Labelled:
    """n texts, no two alike in their words; `labels` (n) index `names`, `domains` says where each comes from.

    `groups` (n): texts with one number belong together and must not be split.
    """

    texts: tuple[str, ...]
    labels: Ints
    names: tuple[str, ...]
    domains: tuple[str, ...]
    groups: Ints
    licence: str
    tier: Tier


class _Row(NamedTuple):
    text: str
    label: int
    domain: str
    together: str


def labelled(task: str) -> Labelled:
    """A labelled corpus of `TASKS`, the same each time. Raises AssetMissing, KeyError for an unknown task.

    Sentiment: negative where the mean rating (−4 to 4) is −1 or less, positive where it is 1 or more, copies averaged;
    snippets between are left out, and texts under 20 characters.
    """
    rows, names, asset = {SENTIMENT: _sentiment, TOPIC: _topics}[task]()
    kept = _without_copies(rows)
    return Labelled(
        tuple(row.text for row in kept),
        np.array([row.label for row in kept], dtype=np.int64),
        names,
        tuple(row.domain for row in kept),
        _groups(kept),
        ASSETS[asset].licence,
        ASSETS[asset].tier,
    )


def _sentiment() -> tuple[list[_Row], tuple[str, ...], str]:
    snippets = [(domain, *row) for domain, rows in rated_snippets().items() for row in rows]
    ratings: dict[tuple[str, ...], list[float]] = defaultdict(list)
    for _, _, rating, text in snippets:
        ratings[tuple(_words(text))].append(rating)
    means = {words: sum(found) / len(found) for words, found in ratings.items()}
    rows = [
        _Row(text.strip(), int(mean > 0), DOMAINS[domain], f"{domain} {identifier.partition('_')[0]}")
        for domain, identifier, _, text in snippets
        if abs(mean := means[tuple(_words(text))]) >= DEAD_ZONE
    ]
    return rows, ("negative", "positive"), "rated-snippets"


def _topics() -> tuple[list[_Row], tuple[str, ...], str]:
    names = tuple(TOPICS.values())
    rows = [
        _Row(text.strip(), names.index(TOPICS[topic]), "news", f"article {number}")
        for number, (topic, text) in enumerate(bbc_articles())
    ]
    return rows, names, "bbc-news"


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _without_copies(rows: Sequence[_Row]) -> list[_Row]:
    """Rows of at least 20 characters, the first of each that has the same words."""
    first: dict[tuple[str, ...], _Row] = {}
    for row in rows:
        if len(row.text) >= MIN_CHARACTERS:
            first.setdefault(tuple(_words(row.text)), row)
    return list(first.values())


def _groups(rows: Sequence[_Row]) -> Ints:
    """The number of each row's group (n): same `together`, or near-duplicates, or linked by such."""
    parent = list(range(len(rows)))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = row = parent[parent[row]]
        return row

    first: dict[str, int] = {}
    same = ((first.setdefault(row.together, place), place) for place, row in enumerate(rows))
    for a, b in (*same, *_near_duplicates([row.text for row in rows])):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.unique([root(place) for place in range(len(rows))], return_inverse=True)[1].astype(np.int64)


def _near_duplicates(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Pairs that share 30 % of the five-word runs of the shorter text; runs of more than 20 texts are phrases."""
    runs = [_runs(_words(text)) for text in texts]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for place, found in enumerate(runs):
        for run in found:
            holders[run].append(place)
    shared: Counter[tuple[int, int]] = Counter()
    for places in holders.values():
        if 1 < len(places) <= COMMON:
            shared.update((a, b) for index, b in enumerate(places) for a in places[:index])
    return ((a, b) for (a, b), count in shared.items() if count >= SHARED * min(len(runs[a]), len(runs[b])))


def _runs(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + RUN]) for start in range(max(len(words) - RUN + 1, 1))}
