"""SmartCLIP's modular contrastive loss and those of its baselines.

S[i, j] = cos(z_i ∘ m_j, t_j): image i under the mask of caption j, against caption j. Cross-entropy over rows (same image,
each caption under its own mask) and over columns (different images under the same mask) is the paper's loss; it takes one
matrix, as (z ∘ m) · t = z · (m ∘ t) and ‖z ∘ m‖² = z² · m².
"""

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-12
LONG_CLIP_SHORT = 0.1
LONG_CLIP_COMPONENTS = 8


def similarities(z: Tensor, t: Tensor, masks: Tensor | None = None) -> Tensor:
    """cos(z_i ∘ m_j, t_j) for images z (n × d), captions t (m × d) and their masks (m × d; None: all ones): n × m.

    An empty mask gives 0.
    """
    t = F.normalize(t, dim=1)
    if masks is None:
        return F.normalize(z, dim=1) @ t.T
    return (z @ (masks * t).T) / ((z * z) @ (masks * masks).T).clamp_min(EPSILON).sqrt()


def own_mask_similarities(z: Tensor, t: Tensor, masks: Tensor) -> Tensor:
    """The naive negatives: every image keeps its own caption's mask, cos(z_i ∘ m_i, t_j)."""
    return F.normalize(z * masks, dim=1) @ F.normalize(t, dim=1).T


def contrastive(scores: Tensor, scale: float) -> Tensor:
    """Cross-entropy over rows plus over columns of scale × scores (n × n), the diagonal being right."""
    target = torch.arange(len(scores), device=scores.device)
    return F.cross_entropy(scale * scores, target) + F.cross_entropy(scale * scores.T, target)


def principal_part(z: Tensor, components: int = LONG_CLIP_COMPONENTS) -> Tensor:
    """z (n × d) reduced to its first principal components within the batch and put back, as Long-CLIP does for short captions.

    The directions are constants: no gradient flows through the decomposition.
    """
    centre = z.mean(dim=0)
    with torch.no_grad():
        directions = torch.linalg.eigh((z - centre).T @ (z - centre)).eigenvectors[:, -components:]
    return (z - centre) @ directions @ directions.T + centre
