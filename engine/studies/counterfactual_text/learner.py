"""One arm of a seed, resumable at any step; the arms of a seed meet the same batches."""

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
from engine.studies.seeds import under

LOGGED_POINTS = 25
VALIDATED_TEXTS, VALIDATED_VECTORS = 300, 1_000
MOST_GRADIENT = 5.0
PARTS = ("reconstruction", "kl_content", "kl_style", "sparse", "partial", "mask")
Log = Callable[..., None]
Tensors = dict[str, Tensor]


class Learner:
    """An arm of a seed. `curve` holds a row for each logged step; all arms of a seed see the same batches and draws."""

    def __init__(self, config: Config, source: Source, arm: str, seed: int, data_seed: int, log: Log) -> None:
        self.config, self.source, self.data_seed, self.log = config, source, data_seed, log
        self.arm, self.seed, self.key = arm, seed, f"{seed}/{arm}"
        self.model = Model(config, arm, len(source.domains), source.n_tokens, seed)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate, fused=True)
        self.step = 0
        self.curve: list[dict[str, Any]] = []
        points = range(1, LOGGED_POINTS + 1)
        self.logged_at = {ceil(config.n_steps * point / LOGGED_POINTS) for point in points}

    @property
    def finished(self) -> bool:
        return self.step == self.config.n_steps

    def work(self) -> tuple[int, int]:
        """Steps done and in all."""
        return self.step, self.config.n_steps

    def advance(self) -> None:
        """One step. Raises UserError when the loss is no longer finite."""
        config, model, train = self.config, self.model, self.source.parts["train"]
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
        if self.finished:
            model.eval()

    @torch.no_grad()
    def validate(self) -> tuple[float, dict[str, float]]:
        """The loss without penalties on validation rows, and its parts."""
        model, part = self.model.eval(), self.source.parts["validation"]
        draw = torch.Generator().manual_seed(stream_seed("counterfactual validation", self.seed))
        rows = slice(VALIDATED_TEXTS if self.config.reads_text else VALIDATED_VECTORS)
        parts = model.loss(part.seen[rows], part.domain[rows], draw)[1]
        return model.objective(parts), {name: float(value) for name, value in parts.items()}

    def _record(self, parts: Mapping[str, Tensor]) -> None:
        value, found = self.validate()
        shown = {**found, **{name: float(parts[name].detach()) for name in PARTS[3:] if name in parts}}
        row = {"seed": self.seed, "arm": self.arm, "step": self.step, "validation": value}
        self.curve.append({**row, **{name: shown.get(name) for name in PARTS}})
        named = {name: shown[name] for name in ("reconstruction", "kl_content", "kl_style")}
        self.log(self.step, self.seed, **{f"{self.arm}.{name}": number for name, number in named.items()})

    # Checkpoints

    def tensors(self) -> Tensors:
        """Everything a resume needs besides `state`, under key/group/name."""
        groups: dict[str, Tensors] = {"model": weights(self.model), "moments": {}}
        for index, held in self.optimiser.state_dict()["state"].items():
            for name, value in held.items():
                groups["moments"][f"{index}.{name}"] = value.clone().contiguous()
        return {
            f"{self.key}/{group}/{name}": value
            for group, held in groups.items()
            for name, value in held.items()
        }

    def state(self) -> dict[str, Any]:
        return {"step": self.step, "curve": list(self.curve)}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(under(f"{self.key}/model/", tensors))
        self.step, self.curve = state["step"], list(state["curve"])
        held: dict[int, Tensors] = {}
        for key, value in under(f"{self.key}/moments/", tensors).items():
            index, name = key.split(".")
            held.setdefault(int(index), {})[name] = value.clone()
        if held:
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": held})


def weights(model: Model) -> Tensors:
    """A copy of a model's weights."""
    return {name: value.detach().clone().contiguous() for name, value in model.state_dict().items()}
