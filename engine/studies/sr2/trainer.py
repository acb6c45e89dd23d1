"""One seed's reasoner, optimiser, running mean and carried state, and what a resume needs of them."""

from copy import deepcopy
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor

from engine.errors import UserError
from engine.studies.seeds import under
from engine.studies.sr2.config import Config
from engine.studies.sr2.network import cross_entropy
from engine.studies.sr2.reasoners import Reasoner, State, make_reasoner, trace

BETAS = (0.9, 0.95)
CLIP = 1.0
CHUNK = 256


@dataclass(frozen=True)
class Validation:
    """Shares of validation puzzles and of their open cells that are right after the last trained block."""

    step: int
    exact: float
    cell: float

    def better_than(self, other: "Validation | None") -> bool:
        return other is None or (self.exact, self.cell) > (other.exact, other.cell)


class Trainer:
    """Periodic intermediate alignment (arXiv 2510.08222): a step for every block, the state carried on and detached.

    Without alignment a step runs all blocks and compares after the last. The running mean of the weights is evaluated,
    and the one that solves most validation puzzles is kept in `best`.
    """

    def __init__(self, config: Config, seed: int, device: str) -> None:
        self.config = config
        self.model = make_reasoner(config, seed).to(device)
        self.mean = deepcopy(self.model).requires_grad_(False)
        self.best = deepcopy(self.mean)
        self.chosen: Validation | None = None
        self.carry: State = ()
        self.done, self.loss = 0, 0.0
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.learning_rate,
            betas=BETAS,
            weight_decay=config.weight_decay,
            foreach=True,
        )

    def step(self, inputs: Tensor, targets: Tensor) -> None:
        """The next optimiser step, on a batch (batch × cells). Raises UserError when the loss is not finite."""
        block = self.done % self.config.n_blocks if self.config.alignment else 0
        e = self.model.embed(inputs)
        state = self.model.start(e) if block == 0 else self.carry
        for index in range(block, block + 1 if self.config.alignment else self.config.n_blocks):
            state = self.model.block(state, e, index)
        loss = cross_entropy(self.model.decode(state), targets, self.config.loss)
        self.loss = float(loss.detach())
        if not isfinite(self.loss):
            raise UserError("learning_rate", "the loss is no longer finite; lower learning_rate.")
        self._descend(loss)
        self.carry = tuple(part.detach() for part in state)
        self.done += 1

    def _descend(self, loss: Tensor) -> None:
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP, foreach=True)
        rising = min(1.0, (self.done + 1) / max(1, self.config.warmup_steps))
        self.optimiser.param_groups[0]["lr"] = self.config.learning_rate * rising
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(
                list(self.mean.parameters()), list(self.model.parameters()), 1 - self.config.ema
            )

    def validate(self, inputs: Tensor, targets: Tensor, open_cells: Tensor) -> Validation:
        """Solve puzzles (n × cells) with the mean weights from a fresh state; keeps the weights where they are the best."""
        right = answers(self.mean, inputs, self.config.n_blocks) == targets
        found = Validation(
            self.done, float(right.all(dim=1).float().mean()), float(right[open_cells].float().mean())
        )
        if found.better_than(self.chosen):
            self.chosen = found
            self.best.load_state_dict(self.mean.state_dict())
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Everything a later process needs to go on bit-exactly."""
        named = {f"carry.{index}": part for index, part in enumerate(self.carry)}
        for kind in ("model", "mean", "best"):
            named |= {f"{kind}.{name}": value for name, value in getattr(self, kind).state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                named[f"adam.{name}.{key}"] = value
        return {name: value.detach().clone().contiguous() for name, value in named.items()}

    def load(self, tensors: dict[str, Tensor], done: int, loss: float, chosen: Validation | None) -> None:
        self.done, self.loss, self.chosen = done, loss, chosen
        for kind in ("model", "mean", "best"):
            getattr(self, kind).load_state_dict(under(f"{kind}.", tensors))
        for name, parameter in self.model.named_parameters():
            if f"adam.{name}.step" in tensors:
                keys = ("step", "exp_avg", "exp_avg_sq")
                state = {key: tensors[f"adam.{name}.{key}"] for key in keys}
                self.optimiser.state[parameter] = {**state, "step": state["step"].cpu()}
        self.carry = tuple(tensors[f"carry.{i}"] for i in range(2) if f"carry.{i}" in tensors)


def answers(model: Reasoner, inputs: Tensor, blocks: int) -> Tensor:
    """Tokens (n × cells) a reasoner gives after some blocks from a fresh state."""
    parts = [model.decode(trace(model, part, blocks)).argmax(dim=-1) for part in inputs.split(CHUNK)]
    return torch.cat(parts)
