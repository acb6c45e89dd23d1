"""Selection, reflection and self-refinement: recurrent reasoners on puzzles (SR², arXiv 2510.08222)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.activation_sources import RunSource
from engine.run import Run
from engine.studies.base import Study
from engine.studies.sr2.claims import CLAIMS
from engine.studies.sr2.config import Config
from engine.studies.sr2.presets import PRESETS, SWEEPS

BIBTEX = """@article{deng2025selection,
  title   = {Selection, Reflection and Self-Refinement: Revisit Reasoning Tasks via a Causal Lens},
  author  = {Deng, Yunlong and Sun, Boyang and Li, Yan and Kong, Lingjing and Tang, Zeyu and Zhang, Kun
             and Chen, Guangyi},
  journal = {arXiv preprint arXiv:2510.08222},
  year    = {2025}
}"""


class Sr2(Study):
    """Train a recurrent reasoner over seeds, keep every board it passes through, and ask which parts it needs."""

    name = "sr2"
    title = "Selection, reflection and self-refinement"
    paper = "2510.08222"
    bibtex = BIBTEX
    Config = Config
    presets = PRESETS
    sweeps = SWEEPS
    tables = (
        "sr2_models",
        "sr2_validation",
        "sr2_iterations",
        "sr2_grades",
        "sr2_data",
        "sr2_puzzles",
        "sr2_cells",
        "sr2_boards",
        "sr2_attention",
        "sr2_paths",
        "sr2_consistency",
    )
    claims = CLAIMS

    def train(self, run: Run) -> None:
        from engine.studies.sr2.training import train

        train([run])

    def train_together(self, runs: Sequence[Run]) -> None:
        from engine.studies.sr2.training import train

        train(runs, lambda run: run.finish())

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        from engine.studies.sr2.source import puzzle_identity

        return puzzle_identity(config)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.studies.sr2.cost import estimate

        return estimate(config, n_seeds)

    def activation_source(self, directory: Path, name: str) -> RunSource:
        from engine.studies.sr2.activation_source import Sr2Source

        return Sr2Source.named(directory, name)
