"""What a map is made of."""

from pydantic import field_validator

from engine.studies.base import ConfigError, StudyConfig, form_field

MAX_RUNS = 100


class Config(StudyConfig):
    """The runs whose SAEs are laid out, in the order of their ids, and UMAP's settings."""

    runs: str = form_field(
        "Ids of finished runs, separated by commas; their SAEs must read vectors of one width (d_in).",
        group="Map",
        default="",
    )
    n_neighbors: int = form_field(
        "Neighbours per feature that UMAP keeps close; more shows larger structure.",
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
        "Features laid out at most; above it the same share of every SAE is drawn at random.",
        group="Map",
        default=50_000,
        unit="features",
        advanced=True,
        ge=100,
        le=200_000,
    )

    @field_validator("runs")
    @classmethod
    def _sorted_ids(cls, runs: str) -> str:
        ids = sorted({part.strip() for part in runs.split(",") if part.strip()})
        if not ids:
            raise ConfigError("runs", "name at least one finished run.")
        if len(ids) > MAX_RUNS:
            raise ConfigError("runs", f"{len(ids)} runs are too many for one map; name at most {MAX_RUNS}.")
        if wrong := [run for run in ids if not (run.isascii() and run.isalnum())]:
            raise ConfigError("runs", f"{wrong[0][:40]!r} is not a run id; `concordance runs` lists them.")
        return ",".join(ids)

    @property
    def run_ids(self) -> list[str]:
        return self.runs.split(",")
