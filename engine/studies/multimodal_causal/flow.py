"""The invertible map of every modality's block onto its components: exact in both directions, exact log-determinant.

Rotations (matrix exponentials), couplings and element-wise monotone splines, the last two zuko's transforms.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

from engine.studies.multimodal_causal.networks import Parameters, forward, make_layers

BOUND = 6.0
BINS = 8
MAX_LOG_SCALE = 2.0


def make_flow(
    draws: Sequence[torch.Generator], n_modalities: int, n_latents: int, layers: int, hidden: int
) -> Parameters:
    """A flow for every (replica, modality): it starts as a random rotation of the block."""
    parameters: Parameters = {}
    for layer in range(layers + 1):
        skew = [torch.randn(n_modalities, n_latents, n_latents, generator=draw) for draw in draws]
        parameters[f"skew{layer}"] = torch.stack(skew)
        if n_latents > 1 and layer < layers:
            kept = n_latents // 2
            widths = (kept, hidden, 2 * (n_latents - kept))
            parameters |= make_layers(draws, f"coupling{layer}", (n_modalities,), widths, gain=0.1)
    shape = (len(draws), n_modalities, 1, n_latents)
    for name, size in (("widths", BINS), ("heights", BINS), ("derivatives", BINS - 1)):
        parameters[name] = torch.zeros(*shape, size)
    return parameters


def n_layers(parameters: Parameters) -> int:
    """Couplings with a rotation before each; one more rotation follows the last."""
    return sum(name.startswith("skew") for name in parameters) - 1


def _rotation(parameters: Parameters, layer: int) -> Tensor:
    skew = parameters[f"skew{layer}"]
    return torch.linalg.matrix_exp(skew - skew.transpose(-1, -2))


def _coupling(parameters: Parameters, layer: int, kept: Tensor) -> MonotonicAffineTransform:
    shift, scale = forward(parameters, f"coupling{layer}", kept).chunk(2, dim=-1)
    return MonotonicAffineTransform(shift, MAX_LOG_SCALE * torch.tanh(scale / MAX_LOG_SCALE))


def _spline(parameters: Parameters) -> MonotonicRQSTransform:
    return MonotonicRQSTransform(
        parameters["widths"], parameters["heights"], parameters["derivatives"], bound=BOUND
    )


def to_components(parameters: Parameters, codes: Tensor) -> tuple[Tensor, Tensor]:
    """Components of codes (replicas × modalities × rows × latents) and the log |determinant| (replicas × modalities × rows)."""
    x, log_determinant = codes, torch.zeros_like(codes[..., 0])
    split = codes.shape[-1] // 2
    for layer in range(n_layers(parameters)):
        x = x @ _rotation(parameters, layer)
        if split:
            kept, moved = x[..., :split], x[..., split:]
            moved, change = _coupling(parameters, layer, kept).call_and_ladj(moved)
            x, log_determinant = torch.cat([kept, moved], dim=-1), log_determinant + change.sum(dim=-1)
    x, change = _spline(parameters).call_and_ladj(x @ _rotation(parameters, n_layers(parameters)))
    return x, log_determinant + change.sum(dim=-1)


def to_codes(parameters: Parameters, components: Tensor) -> Tensor:
    """The inverse of `to_components`."""
    last = _rotation(parameters, n_layers(parameters))
    x = _spline(parameters).inv(components) @ last.transpose(-1, -2)
    split = components.shape[-1] // 2
    for layer in reversed(range(n_layers(parameters))):
        if split:
            kept, moved = x[..., :split], x[..., split:]
            x = torch.cat([kept, _coupling(parameters, layer, kept).inv(moved)], dim=-1)
        x = x @ _rotation(parameters, layer).transpose(-1, -2)
    return x
