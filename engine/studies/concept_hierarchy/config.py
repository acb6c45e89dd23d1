"""What a researcher can set when searching a hierarchy of discrete concepts (arXiv 2406.00519)."""

from typing import Any, Literal, Self

from pydantic import model_validator

from data.concept_hierarchy import Shape
from engine.studies.base import ConfigError, StudyConfig, form_field

WORLD: dict[str, Any] = {"source": "world"}
BLOCKS: dict[str, Any] = {"source": "world", "observed": "continuous"}
FEATURES: dict[str, Any] = {"source": "features"}
TABLE: dict[str, Any] = {"source": "table"}
ORDINAL: dict[str, Any] = {"source": ["bfi", "burnout", "table"]}
IMAGES: dict[str, Any] = {"source": "images"}
GRAPH: dict[str, Any] = {"source": ["world", "bfi", "burnout", "features", "table"]}


class Config(StudyConfig):
    """One search for a concept hierarchy, or one diffusion model whose timesteps are read as concept levels.

    In a world every seed draws tables and a sample of its own; on real data every seed takes a random part of the rows.
    """

    source: Literal["world", "bfi", "burnout", "features", "table", "images"] = form_field(
        "Where the concepts come from: a world whose hierarchy is known, a questionnaire of 25 personality items or of teacher "
        "burnout, the SAE features of a finished run, your own table, or images a small diffusion model learns.",
        group="Data",
        default="world",
    )
    shape: Shape = form_field(
        "Shape of the true hierarchy: a chain of two latents, a root with leaves of its own (mixed), three levels (deep), a "
        "root without leaves (tree), two paths (diamond), an edge over two levels (skip), or a random tree.",
        group="Data",
        default="deep",
        only_if=WORLD,
    )
    n_states: int = form_field(
        "States of every variable of the world.",
        group="Data",
        default=3,
        unit="states",
        only_if=WORLD,
        ge=2,
        le=5,
    )
    row_distance: float = form_field(
        "How far each state of a parent moves the law of its child, from 0 to 1 (total variation with two states).",
        group="Data",
        default=0.4,
        only_if=WORLD,
        advanced=True,
        ge=0,
        le=0.6,
    )
    world_seed: int = form_field(
        "Seed of the world; seed s of a run draws its tables and sample from world_seed + s.",
        group="Data",
        default=0,
        only_if=WORLD,
        advanced=True,
        ge=0,
        lt=2**31,
    )
    n_samples: int = form_field(
        "Rows drawn from the world; of real data, the most rows read.",
        group="Data",
        default=10_000,
        unit="rows",
        only_if=GRAPH,
        ge=100,
        le=1_000_000,
    )
    observed: Literal["states", "continuous"] = form_field(
        "What is seen of the bottom concepts: their states, or three continuous coordinates each, mixed by an invertible "
        "network with a nuisance; then step 1 estimates the states.",
        group="Data",
        default="states",
        only_if=WORLD,
    )
    separation: float = form_field(
        "Least distance between the centres of two states before the mixing.",
        group="Data",
        default=6.0,
        unit="standard deviations",
        only_if=BLOCKS,
        ge=0,
        le=50,
    )
    blocks: Literal["known", "unknown"] = form_field(
        "Whether step 1 is told which coordinates belong to one concept, or finds that out from their dependence.",
        group="Data",
        default="known",
        only_if=BLOCKS,
        advanced=True,
    )
    of: str = form_field(
        "Run of sae_consistency whose features are the bottom concepts; it must be done and read a language model.",
        group="Data",
        default="",
        only_if=FEATURES,
    )
    of_seed: int = form_field(
        "Seed of that run whose SAE is read.", group="Data", default=0, only_if=FEATURES, ge=0, lt=2**31
    )
    n_features: int = form_field(
        "Features used as bottom concepts, each active or not.",
        group="Data",
        default=24,
        unit="features",
        only_if=FEATURES,
        ge=4,
        le=100,
    )
    chosen_by: Literal["frequency", "variance"] = form_field(
        "Which features: those active in the share of tokens nearest to one half, or those whose values vary most.",
        group="Data",
        default="frequency",
        only_if=FEATURES,
    )
    table: str = form_field(
        "CSV or Parquet file, one row a case, one column a discrete or ordinal variable.",
        group="Data",
        default="",
        only_if=TABLE,
    )
    true_graph: str = form_field(
        "Optional file of the true graph: an edge list (source, target) or a square adjacency table.",
        group="Data",
        default="",
        only_if=TABLE,
    )
    n_bins: int = form_field(
        "Ordered values are cut into this many groups of about equal size: 2 is a median split, 0 keeps every value.",
        group="Data",
        default=2,
        unit="groups",
        only_if=ORDINAL,
        ge=0,
        le=8,
    )
    alpha: float = form_field(
        "Level of the rank test: the share of true rank deficiencies it rejects by chance.",
        group="Search",
        default=0.01,
        only_if=GRAPH,
        gt=0,
        lt=0.5,
    )
    statistic: Literal["bartlett", "kleibergen_paap"] = form_field(
        "Rank statistic: Bartlett's likelihood ratio of canonical correlations, or Kleibergen and Paap's robust one.",
        group="Search",
        default="bartlett",
        only_if=GRAPH,
        advanced=True,
    )
    max_k: int = form_field(
        "Most latents that may together be the parents of a group.",
        group="Search",
        default=1,
        unit="latents",
        only_if=GRAPH,
        advanced=True,
        ge=1,
        le=2,
    )
    n_latent_states: int = form_field(
        "States of a latent, if you know them; 0 estimates them.",
        group="Search",
        default=0,
        unit="states",
        only_if=GRAPH,
        ge=0,
        le=8,
    )
    linear_rank: bool = form_field(
        "Compare with the rank test of linear latents (RLCD), on the codes of the states.",
        group="Baselines",
        default=True,
        only_if=GRAPH,
    )
    latent_classes: bool = form_field(
        "Compare with latent-class models of disjoint groups.", group="Baselines", default=True, only_if=GRAPH
    )
    pairwise_clustering: bool = form_field(
        "Compare with clusters of pairwise association (Cramér's V, average linkage).",
        group="Baselines",
        default=True,
        only_if=GRAPH,
    )
    n_bootstraps: int = form_field(
        "Searches repeated on random halves of the rows; an edge's confidence is the share of them that has it.",
        group="Evaluation",
        default=0,
        unit="searches",
        only_if=GRAPH,
        ge=0,
        le=200,
    )
    images: Literal["blob_stripes", "digits"] = form_field(
        "Images: a large blob (high level) under fine stripes (low level), or handwritten digits (the class is high, the "
        "thickness of the strokes low).",
        group="Diffusion",
        default="blob_stripes",
        only_if=IMAGES,
    )
    diffusion_steps: int = form_field(
        "Optimiser steps of each denoiser, batches of 256 images.",
        group="Diffusion",
        default=8_000,
        unit="steps",
        only_if=IMAGES,
        ge=1,
        le=200_000,
    )
    prediction: Literal["noise", "velocity"] = form_field(
        "What the denoiser predicts: the noise, as Stable Diffusion does, or the velocity, which keeps the image's share of "
        "the loss at high noise.",
        group="Diffusion",
        default="noise",
        only_if=IMAGES,
        advanced=True,
    )
    n_generated: int = form_field(
        "Images generated for every point of a curve.",
        group="Diffusion",
        default=600,
        unit="images",
        only_if=IMAGES,
        advanced=True,
        ge=8,
        le=20_000,
    )
    checkpoint_every: int = form_field(
        "Optimiser steps between checkpoints; a killed run loses at most these.",
        group="Diffusion",
        default=1_000,
        unit="steps",
        only_if=IMAGES,
        advanced=True,
        ge=1,
    )

    @property
    def continuous(self) -> bool:
        """Whether step 1 has states to estimate."""
        return self.source == "world" and self.observed == "continuous"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source == "table" and not self.table:
            raise ConfigError("table", "name a CSV or Parquet file with one column for each variable.")
        if self.true_graph and self.source != "table":
            raise ConfigError("true_graph", "only a table of your own can have one; leave it empty.")
        if self.source == "world" and self.n_states > 3 and self.row_distance > 0.4:
            raise ConfigError(
                "row_distance",
                f"no tables of {self.n_states} states are that far apart; set it to at most 0.4.",
            )
        return self
