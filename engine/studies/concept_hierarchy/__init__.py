"""Discrete latent concept hierarchies (arXiv 2406.00519)."""

from collections.abc import Sequence
from typing import Any

from engine.run import Run
from engine.studies.base import Study
from engine.studies.concept_hierarchy.claims import CLAIMS
from engine.studies.concept_hierarchy.config import Config
from engine.studies.concept_hierarchy.presets import PRESETS

BIBTEX = """@inproceedings{kong2024learning,
  title     = {Learning Discrete Concepts in Latent Hierarchical Models},
  author    = {Kong, Lingjing and Chen, Guangyi and Huang, Biwei and Xing, Eric P. and Chi, Yuejie and Zhang, Kun},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024},
  note      = {arXiv:2406.00519}
}"""


class ConceptHierarchy(Study):
    """Find the hierarchy of discrete concepts behind discrete variables or continuous blocks, or read it off a diffusion."""

    name = "concept_hierarchy"
    title = "Discrete latent concept hierarchies"
    paper = "2406.00519"
    bibtex = BIBTEX
    Config = Config
    presets = PRESETS
    tables = (
        "hierarchy_nodes",
        "hierarchy_edges",
        "hierarchy_scores",
        "rank_statistics",
        "concept_members",
        "concept_states",
        "concept_examples",
        "discrete_states",
        "diffusion_levels",
        "diffusion_orders",
        "diffusion_samples",
        "jacobian_sparsity",
    )
    claims = CLAIMS

    def train(self, run: Run) -> None:
        from engine.studies.concept_hierarchy.training import train

        train(run)

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        from engine.studies.concept_hierarchy.identity import identity

        return identity(config)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.studies.concept_hierarchy.cost import estimate

        return estimate(config, n_seeds)
