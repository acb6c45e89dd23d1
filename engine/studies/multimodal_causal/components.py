"""Stage 2: components of every block by exact likelihood and a sparse normalised Jacobian (2411.06518, stage 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.studies.multimodal_causal.flow import make_flow, to_components
from engine.studies.multimodal_causal.networks import Batches, Parameters, generators
from engine.studies.multimodal_causal.prior import (
    conditional_mean,
    edge_strengths,
    log_density,
    make_prior,
)
from engine.studies.multimodal_causal.stages import Stage

WARM_UP = 0.2
KEPT = 0.9
LAYERS, FLOW_HIDDEN, PRIOR_HIDDEN = 5, 32, 16


@dataclass(frozen=True)
class Replica:
    """One fit of stage 2: its seed, its weight of the sparsity, its restart and its allowed edges (targets × sources)."""

    seed: int
    sparsity: float
    restart: int
    mask: Tensor


class Components(Stage):
    """Many fits of stage 2 side by side on the codes of stage 1, (seeds × modalities × rows × latents).

    A new fit starts from random rotations; `start` gives other parameters to start from. The objective is the negative log-likelihood of a row's codes plus λ times the sum of the edge strengths; λ rises
    over the first fifth of the steps. The best state is the one whose objective on held-out rows is lowest.
    """

    def __init__(
        self,
        name: str,
        train: Tensor,
        validation: Tensor,
        seeds: Sequence[int],
        replicas: Sequence[Replica],
        batches: Batches,
        steps: int,
        learning_rate: float,
        start: Parameters | None = None,
    ) -> None:
        self.name, self.train, self.validation, self.batches = name, train, validation, batches
        self.steps, self.learning_rate = steps, learning_rate
        self.warm_up = round(WARM_UP * steps) if start is None else 0
        self.replicas = replicas
        self.seeds = [replica.seed for replica in replicas]
        self.place = torch.tensor([list(seeds).index(seed) for seed in self.seeds])
        self.sparsity = torch.tensor([replica.sparsity for replica in replicas], device=train.device)
        self.mask = torch.stack([replica.mask for replica in replicas]).to(train.device)
        n_modalities, n_latents = train.shape[1], train.shape[-1]
        draws = generators("components", [(r.seed, r.restart) for r in replicas])
        self.parameters = start or {
            **make_flow(draws, n_modalities, n_latents, LAYERS, FLOW_HIDDEN),
            **make_prior(draws, n_modalities * n_latents, PRIOR_HIDDEN),
        }

    def losses(self, step: int) -> Tensor:
        rows = self.batches.indices(step)
        codes = torch.stack([self.train[i][:, chosen] for i, chosen in enumerate(rows)])
        likelihood, strengths = evaluate(self.parameters, self.mask, codes[self.place])
        ramp = min(1.0, step / max(1, self.warm_up))
        return -likelihood.mean(dim=1) + ramp * self.sparsity * strengths.sum(dim=(1, 2))

    def held_out(self) -> tuple[Tensor, dict[str, Tensor]]:
        likelihood, strengths = self.held_out_rows()
        size, mean = strengths.sum(dim=(1, 2)), likelihood.mean(dim=1)
        metrics = {"held_out_log_likelihood": mean, "jacobian_l1": size}
        return -mean + self.sparsity * size, metrics

    def held_out_rows(self, parameters: Parameters | None = None) -> tuple[Tensor, Tensor]:
        """log-likelihood of every held-out row (replicas × rows) and edge strengths (replicas × targets × sources)."""
        with torch.no_grad():
            return evaluate(parameters or self.parameters, self.mask, self.validation[self.place])


def side_by_side(components: Tensor) -> Tensor:
    """Components of all modalities in one row: (replicas × modalities × rows × latents) → (replicas × rows × all)."""
    replicas, modalities, rows, latents = components.shape
    return components.transpose(1, 2).reshape(replicas, rows, modalities * latents)


def evaluate(parameters: Parameters, mask: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
    """log-likelihood of every row of codes (replicas × rows), and edge strengths (replicas × targets × sources)."""
    components, log_determinant = to_components(parameters, codes)
    z = side_by_side(components)
    mean, hidden = conditional_mean(parameters, mask, z)
    likelihood = log_density(parameters, mean, z) + log_determinant.sum(dim=1)
    return likelihood, edge_strengths(parameters, mask, z, hidden)


def choose_sparsity(likelihoods: Sequence[float], edgeless: float, grid: Sequence[float]) -> int:
    """Index of the λ of `grid` to use, from the mean held-out log-likelihood of each λ's graph and that of no edges.

    The sparsest λ whose graph keeps at least KEPT of what the best one gains over no edges. A standard error would not
    do: codes of stage 1 are never exact, so superfluous edges always buy a little likelihood.
    """
    gains = [likelihood - edgeless for likelihood in likelihoods]
    kept = [i for i, gain in enumerate(gains) if gain >= KEPT * max(gains)]
    return max(kept or [gains.index(max(gains))], key=lambda i: grid[i])
