"""Sparse autoencoder architectures, one file each."""

from engine.studies.sae_consistency.saes.base import Sae, Step, geometric_median
from engine.studies.sae_consistency.saes.batch_topk import BatchTopKSae
from engine.studies.sae_consistency.saes.gated import GatedSae
from engine.studies.sae_consistency.saes.jumprelu import JumpReluSae
from engine.studies.sae_consistency.saes.matryoshka_batch_topk import MatryoshkaBatchTopKSae
from engine.studies.sae_consistency.saes.relu import ReluSae
from engine.studies.sae_consistency.saes.topk import TopKSae

ARCHITECTURES: dict[str, type[Sae]] = {
    "relu": ReluSae,
    "gated": GatedSae,
    "jumprelu": JumpReluSae,
    "topk": TopKSae,
    "batch_topk": BatchTopKSae,
    "matryoshka_batch_topk": MatryoshkaBatchTopKSae,
}

__all__ = ["ARCHITECTURES", "Sae", "Step", "geometric_median"]
