"""Causal graph over latents of several modalities (arXiv 2411.06518)."""

from collections.abc import Sequence
from typing import Any

from engine.run import Run
from engine.studies.base import Study
from engine.studies.multimodal_causal.claims import CLAIMS
from engine.studies.multimodal_causal.config import Config
from engine.studies.multimodal_causal.presets import PRESETS, SWEEPS

BIBTEX = """@inproceedings{sun2025causal,
  title     = {Causal Representation Learning from Multimodal Biomedical Observations},
  author    = {Sun, Yuewen and Kong, Lingjing and Chen, Guangyi and Li, Loka and Luo, Gongxu and Li, Zijian
               and Zhang, Yixuan and Zheng, Yujia and Yang, Mengyue and Stojanov, Petar and Segal, Eran
               and Xing, Eric P. and Zhang, Kun},
  booktitle = {International Conference on Learning Representations},
  year      = {2025},
  note      = {arXiv:2411.06518}
}"""


class MultimodalCausal(Study):
    """Learn every modality's latents and the causal graph among them, and measure them where the truth is known."""

    name = "multimodal_causal"
    title = "Latent causal graph across modalities"
    paper = "2411.06518"
    bibtex = BIBTEX
    Config = Config
    presets = PRESETS
    sweeps = SWEEPS
    tables = (
        "latents",
        "latent_correlations",
        "latent_scores",
        "latent_values",
        "latent_edges",
        "true_latents",
        "true_edges",
        "graph_scores",
        "latent_loadings",
        "partial_dependence",
        "latent_interventions",
        "sparsity_path",
    )
    claims = CLAIMS

    def train(self, run: Run) -> None:
        from engine.studies.multimodal_causal.training import train

        train(run)

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        from engine.studies.multimodal_causal.source import table_identity

        return table_identity(config)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.studies.multimodal_causal.cost import estimate

        return estimate(config, n_seeds)
