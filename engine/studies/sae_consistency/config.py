"""What a researcher can set when training sparse autoencoders over seeds (arXiv 2505.20254)."""

from typing import Any, Literal, Self

from pydantic import model_validator

from data.corpora import ENGLISH_MIX
from engine.activation_sources import CORPUS, OWN, names_run
from engine.studies.base import ConfigError, StudyConfig, form_field

LM: dict[str, Any] = {"source": "language_model"}
WORLD: dict[str, Any] = {"source": "synthetic"}
TOPK_LIKE = ["topk", "batch_topk", "matryoshka_batch_topk"]
Architecture = Literal["relu", "gated", "jumprelu", "topk", "batch_topk", "matryoshka_batch_topk"]


class Config(StudyConfig):
    """One sparse autoencoder recipe; every seed of a run trains it on the same stream of data."""

    source: Literal["language_model", "synthetic"] = form_field(
        "Where the vectors come from: a hook point of a language model or of a finished run's model, or a world whose true "
        "features are known.",
        group="Data",
        default="language_model",
    )
    model: str = form_field(
        "Language model: the bundled one, a Hugging Face id or a local folder. Or the model of a finished run of sr2 or sapo: "
        "run:ID (first seed; the SAPO arm, or else the base), run:ID/seed-2, run:ID/seed-2/diffu_grpo.",
        group="Model",
        default="smollm2-135m-instruct-q4",
        only_if=LM,
        min_length=1,
    )
    hook_point: str = form_field(
        "Activation read by the SAE, as a TransformerBridge hook name; blocks.11.hook_out is the residual "
        "stream after 12 layers. Of an sr2 run the state after alignment block 11, of a sapo run the stream after block 11.",
        group="Model",
        default="blocks.11.hook_out",
        only_if=LM,
        min_length=1,
    )
    corpus: str = form_field(
        "Text: the bundled English mix, a .txt, .jsonl or .parquet file, a folder of them, or a Hugging Face dataset id. Of a "
        "run's model its own inputs: own, or own@0.5 for a denoiser at the one noise level 0.5.",
        group="Data",
        default=ENGLISH_MIX,
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
        "Tokens per forward pass window; position 0 of each window is never used. Ignored for a run's model: a window is "
        "one whole board or sequence then, and every position is used.",
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
    world: Literal["uniform", "zipf", "zipf_groups", "two_phase_zipf", "hierarchy", "correlated"] = (
        form_field(
            "How the world's features fire: all alike, by a Zipf law of their rank, in ten groups of falling frequency, by a "
            "Zipf law with a knee, children only with their parents, or together with others.",
            group="Data",
            default="uniform",
            only_if=WORLD,
        )
    )
    true_sparsity: int = form_field(
        "True features active in each vector.", group="Data", default=3, only_if=WORLD, ge=1
    )
    zipf_exponent: float = form_field(
        "Exponent of the Zipf law of the features' frequencies.",
        group="Data",
        default=1.0,
        only_if={**WORLD, "world": ["zipf", "zipf_groups", "two_phase_zipf", "hierarchy", "correlated"]},
        advanced=True,
        ge=0,
        le=4,
    )
    correlation: float = form_field(
        "Strength of the correlation between features that fire together.",
        group="Data",
        default=0.5,
        only_if={**WORLD, "world": "correlated"},
        advanced=True,
        ge=0,
        lt=1,
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
    architecture: Architecture = form_field(
        "SAE architecture. TopK keeps the k largest latents of a vector, BatchTopK those of a batch, Matryoshka BatchTopK "
        "also lets nested parts of the dictionary reconstruct alone; ReLU and Gated pay an L1 penalty, JumpReLU one on L0.",
        group="SAE",
        default="topk",
    )
    d_sae: int = form_field("Dictionary size.", group="SAE", default=2304, unit="latents", ge=1, le=131_072)
    k: int = form_field(
        "Latents active per vector: exactly (TopK), on average over a batch (BatchTopK, Matryoshka), or the L0 the "
        "penalty aims at (JumpReLU).",
        group="SAE",
        default=32,
        unit="latents",
        only_if={"architecture": [*TOPK_LIKE, "jumprelu"]},
        ge=1,
    )
    l1_coefficient: float = form_field(
        "Weight of the L1 penalty on the latents.",
        group="SAE",
        default=0.05,
        only_if={"architecture": ["relu", "gated"]},
        ge=0,
    )
    l0_coefficient: float = form_field(
        "Weight of the squared distance between L0 and k.",
        group="SAE",
        default=1.0,
        only_if={"architecture": "jumprelu"},
        advanced=True,
        ge=0,
    )
    jumprelu_bandwidth: float = form_field(
        "Width of the rectangle through which thresholds are trained.",
        group="SAE",
        default=1.0,
        only_if={"architecture": "jumprelu"},
        advanced=True,
        gt=0,
    )
    control: Literal["none", "random", "frozen_decoder", "soft_frozen"] = form_field(
        "Honest control: random is never trained; frozen_decoder trains all but its random decoder; soft_frozen keeps every "
        "decoder row within cosine 0.8 of its start (arXiv 2602.14111).",
        group="SAE",
        default="none",
    )
    weight_decay: float = form_field(
        "Weight of ½ ‖W‖² of encoder and decoder (arXiv 2603.04198).",
        group="SAE",
        default=0.0,
        advanced=True,
        ge=0,
    )
    orthogonality: float = form_field(
        "Weight of the mean squared largest cosine between decoder rows of a random chunk of 512 (OrtSAE, arXiv 2509.22033).",
        group="SAE",
        default=0.0,
        advanced=True,
        ge=0,
    )
    align_encoder: bool = form_field(
        "Keep ⟨encoder row, decoder row⟩ = 1 after every step (aligned training, arXiv 2605.18629).",
        group="SAE",
        default=False,
        advanced=True,
    )
    start_from: str = form_field(
        "Go on from trained SAEs instead of random ones: run:ID takes each seed's SAE of that run; or a folder saved by "
        "sae-lens, dictionary_learning or sparsify, one per seed and separated by commas.",
        group="SAE",
        default="",
        advanced=True,
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
        only_if={"architecture": TOPK_LIKE},
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
    n_steps: int = form_field(
        "Optimiser steps; 0 evaluates the SAEs as they start.",
        group="Training",
        default=4_000,
        unit="steps",
        ge=0,
    )
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
    n_gpus: int = form_field(
        "GPUs that hold one dictionary together, for one too wide for a single GPU: each has a part of the latents and reads "
        "every vector. Without a GPU they are processes.",
        group="Training",
        default=1,
        unit="GPUs",
        advanced=True,
        ge=1,
        le=16,
    )
    checkpoint_every: int = form_field(
        "Steps between checkpoints; a killed run loses at most these.",
        group="Training",
        default=500,
        unit="steps",
        advanced=True,
        ge=1,
    )
    seed_varies: Literal["init", "order", "both"] = form_field(
        "What differs between the seeds of a run: the random start, the order of the data, or both.",
        group="Training",
        default="init",
        advanced=True,
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

    functional_tokens: int = form_field(
        "Held-out tokens on which stable and unstable features are ablated in the language model; 0 leaves it out, and so "
        "does a run's model.",
        group="Evaluation",
        default=2_048,
        unit="tokens",
        only_if=LM,
        advanced=True,
        ge=0,
        le=1_000_000,
    )
    explained_pairs: int = form_field(
        "Matched pairs whose top contexts are compared in meaning, by an embedding or a judge; 0 leaves it out, and so "
        "does a run's model, whose inputs are no text.",
        group="Evaluation",
        default=500,
        unit="pairs",
        only_if=LM,
        advanced=True,
        ge=0,
    )
    judge_endpoint: str = form_field(
        "Address of an OpenAI-compatible API whose model explains features and rates their likeness; empty uses the bundled "
        "text embedding. Its key is read from CONCORDANCE_JUDGE_KEY.",
        group="Evaluation",
        default="",
        only_if=LM,
        advanced=True,
    )
    judge_model: str = form_field(
        "Model name the judge's API knows.", group="Evaluation", default="", only_if=LM, advanced=True
    )

    @property
    def steps(self) -> int:
        """Optimiser steps really taken: none for the random control."""
        return 0 if self.control == "random" else self.n_steps

    @property
    def reads_run(self) -> bool:
        """Whether the vectors are those of a finished run's model."""
        return self.source == "language_model" and names_run(self.model)

    @model_validator(mode="before")
    @classmethod
    def _own_inputs(cls, values: Any) -> Any:
        """A run's model reads its own inputs, and what needs a language model and text is left out."""
        if not isinstance(values, dict) or not names_run(str(values.get("model", ""))):
            return values
        corpus = values.get("corpus", ENGLISH_MIX)
        own = {"corpus": OWN if corpus == ENGLISH_MIX else corpus}
        return {**values, **own, "functional_tokens": 0, "explained_pairs": 0}

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        is_own = CORPUS.fullmatch(self.corpus) is not None
        if self.reads_run and not is_own:
            raise ConfigError(
                "corpus", f"a run's model reads its own inputs and not {self.corpus}; give own, or own@0.5."
            )
        if self.source == "language_model" and is_own and not self.reads_run:
            raise ConfigError(
                "corpus", f"{self.corpus} stands for a run's inputs and {self.model} reads text; name a text."
            )
        if self.architecture not in ("relu", "gated") and self.k > self.d_sae:
            raise ConfigError("k", f"k = {self.k} exceeds d_sae = {self.d_sae}; lower k or raise d_sae.")
        if self.source == "synthetic" and self.true_sparsity > self.n_true_features:
            raise ConfigError(
                "true_sparsity",
                f"{self.true_sparsity} exceeds n_true_features = {self.n_true_features}; lower true_sparsity.",
            )
        if self.n_gpus > 1 and self.orthogonality > 0:
            raise ConfigError(
                "n_gpus",
                "orthogonality compares latents of all parts; set orthogonality to 0 or n_gpus to 1.",
            )
        if self.n_gpus > self.d_sae:
            raise ConfigError("n_gpus", f"{self.n_gpus} exceeds d_sae = {self.d_sae}; lower n_gpus.")
        if self.judge_endpoint and not self.judge_model:
            raise ConfigError("judge_model", "the judge's API needs a model name; give judge_model.")
        if self.warmup_fraction + self.decay_fraction > 1:
            raise ConfigError(
                "warmup_fraction", "warm-up and decay together exceed the whole run; lower one of them."
            )
        return self
