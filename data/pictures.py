"""Pictures with captions of several sentences: what every source of images gives, and whose pictures they are."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Ints = NDArray[np.int64]
PictureTier = Literal["real", "rendered"]
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Origin:
    """Where pictures are from: what stands beside every one of them. `tier` is rendered for pictures drawn by Concordance."""

    name: str
    tier: PictureTier
    licence: str


@dataclass(frozen=True)
class Pictures:
    """n pictures (uint8, n × side × side × 3) and what is said of them.

    `phrases` are all different sentences; `sentences[i]` holds the numbers of those that are true of picture i, in the
    order its whole caption gives them. `attributes` maps a factor to its value's number in every picture (−1: not told)
    and `values` to the words of these numbers; both are empty where nothing but captions is known. `attribute_of` names
    the factor that each phrase tells. `splits` holds the pictures of train, validation and test. `skipped` says, a
    sentence each, what was left out of a user's folder and why.
    """

    origin: Origin
    images: Images
    phrases: tuple[str, ...]
    sentences: Sequence[tuple[int, ...]]
    splits: Mapping[str, Ints]
    attributes: Mapping[str, Ints] = field(default_factory=dict)
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    attribute_of: tuple[str | None, ...] = ()
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def caption(self, row: int) -> str:
        """The whole caption of a picture."""
        return ", ".join(self.phrases[number] for number in self.sentences[row])

    def says(self, rows: Ints) -> NDArray[np.bool_]:
        """Whether each phrase is true of each of the pictures `rows`: len(rows) × phrases."""
        said = np.zeros((len(rows), len(self.phrases)), dtype=bool)
        for place, row in enumerate(rows):
            said[place, list(self.sentences[row])] = True
        return said


def number_phrases(captions: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], list[tuple[int, ...]]]:
    """Different sentences in the order they first occur, and every caption as their numbers, each once."""
    known: dict[str, int] = {}
    numbered = [
        tuple(dict.fromkeys(known.setdefault(sentence, len(known)) for sentence in caption))
        for caption in captions
    ]
    return tuple(known), numbered


def split_rows(groups: Ints, shares: tuple[float, float], rng: np.random.Generator) -> dict[str, Ints]:
    """Rows of train, validation and test such that equal `groups` are never in two of them.

    `shares` are those of validation and test among the groups, at least one group each; what is left is for training.
    """
    different = rng.permutation(np.unique(groups))
    held = [max(1, round(share * len(different))) for share in shares]
    parts = np.split(different, [held[0], sum(held)])
    chosen = dict(zip(("validation", "test", "train"), parts, strict=True))
    return {split: np.flatnonzero(np.isin(groups, chosen[split])) for split in SPLITS}
