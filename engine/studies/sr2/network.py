"""The parts of every reasoner: a post-norm transformer block, rotary positions, the puzzle's embedding, the head.

After the authors' code (github.com/dengyl20/SR2, built on HRM): no biases, RMS normalisation without parameters after
each residual, gated feed-forward part, no mask.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.studies.sr2.config import Config

ROPE_BASE = 10_000.0
EPSILON = 1e-5


def weight(rows: int, columns: int, std: float, generator: torch.Generator) -> nn.Parameter:
    """A rows × columns matrix, normal with `std`, cut at two standard deviations."""
    value = torch.empty(rows, columns)
    nn.init.trunc_normal_(value, std=std, a=-2 * std, b=2 * std, generator=generator)
    return nn.Parameter(value)


def linear(rows: int, columns: int, generator: torch.Generator) -> nn.Parameter:
    """A linear map's matrix with variance 1 / columns."""
    return weight(rows, columns, columns**-0.5, generator)


def rms_norm(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + EPSILON)


def rotary_table(cells: int, width: int) -> Tensor:
    """Turns of cell i by i · base^(−2k / width) in plane k, as complex numbers (cells × 1 × width / 2)."""
    rates = ROPE_BASE ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.outer(torch.arange(cells, dtype=torch.float64), rates)[:, None]
    return torch.polar(torch.ones_like(angles), angles).to(torch.complex64)


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Queries or keys (… × cells × heads × width) turned by their cell; plane k holds columns 2k and 2k + 1."""
    return torch.view_as_real(torch.view_as_complex(x.float().unflatten(-1, (-1, 2))) * table).flatten(-2)


class Block(nn.Module):
    """f: bidirectional attention and a gated feed-forward part over z (batch × cells × width)."""

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__()
        width = config.d_model
        self.heads, self.rope = config.heads, config.positions != "learned"
        self.in_bfloat16 = config.precision == "bfloat16"
        self.qkv = linear(3 * width, width, generator)
        self.out = linear(width, width, generator)
        self.up = linear(2 * config.d_inner, width, generator)
        self.down = linear(width, config.d_inner, generator)
        self.turns: Tensor
        self.register_buffer("turns", rotary_table(config.side**2, width // config.heads), persistent=False)

    def _projected(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, cells, width = z.shape
        heads = (batch, cells, self.heads, width // self.heads)
        q, k, v = (F.linear(z, part).view(heads) for part in self.qkv.chunk(3))
        if self.rope:
            q, k = rotate(q, self.turns), rotate(k, self.turns)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    def attention(self, z: Tensor) -> Tensor:
        """Attention weights (batch × heads × cells × cells), from each cell (row) to each."""
        q, k, _ = self._projected(z)
        return torch.softmax(q @ k.mT / math.sqrt(q.shape[-1]), dim=-1)

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, torch.bfloat16, enabled=self.in_bfloat16):
            mixed = F.scaled_dot_product_attention(*self._projected(z))
            z = rms_norm(z + F.linear(mixed.transpose(1, 2).reshape(z.shape), self.out))
            gate, value = (F.linear(z, part) for part in self.up.chunk(2))
            return rms_norm(z + F.linear(F.silu(gate) * value, self.down))


class Embedding(nn.Module):
    """e(x): √D times the token's vector; with learned positions √(D / 2) times token plus position."""

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__()
        std = config.d_model**-0.5
        self.scale = math.sqrt(config.d_model)
        self.token = weight(config.n_tokens, config.d_model, std, generator)
        self.position = None
        if config.positions != "rope":
            self.position = weight(config.side**2, config.d_model, std, generator)

    def forward(self, puzzles: Tensor) -> Tensor:
        """Puzzles (batch × cells) of token numbers → batch × cells × width."""
        tokens = F.embedding(puzzles, self.token)
        if self.position is None:
            return self.scale * tokens
        return self.scale / math.sqrt(2) * (tokens + self.position)


def cross_entropy(logits: Tensor, targets: Tensor, kind: str) -> Tensor:
    """Mean over cells and puzzles. "stablemax" replaces exp by s(x) = x + 1 from 0 on and 1 / (1 − x) below."""
    if kind == "softmax":
        return F.cross_entropy(logits.flatten(0, -2), targets.flatten())
    positive = logits.double()
    scores = torch.where(positive >= 0, positive + 1, 1 / (1 - positive.clamp(max=0)))
    logs = (scores / scores.sum(dim=-1, keepdim=True)).log()
    return -logs.gather(-1, targets[..., None]).mean().float()
