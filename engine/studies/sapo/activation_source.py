"""The residual stream of a finished run's denoiser, after every transformer block, as a source of activations."""

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from analyses.streams import stream_seed
from data.files import read_json
from engine.activation_sources import CORPUS, RunSource, seed_named
from engine.errors import UserError
from engine.studies.sapo.base_models import weights_name
from engine.studies.sapo.config import Config

if TYPE_CHECKING:
    from torch import Tensor

BATCH = 256
DEFAULT_ARMS = ("sapo", "base")


class SapoSource(RunSource):
    """`blocks.L.hook_out`: the stream after block L at every position of prompt and completion.

    A window is one of the task's problems with a completion as the base model learnt them, each token of which is masked
    with probability t: uniform in (0, 1) and drawn for every window under "own", the same in all under "own@t". Validation
    problems are held out.
    """

    def __init__(self, directory: Path, seed: int, arm: str) -> None:
        super().__init__(directory, directory / "tensors" / f"{weights_name(seed, arm)}.safetensors")
        self.config, self.seed, self.arm = Config(**self.record["config"]), seed, arm
        self.task = self.config.make_task()
        self.label = f"denoiser of run {self.record['id'][:6]}, {arm}, seed {seed}"
        self.vocabulary, self.blank = self.task.vocabulary, self.task.mask
        self.context_size = self.task.prompt_length + self.task.completion_length
        self.d, self.n_hooks = self.config.width, self.config.layers

    @classmethod
    def named(cls, directory: Path, name: str) -> Self:
        """The policy of "seed-2/diffu_grpo"; without an arm SAPO's or else the base. Raises UserError("model")."""
        record = read_json(directory / "config.json")
        part, _, arm = name.partition("/")
        seed = seed_named(record, part)
        start = f"policy-seed-{seed}-"
        paths = (directory / "tensors").glob(f"{start}*.safetensors")
        arms = sorted(path.stem.removeprefix(start) for path in paths)
        if not arms or record["config"]["policy"] != "small":
            raise UserError(
                "model", f"run {record['id']} holds no small denoiser; name a run that trained one here."
            )
        if arm and arm not in arms:
            raise UserError("model", f"run {record['id']} has no arm {arm}; it has {', '.join(arms)}.")
        return cls(directory, seed, arm or next(one for one in (*DEFAULT_ARMS, *arms) if one in arms))

    def level(self, corpus: str) -> float | None:
        """The share t of completion tokens that "own@t" masks; None, for "own", draws it. Raises UserError."""
        found = CORPUS.fullmatch(corpus)
        if found is None or (found["level"] and float(found["level"]) > 1):
            raise UserError("corpus", f"{corpus} is no input of the {self.label}; give own, or own@0.5.")
        return float(found["level"]) if found["level"] else None

    def inputs(self, split: str, level: float | None) -> Iterator[NDArray[np.int64]]:
        for number in count():
            rng = np.random.default_rng(stream_seed(f"sapo states {split}", number))
            found = self.task.examples(rng, BATCH, "train" if split == "train" else "validation")
            completions = self.task.with_junk(rng, found.completions, self.config.junk_share)
            t = rng.random((BATCH, 1)) if level is None else level
            masked = rng.random(completions.shape) < t
            noisy = np.where(masked, self.task.mask, completions)
            yield from np.hstack([found.prompts, noisy])

    def load(self) -> None:
        from engine.studies.sapo.live import open_policy

        self.policy = open_policy(self.directory, self.seed, self.arm)[1].to(self.device)

    def activations(self, tokens: "Tensor", hook_point: str) -> "Tensor":
        import torch

        layer = self.hook_points.index(hook_point) + 1
        with torch.no_grad():
            return self.policy.stream(tokens.to(self.device), layer).float()
