"""Block-wise denoising with low-confidence remasking, as LLaDA samples (2502.09992, section 2.4)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.studies.sapo.policy import Logits
from engine.studies.sapo.schedule import Schedule

Remasking = Literal["low_confidence", "random"]


@dataclass(frozen=True)
class Denoising:
    """What a denoising left: `states` (n × (S + 1) × L), the last being the completion, and, where recorded,
    `argmax`, `confidence` (of the argmax) and `entropy` (nats) of the prediction before each step (n × S × L).

    `passes` counts forward passes times rows.
    """

    states: Tensor
    passes: int
    argmax: Tensor | None = None
    confidence: Tensor | None = None
    entropy: Tensor | None = None

    @property
    def completions(self) -> Tensor:
        return self.states[:, -1]


@torch.no_grad()
def denoise(
    logits_of: Logits,
    prompts: Tensor,
    start: Tensor,
    schedule: Schedule,
    mask: int,
    generator: torch.Generator,
    *,
    temperature: float,
    remasking: Remasking = "low_confidence",
    first_step: Tensor | None = None,
    record: bool = False,
) -> Denoising:
    """Denoise `start` (n × L) by the schedule; rows begin at `first_step` (n), 0 by default.

    Every masked token is sampled by the Gumbel-max trick in float64 at `temperature` (0 takes the argmax) with the mask
    excluded; the most probable samples are committed, or random ones, and are never changed again.
    """
    begins = torch.zeros(len(start), dtype=torch.int64) if first_step is None else first_step
    x = start.clone()
    states = x.unsqueeze(1).repeat(1, schedule.steps + 1, 1)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    passes = 0
    for step in range(int(begins.min()) if len(begins) else 0, schedule.steps):
        rows = torch.nonzero(begins <= step).squeeze(1)
        logits = predictions(logits_of, prompts[rows], x[rows], mask)
        passes += len(rows)
        sampled = gumbel_argmax(logits, temperature, generator)
        probabilities = logits.softmax(dim=-1)
        if record:
            seen.append(_shown(probabilities))
        if remasking == "random":
            confidence = torch.rand(sampled.shape, generator=generator, dtype=torch.float64)
        else:
            confidence = probabilities.gather(-1, sampled.unsqueeze(-1)).squeeze(-1)
        open_ = (x[rows] == mask) & (torch.arange(x.shape[1]) < schedule.ends[step])
        chosen = confidence.masked_fill(~open_, -torch.inf).topk(schedule.counts[step], dim=1).indices
        x[rows] = x[rows].scatter(1, chosen, sampled.gather(1, chosen))
        states[:, step + 1] = x
    if not record:
        return Denoising(states, passes)
    argmax, best, entropy = (torch.stack(parts, dim=1) for parts in zip(*seen, strict=True))
    return Denoising(states, passes, argmax, best, entropy)


def predictions(logits_of: Logits, prompts: Tensor, state: Tensor, mask: int) -> Tensor:
    """Logits (n × L × vocabulary, float64) with the mask token excluded."""
    logits = logits_of(torch.cat([prompts, state], dim=1)).double()
    logits[..., mask] = -torch.inf
    return logits


def gumbel_argmax(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """A sample per position: argmax of exp(logits) / (−log u)^temperature, taken in logarithms."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64)
    return (logits - temperature * torch.log(-torch.log(uniform))).argmax(dim=-1)


def _shown(probabilities: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    best = probabilities.max(dim=-1)
    entropy = -torch.special.xlogy(probabilities, probabilities).sum(dim=-1)
    return best.indices, best.values, entropy
