"""Captions as token ids, and which sentences a training caption holds."""

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyses.streams import stream_seed
from data.pictures import Pictures
from engine.errors import UserError
from engine.studies.smartclip.network import END, PAD

Caption = tuple[int, ...]
FIRST_WORD = 2
MOST_WORDS = 64
_WORD = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*")


class Tokeniser(Protocol):
    """Texts to ids (n × length), padded."""

    def __call__(self, texts: Sequence[str]) -> Tensor: ...


class Words:
    """The words of a set of pictures' sentences; a caption is its words and an end token."""

    def __init__(self, phrases: Sequence[str], longest: int) -> None:
        words = dict.fromkeys(word for phrase in phrases for word in words_of(phrase))
        self.ids = {word: number for number, word in enumerate(words, FIRST_WORD)}
        self.length = min(longest, MOST_WORDS) + 1

    def __len__(self) -> int:
        return FIRST_WORD + len(self.ids)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Ids of texts, cut at the longest caption. Raises UserError for a word that was never trained on."""
        found = np.full((len(texts), self.length), PAD, dtype=np.int64)
        for row, text in enumerate(texts):
            ids = [self._id(word) for word in words_of(text)][: self.length - 1]
            found[row, : len(ids) + 1] = [*ids, END]
        used = int((found != PAD).any(axis=0).sum())
        return torch.from_numpy(found[:, :used])

    def _id(self, word: str) -> int:
        if word not in self.ids:
            near = ", ".join(list(self.ids)[:30])
            raise UserError("captions", f"{word[:40]!r} is no word of these captions; they know {near}.")
        return self.ids[word]


def words_of(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def longest_caption(pictures: Pictures) -> int:
    """Words of the longest whole caption."""
    counts = np.array([len(words_of(phrase)) for phrase in pictures.phrases])
    return int(max(counts[list(said)].sum() for said in pictures.sentences))


class CaptionDraw:
    """Training captions of one step: rows of pictures and what is said of each, from streams of its own.

    `policy` is the config's `captions`; `tied` are the factors that are named together or not at all.
    """

    def __init__(self, pictures: Pictures, policy: str, tied: Sequence[str], data_seed: int) -> None:
        self.pictures, self.policy, self.data_seed = pictures, policy, data_seed
        self.tied = {n for n, factor in enumerate(pictures.attribute_of) if factor in tied}

    def rows(self, stage: str, step: int, size: int) -> NDArray[np.int64]:
        """`size` training pictures of a step, with replacement; the same for every seed and arm."""
        generator = np.random.default_rng(stream_seed(f"smartclip pictures {stage}", self.data_seed, step))
        train = self.pictures.splits["train"]
        return train[generator.integers(len(train), size=size)]

    def draw(self, kind: str, stage: str, step: int, rows: NDArray[np.int64]) -> list[Caption]:
        """A caption of each picture: kind "short" (one sentence), "long" (all), "some" (by the policy), "mixed" (half each
        of the last two)."""
        generator = np.random.default_rng(stream_seed(f"smartclip captions {stage}", self.data_seed, step))
        found = []
        for place, row in enumerate(rows):
            said = self.pictures.sentences[row]
            whole = kind == "long" or (kind == "mixed" and place % 2 == 0)
            found.append(
                self._one(said, "short" if kind == "short" else "long" if whole else "some", generator)
            )
        return found

    def _one(self, said: Caption, kind: str, generator: np.random.Generator) -> Caption:
        if self.policy == "prefix":
            order, many = (
                list(said),
                {"short": 1, "long": len(said)}.get(kind) or int(generator.integers(1, len(said) + 1)),
            )
            return tuple(order[:many])
        groups = self._groups(said)
        order_of = generator.permutation(len(groups))
        many = {"short": 1, "long": len(groups)}.get(kind) or int(generator.integers(1, len(groups) + 1))
        return tuple(number for place in order_of[:many] for number in groups[place])

    def _groups(self, said: Caption) -> list[Caption]:
        """Sentences that are drawn as one: each by itself, the tied ones together."""
        tied = tuple(number for number in said if number in self.tied)
        free: list[Caption] = [(number,) for number in said if number not in self.tied]
        return [*free, tied] if tied else free


def texts_of(pictures: Pictures, captions: Sequence[Caption]) -> list[str]:
    """Captions in words."""
    return [", ".join(pictures.phrases[number] for number in caption) for caption in captions]
