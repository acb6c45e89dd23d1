"""Sparse autoencoder architectures, one file each."""

from torch import Tensor

from engine.studies.sae_consistency.config import Config
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


def loaded(config: Config, tensors: dict[str, Tensor], seed: int = 0) -> Sae:
    """The SAE of `config` with these tensors (`Sae.tensors` by name), on their device."""
    sae = ARCHITECTURES[config.architecture](config, tensors["encoder"].shape[1], [seed], tensors["b_dec"])
    sae.load(tensors)
    return sae


__all__ = ["ARCHITECTURES", "Sae", "Step", "geometric_median", "loaded"]
