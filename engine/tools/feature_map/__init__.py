"""Placeholder until its owner writes it."""

from engine.run import Run
from engine.studies.base import Study, StudyConfig


class Config(StudyConfig):
    runs: str


class FeatureMap(Study):
    name = "feature_map"
    title = "feature_map"
    paper = ""
    bibtex = ""
    Config = Config
    presets = {}  # noqa: RUF012
    tables = ()

    def train(self, run: Run) -> None:
        raise NotImplementedError
