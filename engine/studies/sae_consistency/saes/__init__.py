"""Sparse autoencoder architectures, one file each."""

from engine.studies.sae_consistency.saes.base import Sae, Step, geometric_median
from engine.studies.sae_consistency.saes.relu import ReluSae
from engine.studies.sae_consistency.saes.topk import TopKSae

ARCHITECTURES: dict[str, type[Sae]] = {"topk": TopKSae, "relu": ReluSae}

__all__ = ["ARCHITECTURES", "Sae", "Step", "geometric_median"]
