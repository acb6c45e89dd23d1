"""What a researcher can set when training a denoising language model by reinforcement (arXiv 2510.01544)."""

from typing import Any, Literal, Self

from pydantic import model_validator

from data.sapo import Task, make_task
from engine.studies.base import ConfigError, StudyConfig, form_field
from engine.studies.sapo.schedule import Schedule, blockwise

ARMS = ("diffu_grpo", "sapo", "grpo_longer", "grpo_wider", "sapo_no_indicator", "process_only")
Indicator = Literal["above_average", "none", "process_only"]
INDICATORS: dict[str, Indicator] = {
    "sapo": "above_average",
    "sapo_no_indicator": "none",
    "process_only": "process_only",
}
MATCHED = ("grpo_longer", "grpo_wider")
PUBLISHED = {"qwen": "dllm-hub/Qwen3-0.6B-diffusion-mdlm-v0.1", "llada": "GSAI-ML/LLaDA-8B-Instruct"}
LARGE: dict[str, Any] = {"policy": list(PUBLISHED)}
SMALL: dict[str, Any] = {"policy": "small"}
TRAINED: dict[str, Any] = {"start_from": "", **SMALL}
LARGE_BLOCK = 32  # tokens, as d1


class Config(StudyConfig):
    """One task and one base model per seed, from which every arm of reinforcement starts."""

    task: Literal["chain", "countdown", "sudoku"] = form_field(
        "What is asked: chain, a chain of digit arithmetic with its intermediate results; countdown, a target from three "
        "numbers with a worked trace; sudoku, a 4×4 grid.",
        group="Task",
        default="countdown",
    )
    chain_length: int = form_field(
        "Operations in a chain.",
        group="Task",
        default=3,
        unit="operations",
        only_if={"task": "chain"},
        ge=2,
        le=6,
    )
    blanks: int = form_field(
        "Empty cells of a Sudoku; each puzzle has one solution.",
        group="Task",
        default=10,
        unit="cells",
        only_if={"task": "sudoku"},
        ge=1,
        le=11,
    )
    junk_share: float = form_field(
        "Share of the base model's training examples whose trace is filler though the answer is right.",
        group="Task",
        default=0.5,
        only_if={"task": ["chain", "countdown"], **SMALL},
        ge=0,
        le=1,
    )
    policy: Literal["small", "qwen", "llada"] = form_field(
        "The denoiser: small, a transformer trained here; qwen, a Qwen3 masked-diffusion model with LoRA; llada, a LLaDA model "
        "with LoRA, whose owner's code then runs in the environment llada. The last two are asked in words and need a GPU.",
        group="Model",
        default="small",
    )
    policy_model: str = form_field(
        f"Hugging Face id or local folder of the large model; empty is {PUBLISHED['qwen']} or {PUBLISHED['llada']}.",
        group="Model",
        default="",
        only_if=LARGE,
    )
    completion_length: int = form_field(
        "Length of a completion; must divide into blocks.",
        group="Model",
        default=256,
        unit="tokens",
        only_if=LARGE,
        ge=1,
        le=4_096,
    )
    lora_rank: int = form_field(
        "Rank of the LoRA adapter.", group="Model", default=128, only_if=LARGE, advanced=True, ge=1, le=1_024
    )
    lora_alpha: int = form_field(
        "Scale of the adapter: it counts α / rank.",
        group="Model",
        default=64,
        only_if=LARGE,
        advanced=True,
        ge=1,
        le=4_096,
    )
    four_bit: bool = form_field(
        "Keep the frozen weights in 4 bits (NF4).", group="Model", default=False, only_if=LARGE, advanced=True
    )
    pass_rows: int = form_field(
        "Completions in one forward pass; lower it where the GPU's memory runs out.",
        group="Model",
        default=8,
        unit="completions",
        only_if=LARGE,
        advanced=True,
        ge=1,
    )
    width: int = form_field(
        "Width of the residual stream.",
        group="Model",
        default=96,
        only_if=SMALL,
        ge=16,
        le=1024,
    )
    layers: int = form_field("Transformer blocks.", group="Model", default=3, only_if=SMALL, ge=1, le=24)
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
        "Base model: empty trains one per seed, bundled takes the one that comes with Concordance (chain of 3), run:ID takes "
        "each seed's base of a finished run with the same task and sizes.",
        group="Base model",
        default="",
        only_if=SMALL,
    )
    base_steps: int = form_field(
        "Optimiser steps of the base model.",
        group="Base model",
        default=1_000,
        unit="steps",
        only_if=TRAINED,
        ge=1,
    )
    base_batch: int = form_field(
        "Examples per step of the base model.", group="Base model", default=128, only_if=TRAINED, ge=1
    )
    base_learning_rate: float = form_field(
        "Peak learning rate of the base model; 100 steps of warm-up, then linear decay.",
        group="Base model",
        default=2e-3,
        only_if=TRAINED,
        gt=0,
        le=1,
    )
    block_length: int = form_field(
        "Tokens per block, denoised from left to right; must divide the completion. 0 is one block, with a large policy 32.",
        group="Sampler",
        default=0,
        unit="tokens",
        ge=0,
    )
    denoising_steps: int = form_field(
        "Denoising steps of a completion; 0 commits one token a step, with a large policy two.",
        group="Sampler",
        default=0,
        unit="steps",
        ge=0,
    )
    temperature: float = form_field(
        "Temperature of the rollouts and of sampled evaluation.", group="Sampler", default=1.0, ge=0, le=5
    )
    remasking: Literal["low_confidence", "random"] = form_field(
        "Which predictions are committed at a step: the most confident, or random ones.",
        group="Sampler",
        default="low_confidence",
    )
    arms: str = form_field(
        "What is trained from the base, separated by commas: diffu_grpo (outcome reward), sapo (step-aware), grpo_longer and "
        "grpo_wider (diffu-GRPO with as many forward passes as sapo took, in more iterations or larger groups), "
        "sapo_no_indicator (A + R_process), process_only (R_process alone).",
        group="Reinforcement",
        default="diffu_grpo,sapo,grpo_longer,grpo_wider",
    )
    iterations: int = form_field("Batches of rollouts.", group="Reinforcement", default=50, ge=1)
    prompts: int = form_field("Prompts per batch.", group="Reinforcement", default=32, ge=1)
    group_size: int = form_field("Rollouts per prompt, G.", group="Reinforcement", default=8, ge=2)
    inner_iterations: int = form_field(
        "Optimiser steps per batch, μ, each with a fresh prompt mask.",
        group="Reinforcement",
        default=4,
        ge=1,
        le=32,
    )
    learning_rate: float = form_field(
        "Constant learning rate of AdamW.", group="Reinforcement", default=1e-4, gt=0, le=1
    )
    clip: float = form_field(
        "Ratio clipping ε.", group="Reinforcement", default=0.5, advanced=True, gt=0, le=1
    )
    kl_weight: float = form_field(
        "Weight β of the KL to the base.", group="Reinforcement", default=0.04, advanced=True, ge=0
    )
    prompt_mask: float = form_field(
        "Share of prompt tokens the log-probability estimator masks.",
        group="Reinforcement",
        default=0.15,
        advanced=True,
        ge=0,
        lt=1,
    )
    weight_decay: float = form_field(
        "Weight decay of AdamW.", group="Reinforcement", default=0.1, advanced=True, ge=0
    )
    max_gradient: float = form_field(
        "Largest gradient norm.", group="Reinforcement", default=0.2, advanced=True, gt=0
    )
    process_rollouts: int = form_field(
        "Continuations N from the state after t₁ that estimate a rollout's process reward.",
        group="Process reward",
        default=2,
        ge=1,
        le=1024,
    )
    t1: Literal["uniform", "early", "middle", "late"] = form_field(
        "Law of the cleaner state t₁, drawn once per prompt: any step, the first half, the middle one, the last half.",
        group="Process reward",
        default="uniform",
    )
    t2: Literal["start", "earlier"] = form_field(
        "The noisier state t₂: the fully masked start, whose value is the group's mean, or a random step before t₁, which costs "
        "N more continuations.",
        group="Process reward",
        default="start",
    )
    eval_prompts: int = form_field(
        "Held-out prompts of every evaluation.", group="Evaluation", default=200, ge=4, le=10_000
    )
    eval_every: int = form_field(
        "Iterations between evaluations on validation prompts.",
        group="Evaluation",
        default=10,
        advanced=True,
        ge=1,
    )
    value_prompts: int = form_field(
        "Rollouts of test prompts, of those that end right, whose states the value curve V(t) continues from.",
        group="Evaluation",
        default=32,
        advanced=True,
        ge=2,
        le=2_000,
    )
    value_rollouts: int = form_field(
        "Continuations from each of their states.",
        group="Evaluation",
        default=4,
        advanced=True,
        ge=1,
        le=256,
    )
    kept: int = form_field(
        "Test rollouts kept step by step, per arm and seed.",
        group="Evaluation",
        default=12,
        advanced=True,
        ge=1,
        le=200,
    )
    imported: str = form_field(
        "Files of generations made elsewhere, separated by commas; nothing is trained then.",
        group="Import",
        default="",
        advanced=True,
    )
    import_task: Literal["", "countdown", "sudoku", "gsm8k", "math", "text"] = form_field(
        "What imported generations are about; empty reads it from the file's name and questions.",
        group="Import",
        default="",
        advanced=True,
    )
    checkpoint_every: int = form_field(
        "Units of work of every seed between checkpoints; a unit is 50 base steps or 2 iterations.",
        group="Training",
        default=10,
        unit="units",
        advanced=True,
        ge=1,
    )

    @property
    def chosen_arms(self) -> tuple[str, ...]:
        """The arms in the order they train in."""
        named = {name.strip() for name in self.arms.split(",") if name.strip()}
        return tuple(arm for arm in ARMS if arm in named)

    @property
    def paths(self) -> list[str]:
        return [path.strip() for path in self.imported.split(",") if path.strip()]

    @property
    def is_large(self) -> bool:
        """Whether the policy is a published language model."""
        return self.policy != "small"

    @property
    def large_model(self) -> str:
        """Id or folder of the large policy's model."""
        return self.policy_model or PUBLISHED[self.policy]

    @property
    def trains_base(self) -> bool:
        return not self.start_from and not self.is_large

    @property
    def block(self) -> int:
        """Tokens per block."""
        length = self.completion_length if self.is_large else self.make_task().completion_length
        return self.block_length or (min(LARGE_BLOCK, length) if self.is_large else length)

    def make_task(self) -> Task:
        """The task in its own small vocabulary."""
        return make_task(self.task, self.chain_length, self.blanks)

    def schedule(self) -> Schedule:
        if self.is_large:
            length, steps = self.completion_length, max(1, self.completion_length // 2)
        else:
            length = steps = self.make_task().completion_length
        return blockwise(length, self.block, self.denoising_steps or steps)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        named = {name.strip() for name in self.arms.split(",") if name.strip()}
        if unknown := sorted(named - set(ARMS)):
            raise ConfigError("arms", f"{unknown[0]!r} is not one of {', '.join(ARMS)}.")
        if named & set(MATCHED) and not {"sapo", "diffu_grpo"} <= named:
            raise ConfigError(
                "arms", "grpo_longer and grpo_wider are matched to sapo; add sapo and diffu_grpo."
            )
        if self.width % self.heads or self.width // self.heads % 2:
            raise ConfigError(
                "heads", f"{self.heads} heads do not divide a width of {self.width} evenly; change one."
            )
        try:
            self.schedule()
        except ValueError as error:
            field = (
                "block_length"
                if "blocks of" in str(error) and "steps" not in str(error)
                else "denoising_steps"
            )
            raise ConfigError(field, f"{str(error)[:-1]}; change it.") from None
        if self.schedule().steps < 2 and INDICATORS.keys() & set(self.chosen_arms):
            raise ConfigError(
                "denoising_steps", "a process reward compares two states and needs 2 steps or more; raise it."
            )
        if self.is_large and self.start_from:
            raise ConfigError(
                "start_from", "a large policy starts from its published weights; leave start_from empty."
            )
        if self.start_from == "bundled" and (self.task, self.chain_length) != ("chain", 3):
            raise ConfigError(
                "start_from", "the bundled base knows chains of 3; choose that task or train a base."
            )
        return self
