"""A small CLIP and SmartCLIP's mask network (arXiv 2507.22264).

An image becomes a vector z (d numbers, not normalised), a caption a vector t and, from its tokens, a mask of d numbers
that says which of z to compare. The published model is CLIP ViT-B/16 or L/14 with a mask network of one attention block;
here both towers are of two blocks, and padding is masked, which upstream is not.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PAD, END = 0, 1
STEM = 16
GRID = 6
INITIAL_SPREAD = 0.02


@dataclass(frozen=True)
class Said:
    """Captions encoded: `vector` (n × d), the final token states (n × length × d), and where there is a token."""

    vector: Tensor
    tokens: Tensor
    present: Tensor


class Block(nn.Module):
    """Pre-norm attention and feed-forward part with twice the width.

    `present` marks what may be attended to: n × length, or n × length × length where it differs by place.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        n, length, width = x.shape
        q, k, v = self.qkv(self.ln_1(x)).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mask = None if present is None else present[:, None] if present.dim() == 3 else present[:, None, None]
        attended = F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(n, length, width)
        x = x + self.out(attended)
        return x + self.proj(F.gelu(self.fc(self.ln_2(x))))


class ImageTower(nn.Module):
    """Three strided convolutions to 36 tokens, two blocks, mean over tokens, a linear map to z."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, STEM, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(STEM, 2 * STEM, 3, 2, 1),
            nn.GELU(),
            nn.Conv2d(2 * STEM, width, 3, 2, 1),
        )
        self.place = nn.Parameter(INITIAL_SPREAD * torch.randn(GRID * GRID, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(2))
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, width, bias=False)

    def tokens(self, images: Tensor) -> Tensor:
        """Final token states (n × 36 × d) of images (n × 3 × 48 × 48, from 0 to 1)."""
        x = self.stem(2 * images - 1).flatten(2).transpose(1, 2) + self.place
        for block in self.blocks:
            x = block(x)
        return self.ln(x)

    def pooled(self, tokens: Tensor) -> Tensor:
        """z (n × d) of final token states."""
        return self.head(tokens.mean(dim=1))

    def forward(self, images: Tensor) -> Tensor:
        return self.pooled(self.tokens(images))


class TextTower(nn.Module):
    """Two blocks over words; the state of the end token, through a linear map, is the caption's vector."""

    def __init__(self, n_words: int, length: int, width: int, heads: int) -> None:
        super().__init__()
        self.word = nn.Embedding(n_words, width)
        self.place = nn.Parameter(INITIAL_SPREAD * torch.randn(length, width))
        nn.init.normal_(self.word.weight, std=INITIAL_SPREAD)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(2))
        self.ln = nn.LayerNorm(width)
        self.head = nn.Linear(width, width, bias=False)

    def forward(self, ids: Tensor) -> Said:
        present = ids != PAD
        x = self.word(ids) + self.place[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, present)
        x = self.ln(x)
        end = x[torch.arange(len(ids)), (ids == END).int().argmax(dim=1)]
        return Said(self.head(end), x, present)


class Captioner(nn.Module):
    """Predicts a caption's words, each from the one before it and an image's tokens; only while a CLIP is trained."""

    def __init__(self, n_words: int, length: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.word = nn.Embedding(n_words, width)
        self.place = nn.Parameter(INITIAL_SPREAD * torch.randn(length, width))
        self.ln, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.memory = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.fc, self.proj = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.last = nn.Linear(width, n_words)

    def loss(self, ids: Tensor, image_tokens: Tensor) -> Tensor:
        """Mean cross-entropy of the words after the first (ids: n × length, with image tokens n × 36 × d)."""
        given, wanted = ids[:, :-1], ids[:, 1:]
        n, length = given.shape
        x = self.word(given) + self.place[:length]
        query = self.query(self.ln(x)).view(n, length, self.heads, -1).transpose(1, 2)
        k, v = (
            self.memory(image_tokens)
            .view(n, -1, 2, self.heads, x.shape[-1] // self.heads)
            .permute(2, 0, 3, 1, 4)
        )
        x = x + self.out(F.scaled_dot_product_attention(query, k, v).transpose(1, 2).reshape(n, length, -1))
        x = x + self.proj(F.gelu(self.fc(self.ln_2(x))))
        return F.cross_entropy(self.last(x).flatten(0, 1), wanted.flatten(), ignore_index=PAD)


class MaskNetwork(nn.Module):
    """Mask logits (n × d) of captions: one residual attention block over detached tokens, then attention pooling."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.block = Block(width, heads)
        self.weight = nn.Linear(width, 1)

    def forward(self, said: Said) -> Tensor:
        x = self.block(said.tokens.detach(), said.present)
        weights = self.weight(x).masked_fill(~said.present[..., None], float("-inf")).softmax(dim=1)
        return (weights * x).sum(dim=1)


class Clip(nn.Module):
    """Both towers and the mask network."""

    def __init__(self, n_words: int, length: int, width: int, heads: int) -> None:
        super().__init__()
        self.image = ImageTower(width, heads)
        self.text = TextTower(n_words, length, width, heads)
        self.mask = MaskNetwork(width, heads)


def straight_through(logits: Tensor, soft: bool = False) -> Tensor:
    """sigmoid(logits), or, unless `soft`, 1 where it is 0.5 or more, with the gradient of the sigmoid."""
    gates = logits.sigmoid()
    return gates if soft else (gates >= 0.5).float() - gates.detach() + gates
