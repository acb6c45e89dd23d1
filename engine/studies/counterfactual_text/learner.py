"""One seed: its arms, trained one after the other on the same batches, resumable at any step."""

from collections.abc import Callable, Mapping
from math import ceil, cos, pi
from typing import Any

import torch
from torch import Tensor

from analyses.streams import stream_seed
from engine.errors import UserError
from engine.studies.counterfactual_text.config import Config
from engine.studies.counterfactual_text.model import Model
from engine.studies.counterfactual_text.source import Source

LOGGED_POINTS = 25
VALIDATED_TEXTS, VALIDATED_VECTORS = 300, 1_000
MOST_GRADIENT = 5.0
PARTS = ("reconstruction", "kl_content", "kl_style", "sparse", "partial", "mask")
Log = Callable[..., None]
Tensors = dict[str, Tensor]


class Learner:
    """The arms of a seed. `curve` holds a row for each logged step; all arms of a seed see the same batches and draws."""

    def __init__(self, config: Config, source: Source, seed: int, data_seed: int, log: Log) -> None:
        self.config, self.source, self.seed, self.data_seed, self.log = config, source, seed, data_seed, log
        sizes = len(source.domains), source.n_tokens, seed
        self.models = {arm: Model(config, arm, *sizes) for arm in config.arm_names}
        self.stage, self.step = 0, 0
        self.curve: list[dict[str, Any]] = []
        points = range(1, LOGGED_POINTS + 1)
        self.logged_at = {ceil(config.n_steps * point / LOGGED_POINTS) for point in points}
        self.optimiser = self._adam()

    @property
    def arm(self) -> str:
        return self.config.arm_names[min(self.stage, len(self.models) - 1)]

    @property
    def finished(self) -> bool:
        return self.stage == len(self.models)

    def work(self) -> tuple[int, int]:
        """Steps done and in all."""
        return self.stage * self.config.n_steps + self.step, len(self.models) * self.config.n_steps

    def _adam(self) -> torch.optim.Adam:
        return torch.optim.Adam(
            self.models[self.arm].parameters(), lr=self.config.learning_rate, foreach=True
        )

    def advance(self) -> None:
        """One step. Raises UserError when the loss is no longer finite."""
        config, model, train = self.config, self.models[self.arm], self.source.parts["train"]
        draw = torch.Generator().manual_seed(
            stream_seed("counterfactual step", self.data_seed, self.seed, self.step)
        )
        rows = torch.randint(len(train.seen), (min(config.batch_size, len(train.seen)),), generator=draw)
        seen = train.seen[rows]
        hidden = None
        if config.reads_text:
            hidden = torch.rand(seen.shape, generator=draw) < config.word_dropout
        model.train()
        ramp = min(1.0, (self.step + 1) / config.warm_up)
        with torch.enable_grad():
            loss, parts = model.loss(seen, train.domain[rows], draw, hidden, ramp)
            if not torch.isfinite(loss):
                raise UserError("learning_rate", "the loss is no longer finite; lower learning_rate.")
            self.optimiser.zero_grad()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MOST_GRADIENT)
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * 0.5 * (1 + cos(pi * self.step / config.n_steps))
        self.optimiser.step()
        self.step += 1
        if self.step in self.logged_at:
            self._record(parts)
        if self.step == config.n_steps:
            model.eval()
            self.stage, self.step = self.stage + 1, 0
            self.optimiser = self._adam()

    @torch.no_grad()
    def validate(self, arm: str) -> tuple[float, dict[str, float]]:
        """The loss without penalties on validation rows, and its parts."""
        model, part = self.models[arm].eval(), self.source.parts["validation"]
        draw = torch.Generator().manual_seed(stream_seed("counterfactual validation", self.seed))
        rows = slice(VALIDATED_TEXTS if self.config.reads_text else VALIDATED_VECTORS)
        parts = model.loss(part.seen[rows], part.domain[rows], draw)[1]
        return model.objective(parts), {name: float(value) for name, value in parts.items()}

    def _record(self, parts: Mapping[str, Tensor]) -> None:
        value, found = self.validate(self.arm)
        shown = {**found, **{name: float(parts[name].detach()) for name in PARTS[3:] if name in parts}}
        row = {"seed": self.seed, "arm": self.arm, "step": self.step, "validation": value}
        self.curve.append({**row, **{name: shown.get(name) for name in PARTS}})
        named = {name: shown[name] for name in ("reconstruction", "kl_content", "kl_style")}
        self.log(self.step, self.seed, **{f"{self.arm}.{name}": number for name, number in named.items()})

    # Checkpoints

    def tensors(self) -> Tensors:
        """Everything a resume needs besides `state`, under seed/group/name."""
        groups: dict[str, Tensors] = {f"model:{arm}": weights(model) for arm, model in self.models.items()}
        groups["moments"] = {
            f"{index}.{name}": value.clone().contiguous()
            for index, held in self.optimiser.state_dict()["state"].items()
            for name, value in held.items()
        }
        return {
            f"{self.seed}/{group}/{name}": value
            for group, held in groups.items()
            for name, value in held.items()
        }

    def state(self) -> dict[str, Any]:
        return {"stage": self.stage, "step": self.step, "curve": list(self.curve)}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        groups: dict[str, Tensors] = {}
        for key, value in tensors.items():
            seed, group, name = key.split("/")
            if int(seed) == self.seed:
                groups.setdefault(group, {})[name] = value
        for arm, model in self.models.items():
            model.load_state_dict(groups[f"model:{arm}"])
        self.stage, self.step, self.curve = state["stage"], state["step"], list(state["curve"])
        self.optimiser = self._adam()
        held: dict[int, Tensors] = {}
        for key, value in groups.get("moments", {}).items():
            index, name = key.split(".")
            held.setdefault(int(index), {})[name] = value.clone()
        if held:
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": held})


def weights(model: Model) -> Tensors:
    """A copy of a model's weights."""
    return {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
