"""The residual stream of a finished run's vision-language model, as a source of activations."""

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
from engine.studies.srf.config import Config
from engine.studies.srf.results import weights_name
from engine.studies.srf.source import WEIGHTS, open_material

if TYPE_CHECKING:
    from torch import Tensor

PART_OF = {"train": "labelled", "heldout": "validation"}
PREFERRED = ("refined-1", "generator-1", "base")
LONGEST = 24


class SrfSource(RunSource):
    """`blocks.N.hook_out`: what leaves layer N of the language model, N counted from 0.

    An input is a picture, whose one token stands for its image tokens (their mean), and a question with its answer in
    words. `run:ID/seed-2/refined-1` names a seed and a model: generator-1, base, refined-1.
    """

    def __init__(self, directory: Path, seed: int, what: str) -> None:
        super().__init__(directory, directory / "tensors" / f"{weights_name(seed, what)}.safetensors")
        self.config, self.seed, self.what = Config(**self.record["config"]), seed, what
        self.label = f"vision-language model of run {self.record['id'][:6]}, seed {seed}, {what}"
        self.material = open_material(self.config)
        from engine.studies.srf.policy import Size
        from engine.studies.srf.small import words_of

        size = Size()
        self.words = words_of(self.config, self.material)
        self.d, self.n_hooks = size.width, size.layers
        self.vocabulary = [*self.words.words, *(f"picture#{row}" for row in range(len(self.material.images)))]
        self.texts = {split: self._texts(part) for split, part in PART_OF.items()}
        shortest = min(len(ids) for rows in self.texts.values() for ids in rows)
        self.context_size = 1 + min(shortest, LONGEST)

    @classmethod
    def named(cls, directory: Path, name: str) -> Self:
        """The model of "seed-2/refined-1"; the first seed and the refined model where nothing is named. Raises UserError."""
        record = read_json(directory / "config.json")
        part, _, what = name.partition("/")
        if record["config"]["model"] != "small":
            raise UserError(
                "model", f"run {record['id']} is of a published model; states are read of small ones only."
            )
        seed = seed_named(record, part)
        prefix = weights_name(seed, "")
        found = sorted(
            path.stem.removeprefix(prefix) for path in (directory / "tensors").glob(f"{prefix}*.safetensors")
        )
        what = what or next((one for one in PREFERRED if one in found), "refined-1")
        if what not in found:
            raise UserError(
                "model", f"run {record['id']} has no model {what[:40]!r}; it has {', '.join(found)}."
            )
        return cls(directory, seed, what)

    def _texts(self, part: str) -> list[list[int]]:
        """A picture's token, then words of a labelled question and its answer, as the model reads them."""
        from engine.studies.srf.policy import ASSISTANT

        first = len(self.words)
        pairs = self.material.pairs[part]
        return [
            [first + pair.image, *self.words.encode(f"{pair.question} {ASSISTANT} {pair.answer}")]
            for pair in pairs
        ]

    def inputs(self, split: str, level: float | None) -> Iterator[NDArray[np.int64]]:
        rows = [ids for ids in self.texts[split] if len(ids) >= self.context_size]
        rounds = count() if split == "train" else range(1)
        for number in rounds:
            rng = np.random.default_rng(stream_seed("srf activations", self.record["data_seed"], number))
            yield from (np.array(rows[i][: self.context_size]) for i in rng.permutation(len(rows)))

    def describe(self, config: Any) -> dict[str, Any]:
        origin = self.material.origin
        tier = "real data" if origin.tier == "real" else origin.tier
        inputs = {
            "source": f"pictures of run {self.record['id']}: {origin.name}",
            "licence": origin.licence,
            "tier": tier,
        }
        return {**super().describe(config), "sources": [inputs], "licences": [origin.licence]}

    def load(self) -> None:
        from safetensors.torch import load_file

        from engine.studies.srf.policy import TOWER, Size, SmallPolicy

        self.policy = SmallPolicy(Size(), self.words, self.seed, self.device)
        tower = self.directory / "tensors" / "tower.safetensors"
        source = load_file(tower if tower.exists() else WEIGHTS)
        self.policy.model.load_state_dict(
            {name: value for name, value in source.items() if name.startswith(TOWER)}, strict=False
        )
        self.policy.model.load_state_dict(load_file(self.weights), strict=False)

    def activations(self, tokens: "Tensor", hook_point: str) -> "Tensor":
        """Vectors B × T × d, the first of every input the mean over the picture's tokens."""
        import torch

        from engine.studies.srf.policy import USER

        layer = self.hook_points.index(hook_point)
        pictures = (tokens[:, 0] - len(self.words)).cpu().numpy()
        seen = self.policy.see(self.material.images[pictures])
        head = torch.tensor(self.words.encode(USER), device=self.device).expand(len(tokens), 1)
        blank = torch.zeros((len(tokens), seen.shape[1]), dtype=torch.int64, device=self.device)
        ids = torch.cat([head, blank, tokens[:, 1:].to(self.device)], dim=1)
        with torch.no_grad():
            states = self.policy.states(ids, seen)[layer]
        first = 1 + seen.shape[1]
        return torch.cat([states[:, 1:first].mean(dim=1, keepdim=True), states[:, first:]], dim=1)
