"""Which latents may be non-zero for each vector of a batch, and the five products a step needs over them.

`values` of a code are its non-zero places: a flat vector of a `SparseCode`, a (…, B, d_sae) array that is zero
elsewhere of a `DenseCode`. An architecture computes on values without knowing which it holds. Dense products are
faster for small dictionaries, on a GPU and where a seventh of the latents or more are active; they also take a
leading dimension of seeds. Sparse ones cost what the active latents cost (benchmarks/sae_training.py).
"""

import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

DENSE_UP_TO = 512
DENSE_FROM = 0.15
warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")


class Code(ABC):
    """Non-zero places of a batch of B vectors over d_sae latents."""

    @abstractmethod
    def take(self, dense: Tensor) -> Tensor:
        """The values at this code's places of a (…, B, d_sae) array."""

    @abstractmethod
    def per_latent(self, vector: Tensor) -> Tensor:
        """A number per latent (…, d_sae), spread over the places."""

    @abstractmethod
    def per_vector(self, vector: Tensor) -> Tensor:
        """A number per vector (…, B), spread over the places."""

    @abstractmethod
    def decode(self, values: Tensor, matrix: Tensor) -> Tensor:
        """Σ_j values[b, j] · matrix[j] (…, B, d), `matrix` being (…, d_sae, d)."""

    @abstractmethod
    def dots(self, vectors: Tensor, matrix: Tensor) -> Tensor:
        """⟨vectors[b], matrix[j]⟩ at every place (b, j), as values."""

    @abstractmethod
    def transposed(self, values: Tensor, vectors: Tensor) -> Tensor:
        """Σ_b values[b, j] · vectors[b] (…, d_sae, d)."""

    @abstractmethod
    def over_vectors(self, values: Tensor) -> Tensor:
        """Σ_b values[b, j] (…, d_sae)."""

    @abstractmethod
    def over_latents(self, values: Tensor) -> Tensor:
        """Σ_j values[b, j] (…, B)."""

    @abstractmethod
    def total(self, values: Tensor) -> Tensor:
        """Sum of all values: a scalar, or one per seed."""

    @abstractmethod
    def smallest(self, values: Tensor) -> Tensor:
        """The smallest value, infinite where there is none: a scalar, or one per seed."""

    @abstractmethod
    def between(self, low: int, high: int) -> tuple["Code", Any]:
        """The code of latents low ≤ j < high, numbered from 0, and the index of its values among these."""

    @abstractmethod
    def dense(self, values: Tensor) -> Tensor:
        """Values as a (…, B, d_sae) array."""


def product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """a @ b (+ `bias` in every row), of one seed or of stacked ones.

    A processor multiplies stacked seeds one by one: some give a batched product other bits than a single one, and a seed
    must not depend on its companions.
    """
    if a.dim() == 3 and a.device.type == "cpu":
        biases = [None] * len(a) if bias is None else bias
        return torch.stack([product(*parts) for parts in zip(a, b, biases, strict=True)])
    if bias is None:
        return a @ b
    return torch.addmm(bias, a, b) if a.dim() == 2 else torch.baddbmm(bias.unsqueeze(-2), a, b)


@dataclass(frozen=True)
class DenseCode(Code):
    """`mask` (…, B, d_sae)."""

    mask: Tensor

    def take(self, dense: Tensor) -> Tensor:
        return dense * self.mask

    def per_latent(self, vector: Tensor) -> Tensor:
        return vector.unsqueeze(-2) * self.mask

    def per_vector(self, vector: Tensor) -> Tensor:
        return vector.unsqueeze(-1) * self.mask

    def decode(self, values: Tensor, matrix: Tensor) -> Tensor:
        return product(values, matrix)

    def dots(self, vectors: Tensor, matrix: Tensor) -> Tensor:
        return product(vectors, matrix.mT).mul_(self.mask)

    def transposed(self, values: Tensor, vectors: Tensor) -> Tensor:
        return product(values.mT, vectors)

    def over_vectors(self, values: Tensor) -> Tensor:
        return values.sum(dim=-2)

    def over_latents(self, values: Tensor) -> Tensor:
        return values.sum(dim=-1)

    def total(self, values: Tensor) -> Tensor:
        return values.sum(dim=(-2, -1))

    def smallest(self, values: Tensor) -> Tensor:
        return values.amin(dim=(-2, -1))

    def between(self, low: int, high: int) -> tuple[Code, Any]:
        index = (..., slice(low, high))
        return DenseCode(self.mask[index]), index

    def dense(self, values: Tensor) -> Tensor:
        return values


@dataclass(frozen=True)
class SparseCode(Code):
    """`vectors` and `latents` of every place, sorted by vector; `starts` (B + 1): where each vector's places begin."""

    vectors: Tensor
    latents: Tensor
    starts: Tensor
    d_sae: int

    @property
    def size(self) -> tuple[int, int]:
        return len(self.starts) - 1, self.d_sae

    @staticmethod
    def at(places: Tensor, batch: int, d_sae: int) -> "SparseCode":
        """Of ascending flat places b · d_sae + j."""
        vectors = places // d_sae
        return SparseCode.of(vectors, places - vectors * d_sae, batch, d_sae)

    @staticmethod
    def of(vectors: Tensor, latents: Tensor, batch: int, d_sae: int) -> "SparseCode":
        starts = torch.zeros(batch + 1, dtype=torch.int64)
        torch.cumsum(torch.bincount(vectors, minlength=batch), 0, out=starts[1:])
        return SparseCode(vectors, latents, starts, d_sae)

    @cached_property
    def _by_latent(self) -> tuple[Tensor, Tensor, Tensor]:
        """The places' order sorted by latent, where each latent's places begin, and their vectors."""
        order = torch.sort(self.latents.to(torch.int32), stable=True).indices
        starts = torch.zeros(self.d_sae + 1, dtype=torch.int64)
        torch.cumsum(torch.bincount(self.latents, minlength=self.d_sae), 0, out=starts[1:])
        return order, starts, self.vectors[order]

    def take(self, dense: Tensor) -> Tensor:
        return dense.reshape(-1)[self.vectors * self.d_sae + self.latents]

    def per_latent(self, vector: Tensor) -> Tensor:
        return vector[self.latents]

    def per_vector(self, vector: Tensor) -> Tensor:
        return vector[self.vectors]

    def decode(self, values: Tensor, matrix: Tensor) -> Tensor:
        return _sum_rows(matrix, self.latents, self.starts, values)

    def dots(self, vectors: Tensor, matrix: Tensor) -> Tensor:
        zeros = torch.zeros(len(self.latents))
        pattern = torch.sparse_csr_tensor(self.starts, self.latents, zeros, self.size, check_invariants=False)
        return torch.sparse.sampled_addmm(pattern, vectors, matrix.T, beta=0.0).values()

    def transposed(self, values: Tensor, vectors: Tensor) -> Tensor:
        order, starts, owners = self._by_latent
        return _sum_rows(vectors, owners, starts, values[order])

    def over_vectors(self, values: Tensor) -> Tensor:
        return torch.zeros(self.d_sae).index_add_(0, self.latents, values)

    def over_latents(self, values: Tensor) -> Tensor:
        return torch.zeros(len(self.starts) - 1).index_add_(0, self.vectors, values)

    def total(self, values: Tensor) -> Tensor:
        return values.sum()

    def smallest(self, values: Tensor) -> Tensor:
        return values.min() if len(values) else torch.tensor(torch.inf)

    def between(self, low: int, high: int) -> tuple[Code, Any]:
        index = ((self.latents >= low) & (self.latents < high)).nonzero().flatten()
        part = SparseCode.of(self.vectors[index], self.latents[index] - low, len(self.starts) - 1, high - low)
        return part, index

    def dense(self, values: Tensor) -> Tensor:
        places = self.vectors * self.d_sae + self.latents
        return torch.zeros(self.size).view(-1).index_put_((places,), values).view(self.size)


def _sum_rows(matrix: Tensor, rows: Tensor, starts: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of matrix rows, one per interval of `starts`."""
    return embedding_bag(
        rows, matrix, starts, per_sample_weights=weights, mode="sum", include_last_offset=True
    )


def prefers_dense(pre: Tensor) -> bool:
    """Whether dense products are the faster ones however few latents of `pre` (…, B, d_sae) are active."""
    return pre.ndim > 2 or pre.is_cuda or pre.shape[-1] <= DENSE_UP_TO


def sparse_code_of(mask: Tensor) -> SparseCode:
    """The code whose places `mask` (B × d_sae) marks."""
    return SparseCode.at(torch.from_numpy(np.flatnonzero(mask.numpy())), *mask.shape)


def code_of(mask: Tensor) -> Code:
    """The code whose places `mask` (…, B, d_sae) marks, in the form that is faster."""
    if prefers_dense(mask):
        return DenseCode(mask)
    code = sparse_code_of(mask)
    return code if len(code.latents) < DENSE_FROM * mask.numel() else DenseCode(mask)
