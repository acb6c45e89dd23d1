"""Performative label shift: a deployed classifier moves the classes it meets (arXiv 2410.04499)."""

from collections.abc import Sequence
from typing import Any

from engine.run import Run
from engine.studies.base import Study
from engine.studies.label_shift.claims import CLAIMS
from engine.studies.label_shift.config import Config
from engine.studies.label_shift.presets import PRESETS, SWEEPS

BIBTEX = """@article{demirel2024adjusting,
  title   = {Adjusting Pretrained Backbones for Performativity},
  author  = {Demirel, Berker and Kong, Lingjing and Zhang, Kun and Karaletsos, Theofanis
             and Mendler-D{\\"u}nner, Celestine and Locatello, Francesco},
  journal = {arXiv preprint arXiv:2410.04499},
  year    = {2024}
}"""


class LabelShift(Study):
    """Deploy a frozen classifier round after round, forecast how the classes answer, and correct it by Bayes' rule."""

    name = "label_shift"
    title = "Performative label shift"
    paper = "2410.04499"
    bibtex = BIBTEX
    Config = Config
    presets = PRESETS
    sweeps = SWEEPS
    tables = (
        "shift_rounds",
        "shift_classes",
        "shift_backbones",
        "shift_calibration",
        "shift_data",
        "shift_mechanism",
        "shift_recovery",
        "shift_agreement",
        "shift_few",
        "shift_choices",
        "shift_choice_classes",
    )
    claims = CLAIMS

    def train(self, run: Run) -> None:
        from engine.studies.label_shift.training import train

        train(run)

    def train_together(self, runs: Sequence[Run]) -> None:
        from engine.studies.label_shift.training import train
        from engine.studies.seeds import one_after_the_other

        def one(run: Run) -> None:
            train(run)
            run.finish()

        one_after_the_other(runs, one)

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        from engine.studies.label_shift.source import data_identity

        return data_identity(config)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.studies.label_shift.cost import estimate

        return estimate(config, n_seeds)
