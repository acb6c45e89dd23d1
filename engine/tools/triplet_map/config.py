"""What a map of triplets is made of."""

from typing import Literal

from pydantic import field_validator

from engine.studies.base import ConfigError, StudyConfig, form_field


class Config(StudyConfig):
    """The run whose triplets are laid out, by what, and UMAP's settings."""

    of: str = form_field("Id of a finished srf run.", group="Map", default="")
    by: Literal["both", "text", "image"] = form_field(
        "What makes two triplets alike: words of question and answer, the image, or both.",
        group="Map",
        default="both",
    )
    n_neighbors: int = form_field(
        "Neighbours per triplet that UMAP keeps close; more shows larger structure.",
        group="Map",
        default=15,
        advanced=True,
        ge=2,
        le=200,
    )
    min_dist: float = form_field(
        "How tightly UMAP may pack points; 0 makes clumps, 1 spreads them evenly.",
        group="Map",
        default=0.1,
        advanced=True,
        ge=0,
        le=1,
    )
    max_points: int = form_field(
        "Triplets laid out at most; above it that many are drawn at random.",
        group="Map",
        default=12_000,
        unit="triplets",
        advanced=True,
        ge=100,
        le=100_000,
    )

    @field_validator("of")
    @classmethod
    def _an_id(cls, of: str) -> str:
        if not (of.isascii() and of.isalnum()):
            raise ConfigError("of", f"{of[:40]!r} is not a run id; `concordance runs` lists them.")
        return of
