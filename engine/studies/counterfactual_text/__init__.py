"""Counterfactual text: content and style told apart, and style moved through its exogenous noise (arXiv 2402.15309)."""

from collections.abc import Sequence
from typing import Any

from engine.run import Run
from engine.studies.base import Study
from engine.studies.counterfactual_text.claims import CLAIMS
from engine.studies.counterfactual_text.config import Config
from engine.studies.counterfactual_text.presets import PRESETS

BIBTEX = """@inproceedings{yan2024counterfactual,
  title     = {Counterfactual Generation with Identifiability Guarantees},
  author    = {Yan, Hanqi and Kong, Lingjing and Gui, Lin and Chi, Yuejie and Xing, Eric and He, Yulan and Zhang, Kun},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023},
  note      = {arXiv:2402.15309}
}"""


class CounterfactualText(Study):
    """Learn content, style and style noise from several domains without labels, then move the noise and write again."""

    name = "counterfactual_text"
    title = "Counterfactual content and style (MATTE)"
    paper = "2402.15309"
    bibtex = BIBTEX
    Config = Config
    presets = PRESETS
    claims = CLAIMS
    tables = (
        "cf_curve",
        "cf_arms",
        "cf_bench",
        "cf_examples",
        "cf_scores",
        "cf_pairs",
        "cf_words",
        "cf_classifier",
        "cf_agreement",
        "cf_influence",
        "cf_codes",
        "cf_data",
    )

    def train(self, run: Run) -> None:
        from engine.studies.counterfactual_text.training import train

        train(run)

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        from engine.studies.counterfactual_text.source import data_identity

        return data_identity(config)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.studies.counterfactual_text.cost import estimate

        return estimate(config, n_seeds)
