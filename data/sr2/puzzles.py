"""What puzzles of every kind share: splits, the symmetries that keep them puzzles, and the cut into classes."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Boards = NDArray[np.int64]
SPLITS = ("train", "validation", "test")
SHARES = (0.7, 0.15, 0.15)


@dataclass(frozen=True)
class Split:
    """Puzzles of one split, one a row, cells in reading order.

    `inputs` and `targets` (n × cells) hold tokens; `clues` (n) counts given cells of a Sudoku and path cells of a maze;
    `rounds` (n) the rounds of single candidates (a maze: steps of the shortest path) and `grades` their name;
    `classes` (n) the solved grid's class.
    """

    inputs: Boards
    targets: Boards
    clues: NDArray[np.int64]
    rounds: NDArray[np.int64]
    grades: list[str]
    classes: list[bytes]

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class PuzzleSet(ABC):
    """A kind of puzzle and its three splits. `n_tokens` tokens, 0 stands for what a Sudoku leaves open."""

    side: int
    n_tokens: int
    splits: dict[str, Split] = field(repr=False)

    @property
    def n_cells(self) -> int:
        return self.side * self.side

    @abstractmethod
    def augment(
        self, inputs: Boards, targets: Boards, generator: np.random.Generator
    ) -> tuple[Boards, Boards]:
        """Each row (n × cells) under a symmetry of its own, drawn from the group that the split respects."""

    @abstractmethod
    def violations(self, inputs: Boards, boards: Boards) -> dict[str, NDArray[np.int64]]:
        """Broken constraints of each board (… × cells) by kind, each (…). `inputs` broadcasts against `boards`."""

    @abstractmethod
    def open_cells(self, inputs: Boards) -> NDArray[np.bool_]:
        """Cells (n × cells) whose answer the puzzle does not give."""

    def valid(self, inputs: Boards, boards: Boards) -> NDArray[np.bool_]:
        """Boards (…) that break nothing: solved Sudokus, and paths from start to goal that keep the maze."""
        return sum(self.violations(inputs, boards).values()) == 0  # type: ignore[return-value]


def hashed_order(classes: Sequence[bytes], salt: str) -> list[int]:
    """Indices of classes in the order of a hash, which no property of a puzzle decides."""
    return sorted(range(len(classes)), key=lambda i: hashlib.sha256(salt.encode() + classes[i]).digest())


def cut_classes(classes: Sequence[bytes], salt: str) -> dict[str, list[int]]:
    """Indices of distinct classes for each split, in hashed order: 70, 15 and 15 % of them, at least one each.

    Raises ValueError for fewer than three.
    """
    if len(classes) < len(SPLITS) or len(set(classes)) != len(classes):
        raise ValueError("three or more distinct classes are needed for three splits.")
    order = hashed_order(classes, salt)
    n_validation, n_test = (max(1, round(share * len(order))) for share in SHARES[1:])
    n_train = len(order) - n_validation - n_test
    edges = (0, n_train, n_train + n_validation, len(order))
    return {name: order[edges[i] : edges[i + 1]] for i, name in enumerate(SPLITS)}
