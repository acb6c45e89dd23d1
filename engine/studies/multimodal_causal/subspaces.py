"""Stage 1: the block of every modality, up to an invertible map, by InfoNCE between modalities (2411.06518, stage 1)."""

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from engine.studies.multimodal_causal.networks import (
    Batches,
    Parameters,
    forward,
    generators,
    make_layers,
    standardise,
)
from engine.studies.multimodal_causal.stages import Stage

CRITIC_WIDTH = 32


class Subspaces(Stage):
    """Encoders of every modality and a separable critic between every pair; InfoNCE in both directions.

    `train` and `validation` are (modalities × rows × variables), padded with zeros to one width.
    """

    name = "subspaces"

    def __init__(
        self,
        train: Tensor,
        validation: Tensor,
        seeds: Sequence[int],
        n_latents: int,
        hidden: Sequence[int],
        batches: Batches,
        steps: int,
        learning_rate: float,
    ) -> None:
        self.train, self.validation, self.batches = train, validation, batches
        self.seeds, self.steps, self.learning_rate = seeds, steps, learning_rate
        n_modalities, _, n_variables = train.shape
        pairs = list(combinations(range(n_modalities), 2))
        self.left, self.right = [a for a, _ in pairs], [b for _, b in pairs]
        draws = generators("subspaces", [(seed,) for seed in seeds])
        critic = (n_latents, 64, 64, CRITIC_WIDTH)
        self.parameters = {
            **make_layers(draws, "encoder", (n_modalities,), (n_variables, *hidden, n_latents)),
            **make_layers(draws, "left", (len(pairs),), critic),
            **make_layers(draws, "right", (len(pairs),), critic),
        }

    def losses(self, step: int) -> Tensor:
        rows = self.batches.indices(step)
        return self._info_nce(torch.stack([self.train[:, chosen] for chosen in rows]))

    def held_out(self) -> tuple[Tensor, dict[str, Tensor]]:
        size = self.batches.batch_size
        parts = [part for part in self.validation.split(size, dim=1) if part.shape[1] == size]
        parts = parts or [self.validation]
        with torch.no_grad():
            loss = torch.stack([self._info_nce(part.expand(len(self.seeds), *part.shape)) for part in parts])
        return loss.mean(dim=0), {"info_nce": loss.mean(dim=0)}

    def _info_nce(self, x: Tensor) -> Tensor:
        """Mean over pairs of modalities of the symmetric InfoNCE loss (replicas) of x (replicas × modalities × n × p)."""
        codes = standardise(forward(self.parameters, "encoder", x))
        left = forward(self.parameters, "left", codes[:, self.left])
        right = forward(self.parameters, "right", codes[:, self.right])
        scores = left @ right.transpose(-1, -2) / CRITIC_WIDTH**0.5
        diagonal = torch.diagonal(scores, dim1=-2, dim2=-1)
        both = torch.logsumexp(scores, dim=-1) + torch.logsumexp(scores, dim=-2)
        return (both / 2 - diagonal).mean(dim=(1, 2))


def encode(parameters: Parameters, x: Tensor, like: Tensor | None = None) -> Tensor:
    """Whitened codes (seeds × modalities × rows × latents) of x; mean and covariance are those of `like`, or of x."""
    reference = forward(parameters, "encoder", x if like is None else like)
    codes = reference if like is None else forward(parameters, "encoder", x)
    mean = reference.mean(dim=-2, keepdim=True)
    centred = reference - mean
    covariance = centred.transpose(-1, -2) @ centred / reference.shape[-2]
    values, vectors = torch.linalg.eigh(covariance)
    floor = values.amax(dim=-1, keepdim=True) * 1e-6
    whiten = vectors @ torch.diag_embed(values.clamp_min(floor).rsqrt()) @ vectors.transpose(-1, -2)
    return (codes - mean) @ whiten
