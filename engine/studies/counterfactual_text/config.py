"""What a researcher can set when content and style are told apart and style is moved (MATTE, arXiv 2402.15309)."""

from typing import Any, Literal, Self

from pydantic import model_validator

from engine.studies.base import ConfigError, StudyConfig, form_field

MATTE, INDEPENDENT, NO_SPARSITY, BETA_VAE = "matte", "independent", "no_sparsity", "beta_vae"
ARMS = (MATTE, INDEPENDENT, NO_SPARSITY, BETA_VAE)
BENCH: dict[str, Any] = {"source": "bench"}
WORDS: dict[str, Any] = {"source": ["text", "file"]}
OWN: dict[str, Any] = {"source": "file"}


class Config(StudyConfig):
    """One data set, the arms trained on it, and how style is moved; every seed starts from other weights."""

    source: Literal["bench", "text", "file"] = form_field(
        "What is seen: vectors of a world whose latents are known, snippets of four domains with human valence, or your own texts.",
        group="Data",
        default="bench",
    )
    table: str = form_field(
        "Your texts: a JSONL file with the fields text, domain and, for two ends of a style, label.",
        group="Data",
        default="",
        only_if=OWN,
    )
    most_rows: int = form_field(
        "Rows of your file that are used; of more, as many are drawn.",
        group="Data",
        default=20_000,
        unit="rows",
        only_if=OWN,
        ge=200,
        le=500_000,
    )
    words: int = form_field(
        "Tokens of each text that are read, from its start; what follows is cut off.",
        group="Data",
        default=14,
        unit="tokens",
        only_if=WORDS,
        ge=3,
        le=100,
    )
    vocabulary: int = form_field(
        "Most frequent tokens of the training texts; others become one unknown token.",
        group="Data",
        default=4_000,
        unit="tokens",
        only_if=WORDS,
        ge=50,
        le=50_000,
    )
    n_domains: int = form_field(
        "Domains of the world.", group="Data", default=8, unit="domains", only_if=BENCH, ge=2, le=200
    )
    n_outputs: int = form_field(
        "Numbers that are seen of each row.",
        group="Data",
        default=16,
        unit="outputs",
        only_if=BENCH,
        ge=2,
        le=500,
    )
    own_outputs: int = form_field(
        "Outputs that each style touches, content touches all; as many as there are is the negative control: style touches everything.",
        group="Data",
        default=4,
        unit="outputs",
        only_if=BENCH,
        ge=1,
        le=500,
    )
    n_rows: int = form_field(
        "Training rows drawn from the world.",
        group="Data",
        default=8_000,
        unit="rows",
        only_if=BENCH,
        ge=200,
        le=1_000_000,
    )
    n_test: int = form_field(
        "Test rows, of which half fit a probe and half score it.",
        group="Data",
        default=2_400,
        unit="rows",
        only_if=BENCH,
        ge=100,
        le=100_000,
    )
    worlds: Literal["one", "one per seed"] = form_field(
        "Whether all seeds see one world, so that they can be compared, or each another one, so that figures speak of worlds.",
        group="Data",
        default="one",
        only_if=BENCH,
    )
    world_seed: int = form_field(
        "Seed of the world.", group="Data", default=0, only_if=BENCH, advanced=True, ge=0, lt=2**31
    )
    arms: str = form_field(
        "What is trained: matte (c → s flow and sparsity), independent (no c → s), no_sparsity, beta_vae; with commas between.",
        group="Model",
        default=",".join(ARMS),
    )
    d_content: int = form_field(
        "Dimensions of content; in the world the true number too.", group="Model", default=4, ge=1, le=256
    )
    d_style: int = form_field(
        "Dimensions of style; in the world the true number too.", group="Model", default=2, ge=1, le=64
    )
    flow: Literal["affine", "spline"] = form_field(
        "The element-wise flows r_c(c; u) and r_s(s; c, u): affine, or monotone rational splines of 8 bins.",
        group="Model",
        default="affine",
    )
    hidden: int = form_field(
        "Width of the networks.", group="Model", default=96, unit="neurons", ge=4, le=4_096
    )
    embedding: int = form_field(
        "Dimensions of a domain's embedding e_u, and half of those of a word's.",
        group="Model",
        default=16,
        advanced=True,
        ge=1,
        le=512,
    )
    lambda_sparse: float = form_field(
        "Weight of sparsity: L1 of the decoder's Jacobian in the style dimensions, each scaled by its standard deviation.",
        group="Loss",
        default=0.01,
        ge=0,
        le=100,
    )
    lambda_partial: float = form_field(
        "Weight of partial overlap: content is kept off the outputs that style moves most and content least; it can hurt.",
        group="Loss",
        default=0.0,
        ge=0,
        le=100,
    )
    lambda_mask: float = form_field(
        "Weight of the content mask: mean |m|; entries of 0.1 or less switch a content dimension off.",
        group="Loss",
        default=1e-4,
        ge=0,
        le=100,
    )
    beta_content: float = form_field(
        "Weight of the content's KL divergence.", group="Loss", default=0.02, ge=0, le=100
    )
    beta_style: float = form_field(
        "Weight of the style's KL divergence.", group="Loss", default=0.02, ge=0, le=100
    )
    free_bits: float = form_field(
        "Divergence of each block that costs nothing, against collapse.",
        group="Loss",
        default=0.0,
        unit="nats",
        advanced=True,
        ge=0,
        le=100,
    )
    word_dropout: float = form_field(
        "Share of the decoder's input words that are hidden while training, so that it must read the latents.",
        group="Loss",
        default=0.4,
        only_if=WORDS,
        ge=0,
        le=1,
    )
    n_steps: int = form_field(
        "Steps of each arm.", group="Training", default=2_500, unit="steps", ge=1, le=1_000_000
    )
    batch_size: int = form_field(
        "Rows of a step.", group="Training", default=256, unit="rows", ge=2, le=4_096
    )
    learning_rate: float = form_field(
        "Peak learning rate of Adam; it falls along a cosine.", group="Training", default=1e-2, gt=0, le=1
    )
    warm_up: int = form_field(
        "Steps over which divergences and penalties grow to their weight.",
        group="Training",
        default=1_000,
        unit="steps",
        ge=1,
        le=1_000_000,
    )
    jacobian_rows: int = form_field(
        "Rows of a batch on which the Jacobian is taken.",
        group="Training",
        default=64,
        unit="rows",
        advanced=True,
        ge=1,
        le=4_096,
    )
    checkpoint_every: int = form_field(
        "Steps between checkpoints; a killed run loses at most these.",
        group="Training",
        default=500,
        unit="steps",
        advanced=True,
        ge=1,
    )
    labelled: int = form_field(
        "Labelled training texts of each style and domain that name the direction of a style; nothing else sees a label.",
        group="Evaluation",
        default=10,
        unit="texts",
        only_if=WORDS,
        ge=1,
        le=10_000,
    )
    push: float = form_field(
        "How far beyond the other style's mean a sentence is moved, in standard deviations of the codes along that direction.",
        group="Evaluation",
        default=2.0,
        only_if=WORDS,
        ge=-10,
        le=10,
    )
    pairs: int = form_field(
        "Test texts of each domain that are rewritten.",
        group="Evaluation",
        default=40,
        unit="texts",
        only_if=WORDS,
        ge=2,
        le=5_000,
    )
    fluency: bool = form_field(
        "Measure how surprising the bundled SmolLM2 finds what is written; about a minute for five seeds.",
        group="Evaluation",
        default=True,
        only_if=WORDS,
    )
    probe_rows: int = form_field(
        "Rows on which a kernel ridge regression is fitted for each R², and scored on as many.",
        group="Evaluation",
        default=600,
        unit="rows",
        advanced=True,
        ge=10,
        le=2_000,
    )

    @property
    def arm_names(self) -> tuple[str, ...]:
        """The arms that are trained, in the order of `ARMS`."""
        asked = [arm.strip() for arm in self.arms.split(",")]
        return tuple(arm for arm in ARMS if arm in asked)

    @property
    def reads_text(self) -> bool:
        return self.source != "bench"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        unknown = [arm.strip() for arm in self.arms.split(",") if arm.strip() and arm.strip() not in ARMS]
        if unknown or not self.arm_names:
            named = f"{unknown[0]!r} is no arm; " if unknown else ""
            raise ConfigError("arms", f"{named}write some of {', '.join(ARMS)}.")
        if self.source == "file" and not self.table:
            raise ConfigError("table", "source “file” needs the path of a JSONL file.")
        if self.source == "bench":
            self._check_world()
        return self

    def _check_world(self) -> None:
        if self.own_outputs > self.n_outputs:
            raise ConfigError("own_outputs", f"there are {self.n_outputs} outputs; lower it.")
        if self.own_outputs < self.n_outputs < self.own_outputs * self.d_style:
            raise ConfigError(
                "own_outputs",
                f"{self.d_style} styles with {self.own_outputs} outputs each need {self.own_outputs * self.d_style}; lower it.",
            )
        if self.n_outputs < self.d_content + self.d_style:
            raise ConfigError(
                "n_outputs",
                f"{self.d_content + self.d_style} latents cannot be seen in fewer outputs; raise it.",
            )
