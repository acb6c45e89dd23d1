"""Extrapolation: explain a single sample off the source's support by the least that changed (arXiv 2501.09163)."""

from collections.abc import Sequence
from typing import Any

from engine.run import Run
from engine.studies.base import Study
from engine.studies.extrapolation.claims import CLAIMS
from engine.studies.extrapolation.config import Config
from engine.studies.extrapolation.presets import PRESETS, SWEEPS

BIBTEX = """@inproceedings{kong2024towards,
  title     = {Towards Understanding Extrapolation: a Causal Lens},
  author    = {Kong, Lingjing and Chen, Guangyi and Stojanov, Petar and Li, Haoxuan and Xing, Eric P. and Zhang, Kun},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2024},
  note      = {arXiv:2501.09163}
}"""


class Extrapolation(Study):
    """Learn a source, then adapt to one sample at a time that lies off its support, by the nearest or the smallest change."""

    name = "extrapolation"
    title = "Extrapolation from single samples"
    paper = "2501.09163"
    bibtex = BIBTEX
    Config = Config
    presets = PRESETS
    sweeps = SWEEPS
    tables = (
        "extra_accuracy",
        "extra_curve",
        "extra_targets",
        "extra_coordinates",
        "extra_paths",
        "extra_points",
        "extra_recovery",
        "extra_agreement",
        "extra_models",
        "extra_data",
        "extra_map",
        "extra_choices",
        "extra_pictures",
        "extra_patches",
        "extra_images",
        "extra_found",
        "extra_picture_agreement",
    )
    claims = CLAIMS

    def train(self, run: Run) -> None:
        from engine.studies.extrapolation.training import train

        train(run)

    def train_together(self, runs: Sequence[Run]) -> None:
        from engine.studies.extrapolation.training import train
        from engine.studies.seeds import one_after_the_other

        def one(run: Run) -> None:
            train(run)
            run.finish()

        one_after_the_other(runs, one)

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        from engine.studies.extrapolation.source import data_identity

        return data_identity(config)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.studies.extrapolation.cost import estimate

        return estimate(config, n_seeds)
