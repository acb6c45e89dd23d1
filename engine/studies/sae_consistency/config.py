"""What a researcher can set when training sparse autoencoders over seeds (arXiv 2505.20254)."""

from typing import Any, Literal, Self

from pydantic import model_validator

from engine.errors import UserError
from engine.studies.base import StudyConfig, form_field

LM: dict[str, Any] = {"source": "language_model"}
WORLD: dict[str, Any] = {"source": "synthetic"}


class ConfigError(UserError, ValueError):
    """A cross-field violation, raised inside pydantic validation."""


class Config(StudyConfig):
    """One sparse autoencoder recipe; every seed of a run trains it on the same stream of data."""

    source: Literal["language_model", "synthetic"] = form_field(
        "Where the vectors come from: a language model's hook point, or a world whose true features are known.",
        group="Data",
        default="language_model",
    )
    model: str = form_field(
        "Language model: the bundled one, a Hugging Face id or a local folder.",
        group="Model",
        default="smollm2-135m-instruct-q4",
        only_if=LM,
        min_length=1,
    )
    hook_point: str = form_field(
        "Activation read by the SAE, as a TransformerBridge hook name; blocks.11.hook_out is the residual "
        "stream after 12 layers.",
        group="Model",
        default="blocks.11.hook_out",
        only_if=LM,
        min_length=1,
    )
    corpus: str = form_field(
        "Text: the bundled English mix, a .txt, .jsonl or .parquet file, a folder of them, or a Hugging Face dataset id.",
        group="Data",
        default="english-mix",
        only_if=LM,
        min_length=1,
    )
    n_tokens: int = form_field(
        "Tokens read from the corpus for training.",
        group="Data",
        default=1_000_000,
        unit="tokens",
        only_if=LM,
        ge=1_000,
    )
    context_size: int = form_field(
        "Tokens per forward pass window; position 0 of each window is never used.",
        group="Data",
        default=128,
        unit="tokens",
        only_if=LM,
        advanced=True,
        ge=8,
        le=8192,
    )
    massive_threshold: float = form_field(
        "Tokens whose activation norm exceeds this multiple of the median are masked; 0 keeps every token.",
        group="Data",
        default=3.0,
        unit="× median norm",
        only_if=LM,
        advanced=True,
        ge=0,
    )
    n_true_features: int = form_field(
        "True features d_gt of the world.", group="Data", default=32, only_if=WORLD, ge=2, le=65_536
    )
    d_in: int = form_field(
        "Dimension m of the world's vectors.", group="Data", default=16, only_if=WORLD, ge=2, le=8192
    )
    true_sparsity: int = form_field(
        "True features active in each vector.", group="Data", default=3, only_if=WORLD, ge=1
    )
    world_seed: int = form_field(
        "Seed the true features and the vectors are drawn from.",
        group="Data",
        default=0,
        only_if=WORLD,
        advanced=True,
        ge=0,
        lt=2**31,
    )
    n_samples: int = form_field(
        "Vectors drawn from the world.", group="Data", default=50_000, unit="vectors", only_if=WORLD, ge=100
    )
    architecture: Literal["topk", "relu"] = form_field(
        "SAE architecture: TopK keeps the k largest latents; ReLU pays an L1 penalty.",
        group="SAE",
        default="topk",
    )
    d_sae: int = form_field("Dictionary size.", group="SAE", default=2304, unit="latents", ge=1, le=131_072)
    k: int = form_field(
        "Latents active per token.",
        group="SAE",
        default=32,
        unit="latents",
        only_if={"architecture": "topk"},
        ge=1,
    )
    l1_coefficient: float = form_field(
        "Weight of the L1 penalty on the latents.",
        group="SAE",
        default=0.05,
        only_if={"architecture": "relu"},
        ge=0,
    )
    decoder_norm: Literal["unit", "free"] = form_field(
        "Keep every decoder row at norm 1 and remove the gradient along it, or leave it free "
        "(the authors' synthetic notebooks).",
        group="SAE",
        default="unit",
        advanced=True,
    )
    decoder_bias: Literal["geometric_median", "mean", "zero"] = form_field(
        "Start of the decoder bias.", group="SAE", default="geometric_median", advanced=True
    )
    aux_coefficient: float = form_field(
        "Weight of the auxiliary loss that revives dead latents.",
        group="SAE",
        default=1 / 32,
        advanced=True,
        only_if={"architecture": "topk"},
        ge=0,
    )
    dead_after: int = form_field(
        "A latent is dead when it has not fired for this many vectors.",
        group="SAE",
        default=100_000,
        unit="vectors",
        advanced=True,
        ge=1,
    )
    n_steps: int = form_field("Optimiser steps.", group="Training", default=4_000, unit="steps", ge=1)
    batch_size: int = form_field("Vectors per step.", group="Training", default=1024, unit="vectors", ge=1)
    learning_rate: float = form_field(
        "Peak learning rate of Adam.", group="Training", default=1e-3, gt=0, le=1
    )
    warmup_fraction: float = form_field(
        "Share of the steps with a rising learning rate.",
        group="Training",
        default=0.05,
        advanced=True,
        ge=0,
        le=1,
    )
    decay_fraction: float = form_field(
        "Share of the steps, at the end, with a falling learning rate.",
        group="Training",
        default=0.2,
        advanced=True,
        ge=0,
        le=1,
    )
    checkpoint_every: int = form_field(
        "Steps between checkpoints; a killed run loses at most these.",
        group="Training",
        default=500,
        unit="steps",
        advanced=True,
        ge=1,
    )
    n_match_points: int = form_field(
        "Log-spaced steps at which PW-MCC is measured during training, step 0 included.",
        group="Training",
        default=10,
        unit="points",
        advanced=True,
        ge=0,
        le=200,
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.architecture == "topk" and self.k > self.d_sae:
            raise ConfigError("k", f"k = {self.k} exceeds d_sae = {self.d_sae}; lower k or raise d_sae.")
        if self.source == "synthetic" and self.true_sparsity > self.n_true_features:
            raise ConfigError(
                "true_sparsity",
                f"{self.true_sparsity} exceeds n_true_features = {self.n_true_features}; lower true_sparsity.",
            )
        if self.warmup_fraction + self.decay_fraction > 1:
            raise ConfigError(
                "warmup_fraction", "warm-up and decay together exceed the whole run; lower one of them."
            )
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "tour": {
        "hook_point": "blocks.5.hook_out",
        "n_tokens": 60_000,
        "d_sae": 1152,
        "k": 32,
        "n_steps": 600,
        "batch_size": 512,
        "learning_rate": 3e-3,
        "checkpoint_every": 200,
        "dead_after": 50_000,
    },
    "standard": {},
    "paper": {
        "model": "EleutherAI/pythia-160m-deduped",
        "hook_point": "blocks.8.hook_out",
        "corpus": "monology/pile-uncopyrighted",
        "n_tokens": 500_000_000,
        "context_size": 1024,
        "d_sae": 16_384,
        "k": 20,
        "n_steps": 244_140,
        "batch_size": 2048,
        "learning_rate": 3e-4,
        "dead_after": 10_000_000,
        "checkpoint_every": 2000,
    },
    "world": {
        "source": "synthetic",
        "d_sae": 32,
        "k": 3,
        "n_steps": 8_000,
        "batch_size": 1024,
        "learning_rate": 3e-3,
        "checkpoint_every": 1000,
        "n_match_points": 20,
    },
}
