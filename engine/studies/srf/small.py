"""The small model of one seed: its frozen tower has seen every image of the run, projector and language model are trained."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analyses.streams import stream_seed
from data import scene_questions
from data.pictures import Ints
from data.scene_questions import DESCRIBE
from engine.studies.srf.config import Config
from engine.studies.srf.optimise import Optimiser
from engine.studies.srf.policy import TOWER, Size, SmallPolicy, Words, Written, pixels
from engine.studies.srf.source import GENERATOR, WEIGHTS, Material
from engine.studies.srf.tasks import prompt_words

MOST = 32
Encoded = tuple[list[int], int]


class SmallModel:
    """What a seed trains and lets write; images are named by their rows in the run."""

    most = MOST

    def __init__(self, policy: SmallPolicy, seen: Tensor) -> None:
        self.policy, self.seen = policy, seen
        for name, parameter in policy.model.named_parameters():
            parameter.requires_grad_(not name.startswith(TOWER))

    def parameters(self) -> Iterator[nn.Parameter]:
        return (one for one in self.policy.model.parameters() if one.requires_grad)

    def weights(self) -> dict[str, Tensor]:
        """A copy of all that is trained."""
        return {
            name: value.detach().to("cpu", copy=True).contiguous()
            for name, value in self.policy.model.state_dict().items()
            if not name.startswith(TOWER)
        }

    def load(self, weights: Mapping[str, Tensor]) -> None:
        self.policy.model.load_state_dict(weights, strict=False)

    def encode(self, prompt: str, target: str) -> Encoded:
        return self.policy.encode(prompt, target)

    def loss_on(self, images: Ints, encoded: Sequence[Encoded]) -> Tensor:
        """Cross-entropy of the targets of encoded rows on images."""
        return self.policy.loss(self.seen[torch.from_numpy(images)], encoded)

    def write_on(
        self,
        rows: Ints,
        prompts: Sequence[str],
        generator: torch.Generator | None = None,
        temperature: float = 1.0,
    ) -> list[Written]:
        return self.policy.write(
            self.seen[torch.from_numpy(rows)], prompts, self.most, generator, temperature
        )


@dataclass
class Shared:
    """What all seeds of a run share: tokenizer, tower and what it sees of every image."""

    size: Size
    words: Words
    tower: dict[str, Tensor]
    whole: dict[str, Tensor] | None
    seen: Tensor
    device: str

    def model(self, seed: int) -> SmallModel:
        """The model a seed starts every training from."""
        policy = SmallPolicy(self.size, self.words, seed, self.device)
        policy.model.load_state_dict(self.tower if self.whole is None else self.whole, strict=False)
        return SmallModel(policy, self.seen)


def scene_words() -> Words:
    """The tokenizer of the bundled model: every word of scenes and of the three tasks."""
    return Words([*scene_questions.words(), *prompt_words()])


def words_of(config: Config, material: Material) -> Words:
    """The tokenizer: the bundled one for scenes, else every word of the labelled pairs and the tasks."""
    if config.start != "none":
        return scene_words()
    return Words([*material.words(), *prompt_words(), *DESCRIBE.split()])


def bundled_start(config: Config, material: Material, device: str) -> Shared:
    """Tokenizer, tower and, where it is asked for, the whole bundled model."""
    from safetensors.torch import load_file

    whole = load_file(WEIGHTS)
    tower = {name: value for name, value in whole.items() if name.startswith(TOWER)}
    return share(config, material, tower, whole if config.start == "bundled" else None, device)


def bundled_generator() -> dict[str, Tensor]:
    """Projector and language model of the generator that comes with Concordance."""
    from safetensors.torch import load_file

    return load_file(GENERATOR)


def share(
    config: Config, material: Material, tower: dict[str, Tensor], whole: dict[str, Tensor] | None, device: str
) -> Shared:
    """Let a tower see every image of the run once."""
    size, words = Size(), words_of(config, material)
    policy = SmallPolicy(size, words, 0, device)
    policy.model.load_state_dict(tower, strict=False)
    return Shared(size, words, tower, whole, policy.see(material.images), device)


class TowerTraining:
    """An image tower that learns captions of the labelled images, with a language model that is thrown away afterwards."""

    def __init__(self, config: Config, material: Material, data_seed: int, device: str) -> None:
        self.config, self.material, self.data_seed = config, material, data_seed
        self.policy = SmallPolicy(
            Size(), words_of(config, material), stream_seed("srf tower", data_seed) % 2**31, device
        )
        self.rows = np.array(sorted(material.captions))
        self.encoded = {row: self.policy.encode(DESCRIBE, text) for row, text in material.captions.items()}
        self.optimiser = Optimiser(self.policy.model.parameters(), config.learning_rate, config.tower_steps)
        self.loss = 0.0

    @property
    def finished(self) -> bool:
        return self.optimiser.done >= self.config.tower_steps

    def advance(self) -> None:
        """The next step."""
        rng = np.random.default_rng(stream_seed("srf tower order", self.data_seed, self.optimiser.done))
        chosen = rng.choice(self.rows, self.config.batch_size)
        tokens = self.policy.tower(pixels(self.material.images[chosen], self.policy.device))
        self.loss = self.optimiser.step(self.policy.loss(tokens, [self.encoded[int(row)] for row in chosen]))

    def tower(self) -> dict[str, Tensor]:
        return {name: value for name, value in self._weights().items() if name.startswith(TOWER)}

    def tensors(self) -> dict[str, Tensor]:
        moments = {f"moments/{name}": value for name, value in self.optimiser.moments().items()}
        return {**{f"weights/{name}": value for name, value in self._weights().items()}, **moments}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        groups: dict[str, dict[str, Tensor]] = {"weights": {}, "moments": {}}
        for key, value in tensors.items():
            group, name = key.split("/", 1)
            groups[group][name] = value
        self.policy.model.load_state_dict(groups["weights"])
        self.optimiser.restore(groups["moments"], int(state["step"]))

    def _weights(self) -> dict[str, Tensor]:
        return {
            name: value.detach().to("cpu", copy=True).contiguous()
            for name, value in self.policy.model.state_dict().items()
        }
