"""What a researcher can set when training masks of captions over an image embedding (SmartCLIP, arXiv 2507.22264)."""

from typing import Any, Literal, Self

from pydantic import field_validator, model_validator

from data.scenes import NAMES
from engine.studies.base import ConfigError, Numbers, StudyConfig, form_field

BASELINES = ("clip_short", "clip_long", "long_clip")
VARIANTS = ("no_sparsity", "naive_negatives", "soft_mask", "random_mask")
ARMS = (*BASELINES, "smartclip", *VARIANTS)
BASE = "base"
SCENES: dict[str, Any] = {"pictures": "scenes"}
SMALL: dict[str, Any] = {"model": "small"}
TRAINED: dict[str, Any] = {"start_from": "", **SMALL}


class Config(StudyConfig):
    """One set of captioned pictures and one CLIP per seed, from which every arm goes on with as many steps."""

    pictures: Literal["scenes", "emoji", "folder"] = form_field(
        "Rendered scenes whose factors are known; emoji of people, drawn by others; or a folder of your own.",
        group="Data",
        default="scenes",
    )
    folder: str = form_field(
        "Folder with images and captions.jsonl (or one .json in LLaVA's format).",
        group="Data",
        default="",
        only_if={"pictures": "folder"},
    )
    emoji_style: Literal["openmoji", "noto", "both"] = form_field(
        "Who drew the emoji; noto needs Debian's fonts-noto-color-emoji.",
        group="Data",
        default="openmoji",
        only_if={"pictures": "emoji"},
    )
    n_train: int = form_field(
        "Training pictures.", group="Data", default=16_000, unit="pictures", only_if=SCENES, ge=64, le=100_000
    )
    n_validation: int = form_field(
        "Pictures for choosing settings; of states not trained on.",
        group="Data",
        default=500,
        unit="pictures",
        only_if=SCENES,
        advanced=True,
        ge=50,
        le=1_152,
    )
    n_test: int = form_field(
        "Pictures of the figures, used once at the end; of states not trained on.",
        group="Data",
        default=1_000,
        unit="pictures",
        only_if=SCENES,
        ge=50,
        le=1_152,
    )
    picture_seed: int = form_field(
        "Seed the pictures and their split are drawn from.",
        group="Data",
        default=0,
        advanced=True,
        ge=0,
        lt=2**31,
    )
    captions: Literal["subset", "prefix", "tied"] = form_field(
        "Which sentences a training caption holds: any number of any (as the theory asks), the first few in a fixed order (as "
        "the authors' code does), or any, but two factors always together.",
        group="Data",
        default="subset",
    )
    tied: str = form_field(
        "The two factors that are always captioned together.",
        group="Data",
        default="left colour, background",
        only_if={"captions": "tied"},
    )
    model: Literal["small", "clip"] = form_field(
        "A small CLIP trained here, or a CLIP of your own with the published architecture (needs a GPU to train).",
        group="Model",
        default="small",
    )
    clip: str = form_field(
        "Folder or file of the CLIP: transformers or open_clip folder, or a Long-CLIP or SmartCLIP .pt with tokenizer files beside it.",
        group="Model",
        default="",
        only_if={"model": "clip"},
    )
    width: int = form_field(
        "Numbers d in an embedding, and width of both towers.",
        group="Model",
        default=64,
        only_if=SMALL,
        ge=8,
        le=512,
    )
    heads: int = form_field(
        "Attention heads; must divide the width.",
        group="Model",
        default=4,
        only_if=SMALL,
        advanced=True,
        ge=1,
        le=32,
    )
    start_from: str = form_field(
        "The CLIP the arms go on from: empty trains one per seed, bundled takes the one that comes with Concordance (scenes, "
        "width 64), run:ID takes each seed's of a finished run with pictures of the same seed and the same width.",
        group="CLIP",
        default="",
        only_if=SMALL,
    )
    caption_steps: int = form_field(
        "Steps of captioning before the contrast: a small decoder must read every word from the image's tokens. With 0 shapes "
        "stay unlearnt for long.",
        group="CLIP",
        default=1_000,
        unit="steps",
        only_if=TRAINED,
        ge=0,
    )
    caption_weight: float = form_field(
        "Weight of captioning beside the contrast, as in CoCa.",
        group="CLIP",
        default=1.0,
        only_if=TRAINED,
        ge=0,
        le=100,
    )
    clip_steps: int = form_field(
        "Steps of contrast, half of the captions whole, half of any sentences.",
        group="CLIP",
        default=400,
        unit="steps",
        only_if=TRAINED,
        ge=1,
    )
    clip_batch_size: int = form_field(
        "Pictures per step of both.",
        group="CLIP",
        default=128,
        unit="pictures",
        only_if=TRAINED,
        ge=4,
        le=4_096,
    )
    clip_learning_rate: float = form_field(
        "Peak learning rate of both; warm-up, then cosine decay.",
        group="CLIP",
        default=3e-3,
        only_if=TRAINED,
        gt=0,
        le=1,
    )
    arms: str = form_field(
        "What is trained from the CLIP, separated by commas: clip_short (one sentence a caption), clip_long (whole captions), "
        "long_clip (both, the short against principal components), smartclip, and of it no_sparsity, naive_negatives (each "
        "image keeps its own mask), soft_mask (not binary), random_mask (drawn once for each sentence).",
        group="Arms",
        default=",".join(ARMS),
    )
    lambda_sparse: float = form_field(
        "Weight of the mask's mean in the loss; upstream has 2, for 512 dimensions.",
        group="Arms",
        default=80.0,
        ge=0,
        le=10_000,
    )
    lambda_sweep: Numbers = form_field(
        "More weights of sparsity, an arm each; empty for none.", group="Arms", default=(2.0, 10.0, 40.0)
    )
    lambda_align: float = form_field(
        "Weight of the two alignment losses.", group="Arms", default=10.0, advanced=True, gt=0, le=10_000
    )
    arm_steps: int = form_field("Steps of every arm.", group="Arms", default=1_500, unit="steps", ge=1)
    batch_size: int = form_field(
        "Pictures per step of an arm.", group="Arms", default=64, unit="pictures", ge=4, le=4_096
    )
    learning_rate: float = form_field(
        "Peak learning rate of the towers in an arm; warm-up, then cosine decay.",
        group="Arms",
        default=2e-3,
        gt=0,
        le=1,
    )
    mask_learning_rate: float = form_field(
        "Peak learning rate of the mask network.", group="Arms", default=5e-3, gt=0, le=1
    )
    scale: float = form_field(
        "Inverse temperature of the contrast, fixed; upstream has 100.",
        group="Arms",
        default=40.0,
        advanced=True,
        gt=0,
        le=1_000,
    )
    weight_decay: float = form_field(
        "Weight decay of AdamW on the towers.", group="Training", default=0.01, advanced=True, ge=0, le=10
    )
    control_draws: int = form_field(
        "Random masks of the same size drawn beside every mask in the probes.",
        group="Evaluation",
        default=10,
        advanced=True,
        ge=2,
        le=1_000,
    )
    n_pairs: int = form_field(
        "Pairs of sentences whose joint mask is compared with the union.",
        group="Evaluation",
        default=200,
        advanced=True,
        ge=4,
        le=5_000,
    )
    kept: int = form_field(
        "Test pictures shown on the page.", group="Evaluation", default=24, advanced=True, ge=1, le=200
    )
    checkpoint_every: int = form_field(
        "Steps of every seed between checkpoints.",
        group="Training",
        default=200,
        unit="steps",
        advanced=True,
        ge=1,
    )

    @property
    def chosen_arms(self) -> tuple[str, ...]:
        """The arms in the order they train in, those of the sweep as "lambda_2"."""
        named = {name.strip() for name in self.arms.split(",") if name.strip()}
        swept = tuple(sweep_arm(weight) for weight in self.lambda_sweep if weight != self.lambda_sparse)
        found = [arm for arm in ARMS if arm in named]
        at = found.index("smartclip") + 1 if "smartclip" in found else len(found)
        return (*found[:at], *swept, *found[at:])

    @property
    def tied_factors(self) -> tuple[str, ...]:
        """The factors that are captioned together, if any."""
        parts = tuple(part.strip() for part in self.tied.split(",") if part.strip())
        return parts if self.captions == "tied" else ()

    @property
    def trains_clip(self) -> bool:
        return not self.start_from and self.model == "small"

    def sparsity_of(self, arm: str) -> float | None:
        """λ of a masked arm; None for one without masks that are learnt."""
        if arm.startswith("lambda_"):
            return float(arm.removeprefix("lambda_"))
        return {"smartclip": self.lambda_sparse, "naive_negatives": self.lambda_sparse, "soft_mask": self.lambda_sparse,
                "no_sparsity": 0.0}.get(arm)  # fmt: skip

    @field_validator("lambda_sweep")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) > 12 or not all(0 < weight <= 10_000 for weight in value):
            raise ConfigError("lambda_sweep", "give up to twelve weights above 0 and up to 10,000.")
        return tuple(sorted(set(value)))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = {name.strip() for name in self.arms.split(",") if name.strip()}
        if unknown := sorted(named - set(ARMS)):
            raise ConfigError("arms", f"{unknown[0]!r} is not one of {', '.join(ARMS)}.")
        if "random_mask" in named and "smartclip" not in named:
            raise ConfigError("arms", "random_mask takes its size from smartclip; add smartclip.")
        if not self.chosen_arms:
            raise ConfigError("arms", f"nothing is trained; name one of {', '.join(ARMS)}.")
        if self.width % self.heads:
            raise ConfigError(
                "heads", f"{self.heads} heads do not divide a width of {self.width}; change one."
            )
        if self.pictures == "folder" and not self.folder.strip():
            raise ConfigError(
                "folder", "pictures “folder” needs the path of a folder with images and captions.jsonl."
            )
        if self.captions == "tied":
            self._check_tied()
        shared = (self.pictures, self.picture_seed, self.width, self.heads, self.captions)
        if self.start_from == "bundled" and shared != ("scenes", 0, 64, 4, "subset"):
            raise ConfigError(
                "start_from",
                "the bundled CLIP knows scenes of picture_seed 0 at width 64 with 4 heads, captioned in any subset; set these or train one.",
            )
        return self

    def _check_tied(self) -> None:
        if self.pictures == "folder":
            raise ConfigError(
                "captions", "the factors of a folder's captions are not known; choose subset or prefix."
            )
        parts = self.tied_factors
        known = NAMES if self.pictures == "scenes" else ("who", "what", "tone")
        if len(parts) != 2 or parts[0] == parts[1] or not set(parts) <= set(known):
            raise ConfigError(
                "tied", f"name two different factors of {', '.join(known)}, separated by a comma."
            )


def sweep_arm(weight: float) -> str:
    """The arm of another weight of sparsity: "lambda_2"."""
    return f"lambda_{weight:g}"
