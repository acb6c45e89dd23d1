"""Masks of captions over an image embedding (SmartCLIP, arXiv 2507.22264)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.activation_sources import RunSource
from engine.run import Run
from engine.studies.base import Study
from engine.studies.smartclip.claims import CLAIMS
from engine.studies.smartclip.config import Config
from engine.studies.smartclip.presets import PRESETS

BIBTEX = """@article{xie2025smartclip,
  title   = {SmartCLIP: Modular Vision-language Alignment with Identification Guarantees},
  author  = {Xie, Shaoan and Kong, Lingjing and Zheng, Yujia and Yao, Yu and Tang, Zeyu and Xing, Eric P.
             and Chen, Guangyi and Zhang, Kun},
  journal = {arXiv preprint arXiv:2507.22264},
  year    = {2025}
}"""


class SmartClip(Study):
    """Train a CLIP, let captions learn which dimensions of an image embedding they select, and ask what is in them."""

    name = "smartclip"
    title = "Masks of captions over an image embedding (SmartCLIP)"
    paper = "2507.22264"
    bibtex = BIBTEX
    Config = Config
    presets = PRESETS
    tables = (
        "smartclip_arms",
        "smartclip_curve",
        "smartclip_masks",
        "smartclip_dimensions",
        "smartclip_probes",
        "smartclip_sizes",
        "smartclip_agreement",
        "smartclip_pictures",
        "smartclip_data",
    )
    claims = CLAIMS

    def train(self, run: Run) -> None:
        from engine.studies.smartclip.training import train

        train(run)

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        from engine.studies.smartclip.source import base_identity, picture_identity

        parts = [picture_identity(config), base_identity(config, list(seeds))]
        if config.model == "clip":
            from engine.studies.smartclip.published_files import published_identity

            parts.append(published_identity(config.clip))
        return " ".join(part for part in parts if part)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.studies.smartclip.cost import estimate

        return estimate(config, n_seeds)

    def activation_source(self, directory: Path, name: str) -> RunSource:
        from engine.studies.smartclip.activation_source import SmartClipSource

        return SmartClipSource.named(directory, name)
