"""TopK (Gao et al. 2024, arXiv 2406.04093): the k largest latents, and an auxiliary loss that revives dead ones."""

from types import EllipsisType

import torch
from torch import Tensor

from engine.studies.sae_consistency.saes.base import Pass, Sae
from engine.studies.sae_consistency.saes.code import Code, DenseCode, SparseCode, prefers_dense

GROUP = 16


class TopKSae(Sae):
    """Exactly k latents per vector, fewer only where a kept pre-activation is not positive."""

    def support(self, pre: Tensor) -> Code:
        indices = top_indices(pre, self.config.k)
        if prefers_dense(pre):
            return DenseCode(torch.zeros_like(pre, dtype=torch.bool).scatter_(-1, indices, True))
        vectors = torch.arange(len(pre)).repeat_interleave(self.config.k)
        starts = torch.arange(0, indices.numel() + 1, self.config.k)
        return SparseCode(vectors, indices.flatten(), starts, self.config.d_sae)

    def revive(self, p: Pass, dead: Tensor) -> Tensor:
        """α · ‖residual − Z_dead · decoder‖² (section 2.4), the residual held fixed."""
        losses = torch.zeros_like(p.loss)
        if self.config.aux_coefficient > 0:
            for index in range(len(self.seeds)):
                mine = index if self.stacked else ...
                if bool(dead[mine].any()):
                    losses[mine] = self._revive_one(p, dead[mine], mine)
        return losses

    def _revive_one(self, p: Pass, dead: Tensor, mine: int | EllipsisType) -> Tensor:
        """The dead latents are cut out first: dense products over them alone cost less than sparse ones over all."""
        ids = dead.nonzero().flatten()
        rows, pre = self.decoder[mine][ids], p.pre[mine][:, ids]
        k_aux = min(len(ids), max(self.config.k, rows.shape[1] // 2))
        kept = pre.topk(k_aux, dim=1, sorted=False)
        z = torch.zeros_like(pre).scatter_(1, kept.indices, kept.values.relu())
        return self._pull(p, ids, rows, z, torch.addmm(p.error[mine], z, rows), mine)

    def _pull(
        self, p: Pass, ids: Tensor, rows: Tensor, z: Tensor, miss: Tensor, mine: int | EllipsisType
    ) -> Tensor:
        """Add the gradients of latents `ids`, decoder `rows`, whose values z (B × ids) leave `miss` (B × d_in); the loss."""
        centred = p.centred[mine]
        alpha = self.config.aux_coefficient / len(centred)
        gradient = miss * (2 * alpha)
        dz = (gradient @ rows.T).mul_(z > 0)
        sums = dz.sum(dim=0)
        grads = [parameter.grad for parameter in (self.encoder, self.decoder, self.b_enc, self.b_dec)]
        encoder, decoder, b_enc, b_dec = (grad[mine] for grad in grads if grad is not None)
        encoder.index_add_(0, ids, dz.T @ centred)
        decoder.index_add_(0, ids, z.T @ gradient)
        b_enc.index_add_(0, ids, sums)
        b_dec.sub_(self.summed(sums @ self.encoder[mine][ids]))
        return alpha * miss.square().sum()


def top_indices(pre: Tensor, k: int) -> Tensor:
    """Places (…, B, k) of the k largest of each row of `pre` (…, B, d_sae), in no order.

    They lie in the k of d_sae / 16 strided groups with the largest maxima, which is the cheaper search in wide rows.
    """
    d_sae = pre.shape[-1]
    n_groups = d_sae // GROUP
    if pre.ndim > 2 or pre.is_cuda or d_sae % GROUP or n_groups < 4 * k:
        return pre.topk(k, dim=-1, sorted=False).indices
    groups = pre.view(len(pre), GROUP, n_groups).amax(dim=1).topk(k, dim=1, sorted=False).indices
    strides = torch.arange(0, d_sae, n_groups)
    places = (groups[:, None, :] + strides[None, :, None]).flatten(1)
    return places.gather(1, pre.gather(1, places).topk(k, dim=1, sorted=False).indices)
