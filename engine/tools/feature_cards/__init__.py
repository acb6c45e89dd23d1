"""Placeholder until its owner writes it."""

from engine.run import Run
from engine.studies.base import Study, StudyConfig


class Config(StudyConfig):
    of: str


class FeatureCards(Study):
    name = "feature_cards"
    title = "feature_cards"
    paper = ""
    bibtex = ""
    Config = Config
    presets = {}  # noqa: RUF012
    tables = ()

    def train(self, run: Run) -> None:
        raise NotImplementedError
