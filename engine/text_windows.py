"""Documents of a corpus, joined into windows of token ids."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from data import corpora
from engine.activation_sources import SPLITS, Window
from engine.errors import UserError

HELDOUT_IN_20 = 1
DOCUMENTS_AT_ONCE = 256
T = TypeVar("T")
Encode = Callable[[list[str]], list[list[int]]]


@dataclass
class Packer:
    """Joins documents of a split into full windows."""

    split: str
    size: int
    tokens: list[int] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)

    def add(self, tokens: list[int], document: int) -> Iterator[Window]:
        self.tokens += tokens
        self.documents += [document] * len(tokens)
        while len(self.tokens) >= self.size:
            yield Window(self.split, self.tokens[: self.size], self.documents[: self.size])
            del self.tokens[: self.size], self.documents[: self.size]


def text_windows(
    corpus: str, encode: Encode, separator: int, size: int, wanted: Mapping[str, int]
) -> Iterator[Window]:
    """Windows of `size` tokens of both splits in a fixed order, until each split has what it wants or the corpus ends.

    `encode` gives the token ids of texts; `separator` ends every document. Raises UserError for an unreadable corpus.
    """
    packers = {split: Packer(split, size) for split in SPLITS}
    got = dict.fromkeys(SPLITS, 0)
    number = 0
    try:
        for group in batches(corpora.documents(corpus), DOCUMENTS_AT_ONCE):
            for tokens in encode([document.text for document in group]):
                split = "heldout" if number % 20 < HELDOUT_IN_20 else "train"
                number += 1
                if got[split] >= wanted[split]:
                    continue
                for window in packers[split].add([*tokens, separator], number):
                    if got[split] < wanted[split]:
                        got[split] += size
                        yield window
            if all(got[split] >= wanted[split] for split in SPLITS):
                return
    except corpora.CorpusError as error:
        raise UserError("corpus", str(error)) from error


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive items, `size` at a time; the last ones may be fewer."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
