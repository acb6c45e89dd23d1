"""What a researcher can set when learning a causal graph across modalities (arXiv 2411.06518)."""

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from engine.studies.base import ConfigError, Numbers, StudyConfig, form_field

WORLD: dict[str, Any] = {"source": "world"}
TABLE: dict[str, Any] = {"source": "table"}
Source = Literal["world", "digits", "nhanes", "nhefs", "cells", "table"]
MAX_ORDERED = 4


class Config(StudyConfig):
    """One data set and one recipe; every seed of a run starts the networks anew on the same rows."""

    source: Source = form_field(
        "Where the observations come from: a world whose causal latents are known, coloured and rotated digits with known "
        "latents, people's phenotypes (NHANES 2017–2018), a follow-up of smokers (NHEFS), images of cells in four channels, "
        "or your own table.",
        group="Data",
        default="world",
    )
    table: str = form_field(
        "Your table: a CSV or Parquet file with one row per observation and numbers only.",
        group="Data",
        default="",
        only_if=TABLE,
    )
    modalities: str = form_field(
        "Which column belongs to which modality, in causal order where the order is given: a CSV or JSON file, or written "
        "out as “body: weight, BMI; blood: HDL, HbA1c”.",
        group="Data",
        default="",
        only_if=TABLE,
    )
    true_graph: str = form_field(
        "The graph you hold true over columns that stand for latents, as an edge list or adjacency file; a learnt latent "
        "takes the name of the column of its modality that it follows most. Empty when it is unknown.",
        group="Data",
        default="",
        only_if=TABLE,
        advanced=True,
    )
    graph: Literal["sparse", "rich", "dense", "inseparable", "random"] = form_field(
        "The world's edges between modalities: chains with one partner for each latent, chains with further edges that "
        "leave all separable, all edges, a pair of latents with the same partners, or edges at random.",
        group="Data",
        default="sparse",
        only_if=WORLD,
    )
    density: float = form_field(
        "Probability of every further edge between modalities.",
        group="Data",
        default=0.3,
        only_if={**WORLD, "graph": ["rich", "random"]},
        ge=0,
        le=1,
    )
    within_density: float = form_field(
        "Probability of every edge within a block of the world.",
        group="Data",
        default=0.0,
        only_if=WORLD,
        advanced=True,
        ge=0,
        le=1,
    )
    n_modalities: int = form_field(
        "Modalities of the world.", group="Data", default=3, only_if=WORLD, ge=2, le=6
    )
    n_latents: int = form_field(
        "Latents of every modality: those of the world, and those that are learnt; the digits have two.",
        group="Model",
        default=3,
        unit="latents",
        ge=1,
        le=8,
    )
    width: int = form_field(
        "Measured variables of every modality of the world.",
        group="Data",
        default=8,
        unit="variables",
        only_if=WORLD,
        ge=2,
        le=128,
    )
    noise: Literal["gaussian", "laplace", "uniform", "skewed"] = form_field(
        "Law of the world's noise.", group="Data", default="gaussian", only_if=WORLD, advanced=True
    )
    noise_dims: int = form_field(
        "Dimensions of noise that belong to one modality alone.",
        group="Data",
        default=1,
        only_if=WORLD,
        advanced=True,
        ge=0,
        le=8,
    )
    n_samples: int = form_field(
        "Observations drawn to learn from; real tables use every complete row.",
        group="Data",
        default=8_000,
        unit="rows",
        only_if={"source": ["world", "digits"]},
        ge=200,
        le=1_000_000,
    )
    world_seed: int = form_field(
        "Seed the world and its observations are drawn from; for tables, which rows are held out.",
        group="Data",
        default=1,
        advanced=True,
        ge=0,
        lt=2**31,
    )
    encoder_layers: int = form_field(
        "Hidden layers of stage 1's encoders; 0 makes them linear, for tables with few variables and weak links.",
        group="Model",
        default=1,
        unit="layers",
        ge=0,
        le=4,
    )
    hidden: int = form_field(
        "Width of the encoders' hidden layers.",
        group="Model",
        default=32,
        unit="neurons",
        advanced=True,
        ge=4,
        le=1024,
    )
    modality_order: Literal["given", "learnt"] = form_field(
        "Which modality may cause which: only earlier ones later ones, in the order they are listed; or in the order, "
        "among all, under which held-out rows are likeliest (up to four modalities).",
        group="Model",
        default="given",
    )
    within_edges: bool = form_field(
        "Allow edges between latents of one modality as well.", group="Model", default=False, advanced=True
    )
    lambda_grid: Numbers = form_field(
        "Weights of the sparsity to try beside 0. Each proposes a graph, which is fitted again without the penalty; the "
        "largest weight is used that keeps 90 % of the best graph's gain in held-out log-likelihood over no edges. The truth "
        "is never asked.",
        group="Model",
        default=(0.1, 0.2, 0.4),
    )
    edge_threshold: float = form_field(
        "An edge is drawn when its strength exceeds this: the change of the effect's mean, in its standard deviations, "
        "for a change of one standard deviation of the cause.",
        group="Model",
        default=0.2,
        ge=0,
        lt=1,
    )
    edge_null: bool = form_field(
        "An edge must also be stronger than what an unpenalised prior finds where the modalities' rows are shuffled apart: "
        "above the 99 % quantile of those strengths.",
        group="Model",
        default=False,
    )
    n_bootstraps: int = form_field(
        "Bootstrap samples on which the graph is fitted again from where it stood.",
        group="Model",
        default=10,
        ge=0,
        le=200,
    )
    baselines: bool = form_field(
        "Also train a β-VAE and a contrastive model with one shared embedding.",
        group="Model",
        default=True,
    )
    subspace_steps: int = form_field(
        "Optimiser steps of stage 1, which finds every modality's block.",
        group="Training",
        default=800,
        unit="steps",
        ge=10,
    )
    component_steps: int = form_field(
        "Optimiser steps of stage 2, which finds the components; it stops early when held-out rows stop gaining.",
        group="Training",
        default=800,
        unit="steps",
        ge=10,
    )
    baseline_steps: int = form_field(
        "Optimiser steps of each baseline.",
        group="Training",
        default=800,
        unit="steps",
        only_if={"baselines": True},
        ge=10,
    )
    restarts: int = form_field(
        "Starts of stage 2 for every seed and weight; the one with the lowest objective on held-out rows is kept.",
        group="Training",
        default=2,
        ge=1,
        le=16,
        advanced=True,
    )
    batch_size: int = form_field(
        "Rows per step of stage 1, each other's contrast.", group="Training", default=512, unit="rows", ge=8
    )
    learning_rate: float = form_field(
        "Learning rate of Adam in stage 1 and for the baselines; stage 2 uses twice it.",
        group="Training",
        default=5e-3,
        gt=0,
        le=0.1,
        advanced=True,
    )
    checkpoint_every: int = form_field(
        "Steps between checkpoints; a killed run loses at most these.",
        group="Training",
        default=500,
        unit="steps",
        advanced=True,
        ge=1,
    )

    @field_validator("lambda_grid")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not 1 <= len(value) <= 12 or not all(0 < weight <= 10 for weight in value):
            raise ConfigError("lambda_grid", "give one to twelve weights above 0 and up to 10.")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source == "table" and not self.table:
            raise ConfigError("table", "source “table” needs the path of a CSV or Parquet file.")
        if self.source == "table" and not self.modalities:
            raise ConfigError("modalities", "say which column belongs to which modality.")
        if self.source == "world" and self.graph == "inseparable" and self.n_latents < 2:
            raise ConfigError("n_latents", "an inseparable pair needs blocks of 2 latents or more.")
        if self.source == "digits" and self.n_latents != 2:
            raise ConfigError("n_latents", "the digits have two latents in each modality; set it to 2.")
        if self.source == "world" and self.n_latents + self.noise_dims > self.width:
            raise ConfigError(
                "width",
                f"{self.width} variables cannot hold {self.n_latents} latents and {self.noise_dims} of noise; raise it.",
            )
        if self.modality_order == "learnt" and self.source == "world" and self.n_modalities > MAX_ORDERED:
            raise ConfigError(
                "modality_order", f"learning the order needs {MAX_ORDERED} modalities or fewer; give it."
            )
        return self
