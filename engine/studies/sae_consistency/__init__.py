"""Feature consistency of sparse autoencoders (arXiv 2505.20254)."""

from collections.abc import Sequence
from typing import Any

from engine.run import Run
from engine.studies.base import Study
from engine.studies.sae_consistency.claims import CLAIMS
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.presets import PRESETS, SWEEPS

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
    sweeps = SWEEPS
    tables = (
        "saes",
        "pairs",
        "matches",
        "features",
        "contexts",
        "trajectory",
        "gt_trajectory",
        "gt_features",
        "ablations",
        "explanations",
    )
    claims = CLAIMS

    def train(self, run: Run) -> None:
        from engine.studies.sae_consistency.training import train

        train([run])

    def train_together(self, runs: Sequence[Run]) -> None:
        from engine.studies.sae_consistency.training import train

        train(runs, lambda run: run.finish())

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        parts = []
        if config.source != "synthetic":
            from engine.activations import fingerprint

            parts.append(fingerprint(config))
        if config.start_from:
            from engine.studies.sae_consistency.start import start_identity

            parts.append(start_identity(config, seeds))
        return " ".join(parts)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.studies.sae_consistency.cost import estimate

        return estimate(config, n_seeds)
