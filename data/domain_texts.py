"""Short texts in several domains: four of rated snippets that come bundled, or a JSONL file of the user's own.

A text is its first words as lower-case tokens; domains are names; labels are the two ends of a style, such as negative and
positive, or −1 where none is given.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.archives import read_member
from data.assets import locate
from data.labelled import SENTIMENT, labelled

Ints = NDArray[np.int64]
Tokens = tuple[str, ...]
SPLITS = ("train", "validation", "test")
SHARES = (0.8, 0.1, 0.1)
TOKEN = re.compile(r"[a-z]+(?:['’][a-z]+)*|\d+|[.,!?]")
LONGEST_LINE = 16_000_000  # characters
FEWEST = 50
MOST_DOMAINS = 50
FEWEST_WORDS = 2
LEXICON = "vaderSentiment-3.3.2/vaderSentiment/vader_lexicon.txt"


@dataclass(frozen=True)
class DomainTexts:
    """n texts; `domain` (n) indexes `domains`, `label` (n) indexes `styles` or is −1, `split` (n) indexes SPLITS.

    `left_out`: rows of the file that could not be used, by reason.
    """

    tokens: tuple[Tokens, ...]
    domain: Ints
    label: Ints
    split: Ints
    domains: tuple[str, ...]
    styles: tuple[str, ...]
    licence: str
    tier: str
    left_out: dict[str, int]

    def rows(self, split: str) -> Ints:
        """Numbers of the rows of a split."""
        return np.flatnonzero(self.split == SPLITS.index(split))


def tokenise(text: str, words: int) -> Tokens:
    """The first `words` tokens of a text, lower-case: words, numbers, and . , ! ?"""
    found = []
    for match in TOKEN.finditer(text.lower()):
        found.append(match[0].replace("’", "'"))
        if len(found) == words:
            break
    return tuple(found)


def rated_domains(words: int, rng: np.random.Generator) -> DomainTexts:
    """Amazon, movies, New York Times editorials and tweets with human valence, no near-copy on both sides of a split.

    Raises AssetMissing.
    """
    corpus = labelled(SENTIMENT)
    tokens = [tokenise(text, words) for text in corpus.texts]
    kept = np.array([place for place, one in enumerate(tokens) if len(one) >= FEWEST_WORDS])
    names = tuple(dict.fromkeys(corpus.domains))
    places = {name: number for number, name in enumerate(names)}
    return DomainTexts(
        tuple(tokens[i] for i in kept),
        np.array([places[corpus.domains[i]] for i in kept]),
        corpus.labels[kept],
        _split(corpus.groups[kept], rng),
        names,
        corpus.names,
        corpus.licence,
        corpus.tier,
        {},
    )


def read_texts(path: str, words: int, most_rows: int, rng: np.random.Generator) -> DomainTexts:
    """A JSONL file with the fields text, domain and, if there is one, label. Raises ValueError in one sentence.

    Rows without text or domain are left out and counted; of more than `most_rows` as many are drawn, domains in proportion.
    """
    rows, left_out = _rows(path, words)
    domains = _domains(rows)
    styles = _styles(rows)
    if len(rows) > most_rows:
        chosen = np.sort(rng.choice(len(rows), most_rows, replace=False))
        rows = [rows[i] for i in chosen]
        _domains(rows)
    texts = tuple(row[0] for row in rows)
    groups = np.unique([" ".join(text) for text in texts], return_inverse=True)[1]
    return DomainTexts(
        texts,
        np.array([domains.index(row[1]) for row in rows]),
        np.array([styles.index(row[2]) if row[2] in styles else -1 for row in rows]),
        _split(groups, rng),
        domains,
        styles,
        "stated by its owner",
        "real data",
        left_out,
    )


def _split(groups: Ints, rng: np.random.Generator) -> Ints:
    """A split for each row (n), rows of one group together."""
    names = np.unique(groups)
    drawn = rng.choice(len(SPLITS), size=len(names), p=SHARES)
    return np.asarray(drawn[np.searchsorted(names, groups)], dtype=np.int64)


Row = tuple[Tokens, str, str | None]


def _rows(path: str, words: int) -> tuple[list[Row], dict[str, int]]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"{file} is not a file; give the path of a .jsonl file.")
    rows: list[Row] = []
    left_out: Counter[str] = Counter()
    for number, line in _lines(file):
        row = _parsed(line, number, file.name)
        text, domain, label = (row.get(name) for name in ("text", "domain", "label"))
        tokens = tokenise(text, words) if isinstance(text, str) else ()
        if len(tokens) < FEWEST_WORDS:
            left_out["without a text of two words"] += 1
        elif domain is None or str(domain).strip() == "":
            left_out["without a domain"] += 1
        else:
            rows.append((tokens, str(domain), None if label is None or label == "" else str(label)))
    if not rows:
        raise ValueError(f'{file.name} has no row with "text" and "domain"; write one JSON object a line.')
    return rows, dict(left_out)


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    with file.open(encoding="utf-8", errors="replace") as lines:
        number = 0
        while line := lines.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise ValueError(f"{file.name} line {number} is longer than 16 million characters; split it.")
            if line.strip():
                yield number, line


def _parsed(line: str, number: int, name: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        row = None
    if not isinstance(row, dict):
        raise ValueError(
            f'{name} line {number} is not a JSON object with "text" and "domain"; fix or drop it.'
        )
    return row


def _domains(rows: Sequence[Row]) -> tuple[str, ...]:
    counts = Counter(row[1] for row in rows)
    if len(counts) == 1:
        raise ValueError(
            f"all rows are of one domain, “{next(iter(counts))[:60]}”; give rows of two domains or more."
        )
    if len(counts) > MOST_DOMAINS:
        raise ValueError(f"it has {len(counts):,} domains, more than {MOST_DOMAINS}; put them in groups.")
    name, least = min(counts.items(), key=lambda item: item[1])
    if least < FEWEST:
        raise ValueError(
            f"domain “{name[:60]}” has {least} usable rows, fewer than {FEWEST}; add some or leave it out."
        )
    return tuple(sorted(counts))


def _styles(rows: Sequence[Row]) -> tuple[str, ...]:
    """The two labels in order; none where the file has no labels or only one."""
    counts = Counter(row[2] for row in rows if row[2] is not None)
    if len(counts) > 2:
        shown = ", ".join(f"“{name[:30]}”" for name, _ in counts.most_common(3))
        raise ValueError(f"label has {len(counts):,} values ({shown} …); keep the two ends of one style.")
    return tuple(sorted(counts)) if len(counts) == 2 else ()


def vocabulary(texts: Sequence[Tokens], most: int) -> list[str]:
    """The most frequent tokens, those of equal number in the order of the alphabet."""
    counts = Counter(token for text in texts for token in text)
    return [token for token, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]


def valences() -> dict[str, float]:
    """Mean human valence (−4 to 4) of the words of the VADER lexicon. Raises AssetMissing."""
    rows = read_member(locate("rated-snippets"), LEXICON).decode("utf-8", errors="replace").splitlines()
    parts = (row.split("\t") for row in rows if "\t" in row)
    return {part[0]: float(part[1]) for part in parts}
