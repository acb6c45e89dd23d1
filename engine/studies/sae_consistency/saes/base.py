"""The sparse autoencoder every architecture shares: parameters, initialisation, geometry of the decoder."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from analyses.streams import stream_seed
from engine.studies.sae_consistency.config import Config


@dataclass(frozen=True)
class Step:
    """What one batch gave: the loss, the summed squared error, mean L0, and which latents fired (d_sae)."""

    loss: float
    squared_error: float
    l0: float
    fired: Tensor


class Sae(ABC):
    """x̂ = z · decoder + b_dec with z = activation((x − b_dec) · encoderᵀ + b_enc).

    `encoder`, `decoder` (d_sae × d_in), `b_enc` (d_sae), `b_dec` (d_in), all contiguous float32: Adam is only
    right when a gradient's strides equal its parameter's. Gradients are written by hand, since the sparse
    ones cost a fraction of autograd's. The loss is the squared error summed over dimensions, mean over the batch.
    """

    def __init__(self, config: Config, d_in: int, seed: int, b_dec: Tensor) -> None:
        self.config = config
        generator = torch.Generator().manual_seed(stream_seed("init", seed))
        directions = torch.randn(config.d_sae, d_in, generator=generator)
        directions /= directions.norm(dim=1, keepdim=True)
        device = b_dec.device
        self.decoder = directions.to(device).contiguous()
        self.encoder = self.decoder.clone()
        self.b_enc = torch.zeros(config.d_sae, device=device)
        self.b_dec = b_dec.clone()

    @property
    def parameters(self) -> dict[str, Tensor]:
        return {"encoder": self.encoder, "decoder": self.decoder, "b_enc": self.b_enc, "b_dec": self.b_dec}

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Latent activations z (B × d_sae), dense, of vectors x (B × d_in)."""

    @abstractmethod
    def step(self, x: Tensor, dead: Tensor) -> Step:
        """Loss of a batch x (B × d_in); sets every parameter's `.grad`. `dead` (d_sae) marks dead latents."""

    def decode(self, z: Tensor) -> Tensor:
        """Reconstructions (B × d_in) of latents z (B × d_sae)."""
        return torch.addmm(self.b_dec, z, self.decoder)

    def pre_activations(self, centred: Tensor) -> Tensor:
        return torch.addmm(self.b_enc, centred, self.encoder.T)

    def set_gradients(self, encoder: Tensor, decoder: Tensor, b_enc: Tensor, error: Tensor) -> None:
        """Store gradients; `error` (d_in) is the summed gradient of the reconstruction, which b_dec also gets."""
        if self.config.decoder_norm == "unit":
            decoder -= (decoder * self.decoder).sum(dim=1, keepdim=True) * self.decoder
        self.encoder.grad, self.decoder.grad, self.b_enc.grad = encoder, decoder, b_enc
        self.b_dec.grad = error - b_enc @ self.encoder

    def constrain(self) -> None:
        """After an optimiser step: bring decoder rows back to norm 1."""
        if self.config.decoder_norm == "unit":
            self.decoder /= self.decoder.norm(dim=1, keepdim=True)


def geometric_median(x: Tensor, tolerance: float = 1e-6, max_iterations: int = 200) -> Tensor:
    """The point (d) with the least summed distance to the rows of x (n × d), by Weiszfeld's iteration."""
    point = x.mean(dim=0)
    for _ in range(max_iterations):
        weights = 1 / (x - point).norm(dim=1).clamp_min(1e-12)
        moved = (weights[:, None] * x).sum(dim=0) / weights.sum()
        if (moved - point).norm() <= tolerance * point.norm():
            return moved
        point = moved
    return point
