"""TopK (Gao et al. 2024, arXiv 2406.04093): the k largest latents, and an auxiliary loss that revives dead ones."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.studies.sae_consistency.saes.base import Sae, Step

DENSE_UP_TO = 512
warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")


@dataclass(frozen=True)
class Code:
    """A sparse code: `values` and `indices` (B × k) over `d_sae` latents.

    Dense products are faster up to 512 latents, and on a GPU; elsewhere CSR ones, with the transposed order
    sorted once for both weight gradients.
    """

    values: Tensor
    indices: Tensor
    d_sae: int

    @property
    def is_dense(self) -> bool:
        return self.d_sae <= DENSE_UP_TO or self.values.is_cuda

    def decode(self, decoder: Tensor) -> Tensor:
        """Z · decoder (B × d_in)."""
        if self.is_dense:
            return self.dense(self.values) @ decoder
        batch, k = self.values.shape
        rows = torch.arange(0, batch * k + 1, k, device=self.values.device)
        size = (batch, self.d_sae)
        return _csr(rows, self.indices.flatten(), self.values.flatten(), size) @ decoder

    def dense(self, values: Tensor) -> Tensor:
        """Values at this code's places, zero elsewhere (B × d_sae)."""
        return values.new_zeros(len(values), self.d_sae).scatter_(1, self.indices, values)

    def transposed_products(self, pairs: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
        """Σ_b values[b, j]ᵀ vectors[b] for each (values B × k, vectors B × d): matrices d_sae × d."""
        if self.is_dense:
            return [self.dense(values).T @ vectors for values, vectors in pairs]
        batch, k = self.indices.shape
        flat = self.indices.flatten()
        order = torch.argsort(flat, stable=True)
        rows = torch.zeros(self.d_sae + 1, dtype=torch.int64, device=flat.device)
        torch.cumsum(torch.bincount(flat, minlength=self.d_sae), 0, out=rows[1:])
        columns = order // k
        size = (self.d_sae, batch)
        return [_csr(rows, columns, values.flatten()[order], size) @ vectors for values, vectors in pairs]


def _csr(rows: Tensor, columns: Tensor, values: Tensor, size: tuple[int, int]) -> Tensor:
    return torch.sparse_csr_tensor(rows, columns, values, size, check_invariants=False)


class TopKSae(Sae):
    """Exactly k latents per vector, fewer only where a kept pre-activation is not positive."""

    def encode(self, x: Tensor) -> Tensor:
        pre = self.pre_activations(x - self.b_dec)
        code = self._top(pre, self.config.k)
        return code.dense(code.values)

    def _top(self, pre: Tensor, k: int) -> Code:
        values, indices = pre.topk(k, dim=1, sorted=False)
        return Code(values.relu_(), indices, pre.shape[1])

    def step(self, x: Tensor, dead: Tensor) -> Step:
        batch = len(x)
        centred = x - self.b_dec
        pre = self.pre_activations(centred)
        code = self._top(pre, self.config.k)
        error = code.decode(self.decoder).add_(self.b_dec).sub_(x)
        squared = float(error.square().sum())
        gradient = error * (2 / batch)
        encoder, decoder, b_enc = self._gradients(code, gradient, centred)
        loss = squared / batch
        if self.config.aux_coefficient > 0 and bool(dead.any()):
            loss += self._revive(pre, dead, error, centred, encoder, decoder, b_enc)
        self.set_gradients(encoder, decoder, b_enc, gradient.sum(dim=0))
        active = code.values > 0
        fired = torch.bincount(code.indices[active], minlength=self.config.d_sae) > 0
        return Step(loss, squared, float(active.sum()) / batch, fired)

    def _gradients(self, code: Code, gradient: Tensor, centred: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of encoder, decoder and b_enc, given the gradient of the reconstruction (B × d_in)."""
        values = (gradient @ self.decoder.T).gather(1, code.indices).mul_(code.values > 0)
        decoder, encoder = code.transposed_products([(code.values, gradient), (values, centred)])
        b_enc = torch.zeros_like(self.b_enc).scatter_add_(0, code.indices.flatten(), values.flatten())
        return encoder, decoder, b_enc

    def _revive(
        self,
        pre: Tensor,
        dead: Tensor,
        error: Tensor,
        centred: Tensor,
        encoder: Tensor,
        decoder: Tensor,
        b_enc: Tensor,
    ) -> float:
        """Add the gradients of α · ‖residual − Z_dead · decoder‖² (section 2.4), the residual held fixed; its value.

        The dead latents are cut out first: dense products over them alone cost less than sparse ones over all.
        """
        ids = dead.nonzero().flatten()
        rows = self.decoder[ids]
        k_aux = min(len(ids), max(self.config.k, centred.shape[1] // 2))
        code = self._top(pre[:, ids], k_aux)
        z = code.dense(code.values)
        miss = torch.addmm(error, z, rows)
        alpha = self.config.aux_coefficient / len(centred)
        gradient = miss * (2 * alpha)
        dz = (gradient @ rows.T).mul_(z > 0)
        encoder[ids] += dz.T @ centred
        decoder[ids] += z.T @ gradient
        b_enc[ids] += dz.sum(dim=0)
        return alpha * float(miss.square().sum())
