"""Gated SAE (Rajamanoharan et al. 2024, arXiv 2404.16014): one path says whether, the other how much."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from engine.studies.sae_consistency.saes.base import Pass, Sae
from engine.studies.sae_consistency.saes.code import Code, code_of


class GatedSae(Sae):
    """z = 1[π > 0] · ReLU(exp(r_mag) · (π − b_enc) + b_mag), π the pre-activation and b_enc the gate's bias.

    Loss: squared error + l1_coefficient · Σ_j ReLU(π_j) + squared error of the reconstruction from ReLU(π) by a frozen
    copy of decoder and b_dec; mean over the batch (equations 5 to 8).
    """

    own: ClassVar[tuple[str, ...]] = ("r_mag", "b_mag")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.r_mag, self.b_mag = torch.zeros_like(self.b_enc), torch.zeros_like(self.b_enc)

    def support(self, pre: Tensor) -> Code:
        return code_of(pre > 0)

    def activate(self, code: Code, pre: Tensor) -> Tensor:
        scaled = (code.take(pre) - code.per_latent(self.b_enc)) * code.per_latent(self.r_mag.exp())
        return (scaled + code.per_latent(self.b_mag)).relu_()

    def backward(self, p: Pass) -> Tensor:
        code, batch = p.code, len(p.x)
        gate = code.take(p.pre)
        scale = code.per_latent(self.r_mag.exp())
        d_magnitude = p.dz * (p.z > 0)
        self.b_mag.grad = code.over_vectors(d_magnitude)
        self.r_mag.grad = code.over_vectors(d_magnitude * scale * (gate - code.per_latent(self.b_enc)))
        miss = self.summed(code.decode(gate, self.decoder)).add_(self.b_dec.unsqueeze(-2)).sub_(p.x)
        weight = self.config.l1_coefficient / batch
        ones = code.per_latent(torch.ones_like(self.b_enc))
        d_gate = code.dots(miss * (2 / batch), self.decoder) + weight * ones
        self.set_encoder_gradients(p, d_gate + d_magnitude * scale, d_gate)
        return weight * self.summed(code.total(gate)) + miss.square().sum(dim=(-2, -1)) / batch
