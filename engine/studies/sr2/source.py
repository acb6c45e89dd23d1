"""The puzzles a config names, and which of them each step reads."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from analyses.streams import stream_seed
from data.sr2 import PuzzleSet, maze_set, sudoku_set
from engine.errors import UserError
from engine.studies.sr2.config import Config


def open_puzzles(config: Config) -> PuzzleSet:
    """Every split of the puzzles a config names; the same object for configs that name the same. Raises UserError."""
    sizes = config.n_train, config.n_validation, config.n_test
    if config.puzzle == "maze":
        return _mazes(config.side, sizes, config.puzzle_seed)
    return _sudokus(config.side, config.clues, sizes, config.puzzle_seed, config.search_only)


def puzzle_identity(config: Config) -> str:
    """Equal for configs that name the same puzzles."""
    kind = f"{config.clues} clues" if config.puzzle == "sudoku" else "unique paths"
    search = " search" if config.search_only and config.puzzle == "sudoku" else ""
    sizes = f"{config.n_train}+{config.n_validation}+{config.n_test}"
    return f"{config.puzzle} {config.side} {kind}{search} {sizes} seed {config.puzzle_seed}"


@lru_cache(maxsize=4)
def _sudokus(side: int, clues: int, sizes: tuple[int, int, int], seed: int, search_only: bool) -> PuzzleSet:
    generator = np.random.default_rng(stream_seed("sudoku", side, clues, seed))
    try:
        return sudoku_set(side, clues, sizes, generator, search_only)
    except ValueError as error:
        raise UserError("clues", str(error)) from error


@lru_cache(maxsize=4)
def _mazes(side: int, sizes: tuple[int, int, int], seed: int) -> PuzzleSet:
    try:
        return maze_set(side, sizes, np.random.default_rng(stream_seed("mazes", side, seed)))
    except ValueError as error:
        raise UserError("side", str(error)) from error


def training_batch(
    puzzles: PuzzleSet, size: int, number: int, data_seed: int, device: str
) -> tuple[Tensor, Tensor]:
    """Inputs and targets (size × cells) of the `number`-th batch: drawn with replacement, each under a random symmetry."""
    generator = np.random.default_rng(stream_seed("sr2 batch", data_seed, number))
    split = puzzles.splits["train"]
    rows = generator.integers(len(split), size=size)
    inputs, targets = puzzles.augment(split.inputs[rows], split.targets[rows], generator)
    return torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)
