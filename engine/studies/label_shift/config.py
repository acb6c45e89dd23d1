"""What a researcher can set when a deployed classifier moves the classes it meets (arXiv 2410.04499)."""

from typing import Any, Literal, Self

from pydantic import model_validator

from engine.language_model import BUNDLED
from engine.studies.base import ConfigError, StudyConfig, form_field

TEXTS: dict[str, Any] = {"source": ["topics", "sentiment"]}
MIXTURE: dict[str, Any] = {"source": "mixture"}
OWN: dict[str, Any] = {"source": "features"}
FEWEST_MIXTURE_ROWS = 50


class Config(StudyConfig):
    """One data set and one way the world reacts; every seed draws its own split, rounds and initial weights."""

    source: Literal["digits", "mixture", "topics", "sentiment", "features"] = form_field(
        "What is classified: handwritten digits under noise, a Gaussian mixture whose posterior is known, topics of news or "
        "sentiment of snippets read by a language model, or your own features.",
        group="Data",
        default="digits",
    )
    table: str = form_field(
        "Your features: a Parquet file with the columns label, f0, f1, … and, if you have one, split (train, validation, test).",
        group="Data",
        default="",
        only_if=OWN,
    )
    most_rows: int = form_field(
        "Rows of your file that are used; of more, as many are drawn, classes kept in proportion.",
        group="Data",
        default=20_000,
        unit="rows",
        only_if=OWN,
        ge=200,
        le=500_000,
    )
    noise: float = form_field(
        "Standard deviation of the noise on every pixel, where white is 1.",
        group="Data",
        default=0.45,
        only_if={"source": "digits"},
        ge=0,
        le=10,
    )
    n_classes: int = form_field(
        "Classes of the mixture.", group="Data", default=20, unit="classes", only_if=MIXTURE, ge=2, le=200
    )
    n_samples: int = form_field(
        "Rows drawn from the mixture.",
        group="Data",
        default=10_000,
        unit="rows",
        only_if=MIXTURE,
        ge=200,
        le=1_000_000,
    )
    spread: float = form_field(
        "Standard deviation of the class means in each of 10 directions; less makes classes overlap more.",
        group="Data",
        default=0.9,
        only_if=MIXTURE,
        gt=0,
        le=10,
    )
    n_texts: int = form_field(
        "Texts that are read, no two of which are copies or from one review.",
        group="Data",
        default=2_000,
        unit="texts",
        only_if=TEXTS,
        ge=200,
        le=20_000,
    )
    words: int = form_field(
        "Words of each text that are read, from its start; fewer are harder.",
        group="Data",
        default=12,
        unit="words",
        only_if=TEXTS,
        ge=2,
        le=200,
    )
    model: str = form_field(
        "The language model whose states are averaged over the text: an id, a folder, or the bundled one.",
        group="Data",
        default=BUNDLED,
        only_if=TEXTS,
        advanced=True,
    )
    hook_point: str = form_field(
        "Where the language model is read.",
        group="Data",
        default="blocks.11.hook_out",
        only_if=TEXTS,
        advanced=True,
    )
    world_seed: int = form_field(
        "Seed of what all seeds of the run share: noise, mixture, and how the world reacts.",
        group="Data",
        default=0,
        advanced=True,
        ge=0,
        lt=2**31,
    )
    mechanism: Literal["adversarial", "mixed", "none", "features"] = form_field(
        "How the world answers class accuracies S: more of the classes that fail, p ∝ exp(−S/τ) (the paper's Eq. 6); the same "
        "through a matrix that mixes classes, p ∝ exp(−(M S + b)/τ); not at all; or the inputs of well recognised classes move, "
        "each class in a direction of its own, while the shares stay (no label shift).",
        group="World",
        default="adversarial",
    )
    tau: float = form_field(
        "Temperature τ of the reaction: smaller is a stronger shift.",
        group="World",
        default=0.1,
        only_if={"mechanism": ["adversarial", "mixed"]},
        ge=0.005,
        le=100,
    )
    own_share: float = form_field(
        "Weight of a class' own accuracy in M; the rest belongs to one other class.",
        group="World",
        default=0.3,
        only_if={"mechanism": "mixed"},
        ge=0,
        le=1,
    )
    bias: float = form_field(
        "Standard deviation of b, by which classes are met more or less whatever their accuracy.",
        group="World",
        default=0.08,
        only_if={"mechanism": "mixed"},
        ge=0,
        le=10,
    )
    feature_step: float = form_field(
        "How far the inputs of a class that is always recognised move, in mean distances between two classes.",
        group="World",
        default=0.75,
        only_if={"mechanism": "features"},
        ge=0,
        le=2,
    )
    rounds: int = form_field(
        "Rounds: deploy, let the world react, adapt.",
        group="Deployment",
        default=200,
        unit="rounds",
        ge=4,
        le=5_000,
    )
    swap_rounds: int = form_field(
        "Further rounds with another backbone, which the frozen forecasters never saw.",
        group="Deployment",
        default=60,
        unit="rounds",
        ge=0,
        le=5_000,
    )
    labels: int = form_field(
        "Labelled rows of each round: from them the class shares are counted, and fine-tuning learns.",
        group="Deployment",
        default=1_000,
        unit="rows",
        ge=10,
        le=100_000,
    )
    test_rows: int = form_field(
        "Other rows of each round, on which accuracies and losses are measured.",
        group="Deployment",
        default=2_000,
        unit="rows",
        ge=50,
        le=100_000,
    )
    least_per_class: int = form_field(
        "Rows of each class, at least, behind its accuracy; they are added where the round has fewer.",
        group="Deployment",
        default=5,
        unit="rows",
        advanced=True,
        ge=0,
        le=1_000,
    )
    fine_tune: bool = form_field(
        "Also fit the head anew in each round on that round's labels: what labels on the spot would give.",
        group="Deployment",
        default=True,
    )
    decisions: int = form_field(
        "Times at which six candidates are compared before one is deployed, in the second half of the rounds.",
        group="Deployment",
        default=10,
        ge=0,
        le=200,
    )
    hidden: int = form_field(
        "Width of the adapter's two hidden layers.",
        group="Adapter",
        default=64,
        unit="neurons",
        ge=2,
        le=4_096,
    )
    learning_rate: float = form_field(
        "Learning rate of the adapter's Adam.", group="Adapter", default=3e-3, gt=0, le=1
    )
    schedule: Literal["full batch", "released"] = form_field(
        "What the adapter learns in a round: several steps on all pairs so far; or, as in the authors' code, one pass in two "
        "halves, a pair's weight falling by 0.5 % a round.",
        group="Adapter",
        default="full batch",
    )
    steps_per_round: int = form_field(
        "Steps of the adapter in each round.",
        group="Adapter",
        default=20,
        unit="steps",
        only_if={"schedule": "full batch"},
        ge=1,
        le=1_000,
    )
    checkpoint_every: int = form_field(
        "Rounds between checkpoints; a killed run loses at most these.",
        group="Deployment",
        default=25,
        unit="rounds",
        advanced=True,
        ge=1,
    )

    @property
    def all_rounds(self) -> int:
        """Rounds with the first backbone and with the second."""
        return self.rounds + self.swap_rounds

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source == "features" and not self.table:
            raise ConfigError("table", "source “features” needs the path of a Parquet file.")
        if self.source == "mixture" and self.n_samples < FEWEST_MIXTURE_ROWS * self.n_classes:
            raise ConfigError(
                "n_samples",
                f"{self.n_classes} classes need {FEWEST_MIXTURE_ROWS * self.n_classes:,} rows or more; raise it.",
            )
        if self.decisions > self.rounds // 2:
            raise ConfigError(
                "decisions", f"{self.rounds} rounds leave room for {self.rounds // 2}; lower it."
            )
        return self
