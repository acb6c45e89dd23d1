"""JumpReLU (Rajamanoharan et al. 2024, arXiv 2407.14435) with a quadratic penalty around a target L0 (Gemma Scope 2)."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from engine.studies.sae_consistency.saes.base import Pass, Sae
from engine.studies.sae_consistency.saes.code import Code, code_of


class JumpReluSae(Sae):
    """z = π · 1[π > threshold], a threshold per latent, trained through rectangles of width `jumprelu_bandwidth`.

    Loss: squared error + l0_coefficient · 2/k · (L0 − k)², mean over the batch; only the thresholds get the gradient of
    the jumps. They start where the mean L0 of a sample is k, equal for all latents.
    """

    own: ClassVar[tuple[str, ...]] = ("threshold",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.threshold = torch.zeros_like(self.b_enc)

    def calibrate(self, sample: Tensor) -> None:
        for index in range(len(self.seeds)):
            self.one(index).threshold.fill_(cutoff_of_sample(self.one(index), sample))

    def support(self, pre: Tensor) -> Code:
        return code_of(pre > (self.threshold - self.config.jumprelu_bandwidth / 2).unsqueeze(-2))

    def activate(self, code: Code, pre: Tensor) -> Tensor:
        found = code.take(pre)
        return found * (found > code.per_latent(self.threshold))

    def backward(self, p: Pass) -> Tensor:
        code, width, k = p.code, self.config.jumprelu_bandwidth, self.config.k
        threshold = code.per_latent(self.threshold)
        above = code.take(p.pre) - threshold
        inside = ((above > -width / 2) & (above < width / 2)).to(p.dz.dtype) / width
        excess = self.summed(code.over_latents((p.z > 0).to(p.dz.dtype))) - k
        weight = self.config.l0_coefficient / len(p.x)
        slope = code.per_vector(excess * (weight * 4 / k))
        self.threshold.grad = -code.over_vectors(inside * (threshold * p.dz + slope))
        self.set_encoder_gradients(p, p.dz * (p.z > 0))
        return weight * 2 / k * excess.square().sum(dim=-1)

    def constrain(self) -> None:
        super().constrain()
        self.threshold.clamp_(min=0)


def cutoff_of_sample(sae: Sae, sample: Tensor) -> float:
    """The value above which a mean of k pre-activations per vector of a sample (n × d_in) lie; at least 0."""
    flat = sae.pre_activations(sample - sae.b_dec).flatten()
    n = min(sae.config.k * len(sample), len(flat))
    return max(float(flat.kthvalue(len(flat) - n + 1).values), 0.0)
