"""Feature consistency of sparse autoencoders (arXiv 2505.20254)."""

from typing import Any

from engine.run import Run
from engine.studies.base import Study
from engine.studies.sae_consistency.claims import CLAIMS
from engine.studies.sae_consistency.config import PRESETS, Config

BIBTEX = """@article{song2025position,
  title   = {Position: Mechanistic Interpretability Should Prioritize Feature Consistency in SAEs},
  author  = {Song, Xiangchen and Muhamed, Aashiq and Zheng, Yujia and Kong, Lingjing and Tang, Zeyu
             and Diab, Mona T. and Smith, Virginia and Zhang, Kun},
  journal = {arXiv preprint arXiv:2505.20254},
  year    = {2025}
}"""


class SaeConsistency(Study):
    """Train one SAE recipe over seeds and measure whether the same features come back."""

    name = "sae_consistency"
    title = "Feature consistency of sparse autoencoders"
    paper = "2505.20254"
    bibtex = BIBTEX
    Config = Config
    presets = PRESETS
    tables = ("saes", "pairs", "matches", "features", "contexts", "trajectory", "gt_trajectory")
    claims = CLAIMS

    def train(self, run: Run) -> None:
        from engine.studies.sae_consistency.training import train

        train(run)

    def fingerprint(self, config: Any) -> str:
        if config.source == "synthetic":
            return ""
        from engine.activations import fingerprint

        return fingerprint(config)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.studies.sae_consistency.cost import estimate

        return estimate(config, n_seeds)
