"""The mask each arm lays over an image embedding for a caption."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.studies.smartclip.captions import Caption
from engine.studies.smartclip.network import Said, straight_through

UNMASKED = ("base", "clip_short", "clip_long", "long_clip")
RANDOM = "random_masks"


@dataclass(frozen=True)
class Masks:
    """Masks of captions (n × d): `used` multiplies the embedding, `gates` are what was binarised, `bits` what is kept.

    A cosine does not see how long a soft mask is, so of that a dimension is kept where it is half of the largest or more.
    """

    used: Tensor
    gates: Tensor

    @property
    def bits(self) -> Tensor:
        return (self.used > 0) & (self.used >= 0.5 * self.used.amax(dim=1, keepdim=True))


def masks_of(
    arm: str, mask_network: torch.nn.Module, said: Said, captions: Sequence[Caption], fixed: Tensor | None
) -> Masks | None:
    """Masks an arm uses, with gradients; None for an arm without.

    `fixed` (phrases × d) are random_mask's masks of single sentences; a caption's is their union.
    """
    if arm in UNMASKED:
        return None
    if arm == "random_mask":
        assert fixed is not None
        used = torch.stack([fixed[list(caption)].amax(dim=0) for caption in captions])
        return Masks(used, used)
    logits = mask_network(said)
    return Masks(straight_through(logits, arm == "soft_mask"), logits.sigmoid())


def random_masks(n_phrases: int, width: int, share: float, generator: torch.Generator) -> Tensor:
    """Masks of single sentences (phrases × d), each dimension on with probability `share`, at least one on."""
    drawn = torch.rand(n_phrases, width, generator=generator)
    found = (drawn < share).float()
    found[torch.arange(n_phrases), drawn.argmin(dim=1)] = 1.0
    return found
