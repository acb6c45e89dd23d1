"""The image embedding of a finished run, as a source of activations."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from analyses.streams import stream_seed
from data.files import read_json
from engine.activation_sources import RunSource, seed_named
from engine.errors import UserError
from engine.studies.smartclip.config import Config
from engine.studies.smartclip.source import open_pictures, weights_name

if TYPE_CHECKING:
    from torch import Tensor

SPLIT_OF = {"train": "train", "heldout": "validation"}


class SmartClipSource(RunSource):
    """`blocks.0.hook_out`: z of a picture, before it is normalised or masked. An input is one picture, its token its number.

    The words of the vocabulary are the pictures' captions. `run:ID/seed-2/smartclip` names a seed and an arm.
    """

    context_size, n_hooks = 1, 1

    def __init__(self, directory: Path, seed: int, arm: str) -> None:
        super().__init__(directory, directory / "tensors" / f"{weights_name(seed, arm)}.safetensors")
        self.config, self.seed, self.arm = Config(**self.record["config"]), seed, arm
        self.label = f"image embedding of run {self.record['id'][:6]}, seed {seed}, {arm}"
        self.pictures = open_pictures(self.config)
        self.d = self.config.width
        self.vocabulary = [self._word(row) for row in range(len(self.pictures))]

    def _word(self, row: int) -> str:
        """A caption without spaces, and the picture's number."""
        return "_".join(self.pictures.caption(row).replace(",", "").split()) + f"#{row}"

    @classmethod
    def named(cls, directory: Path, name: str) -> Self:
        """The arm of "seed-2/smartclip"; the first seed, and smartclip or the last arm, where nothing is named. Raises UserError."""
        record = read_json(directory / "config.json")
        part, _, arm = name.partition("/")
        config = Config(**record["config"])
        if config.model != "small":
            raise UserError(
                "model",
                f"run {record['id']} is of published weights; embeddings are read of small CLIPs only.",
            )
        arms = ("base", *config.chosen_arms)
        arm = arm or ("smartclip" if "smartclip" in arms else arms[-1])
        if arm not in arms:
            raise UserError("model", f"run {record['id']} has no arm {arm[:40]!r}; it has {', '.join(arms)}.")
        return cls(directory, seed_named(record, part), arm)

    def inputs(self, split: str, level: float | None) -> Iterator[NDArray[np.int64]]:
        rows = self.pictures.splits[SPLIT_OF[split]]
        rounds = count() if split == "train" else range(1)
        for number in rounds:
            rng = np.random.default_rng(stream_seed("smartclip embeddings", self.record["data_seed"], number))
            yield from (np.array([row]) for row in rng.permutation(rows))

    def describe(self, config: Any) -> dict[str, Any]:
        origin = self.pictures.origin
        tier = "real data" if origin.tier == "real" else origin.tier
        inputs = {
            "source": f"pictures of run {self.record['id']}: {origin.name}",
            "licence": origin.licence,
            "tier": tier,
        }
        return {**super().describe(config), "sources": [inputs], "licences": [origin.licence]}

    def load(self) -> None:
        from engine.studies.smartclip.live import opened

        self.evaluator = opened(self.directory, self.seed, self.arm).evaluator

    def activations(self, tokens: "Tensor", hook_point: str) -> "Tensor":
        return self.evaluator.embed(tokens[:, 0].cpu().numpy())[:, None]
