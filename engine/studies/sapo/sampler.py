"""Block-wise denoising with low-confidence remasking, as LLaDA samples (2502.09992, section 2.4)."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from engine.studies.sapo.policy import Logits
from engine.studies.sapo.schedule import Schedule

Remasking = Literal["low_confidence", "random"]
SHOWN_AT_ONCE = 2**26  # numbers, of 8 bytes each


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
    open_only: bool = False,
) -> Denoising:
    """Denoise `start` (n × L) by the schedule; rows begin at `first_step` (n), 0 by default.

    Every masked token is sampled by the Gumbel-max trick in float64 at `temperature` (0 takes the argmax) with the mask
    excluded; the most probable samples are committed, or random ones, and are never changed again. With `open_only` noise
    is drawn only where a token may be committed at a step: a language model's vocabulary is too large for more.
    Tokens and noise live on the CPU, logits wherever the model is.
    """
    begins = torch.zeros(len(start), dtype=torch.int64) if first_step is None else first_step
    x = start.clone()
    states = x.unsqueeze(1).repeat(1, schedule.steps + 1, 1)
    seen: list[tuple[Tensor, Tensor, Tensor]] = []
    passes = 0
    for step in range(int(begins.min()) if len(begins) else 0, schedule.steps):
        rows = torch.nonzero(begins <= step).squeeze(1)
        logits = logits_of(torch.cat([prompts[rows], x[rows]], dim=1))
        passes += len(rows)
        open_ = (x[rows] == mask) & (torch.arange(x.shape[1]) < schedule.ends[step])
        drawn = open_ if open_only else torch.ones_like(open_)
        sampled, confidence = _sampled(logits, drawn, mask, temperature, generator)
        if record:
            seen.append(_shown(logits, mask))
        if remasking == "random":
            confidence = torch.rand(sampled.shape, generator=generator, dtype=torch.float64)
        chosen = confidence.masked_fill(~open_, -torch.inf).topk(schedule.counts[step], dim=1).indices
        x[rows] = x[rows].scatter(1, chosen, sampled.gather(1, chosen))
        states[:, step + 1] = x
    if not record:
        return Denoising(states, passes)
    argmax, best, entropy = (torch.stack(parts, dim=1) for parts in zip(*seen, strict=True))
    return Denoising(states, passes, argmax, best, entropy)


def joined(parts: list[Denoising]) -> Denoising:
    """Denoisings of consecutive rows as one."""
    if len(parts) == 1:
        return parts[0]

    def of(name: str) -> Tensor | None:
        found = [getattr(part, name) for part in parts]
        return None if found[0] is None else torch.cat(found)

    states = torch.cat([part.states for part in parts])
    return Denoising(
        states, sum(part.passes for part in parts), of("argmax"), of("confidence"), of("entropy")
    )


def _sampled(
    logits: Tensor, drawn: Tensor, mask: int, temperature: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """A token and its probability at every position of `drawn` (n × L), 0 elsewhere, on the CPU."""
    laws = _without_mask(logits[drawn.to(logits.device)], mask)
    tokens = gumbel_argmax(laws, temperature, generator)
    probabilities = laws.softmax(dim=-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
    sampled = torch.zeros(drawn.shape, dtype=torch.int64)
    confidence = torch.zeros(drawn.shape, dtype=torch.float64)
    sampled[drawn], confidence[drawn] = tokens.cpu(), probabilities.cpu()
    return sampled, confidence


def _without_mask(logits: Tensor, mask: int) -> Tensor:
    """Logits (… × vocabulary, float64) with the mask token excluded."""
    found = logits.double()
    found[..., mask] = -torch.inf
    return found


def gumbel_argmax(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """A sample per position: argmax of exp(logits) / (−log u)^temperature, taken in logarithms."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    uniform = torch.rand(logits.shape, generator=generator, dtype=torch.float64).to(logits.device)
    return (logits - temperature * torch.log(-torch.log(uniform))).argmax(dim=-1)


def _shown(logits: Tensor, mask: int) -> tuple[Tensor, Tensor, Tensor]:
    """Argmax, its probability and the entropy of every prediction (n × L each, on the CPU), some rows at a time."""
    rows = max(1, SHOWN_AT_ONCE // logits[0].numel())
    found = []
    for part in logits.split(rows):
        probabilities = _without_mask(part, mask).softmax(dim=-1)
        best = probabilities.max(dim=-1)
        entropy = -torch.special.xlogy(probabilities, probabilities).sum(dim=-1)
        found.append((best.indices.cpu(), best.values.cpu(), entropy.cpu()))
    argmax, values, entropies = (torch.cat(parts) for parts in zip(*found, strict=True))
    return argmax, values, entropies
