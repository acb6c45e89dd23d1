"""A small transformer over patches of a picture that names its class and fills in patches it is not shown."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

GRID = 8
WIDTH, HEADS, BLOCKS = 48, 4, 2
FOLDS = 4
CONTRAST = 4.0


def patch_size(side: int) -> int:
    """Pixels of a patch's side: 8 × 8 patches, or 4 × 4 where a picture has fewer than 16 pixels a side."""
    return side // GRID if side >= 2 * GRID else max(1, side // 4)


def to_patches(images: Tensor, size: int) -> Tensor:
    """Pictures (… × C × S × S) as patches (… × P × C·size²), row by row."""
    *lead, c, s, _ = images.shape
    n = s // size
    parts = images.reshape(*lead, c, n, size, n, size)
    axes = len(lead)
    order = [*range(axes), axes + 1, axes + 3, axes, axes + 2, axes + 4]
    return parts.permute(order).reshape(*lead, n * n, c * size * size)


def to_images(patches: Tensor, channels: int, size: int) -> Tensor:
    """The pictures (… × C × S × S) of patches (… × P × C·size²)."""
    *lead, p, _ = patches.shape
    n = round(p**0.5)
    axes = len(lead)
    parts = patches.reshape(*lead, n, n, channels, size, size)
    order = [*range(axes), axes + 2, axes, axes + 3, axes + 1, axes + 4]
    return parts.permute(order).reshape(*lead, channels, n * size, n * size)


class Block(nn.Module):
    """Attention and a two-layer network, each behind a layer norm and added to its input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        n, p, d = tokens.shape
        q, k, v = (
            self.qkv(self.norm_1(tokens)).reshape(n, p, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        )
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
        tokens = tokens + self.out((weights @ v).transpose(1, 2).reshape(n, p, d))
        mixed: Tensor = tokens + self.mlp(self.norm_2(tokens))
        return mixed


class PatchNetwork(nn.Module):
    """`forward(images, hidden)`: logits (n × K) and every patch as it is rebuilt (n × P × C·size²); `hidden` (n × P) are not shown.

    Classes are read from the mean of the tokens that are shown.
    """

    def __init__(self, side: int, channels: int, n_classes: int, seed: int) -> None:
        super().__init__()
        self.side, self.channels, self.size = side, channels, patch_size(side)
        self.n_patches = (side // self.size) ** 2
        pixels = channels * self.size**2
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embed = nn.Linear(pixels, WIDTH)
            self.place = nn.Parameter(0.5 * torch.randn(self.n_patches, WIDTH))
            self.unseen = nn.Parameter(0.02 * torch.randn(WIDTH))
            self.blocks = nn.Sequential(*(Block(WIDTH, HEADS) for _ in range(BLOCKS)))
            self.norm = nn.LayerNorm(WIDTH)
            self.classify, self.rebuild = nn.Linear(WIDTH, n_classes), nn.Linear(WIDTH, pixels)

    def trained_at_test(self) -> list[str]:
        """Names of the parameters that test-time training moves: all but the classes' head."""
        return [name for name, _ in self.named_parameters() if not name.startswith("classify.")]

    def forward(self, images: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.embed(CONTRAST * (to_patches(images, self.size) - 0.5))
        tokens = torch.where(hidden[..., None], self.unseen, tokens) + self.place
        tokens = self.norm(self.blocks(tokens))
        shown = (~hidden).to(tokens.dtype)[..., None]
        pooled = (tokens * shown).sum(dim=1) / shown.sum(dim=1).clamp_min(1)
        return self.classify(pooled), self.rebuild(tokens)


def folds(n_patches: int, rounds: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Masks (rounds · FOLDS × P) that hide every patch once in each round, a FOLDS-th of them at a time."""
    masks = []
    for _ in range(rounds):
        order = rng.permutation(n_patches)
        masks += [np.isin(np.arange(n_patches), part) for part in np.array_split(order, FOLDS)]
    return np.array(masks)


def rebuilding_loss(images: Tensor, rebuilt: Tensor, hidden: Tensor, size: int) -> Tensor:
    """Mean squared error (scalar) of the patches that were hidden."""
    error = ((rebuilt - to_patches(images, size)) ** 2).mean(dim=-1)
    weight = hidden.to(error.dtype)
    return (error * weight).sum() / weight.sum().clamp_min(1)
