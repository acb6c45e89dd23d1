"""The domain-conditional priors r_c(c; u) and r_s(s; c, u) as invertible zuko flows (arXiv 2402.15309, section 3).

Both are element-wise: noise = r(latent; context), so s̃ = r_s(s; c, u) is abduction and s = r_s⁻¹(s̃; c, u) prediction.
"""

from typing import Any

import torch
from torch import Tensor, nn
from zuko.flows.gaussianization import ElementWiseTransform
from zuko.transforms import MonotonicAffineTransform, MonotonicRQSTransform

from engine.studies.counterfactual_text.config import BETA_VAE, INDEPENDENT, Config

BINS = 8
KINDS: dict[str, dict[str, Any]] = {
    "affine": {"univariate": MonotonicAffineTransform, "shapes": [(), ()]},
    "spline": {"univariate": MonotonicRQSTransform, "shapes": [(BINS,), (BINS,), (BINS - 1,)]},
}
Normal = tuple[Tensor, Tensor]


class Prior(nn.Module):
    """p(c | u) and p(s | c, u): standard normal noise behind two conditional flows; standard normals for the β-VAE.

    r_s reads e_u and, except in the arm `independent`, the gated content W(c ⊙ tanh(A[c; e_u])).
    """

    def __init__(self, config: Config, arm: str, n_domains: int) -> None:
        super().__init__()
        self.has_flow, self.reads_content = arm != BETA_VAE, arm not in (BETA_VAE, INDEPENDENT)
        if not self.has_flow:
            return
        d_c, d_s, width = config.d_content, config.d_style, config.embedding
        options = {**KINDS[config.flow], "hidden_features": (64, 64)}
        self.embedding = nn.Embedding(n_domains, width)
        self.content_flow = ElementWiseTransform(d_c, width, **options)
        if self.reads_content:
            self.gate = nn.Linear(d_c + width, d_c)
            self.gated = nn.Linear(d_c, d_c)
        self.style_flow = ElementWiseTransform(d_s, width + d_c * self.reads_content, **options)

    def content_noise(self, content: Tensor, domain: Tensor) -> Normal:
        """r_c(c; u) (n × d_c) and log |det dr_c / dc| (n)."""
        if not self.has_flow:
            return content, torch.zeros_like(content[:, 0])
        found: Normal = self.content_flow(self.embedding(domain)).call_and_ladj(content)
        return found

    def style_noise(self, style: Tensor, content: Tensor, domain: Tensor) -> Normal:
        """Abduction: s̃ = r_s(s; c, u) (n × d_s) and log |det dr_s / ds| (n)."""
        if not self.has_flow:
            return style, torch.zeros_like(style[:, 0])
        found: Normal = self.style_flow(self._context(content, domain)).call_and_ladj(style)
        return found

    def style(self, noise: Tensor, content: Tensor, domain: Tensor) -> Tensor:
        """s = r_s⁻¹(s̃; c, u) (n × d_s)."""
        if not self.has_flow:
            return noise
        found: Tensor = self.style_flow(self._context(content, domain)).inv(noise)
        return found

    def _context(self, content: Tensor, domain: Tensor) -> Tensor:
        embedded = self.embedding(domain)
        if not self.reads_content:
            return torch.as_tensor(embedded)
        gate = torch.tanh(self.gate(torch.cat([content, embedded], dim=1)))
        return torch.cat([embedded, self.gated(content * gate)], dim=1)
