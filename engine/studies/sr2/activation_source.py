"""The read state of a finished run's reasoner, after every alignment block, as a source of activations."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from data.files import read_json
from engine.activation_sources import RunSource, seed_named
from engine.studies.sr2.config import Config

if TYPE_CHECKING:
    from torch import Tensor

    from engine.studies.sr2.reasoners import State

MAZE_WORDS = ("#", ".", "S", "G", "o")


class Sr2Source(RunSource):
    """`blocks.N.hook_out`: the state z of every cell after alignment block N, as far as the run was tested.

    A window is one puzzle, its cells row by row: the batches the run trained on, symmetries and all, and its
    validation puzzles.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        super().__init__(directory, directory / "tensors" / f"seed-{seed}.safetensors")
        self.config, self.seed = Config(**self.record["config"]), seed
        config = self.config
        self.label = f"reasoner of run {self.record['id'][:6]}, seed {seed}"
        sudoku = (".", *map(str, range(1, config.n_tokens)))
        self.vocabulary = MAZE_WORDS if config.puzzle == "maze" else sudoku
        self.context_size, self.row_length, self.d = config.side**2, config.side, config.d_model
        self.n_hooks = config.n_blocks * (1 if config.model == "feed_forward" else config.test_factor)

    @classmethod
    def named(cls, directory: Path, name: str) -> Self:
        """The reasoner of "seed-2", or of the first seed. Raises UserError("model")."""
        return cls(directory, seed_named(read_json(directory / "config.json"), name))

    def inputs(self, split: str, level: float | None) -> Iterator[NDArray[np.int64]]:
        from engine.studies.sr2.source import open_puzzles, training_batch

        puzzles = open_puzzles(self.config)
        if split == "heldout":
            yield from puzzles.splits["validation"].inputs
            return
        for number in count():
            size, data_seed = self.config.batch_size, self.record["data_seed"]
            yield from training_batch(puzzles, size, number, data_seed, "cpu")[0].numpy()

    def load(self) -> None:
        from engine.studies.sr2.solving import load_reasoner

        self.model = load_reasoner(self.directory, self.seed)[1].to(self.device)

    def activations(self, tokens: "Tensor", hook_point: str) -> "Tensor":
        from engine.studies.sr2.reasoners import trace

        blocks = self.hook_points.index(hook_point) + 1
        state: State = trace(self.model, tokens.to(self.device), blocks)
        return state[-1].float()
