"""Pictures and one seed: train a network on the source (or a rebuilding head on your classifier), then meet corrupted pictures."""

from dataclasses import asdict
from functools import cached_property
from math import ceil, cos, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analyses.extrapolation import PICTURE_ARMS, SOURCE
from analyses.streams import stream_seed
from data.class_pictures import ClassPictures, covered_block, noisy_block
from engine.studies.extrapolation.classifiers import OwnNetwork, open_classifier
from engine.studies.extrapolation.config import Config
from engine.studies.extrapolation.patches import PatchNetwork, rebuilding_loss
from engine.studies.extrapolation.picture_arms import PictureArms, Settings, choose

CHUNK = 25
CHOICE_PICTURES, EXPECTED_PICTURES = 80, 200
MOST_MASKED = 0.75
CLASS_MASKED = 0.5
ERROR_WEIGHT = 5.0


class PictureLearner:
    """`advance` does a piece of work: training steps, the choice of settings, or every arm on one corruption.

    Cell 0 is the pictures as they are; then scopes, and within each severities, in order.
    """

    def __init__(self, config: Config, pictures: ClassPictures, data_seed: int, seed: int) -> None:
        self.config, self.pictures, self.data_seed, self.seed = config, pictures, data_seed, seed
        self.own = bool(config.classifier.strip())
        self.net = self._network()
        self.trained = [one for one in self.net.parameters() if one.requires_grad]
        self.optimiser = torch.optim.Adam(self.trained, config.learning_rate)
        self.arms_offered = tuple(
            PICTURE_ARMS if pictures.labelled else (a for a in PICTURE_ARMS if "neighbour" not in a)
        )
        self.done = 0
        self.settings, self.tried = Settings(), list[dict[str, float | str | bool]]()
        self.cells = [
            (0.0, 0.0),
            *((scope, severity) for scope in config.scopes for severity in config.severities),
        ]
        shape = (len(self.cells), len(self.arms_offered), len(self.rows))
        self.answers, self.confidence = torch.zeros(shape, dtype=torch.long), torch.zeros(shape)

    def _network(self) -> nn.Module:
        side, channels = self.pictures.side, self.pictures.channels
        seed = stream_seed("extrapolation picture weights", self.seed)
        if self.own:
            return OwnNetwork(open_classifier(self.config.classifier), side, channels, seed)
        return PatchNetwork(side, channels, len(self.pictures.names), seed)

    def rng(self, name: str, *more: int) -> np.random.Generator:
        """A named stream of this data seed and seed."""
        return np.random.default_rng(
            stream_seed(f"extrapolation pictures {name}", self.data_seed, self.seed, *more)
        )

    @property
    def training(self) -> int:
        return ceil(self.config.steps / CHUNK)

    @property
    def total(self) -> int:
        return self.training + 1 + len(self.cells)

    @property
    def step(self) -> int:
        """Training steps taken."""
        return min(self.done * CHUNK, self.config.steps)

    @cached_property
    def rows(self) -> np.ndarray:
        """The test pictures of this seed, drawn without replacement."""
        test = self.pictures.splits["test"]
        return np.sort(self.rng("test").permutation(test)[: self.config.n_pictures])

    def images(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(self.pictures.images[rows])

    @cached_property
    def arms(self) -> PictureArms:
        """The arms of the trained network, which knows what errors are usual."""
        self.net.eval()
        source = self.pictures.splits["train"]
        labels = torch.from_numpy(self.pictures.labels[source])
        together = 1 if self.own else 50
        arms = PictureArms(self.net, self.config.adapt_steps, (self.images(source), labels), together)
        arms.learn_expected(self.images(self.pictures.splits["validation"][:EXPECTED_PICTURES]))
        return arms

    def corrupted(self, rows: np.ndarray, cell: int) -> tuple[Tensor, np.ndarray]:
        """Test pictures (n × C × S × S) of a cell and the mask of their blocks; a scope's block and noise are those of every severity."""
        scope, severity = self.cells[cell]
        images = self.pictures.images[rows]
        if not severity:
            return torch.from_numpy(images), np.zeros(
                (len(rows), self.pictures.side, self.pictures.side), dtype=bool
            )
        rng = self.rng("noise", self.config.scopes.index(scope))
        changed, mask = noisy_block(
            images, block_side(scope, self.pictures.side), severity, self.config.clip, rng
        )
        return torch.from_numpy(changed), mask

    def advance(self) -> dict[str, float]:
        """One piece of work; what there is to log of it."""
        work = self.done - self.training
        if work < 0:
            logged = self._train()
        elif work == 0:
            self._choose()
            logged = {}
        else:
            logged = self._meet(work - 1)
        self.done += 1
        return logged

    def _train(self) -> dict[str, float]:
        self.net.train(not self.own)
        rng, train = self.rng("batches", self.done), self.pictures.splits["train"]
        first, config = self.step, self.config
        losses = np.zeros(2)
        last = min(first + CHUNK, config.steps)
        for step in range(first, last):
            rows = rng.choice(train, config.batch_size)
            losses += self._update(self.images(rows), torch.from_numpy(self.pictures.labels[rows]), rng, step)
        class_loss, error = losses / (last - first)
        return (
            {"reconstruction": float(error)}
            if self.own
            else {"class_loss": float(class_loss), "reconstruction": float(error)}
        )

    def _update(
        self, images: Tensor, labels: Tensor, rng: np.random.Generator, step: int
    ) -> tuple[float, float]:
        n_patches: int = self.net.n_patches  # type: ignore[assignment]
        order = rng.random((len(images), n_patches)).argsort(axis=1)
        share = rng.uniform(0, MOST_MASKED, (len(images), 1))
        hidden = torch.from_numpy(order < share * n_patches)
        logits, rebuilt = self.net(images, hidden)
        error = rebuilding_loss(images, rebuilt, hidden, self.net.size)  # type: ignore[arg-type]
        few = torch.from_numpy(share[:, 0] <= CLASS_MASKED)
        class_loss = error * 0 if self.own else cross_entropy(logits[few], labels[few])
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * 0.5 * (1 + cos(pi * step / self.config.steps))
        self.optimiser.zero_grad()
        (class_loss + ERROR_WEIGHT * error).backward()
        self.optimiser.step()
        return float(class_loss.detach()), float(error.detach())

    def _choose(self) -> None:
        """Settings by validation pictures under a covered block, a corruption that is never measured."""
        rng = self.rng("choice")
        rows = rng.permutation(self.pictures.splits["validation"])[
            : min(CHOICE_PICTURES, self.config.n_pictures)
        ]
        parts = np.array_split(rows, len(self.config.scopes))
        side = self.pictures.side
        images = [
            covered_block(self.pictures.images[part], block_side(scope, side), rng)[0]
            for part, scope in zip(parts, self.config.scopes, strict=True)
            if len(part) and scope < 1
        ]
        kept = np.concatenate(
            [part for part, scope in zip(parts, self.config.scopes, strict=True) if scope < 1] or [rows[:0]]
        )
        labels = torch.from_numpy(self.pictures.labels[kept])
        shown = torch.from_numpy(np.concatenate(images)) if images else self.images(kept)
        self.settings, self.tried = choose(self.arms, shown, labels, self.arms_offered)

    def _meet(self, cell: int) -> dict[str, float]:
        images, _ = self.corrupted(self.rows, cell)
        for number, arm in enumerate(self.arms_offered):
            self.answers[cell, number], self.confidence[cell, number] = self.arms.answer(
                arm, images, self.settings
            )
        if not self.pictures.labelled:
            return {}
        right = self.answers[cell, self.arms_offered.index(SOURCE)] == torch.from_numpy(
            self.pictures.labels[self.rows]
        )
        return {"accuracy": float(right.double().mean())}

    def tensors(self) -> dict[str, Tensor]:
        """Weights, optimiser and what was measured, to go on from."""
        found = {f"net.{name}": value.clone() for name, value in self.net.state_dict().items()}
        for place, parameter in enumerate(self.trained):
            for name, value in self.optimiser.state.get(parameter, {}).items():
                found[f"adam.{place}.{name}"] = value.clone()
        return found | {"answers": self.answers.clone(), "confidence": self.confidence.clone()}

    def state(self) -> dict[str, Any]:
        """What else there is to go on from: the settings and what was tried."""
        return {"settings": asdict(self.settings), "tried": self.tried}

    def load(self, tensors: dict[str, Tensor], done: int, state: dict[str, Any]) -> None:
        """Go on from `tensors()` and `state()` after `done` pieces of work."""
        self.done = done
        self.net.load_state_dict(
            {k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")}
        )
        for place, parameter in enumerate(self.trained):
            if f"adam.{place}.step" in tensors:
                names = ("step", "exp_avg", "exp_avg_sq")
                self.optimiser.state[parameter] = {
                    name: tensors[f"adam.{place}.{name}"].clone() for name in names
                }
        self.answers.copy_(tensors["answers"])
        self.confidence.copy_(tensors["confidence"])
        self.settings, self.tried = Settings(**state["settings"]), state["tried"]


def block_side(scope: float, side: int) -> int:
    """Pixels of a block's side for its share of the picture's side."""
    return max(1, round(scope * side))
