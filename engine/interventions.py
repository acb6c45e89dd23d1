"""Interventions on a hook point's vectors: steer, ablate or patch a feature or a direction, and their random control.

All vectors are raw activations x (d). z_f is the activation of feature f of an SAE that reads raw activations, d_f
its decoder row. `scale` maps raw activations to the vectors the SAE was trained on, of mean norm √d, so that √d / scale
is the mean norm of raw activations, and z_f is in the units of the trained vectors. What the SAE does not explain of a
vector always stays in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from analyses.streams import stream_seed
from engine.errors import UserError

Kind = Literal["steer", "ablate", "patch"]
Positions = Literal["all", "last"] | list[int]


class Code(Protocol):
    """What an intervention needs of an SAE on raw activations: `decoder` (d_sae × d) and `encode` (n × d → n × d_sae)."""

    decoder: Tensor

    def encode(self, x: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Intervention:
    """What is done to a vector x. `direction` d̂ (d) has norm 1; `feature` is None where a direction alone is meant.

    steer: x + strength · m · d̂, with m the mean norm of raw activations, so `strength` is a share of that norm.
    ablate: x − z_f · d_f; of a direction, x − (x · d̂) d̂.
    patch: x + (strength − z_f) · d_f, so the feature contributes `strength` · d_f as if it had that activation; of a
    direction, its component is set: scale · x · d̂ becomes `strength`.
    """

    kind: Kind
    strength: float
    direction: Tensor
    scale: float
    sae: Code
    feature: int | None

    def change(self, x: Tensor) -> Tensor:
        """What is added to each of the vectors x (n × d, float32): n × d."""
        if self.kind == "steer":
            mean_norm = len(self.direction) ** 0.5 / self.scale
            return (self.strength * mean_norm * self.direction).expand_as(x)
        target = self.strength if self.kind == "patch" else 0.0
        if self.feature is None:
            component = x @ self.direction * self.scale
            return (target - component)[:, None] / self.scale * self.direction
        active = self.sae.encode(x)[:, self.feature]
        return (target - active)[:, None] * self.sae.decoder[self.feature]


def direction_of(sae: Code, feature: int | None, minus: int | None, vector: Sequence[float] | None) -> Tensor:
    """The unit vector (d) of a feature's decoder row, of the difference of two, or of `vector`.

    Raises UserError where that vector is zero.
    """
    if vector is not None:
        found = torch.tensor(vector, dtype=torch.float32, device=sae.decoder.device)
    elif minus is None:
        found = sae.decoder[feature]
    else:
        found = sae.decoder[feature] - sae.decoder[minus]
    norm = found.norm()
    if norm == 0:
        field = "vector" if vector is not None else "feature"
        raise UserError(field, "this direction is zero; choose another.")
    return found / norm


def random_directions(n: int, d: int, seed: int, device: str | torch.device) -> Tensor:
    """`n` isotropic unit vectors (n × d) from the stream "lab control"; the same on every device."""
    generator = torch.Generator().manual_seed(stream_seed("lab control", seed))
    found = torch.randn(n, d, generator=generator)
    return (found / found.norm(dim=1, keepdim=True)).to(device)


@dataclass(frozen=True)
class Edit:
    """What is added at the hook point in every row of a batch.

    Row 0 is the baseline: nothing. Row 1 gets the intervention. Row 2 + i gets `controls[i]` (c × d) as long as the
    intervention's change of that row's own vector at that position, so its norm is the same, position by position:
    in the prompt, where all rows hold the same vectors, exactly that of row 1. Changed are the `positions` of the
    prompt and, with `generated`, the tokens after it; never position 0 nor a vector of a norm above `limit` (massive),
    which the SAE does not read.
    """

    intervention: Intervention
    controls: Tensor
    positions: Positions
    generated: bool
    n_prompt: int
    limit: float

    def __call__(self, x: Tensor, start: int) -> Tensor:
        """The changes (2 + c × T × d) of x (1 or 2 + c × T × d), float32, of the tokens from position `start` on."""
        rows = 2 + len(self.controls)
        flat = x.flatten(0, 1)
        change = self.intervention.change(flat).reshape(x.shape)
        change = change * self._mask(x, start)[..., None]
        change = change.expand(rows, -1, -1)
        random = change[2:].norm(dim=-1, keepdim=True) * self.controls[:, None]
        return torch.cat([torch.zeros_like(change[:1]), change[1:2], random])

    def _mask(self, x: Tensor, start: int) -> Tensor:
        """Where x (B × T × d) is changed: B × T."""
        places = torch.arange(start, start + x.shape[1], device=x.device)
        prompt = places < self.n_prompt
        if self.positions == "all":
            chosen = prompt
        elif self.positions == "last":
            chosen = places == self.n_prompt - 1
        else:
            chosen = torch.isin(places, torch.tensor(self.positions, device=x.device))
        chosen = (chosen & (places > 0)) | (~prompt & self.generated)
        return chosen & readable(x, self.limit)


def readable(x: Tensor, limit: float) -> Tensor:
    """Which vectors (…× d) are no massive activations."""
    return x.norm(dim=-1) <= limit
