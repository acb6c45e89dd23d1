"""ReLU with an L1 penalty on the latents (Bricken et al. 2023; "Standard" in arXiv 2505.20254)."""

import torch
from torch import Tensor

from engine.studies.sae_consistency.saes.base import Sae, Step


class ReluSae(Sae):
    """Loss: squared error + l1_coefficient · Σ_j z_j, mean over the batch."""

    def encode(self, x: Tensor) -> Tensor:
        return self.pre_activations(x - self.b_dec).relu_()

    def step(self, x: Tensor, dead: Tensor) -> Step:
        batch = len(x)
        centred = x - self.b_dec
        z = self.pre_activations(centred).relu_()
        error = self.decode(z).sub_(x)
        gradient = error * (2 / batch)
        active = z > 0
        dz = (gradient @ self.decoder.T).add_(self.config.l1_coefficient / batch).mul_(active)
        self.set_gradients(dz.T @ centred, z.T @ gradient, dz.sum(dim=0), gradient.sum(dim=0))
        squared = float(error.square().sum())
        loss = (squared + self.config.l1_coefficient * float(z.sum())) / batch
        return Step(loss, squared, float(active.sum()) / batch, torch.any(active, dim=0))
