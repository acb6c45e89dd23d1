"""The conditional prior of the components: z_i = μ_i(parents) + σ_i ε_i, and the strength of every possible edge."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from engine.studies.multimodal_causal.networks import Parameters, uniform


def make_prior(draws: Sequence[torch.Generator], n_latents: int, hidden: int) -> Parameters:
    """One network with a hidden layer and a linear part for every (replica, component), over all components."""
    bound = 1 / math.sqrt(n_latents)
    return {
        "inner": uniform(draws, (n_latents, n_latents, hidden), bound),
        "inner_bias": uniform(draws, (n_latents, hidden), 1.0),
        "outer": uniform(draws, (n_latents, hidden), 0.1 / math.sqrt(hidden)),
        "linear": uniform(draws, (n_latents, n_latents), 0.1 * bound),
        "bias": torch.zeros(len(draws), n_latents),
        "log_scale": torch.zeros(len(draws), n_latents),
    }


def allowed_edges(order: Sequence[int], n_latents: int, within: bool) -> Tensor:
    """Mask (targets × sources): 1 where a component of an earlier modality may cause one of a later modality.

    `order` ranks the modalities; `within` also allows a component to cause the later ones of its own block.
    """
    n = len(order) * n_latents
    mask = torch.zeros(n, n)
    for target in range(n):
        for source in range(n):
            earlier = order[source // n_latents] < order[target // n_latents]
            same = source // n_latents == target // n_latents and source < target
            mask[target, source] = float(earlier or (within and same))
    return mask


def conditional_mean(parameters: Parameters, mask: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """μ (replicas × rows × components) of z, and the hidden activations (replicas × components × rows × hidden).

    `mask` (replicas × targets × sources) says which components each mean may read.
    """
    weights = parameters["inner"] * mask[..., None]
    hidden = torch.tanh(z[:, None] @ weights + parameters["inner_bias"][:, :, None])
    mean = (hidden @ parameters["outer"][..., None])[..., 0].transpose(1, 2)
    return mean + z @ (parameters["linear"] * mask).transpose(1, 2) + parameters["bias"][:, None], hidden


def log_density(parameters: Parameters, mean: Tensor, z: Tensor) -> Tensor:
    """log p(z) of every row (replicas × rows), Gaussian noise."""
    scale = parameters["log_scale"][:, None]
    return (-0.5 * ((z - mean) * torch.exp(-scale)).square() - scale - 0.5 * math.log(2 * math.pi)).sum(
        dim=-1
    )


def edge_strengths(parameters: Parameters, mask: Tensor, z: Tensor, hidden: Tensor) -> Tensor:
    """rms over rows of ∂μ_i/∂z_j times std(z_j)/std(z_i), (replicas × targets × sources)."""
    weights = parameters["inner"] * mask[..., None]
    linear = (parameters["linear"] * mask)[..., None]
    slopes = (1 - hidden.square()) * parameters["outer"][:, :, None]
    second_moment = slopes.transpose(-1, -2) @ slopes / z.shape[1]
    through = weights @ second_moment
    mean_slope = weights @ slopes.mean(dim=2)[..., None]
    square = (through * weights).sum(dim=-1) + (2 * linear * mean_slope + linear.square())[..., 0]
    size = (square.clamp_min(0) + 1e-8).sqrt() * mask
    spread = z.std(dim=1)
    return size * spread[:, None, :] / spread[:, :, None]
