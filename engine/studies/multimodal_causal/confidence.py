"""How sure an edge is: the prior fitted again on bootstrap rows, and on rows whose modalities were shuffled apart."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from analyses.streams import stream_seed
from engine.studies.multimodal_causal.components import PRIOR_HIDDEN
from engine.studies.multimodal_causal.networks import Batches, Parameters, generators
from engine.studies.multimodal_causal.prior import (
    conditional_mean,
    edge_strengths,
    log_density,
    make_prior,
)
from engine.studies.multimodal_causal.stages import Stage

STEPS = 200
BATCH_SIZE = 256
LEARNING_RATE = 5e-3
NULL_QUANTILE = 0.99
SHUFFLES = 4


class PriorFits(Stage):
    """Conditional priors alone, on fixed components `train` and `validation` (replicas × rows × components).

    A replica is one resampled table, fitted without a penalty: `seeds` names its seed, `mask` (replicas × targets ×
    sources) its allowed edges. `start` warms the parameters up; without it they start anew.
    """

    def __init__(
        self,
        name: str,
        train: Tensor,
        validation: Tensor,
        seeds: Sequence[int],
        mask: Tensor,
        batches: Batches,
        start: Parameters | None = None,
    ) -> None:
        self.name, self.train, self.validation, self.batches = name, train, validation, batches
        self.seeds, self.mask = seeds, mask
        self.steps, self.learning_rate = STEPS, LEARNING_RATE
        draws = generators(name, [(seed, i) for i, seed in enumerate(seeds)])
        self.parameters = start or make_prior(draws, train.shape[-1], PRIOR_HIDDEN)

    def losses(self, step: int) -> Tensor:
        rows = self.batches.indices(step)
        z = torch.stack([table[chosen] for table, chosen in zip(self.train, rows, strict=True)])
        return self._objective(z)

    def held_out(self) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            return self._objective(self.validation), {}

    def _objective(self, z: Tensor) -> Tensor:
        mean, _ = conditional_mean(self.parameters, self.mask, z)
        return -log_density(self.parameters, mean, z).mean(dim=1)


def strengths_on(parameters: Parameters, mask: Tensor, z: Tensor) -> Tensor:
    """Edge strengths (replicas × targets × sources) of priors on z (replicas × rows × components)."""
    with torch.no_grad():
        _, hidden = conditional_mean(parameters, mask, z)
        return edge_strengths(parameters, mask, z, hidden)


def bootstrap_rows(n_rows: int, seed: int, draw: int) -> Tensor:
    """Row numbers drawn with replacement, of the stream "graph bootstrap"."""
    generator = np.random.default_rng(stream_seed("graph bootstrap", seed, draw))
    return torch.from_numpy(generator.integers(n_rows, size=n_rows))


def shuffled_apart(z: Tensor, n_latents: int, seed: int, draw: int) -> Tensor:
    """z (rows × components) with the rows of every modality shuffled by themselves, of the stream "edge null"."""
    generator = np.random.default_rng(stream_seed("edge null", seed, draw))
    blocks = z.split(n_latents, dim=1)
    return torch.cat([block[torch.from_numpy(generator.permutation(len(z)))] for block in blocks], dim=1)
