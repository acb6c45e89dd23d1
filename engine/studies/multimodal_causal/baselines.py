"""What the method is compared with: a β-VAE of every modality, and one contrastive embedding shared by all."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from analyses.streams import stream_seed
from engine.studies.multimodal_causal.names import BETA_VAE, CONTRASTIVE
from engine.studies.multimodal_causal.networks import (
    Batches,
    Parameters,
    forward,
    generators,
    make_layers,
)
from engine.studies.multimodal_causal.stages import Stage

BETA = 4.0
TEMPERATURE = 0.2
VALIDATION_STEP = -1


class BetaVae(Stage):
    """β-VAE (Higgins et al. 2017) of each modality alone, unit-variance Gaussian decoder, β = 4; latents are the means.

    `train` and `validation` are (modalities × rows × variables), padded with zeros to one width.
    """

    name = BETA_VAE

    def __init__(
        self,
        train: Tensor,
        validation: Tensor,
        seeds: Sequence[int],
        n_latents: int,
        hidden: int,
        batches: Batches,
        steps: int,
        learning_rate: float,
    ) -> None:
        self.train, self.validation, self.batches = train, validation, batches
        self.seeds, self.steps, self.learning_rate, self.n_latents = seeds, steps, learning_rate, n_latents
        n_modalities, _, n_variables = train.shape
        draws = generators("beta-VAE", [(seed,) for seed in seeds])
        self.parameters = {
            **make_layers(draws, "encoder", (n_modalities,), (n_variables, hidden, hidden, 2 * n_latents)),
            **make_layers(draws, "decoder", (n_modalities,), (n_latents, hidden, hidden, n_variables)),
        }

    def losses(self, step: int) -> Tensor:
        rows = self.batches.indices(step)
        return self._bound(torch.stack([self.train[:, chosen] for chosen in rows]), step)

    def held_out(self) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            x = self.validation.expand(len(self.seeds), *self.validation.shape)
            return self._bound(x, VALIDATION_STEP), {}

    def _bound(self, x: Tensor, step: int) -> Tensor:
        mean, log_variance = forward(self.parameters, "encoder", x).chunk(2, dim=-1)
        log_variance = log_variance.clamp(-8, 4)
        noise = torch.stack([self._noise(seed, step, mean.shape[1:]) for seed in self.seeds]).to(x.device)
        decoded = forward(self.parameters, "decoder", mean + noise * torch.exp(log_variance / 2))
        error = 0.5 * (decoded - x).square().sum(dim=-1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=-1)
        return (error + BETA * divergence).mean(dim=(1, 2))

    @staticmethod
    def _noise(seed: int, step: int, shape: torch.Size) -> Tensor:
        draw = torch.Generator().manual_seed(stream_seed("beta-VAE noise", seed, step))
        return torch.randn(shape, generator=draw)


class SharedEmbedding(Stage):
    """Multimodal contrastive learning: one embedding for all modalities, cosine similarity, symmetric InfoNCE."""

    name = CONTRASTIVE

    def __init__(
        self,
        train: Tensor,
        validation: Tensor,
        seeds: Sequence[int],
        n_latents: int,
        hidden: int,
        batches: Batches,
        steps: int,
        learning_rate: float,
    ) -> None:
        self.train, self.validation, self.batches = train, validation, batches
        self.seeds, self.steps, self.learning_rate = seeds, steps, learning_rate
        n_modalities, _, n_variables = train.shape
        pairs = list(combinations(range(n_modalities), 2))
        self.left, self.right = [a for a, _ in pairs], [b for _, b in pairs]
        draws = generators("contrastive", [(seed,) for seed in seeds])
        widths = (n_variables, hidden, hidden, n_latents)
        self.parameters = make_layers(draws, "encoder", (n_modalities,), widths)

    def losses(self, step: int) -> Tensor:
        rows = self.batches.indices(step)
        return self._info_nce(torch.stack([self.train[:, chosen] for chosen in rows]))

    def held_out(self) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            x = self.validation[:, : self.batches.batch_size]
            return self._info_nce(x.expand(len(self.seeds), *x.shape)), {}

    def _info_nce(self, x: Tensor) -> Tensor:
        codes = functional.normalize(forward(self.parameters, "encoder", x), dim=-1)
        scores = codes[:, self.left] @ codes[:, self.right].transpose(-1, -2) / TEMPERATURE
        diagonal = torch.diagonal(scores, dim1=-2, dim2=-1)
        both = torch.logsumexp(scores, dim=-1) + torch.logsumexp(scores, dim=-2)
        return (both / 2 - diagonal).mean(dim=(1, 2))


def baseline_latents(parameters: Parameters, x: Tensor, n_latents: int) -> Tensor:
    """Latents (seeds × modalities × rows × latents) of either baseline."""
    return forward(parameters, "encoder", x)[..., :n_latents]
