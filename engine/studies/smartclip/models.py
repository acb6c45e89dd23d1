"""The CLIP of a run behind one face: how it reads texts and pictures, and a fresh network for a seed."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyses.streams import stream_seed
from data.pictures import Pictures
from engine.studies.smartclip.captions import Tokeniser, Words, longest_caption
from engine.studies.smartclip.config import Config
from engine.studies.smartclip.evaluation import as_tensor
from engine.studies.smartclip.network import Captioner, Clip


class Model:
    """A small CLIP over the words of a run's pictures; `engine.studies.smartclip.published` has the one of published weights."""

    def __init__(self, config: Config, pictures: Pictures, device: str) -> None:
        self.config, self.device = config, device
        self.words = Words(pictures.phrases, longest_caption(pictures))

    @property
    def tokenise(self) -> Tokeniser:
        return self.words

    def prepare(self, images: NDArray[np.uint8]) -> Tensor:
        return as_tensor(images)

    def network(self, seed: int) -> Any:
        """A network with weights drawn from the seed's own stream."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed("smartclip init", seed))
            return Clip(*self._sizes()).to(self.device)

    def captioner(self, seed: int) -> Captioner:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed("smartclip captioner", seed))
            return Captioner(*self._sizes()).to(self.device)

    def _sizes(self) -> tuple[int, int, int, int]:
        return len(self.words), self.words.length, self.config.width, self.config.heads


def open_model(config: Config, pictures: Pictures, device: str) -> Model:
    """The model a config names. Raises UserError where its files cannot be used."""
    if config.model == "clip":
        from engine.studies.smartclip.published import Published

        return Published(config, pictures, device)
    return Model(config, pictures, device)
