"""What a researcher can set when a single sample lies off the source's support (arXiv 2501.09163)."""

from typing import Any, Literal, Self

from pydantic import model_validator

from engine.studies.base import ConfigError, Numbers, StudyConfig, form_field

WORLD: dict[str, Any] = {"source": "world"}
PICTURES: dict[str, Any] = {"source": ["digits", "emoji", "folder"]}
FOLDER: dict[str, Any] = {"source": "folder"}
REGIMES = ("dense", "sparse")


class Config(StudyConfig):
    """One world, or one set of pictures with a classifier; every seed draws its own rows, targets and initial weights."""

    source: Literal["world", "digits", "emoji", "folder"] = form_field(
        "What is extrapolated to: targets off the support of a known world; handwritten digits, emoji of people, or your own "
        "folder of pictures, each with noise in a block.",
        group="Data",
        default="world",
    )
    regime: Literal["both", "dense", "sparse"] = form_field(
        "Whether the shift acts on every coordinate of x (dense), on a few (sparse), or a world of each is made.",
        group="World",
        default="both",
        only_if=WORLD,
    )
    n_classes: int = form_field(
        "Classes, that is values of the invariant latent.",
        group="World",
        default=4,
        only_if=WORLD,
        ge=2,
        le=50,
    )
    invariant: Literal["discrete", "continuous"] = form_field(
        "Whether the invariant latent c takes one value a class, or any value near it.",
        group="World",
        default="discrete",
        only_if=WORLD,
    )
    n_coordinates: int = form_field(
        "Coordinates of x.", group="World", default=12, only_if=WORLD, ge=6, le=200
    )
    n_affected: int = form_field(
        "Coordinates on which the changing latent s acts in the sparse world.",
        group="World",
        default=3,
        only_if=WORLD,
        ge=1,
        le=196,
    )
    slope: float = form_field(
        "Slope of the mixing's leaky units below 0: nearer to 1 is smoother, and lets targets be told apart further off.",
        group="World",
        default=0.3,
        only_if=WORLD,
        ge=0.05,
        le=1,
    )
    noise: float = form_field(
        "Standard deviation of the noise on x, in standard deviations of the source.",
        group="World",
        default=0.05,
        only_if=WORLD,
        ge=0,
        le=2,
    )
    distances: Numbers = form_field(
        "How far beyond the rim of the source's support (a disk of radius 2) targets lie; 0 is within it.",
        group="World",
        default=(0.0, 1.0, 2.0, 4.0, 8.0, 16.0),
        only_if=WORLD,
        min_length=1,
        max_length=20,
    )
    n_targets: int = form_field(
        "Targets at each distance, each adapted to alone.",
        group="World",
        default=200,
        unit="targets",
        only_if=WORLD,
        ge=8,
        le=5_000,
    )
    n_source: int = form_field(
        "Source rows.", group="World", default=8_000, unit="rows", only_if=WORLD, ge=200, le=200_000
    )
    world_seed: int = form_field(
        "Seed of what all seeds of the run share: the world's mixing, or which pictures are for training and which for test.",
        group="Data",
        default=0,
        advanced=True,
        ge=0,
        lt=2**31,
    )
    own_world: bool = form_field(
        "Every seed has a world of its own: intervals then speak of worlds, but learnt latents of two seeds do not compare.",
        group="World",
        default=False,
        only_if=WORLD,
    )
    pull: float = form_field(
        "Minimal distance: weight λ of a latent's distance from the source's support beside the squared error.",
        group="Objectives",
        default=0.01,
        only_if=WORLD,
        ge=0,
        le=100,
    )
    changed: int = form_field(
        "Minimal change: coordinates of x that may have changed, and are left out where they fit worst. An assumption: see the "
        "curve over it on the page.",
        group="Objectives",
        default=4,
        only_if=WORLD,
        ge=0,
        le=199,
    )
    fit_steps: int = form_field(
        "Steps in which a target's latent is fitted for every class.",
        group="Objectives",
        default=200,
        unit="steps",
        only_if=WORLD,
        ge=1,
        le=5_000,
    )
    folder: str = form_field(
        "Your pictures: a folder with a sub-folder for each class; with a classifier of your own, also pictures without classes.",
        group="Data",
        default="",
        only_if=FOLDER,
    )
    classifier: str = form_field(
        "Your image classifier: a transformers folder (config.json, model.safetensors) or a .safetensors file of torchvision's "
        "ResNet; empty trains one here. Pickled files and TorchScript are refused, as they can run code.",
        group="Data",
        default="",
        only_if=FOLDER,
    )
    side: int = form_field(
        "Side to which your pictures are scaled, a multiple of 8.",
        group="Data",
        default=48,
        unit="pixels",
        only_if=FOLDER,
        ge=16,
        le=512,
        multiple_of=8,
    )
    scopes: Numbers = form_field(
        "Side of the corrupted block as a share of the picture's side.",
        group="Corruption",
        default=(0.25, 0.5, 0.75, 1.0),
        only_if=PICTURES,
        min_length=1,
        max_length=10,
    )
    severities: Numbers = form_field(
        "Standard deviation of the noise in the block, where white is 1.",
        group="Corruption",
        default=(0.25, 0.5, 1.0, 2.0, 4.0),
        only_if=PICTURES,
        min_length=1,
        max_length=12,
    )
    clip: bool = form_field(
        "Keep corrupted pixels between black and white, as a camera does.",
        group="Corruption",
        default=True,
        only_if=PICTURES,
    )
    n_pictures: int = form_field(
        "Test pictures at each scope and severity, each adapted to alone.",
        group="Corruption",
        default=100,
        unit="pictures",
        only_if=PICTURES,
        ge=4,
        le=10_000,
    )
    adapt_steps: int = form_field(
        "Steps of test-time training and of TENT on one sample.",
        group="Objectives",
        default=10,
        unit="steps",
        ge=1,
        le=200,
    )
    tent_rate: float = form_field(
        "Learning rate of TENT's Adam in a world. On pictures it is chosen on validation pictures.",
        group="Objectives",
        default=0.01,
        only_if=WORLD,
        advanced=True,
        gt=0,
        le=10,
    )
    steps: int = form_field(
        "Training steps of the classifier and of the generative model (or reconstruction) on the source.",
        group="Training",
        default=1_500,
        unit="steps",
        ge=10,
        le=200_000,
    )
    batch_size: int = form_field(
        "Rows or pictures in a training step.", group="Training", default=128, ge=4, le=4_096
    )
    learning_rate: float = form_field(
        "Learning rate of Adam at the start; it falls to 0 along a cosine.",
        group="Training",
        default=2e-3,
        gt=0,
        le=1,
    )
    checkpoint_every: int = form_field(
        "Pieces of work (50 training steps, or one distance or corruption) between checkpoints.",
        group="Training",
        default=4,
        advanced=True,
        ge=1,
    )

    @property
    def regimes(self) -> tuple[str, ...]:
        """The worlds of a run."""
        return REGIMES if self.regime == "both" else (self.regime,)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.source == "world":
            self._check_world()
        if self.source == "folder" and not self.folder.strip():
            raise ConfigError("folder", "source “folder” needs the path of a folder of pictures.")
        if any(not 0 < scope <= 1 for scope in self.scopes):
            raise ConfigError("scopes", "every scope is a share of the side, above 0 and up to 1.")
        if any(not 0 < severity <= 100 for severity in self.severities):
            raise ConfigError("severities", "every severity lies above 0 and up to 100.")
        for name in ("distances", "scopes", "severities"):
            values = getattr(self, name)
            if list(values) != sorted(set(values)):
                raise ConfigError(name, "write the values in rising order, each once.")
        return self

    def _check_world(self) -> None:
        if any(not 0 <= distance <= 1_000 for distance in self.distances):
            raise ConfigError("distances", "every distance lies from 0 to 1,000.")
        if self.n_affected > self.n_coordinates - 4:
            raise ConfigError(
                "n_affected",
                f"at most {self.n_coordinates - 4} of {self.n_coordinates} coordinates, so that the rest tell c; lower it.",
            )
        if self.changed >= self.n_coordinates:
            raise ConfigError("changed", f"fewer than the {self.n_coordinates} coordinates of x; lower it.")
        if self.n_source < 50 * self.n_classes:
            raise ConfigError(
                "n_source",
                f"{self.n_classes} classes need {50 * self.n_classes:,} rows or more; raise it.",
            )
