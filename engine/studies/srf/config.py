"""What a researcher can set when a vision-language model refines itself by triangular consistency (arXiv 2510.10487)."""

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from engine.studies.base import ConfigError, Numbers, StudyConfig, form_field

ARMS = ("base", "random", "no_filter", "triangle", "triangle_tied", "confidence", "oracle", "recap", "bottom")
LATER_ARMS = ("random", "triangle", "triangle_tied")
SCENES: dict[str, Any] = {"pictures": "scenes"}
SMALL: dict[str, Any] = {"model": "small"}
LARGE: dict[str, Any] = {"model": "large"}
NOT_FOLDER: dict[str, Any] = {"pictures": ["scenes", "emoji"]}


class Config(StudyConfig):
    """Labelled and unlabelled images, and one model per seed that is tuned, writes triplets, filters them and is retrained."""

    pictures: Literal["scenes", "emoji", "folder"] = form_field(
        "Rendered scenes, where an oracle knows every answer; emoji of people, drawn by others; or a folder of your own.",
        group="Data",
        default="scenes",
    )
    folder: str = form_field(
        "Folder with images and questions.jsonl (or one .json in LLaVA's format); images it does not list are unlabelled.",
        group="Data",
        default="",
        only_if={"pictures": "folder"},
    )
    emoji_pool: Literal["openmoji", "noto"] = form_field(
        "Who drew the unlabelled emoji: as the labelled, or Noto (needs Debian's fonts-noto-color-emoji), a second style as the shift.",
        group="Data",
        default="openmoji",
        only_if={"pictures": "emoji"},
    )
    n_labelled: int = form_field(
        "Labelled images, the paper's original data.",
        group="Data",
        default=1_500,
        unit="images",
        only_if=NOT_FOLDER,
        ge=20,
        le=50_000,
    )
    per_image: int = form_field(
        "Questions on each labelled and test image, of different types.",
        group="Data",
        default=3,
        only_if=SCENES,
        advanced=True,
        ge=1,
        le=6,
    )
    n_pool: int = form_field(
        "Unlabelled images of a round; every seed writes one triplet on each.",
        group="Data",
        default=6_000,
        unit="images",
        only_if=SCENES,
        ge=40,
        le=200_000,
    )
    shift: float = form_field(
        "How far unlabelled images differ from the labelled: 1 adds noise, light and jitter in the amounts of the standard preset, 0 "
        "none.",
        group="Data",
        default=1.0,
        only_if=SCENES,
        ge=0,
        le=4,
    )
    n_test: int = form_field(
        "Test images like the labelled ones, and as many like the unlabelled; used once for every model.",
        group="Data",
        default=400,
        unit="images",
        only_if=SCENES,
        ge=20,
        le=1_152,
    )
    picture_seed: int = form_field(
        "Seed the images and their questions are drawn from.",
        group="Data",
        default=0,
        advanced=True,
        ge=0,
        lt=2**31,
    )
    model: Literal["small", "large"] = form_field(
        "A small model of LLaVA's architecture, or a published one by name (LoRA, needs a GPU).",
        group="Model",
        default="small",
    )
    model_id: str = form_field(
        "Hugging Face id or local folder, such as llava-hf/llava-1.5-7b-hf or HuggingFaceTB/SmolVLM-Instruct.",
        group="Model",
        default="",
        only_if=LARGE,
    )
    lora_rank: int = form_field(
        "Rank of LoRA.", group="Model", default=16, only_if=LARGE, advanced=True, ge=1, le=256
    )
    start: Literal["bundled", "tower", "none"] = form_field(
        "What every arm of a seed starts from: the bundled model, pre-trained on captions and conversations; its image tower alone, "
        "with a language model drawn for each seed; or nothing, and a tower that first learns captions of the labelled images.",
        group="Model",
        default="bundled",
        only_if=SMALL,
    )
    tower_steps: int = form_field(
        "Steps in which the tower learns captions; it is frozen afterwards, as published.",
        group="Model",
        default=1_000,
        unit="steps",
        only_if={**SMALL, "start": "none"},
        ge=1,
    )
    task_shares: Numbers = form_field(
        "Shares of the labelled pairs that multi-task tuning turns into I→QA, IA→Q and IQ→A.",
        group="Generator",
        default=(0.5, 0.2, 0.3),
    )
    generator: Literal["tuned", "bundled"] = form_field(
        "Tune a generator for every seed, or let all seeds of the first round sample from the one that comes with Concordance.",
        group="Generator",
        default="tuned",
        only_if={"start": "bundled", "pictures": "scenes"},
    )
    generator_steps: int = form_field(
        "Steps of multi-task tuning.", group="Generator", default=1_500, unit="steps", ge=1
    )
    temperature: float = form_field(
        "Temperature at which pairs are sampled; the paper does not say. Predictions again are greedy.",
        group="Generator",
        default=1.0,
        gt=0,
        le=5,
    )
    contrast: bool = form_field(
        "Also generate with the base model, asked by prompt alone and with questions of the labelled images.",
        group="Generator",
        default=True,
    )
    rounds: int = form_field(
        "Rounds, each with unlabelled images of its own.", group="Generator", default=1, ge=1, le=5
    )
    similarity: Literal["auto", "tokens", "embedding"] = form_field(
        "How texts are compared: words in common (F1), or sentence embeddings (MiniLM); auto takes words for scenes and emoji.",
        group="Filter",
        default="auto",
        advanced=True,
    )
    tie_break: Literal["random", "log_probability"] = form_field(
        "What orders triplets with equal S: chance (the paper does not say), or the log-probability of the answer predicted again.",
        group="Filter",
        default="random",
    )
    keep: float = form_field("Share kept of every question type.", group="Filter", default=0.2, gt=0, le=1)
    arms: str = form_field(
        "What is retrained, separated by commas, each from the same weights, in the same order of data, with as many steps: "
        + ", ".join(ARMS)
        + ".",
        group="Retraining",
        default=",".join(ARMS),
    )
    sweep: Numbers = form_field(
        "More shares that the run's own filter keeps, an arm each; empty for none.",
        group="Retraining",
        default=(0.05, 0.5, 0.8),
    )
    arm_steps: int = form_field(
        "Steps of every retraining.", group="Retraining", default=400, unit="steps", ge=1
    )
    batch_size: int = form_field(
        "Rows per step.", group="Retraining", default=64, unit="rows", ge=1, le=4_096
    )
    learning_rate: float = form_field(
        "Peak learning rate; warm-up, then cosine decay.", group="Retraining", default=1e-3, gt=0, le=1
    )
    selection: str = form_field(
        "File of a selection saved on the page Triplets; only it and its controls are then retrained.",
        group="Retraining",
        default="",
        advanced=True,
    )
    selection_run: str = form_field("The run it was made of.", group="Retraining", default="", advanced=True)
    noise: bool = form_field(
        "Also run the regression of appendix E with its controls.",
        group="Evaluation",
        default=True,
        advanced=True,
    )
    checkpoint_every: int = form_field(
        "Steps of every seed between checkpoints.",
        group="Retraining",
        default=500,
        unit="steps",
        advanced=True,
        ge=1,
    )

    @property
    def own_arm(self) -> str:
        """The arm of the run's own filter, which the next round builds on."""
        return "triangle" if self.tie_break == "random" else "triangle_tied"

    @property
    def generators_tuned(self) -> int:
        """Rounds whose generator is tuned here."""
        return self.rounds - (self.generator == "bundled")

    @property
    def is_imported(self) -> bool:
        """Whether only a saved selection is retrained."""
        return bool(self.selection)

    def arms_of(self, number: int) -> tuple[str, ...]:
        """The arms of a round in the order they train in; those of the sweep as "triangle_50"."""
        if self.is_imported:
            return ("no_selection", "random", "selection")
        named = {name.strip() for name in self.arms.split(",") if name.strip()}
        needed = {"base"} if number == 1 and self.contrast else set()
        needed |= {self.own_arm} if self.rounds > number else set()
        if number > 1:
            return tuple(arm for arm in LATER_ARMS if arm in named | {self.own_arm})
        swept = tuple(f"{self.own_arm}_{100 * share:g}" for share in self.sweep if share != self.keep)
        return (*(arm for arm in ARMS if arm in named | needed), *(swept if named else ()))

    @field_validator("sweep")
    @classmethod
    def _shares(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) > 8 or not all(
            0 < share < 1 and round(100 * share) == round(100 * share, 6) for share in value
        ):
            raise ConfigError("sweep", "give up to eight shares between 0 and 1, in whole per cent.")
        return tuple(sorted(set(value)))

    @field_validator("task_shares")
    @classmethod
    def _tasks(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) != 3 or min(value) <= 0:
            raise ConfigError("task_shares", "give three shares above 0; a filter needs all three tasks.")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = {name.strip() for name in self.arms.split(",") if name.strip()}
        if unknown := sorted(named - set(ARMS)):
            raise ConfigError("arms", f"{unknown[0]!r} is not one of {', '.join(ARMS)}.")
        if self.pictures == "folder" and not self.folder.strip():
            raise ConfigError(
                "folder", "pictures “folder” needs the path of a folder with images and questions.jsonl."
            )
        if self.pictures == "folder" and "oracle" in named:
            raise ConfigError("arms", "nobody knows the truth of a folder's triplets; leave oracle out.")
        if self.model == "large" and not self.model_id.strip():
            raise ConfigError("model_id", "a large model needs a name, such as llava-hf/llava-1.5-7b-hf.")
        if self.model == "small" and self.pictures != "scenes" and self.start != "none":
            raise ConfigError("start", "the bundled model knows scenes only; set start to none.")
        if self.generator == "bundled" and (self.start, self.pictures, self.model) != (
            "bundled",
            "scenes",
            "small",
        ):
            raise ConfigError(
                "generator",
                "the bundled generator goes with the bundled model and scenes; set generator to tuned.",
            )
        if bool(self.selection) != bool(self.selection_run):
            raise ConfigError(
                "selection_run", "selection and selection_run belong together; give both or neither."
            )
        return self
