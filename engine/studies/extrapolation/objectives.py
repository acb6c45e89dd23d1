"""The two ways to explain a single target by the source (arXiv 2501.09163, as its summary and this study's notes give them).

Dense shift (Theorem 4.2), *minimal distance*: for each class k minimise over ŝ ‖x − ĝ(k, ŝ)‖² + λ · distance(ŝ, support).
Sparse shift (Theorem 4.4), *minimal change*: ŝ stays on the support, and the q coordinates that fit worst are left out of the
squared error: what few of them changed does not matter, however far. The class with the smallest score is the answer.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyses.extrapolation import NEAR
from engine.studies.extrapolation.models import SourceModel, Support

STARTS = 4
RATE = {True: 0.1, False: 0.05}
TRIM_SHARE = 0.3
PATH_POINTS = 20


@dataclass(frozen=True)
class Fit:
    """n targets explained by each of K classes.

    `scores` (n × K); `latents` (n × K × m) best ŝ; `rebuilt` (n × K × d); `left_out` (n × K × d) which coordinates count for
    nothing; `path` (points × n × K × m): ŝ on the way there.
    """

    scores: Tensor
    latents: Tensor
    rebuilt: Tensor
    left_out: Tensor
    path: Tensor

    @property
    def prediction(self) -> Tensor:
        return self.scores.argmin(dim=1)


@dataclass(frozen=True)
class Objective:
    """An arm with its knobs: λ of the minimal distance, q of the minimal change."""

    arm: str
    pull: float
    changed: int
    steps: int

    @property
    def near(self) -> bool:
        return self.arm == NEAR

    def residuals(self, x: Tensor, rebuilt: Tensor) -> tuple[Tensor, Tensor]:
        """Squared error (…) that counts, and which coordinates (… × d) it leaves out."""
        squared = (x - rebuilt) ** 2
        if self.near or self.changed == 0:
            return squared.sum(dim=-1), torch.zeros_like(squared, dtype=torch.bool)
        worst = squared.topk(self.changed, dim=-1).indices
        left_out = torch.zeros_like(squared, dtype=torch.bool).scatter(-1, worst, True)
        return squared.masked_fill(left_out, 0).sum(dim=-1), left_out


def fit(model: SourceModel, support: Support, objective: Objective, x: Tensor, bank: Tensor) -> Fit:
    """Explain targets x (n × d), each alone, from source latents `bank` (K × draws × m), of which Adam improves the best few."""
    n, k = len(x), len(bank)
    begin = bank.expand(n, *bank.shape)
    labels = torch.arange(k)[None, :, None]
    steps = objective.steps if objective.near else max(1, round(TRIM_SHARE * objective.steps))
    at = x[:, None, None, :]

    def scored(latents: Tensor) -> Tensor:
        rebuilt = model.decode(labels.expand(latents.shape[:3]), latents)
        loss = objective.residuals(at, rebuilt)[0]
        return loss + objective.pull * support.beyond(latents) if objective.near else loss

    with torch.no_grad():
        best = scored(begin).topk(min(STARTS, begin.shape[2]), dim=2, largest=False).indices
    latents = (
        torch.gather(begin, 2, best[..., None].expand(*best.shape, begin.shape[3])).clone().requires_grad_()
    )
    optimiser = torch.optim.Adam([latents], RATE[objective.near])
    kept_at = set(torch.linspace(0, steps, PATH_POINTS).round().long().tolist())
    path = []
    for step in range(steps + 1):
        if step in kept_at:
            path.append(latents.detach().clone())
        if step == steps:
            break
        optimiser.zero_grad()
        scored(latents).sum().backward()
        optimiser.step()
        if not objective.near:
            with torch.no_grad():
                latents.copy_(support.project(latents))
    with torch.no_grad():
        scores = scored(latents)
        place = scores.argmin(dim=2)
        found = _at(latents.detach(), place)
        rebuilt = model.decode(labels[..., 0].expand(n, k), found)
        left_out = objective.residuals(x[:, None, :], rebuilt)[1]
        trail = torch.stack([_at(one, place) for one in path])
        return Fit(scores.min(dim=2).values, found, rebuilt, left_out, trail)


def _at(values: Tensor, place: Tensor) -> Tensor:
    """values (n × K × starts × m) at place (n × K): n × K × m."""
    index = place[..., None, None].expand(*place.shape, 1, values.shape[-1])
    return torch.gather(values, 2, index)[:, :, 0]
