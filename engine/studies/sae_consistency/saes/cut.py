"""SAEs that hold a part of a dictionary: of n processes the r-th has latents r, r + n, r + 2n, … and sees every vector.

What the parts do together is add up reconstructions and choose the largest latents, so a batch costs B × d_in numbers and
B × k candidates of each part on the way, and no process ever holds the whole.
"""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.saes.base import Pass, Sae
from engine.studies.sae_consistency.saes.batch_topk import BatchTopKSae
from engine.studies.sae_consistency.saes.code import Code, code_of
from engine.studies.sae_consistency.saes.gated import GatedSae
from engine.studies.sae_consistency.saes.jumprelu import JumpReluSae
from engine.studies.sae_consistency.saes.matryoshka_batch_topk import MatryoshkaBatchTopKSae, prefix_widths
from engine.studies.sae_consistency.saes.relu import ReluSae
from engine.studies.sae_consistency.saes.topk import TopKSae


class Cut(Sae):
    """This process's part of a dictionary of one seed; every process of torch's default group must take each step with it."""

    def __init__(self, config: Config, d_in: int, seeds: Sequence[int], b_dec: Tensor) -> None:
        self.rank, self.n_parts, self.whole_d_sae = dist.get_rank(), dist.get_world_size(), config.d_sae
        super().__init__(config.model_copy(update={"d_sae": self.mine(config.d_sae)}), d_in, seeds, b_dec)

    def mine(self, width: int) -> int:
        """How many of the dictionary's first `width` latents are here."""
        return len(range(self.rank, width, self.n_parts))

    def summed(self, part: Tensor) -> Tensor:
        dist.all_reduce(part)
        return part

    def largest(self, values: Tensor, n: int) -> Tensor:
        """Marks here (… × width) of the n largest of each row over all parts; parts may differ in width."""
        own = values.topk(min(n, values.shape[-1]), dim=-1, sorted=False)
        rows = torch.full((*values.shape[:-1], n), -torch.inf, device=values.device)
        rows[..., : own.values.shape[-1]] = own.values
        every = [torch.empty_like(rows) for _ in range(self.n_parts)]
        dist.all_gather(every, rows)
        best = torch.cat(every, dim=-1).topk(n, dim=-1, sorted=False).indices
        chosen = torch.zeros((*rows.shape[:-1], n * self.n_parts), dtype=torch.bool, device=values.device)
        chosen.scatter_(-1, best, True)
        here = chosen[..., self.rank * n : self.rank * n + own.indices.shape[-1]]
        return torch.zeros_like(values, dtype=torch.bool).scatter_(-1, own.indices, here)


class CutTopK(Cut, TopKSae):
    """The k largest latents of a vector over all parts."""

    def support(self, pre: Tensor) -> Code:
        return code_of(self.largest(pre, self.config.k))

    def revive(self, p: Pass, dead: Tensor) -> Tensor:
        """As of a whole dictionary: the dead latents of all parts are ranked together."""
        n_dead = int(self.summed(dead.sum()))
        if not n_dead or self.config.aux_coefficient == 0:
            return torch.zeros_like(p.loss)
        ids = dead.nonzero().flatten()
        rows, pre = self.decoder[ids], p.pre[:, ids]
        kept = self.largest(pre, min(n_dead, max(self.config.k, p.centred.shape[1] // 2)))
        z = pre.relu() * kept
        return self._pull(p, ids, rows, z, self.summed(z @ rows).add_(p.error), ...)


class CutBatchTopK(CutTopK, BatchTopKSae):
    """The k · B largest latents of a batch over all parts."""

    def support(self, pre: Tensor) -> Code:
        n = self.config.k * len(pre)
        return code_of(self.largest(pre.flatten(), n).view_as(pre) & (pre > 0))

    def activate(self, code: Code, pre: Tensor) -> Tensor:
        z = super().activate(code, pre)
        dist.all_reduce(self._smallest, dist.ReduceOp.MIN)
        return z


class CutMatryoshka(CutBatchTopK, MatryoshkaBatchTopKSae):
    """Every part has its share of each prefix."""

    @property
    def widths(self) -> list[int]:
        return [self.mine(width) for width in prefix_widths(self.whole_d_sae)]


class CutRelu(Cut, ReluSae):
    """ReLU: a latent's place is its own affair."""


class CutGated(Cut, GatedSae):
    """Gated: a latent's place is its own affair."""


class CutJumpRelu(Cut, JumpReluSae):
    """JumpReLU: L0 is that of all parts."""


CUT: dict[str, type[Cut]] = {
    "relu": CutRelu,
    "gated": CutGated,
    "jumprelu": CutJumpRelu,
    "topk": CutTopK,
    "batch_topk": CutBatchTopK,
    "matryoshka_batch_topk": CutMatryoshka,
}
