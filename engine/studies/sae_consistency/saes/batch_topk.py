"""BatchTopK (Bussmann et al. 2024, arXiv 2412.06410): the k · B largest latents of a batch of B vectors."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from engine.studies.sae_consistency.saes.base import Step
from engine.studies.sae_consistency.saes.code import (
    Code,
    DenseCode,
    SparseCode,
    prefers_dense,
    sparse_code_of,
)
from engine.studies.sae_consistency.saes.jumprelu import cutoff_of_sample
from engine.studies.sae_consistency.saes.topk import TopKSae

THRESHOLD_RATE = 0.01
CAUTION = 0.9


class BatchTopKSae(TopKSae):
    """In training the k · B largest positive pre-activations of the batch; afterwards those above `threshold`.

    `threshold` follows the smallest value kept in each batch, an exponential mean of rate 0.01.
    """

    buffers: ClassVar[tuple[str, ...]] = ("threshold",)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.threshold = torch.zeros(self.b_enc.shape[:-1], device=self.b_enc.device)

    def calibrate(self, sample: Tensor) -> None:
        for index in range(len(self.seeds)):
            self.one(index).threshold.fill_(cutoff_of_sample(self.one(index), sample))

    def support(self, pre: Tensor) -> Code:
        n = self.config.k * pre.shape[-2]
        if prefers_dense(pre):
            flat = pre.flatten(-2)
            top = flat.topk(n, dim=-1, sorted=False)
            mask = torch.zeros_like(flat, dtype=torch.bool).scatter_(-1, top.indices, top.values > 0)
            return DenseCode(mask.view_as(pre))
        code = sparse_code_of(pre > CAUTION * self.threshold)
        if len(code.latents) < n:
            code = sparse_code_of(pre > 0)
        kept = code.take(pre).topk(min(n, len(code.latents)), sorted=False).indices.sort().values
        return SparseCode.of(code.vectors[kept], code.latents[kept], *pre.shape)

    def encode(self, x: Tensor) -> Tensor:
        pre = self.pre_activations(x - self.b_dec)
        return pre * (pre > self.threshold)

    def step(self, x: Tensor, dead: Tensor, number: int = 0) -> Step:
        found = super().step(x, dead, number)
        moved = self.threshold.lerp(self._smallest, THRESHOLD_RATE)
        self.threshold.copy_(torch.where(self._smallest.isfinite(), moved, self.threshold))
        return found

    def activate(self, code: Code, pre: Tensor) -> Tensor:
        z = super().activate(code, pre)
        self._smallest = code.smallest(torch.where(z > 0, z, torch.inf))
        return z
