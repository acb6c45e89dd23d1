"""Self-refinement of vision-language models by triangular consistency (SRF, arXiv 2510.10487)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.activation_sources import RunSource
from engine.run import Run
from engine.studies.base import Study
from engine.studies.srf.claims import CLAIMS
from engine.studies.srf.config import Config
from engine.studies.srf.presets import PRESETS

BIBTEX = """@inproceedings{deng2025towards,
  title     = {Towards Self-Refinement of Vision-Language Models with Triangular Consistency},
  author    = {Deng, Yunlong and Chen, Guangyi and Gu, Tianpei and Kong, Lingjing and Li, Yan and Tang, Zeyu and Zhang, Kun},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2025},
  note      = {arXiv:2510.10487}
}"""


class Srf(Study):
    """Let a model write questions and answers on unlabelled images, keep what it predicts again both ways, and retrain on it."""

    name = "srf"
    title = "Self-refinement by triangular consistency (SRF)"
    paper = "2510.10487"
    bibtex = BIBTEX
    Config = Config
    presets = PRESETS
    tables = (
        "srf_triplets",
        "srf_images",
        "srf_filters",
        "srf_arms",
        "srf_arm_types",
        "srf_generators",
        "srf_noise",
        "srf_consistency",
    )
    claims = CLAIMS

    def train(self, run: Run) -> None:
        from engine.studies.srf.training import train

        train(run)

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        from engine.studies.srf.needs import require
        from engine.studies.srf.selections import selection_identity
        from engine.studies.srf.source import material_identity, start_identity

        parts = [
            require(config),
            material_identity(config),
            start_identity(config),
            selection_identity(config),
        ]
        return " ".join(part for part in parts if part)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.studies.srf.cost import estimate

        return estimate(config, n_seeds)

    def activation_source(self, directory: Path, name: str) -> RunSource:
        from engine.studies.srf.activation_source import SrfSource

        return SrfSource.named(directory, name)
