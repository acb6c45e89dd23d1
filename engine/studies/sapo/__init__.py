"""Step-aware reinforcement of a denoising language model (SAPO, arXiv 2510.01544); not the Soft Adaptive method."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.activation_sources import RunSource
from engine.run import Run
from engine.studies.base import Study
from engine.studies.sapo.claims import CLAIMS
from engine.studies.sapo.config import Config
from engine.studies.sapo.presets import PRESETS

BIBTEX = """@article{xie2025step,
  title   = {Step-Aware Policy Optimization for Reasoning in Diffusion Large Language Models},
  author  = {Xie, Shaoan and Kong, Lingjing and Song, Xiangchen and Dong, Xinshuai and Chen, Guangyi
             and Xing, Eric P. and Zhang, Kun},
  journal = {arXiv preprint arXiv:2510.01544},
  year    = {2025}
}"""


class Sapo(Study):
    """Train a small denoiser, reinforce it with and without the step-aware reward, and look at every denoising step."""

    name = "sapo"
    title = "Denoising steps of a diffusion language model (SAPO)"
    paper = "2510.01544"
    bibtex = BIBTEX
    Config = Config
    presets = PRESETS
    tables = (
        "sapo_arms",
        "sapo_curve",
        "sapo_steps",
        "sapo_rollouts",
        "sapo_tokens",
        "sapo_branches",
        "sapo_spans",
        "sapo_agreement",
    )
    claims = CLAIMS

    def train(self, run: Run) -> None:
        from engine.studies.sapo.training import train

        train(run)

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        if config.imported:
            from engine.studies.sapo.importing import import_identity

            return import_identity(config, seeds)
        if config.is_large:
            from engine.studies.sapo.needs import large_identity

            return large_identity(config)
        if config.start_from:
            from engine.studies.sapo.base_models import base_identity

            return base_identity(config, list(seeds))
        return ""

    def environment(self, config: Any) -> str | None:
        from engine.studies.sapo.needs import require

        return require(config)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.studies.sapo.cost import estimate

        return estimate(config, n_seeds)

    def activation_source(self, directory: Path, name: str) -> RunSource:
        from engine.studies.sapo.activation_source import SapoSource

        return SapoSource.named(directory, name)
