"""The optimiser all training here shares: AdamW, warm-up, cosine decay, clipped gradients."""

from collections.abc import Iterable, Mapping
from math import cos, isfinite, pi
from typing import Any

import torch
from torch import Tensor, nn

from engine.errors import UserError

BETAS = (0.9, 0.98)
CLIP, WARM_UP = 1.0, 50


class Optimiser:
    """AdamW over `parameters` for `steps` steps that rise to `rate` and fall to 0 along a cosine."""

    def __init__(self, parameters: Iterable[nn.Parameter], rate: float, steps: int) -> None:
        self.parameters = [one for one in parameters if one.requires_grad]
        self.rate, self.steps, self.done = rate, steps, 0
        self.adam = torch.optim.AdamW(self.parameters, lr=rate, betas=BETAS, weight_decay=0.01, foreach=True)

    def step(self, loss: Tensor) -> float:
        """One step down the gradient of `loss`, whose value is returned. Raises UserError where it is not finite."""
        value = float(loss.detach())
        if not isfinite(value):
            raise UserError("learning_rate", "the loss is no longer finite; lower learning_rate.")
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, CLIP, foreach=True)
        rising = min(1.0, (self.done + 1) / WARM_UP)
        self.adam.param_groups[0]["lr"] = self.rate * rising * 0.5 * (1 + cos(pi * self.done / self.steps))
        self.adam.step()
        self.done += 1
        return value

    def moments(self) -> dict[str, Tensor]:
        """A copy of Adam's moments, for a checkpoint."""
        return {
            f"{index}.{name}": value.detach().to("cpu", copy=True).contiguous()
            for index, held in self.adam.state_dict()["state"].items()
            for name, value in held.items()
        }

    def restore(self, moments: Mapping[str, Tensor], done: int) -> None:
        self.done = done
        held: dict[int, dict[str, Any]] = {}
        for key, value in moments.items():
            index, name = key.split(".")
            held.setdefault(int(index), {})[name] = value.clone()
        if held:
            self.adam.load_state_dict({**self.adam.state_dict(), "state": held})
