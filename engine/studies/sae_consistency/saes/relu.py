"""ReLU with an L1 penalty on the latents (Bricken et al. 2023; "Standard" in arXiv 2505.20254)."""

from torch import Tensor

from engine.studies.sae_consistency.saes.base import Pass, Sae
from engine.studies.sae_consistency.saes.code import Code, code_of


class ReluSae(Sae):
    """Loss: squared error + l1_coefficient · Σ_j z_j, mean over the batch."""

    def support(self, pre: Tensor) -> Code:
        return code_of(pre > 0)

    def backward(self, p: Pass) -> Tensor:
        weight = self.config.l1_coefficient / len(p.x)
        self.set_encoder_gradients(p, (p.dz + weight) * (p.z > 0))
        return weight * self.summed(p.code.total(p.z))
