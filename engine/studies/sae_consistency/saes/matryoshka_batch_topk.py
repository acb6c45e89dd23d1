"""Matryoshka BatchTopK (Bussmann et al. 2025, arXiv 2503.17547): nested dictionaries that each reconstruct alone."""

from itertools import pairwise

import torch
from torch import Tensor

from engine.studies.sae_consistency.saes.base import Pass
from engine.studies.sae_consistency.saes.batch_topk import BatchTopKSae
from engine.studies.sae_consistency.saes.code import Code

PREFIXES = (1 / 32, 3 / 32, 7 / 32, 15 / 32, 1.0)


class MatryoshkaBatchTopKSae(BatchTopKSae):
    """Loss: the sum over prefixes of the dictionary (1/32, 3/32, 7/32, 15/32 and all) of their squared errors."""

    @property
    def widths(self) -> list[int]:
        """Where the prefixes end, ascending."""
        return prefix_widths(self.config.d_sae)

    def reconstruct(self, x: Tensor, centred: Tensor, pre: Tensor, code: Code, z: Tensor) -> Pass:
        parts = [(low, high, *code.between(low, high)) for low, high in pairwise([0, *self.widths])]
        errors, error = [], self.b_dec.unsqueeze(-2) - x
        for low, high, part, index in parts:
            error = error + self.summed(part.decode(z[index], self.decoder[..., low:high, :]))
            errors.append(error)
        gradient, dz, d_bias = torch.zeros_like(error), torch.empty_like(z), torch.zeros_like(self.b_dec)
        d_decoder = torch.empty_like(self.decoder)
        for (low, high, part, index), missed in zip(reversed(parts), reversed(errors), strict=True):
            gradient = gradient.add(missed, alpha=2 / len(x))
            d_bias += missed.sum(dim=-2) * (2 / len(x))
            dz[index] = part.dots(gradient, self.decoder[..., low:high, :])
            d_decoder[..., low:high, :] = part.transposed(z[index], gradient)
        squares = [missed.square().sum(dim=(-2, -1)) for missed in errors]
        loss = sum(squares[1:], squares[0]) / len(x)
        return Pass(x, centred, pre, code, z, errors[-1], loss, squares[-1], dz, d_decoder, d_bias)


def prefix_widths(d_sae: int) -> list[int]:
    """Where the prefixes of a dictionary end, ascending."""
    return sorted({max(1, round(share * d_sae)) for share in PREFIXES})
