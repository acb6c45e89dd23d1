"""What a researcher can set when training a recurrent reasoner on puzzles (arXiv 2510.08222)."""

from typing import Any, Literal, Self

from pydantic import model_validator

from data.sr2 import BOXES
from engine.studies.base import ConfigError, StudyConfig, form_field
from engine.studies.sr2.cost import flops_per_step

SUDOKU: dict[str, Any] = {"puzzle": "sudoku"}
SR2: dict[str, Any] = {"model": "sr2"}
RECURRENT: dict[str, Any] = {"model": ["sr2", "hrm", "trm"]}
FEWEST_CLUES = {4: 4, 6: 8, 9: 22}


class Config(StudyConfig):
    """One kind of puzzle and one reasoner; every seed of a run starts its weights anew on the same puzzles."""

    puzzle: Literal["sudoku", "maze"] = form_field(
        "Sudoku with one solution, or mazes with one shortest path.", group="Data", default="sudoku"
    )
    side: int = form_field(
        "Cells along a side: 4, 6 or 9 for Sudoku, an odd number for mazes.",
        group="Data",
        default=6,
        unit="cells",
        ge=4,
        le=31,
    )
    clues: int = form_field(
        "Given cells of every Sudoku; fewer are harder.",
        group="Data",
        default=14,
        unit="cells",
        only_if=SUDOKU,
        ge=4,
        le=80,
    )
    search_only: bool = form_field(
        "Keep only Sudokus that single candidates alone do not solve.",
        group="Data",
        default=False,
        only_if=SUDOKU,
        advanced=True,
    )
    n_train: int = form_field(
        "Training puzzles; symmetries multiply them while training.",
        group="Data",
        default=1_000,
        unit="puzzles",
        ge=8,
        le=100_000,
    )
    n_validation: int = form_field(
        "Puzzles that choose the step whose weights are kept.",
        group="Data",
        default=256,
        unit="puzzles",
        advanced=True,
        ge=8,
        le=20_000,
    )
    n_test: int = form_field(
        "Puzzles of the figures, used once at the end.",
        group="Data",
        default=500,
        unit="puzzles",
        ge=8,
        le=20_000,
    )
    puzzle_seed: int = form_field(
        "Seed the puzzles are drawn from.", group="Data", default=0, advanced=True, ge=0, lt=2**31
    )
    model: Literal["sr2", "feed_forward", "hrm", "trm"] = form_field(
        "SR²; a feed-forward transformer; or reasoners with two states and gradients through the last steps only, in the "
        "way of HRM (arXiv 2506.21734) and TRM (arXiv 2510.04871), without their halting.",
        group="Model",
        default="sr2",
    )
    blocks: int = form_field(
        "Alignment blocks N: after each the answer is read, compared and the state detached.",
        group="Model",
        default=6,
        unit="blocks",
        only_if=RECURRENT,
        ge=1,
        le=64,
    )
    recurrences: int = form_field(
        "Recurrences M of the shared block within an alignment block.",
        group="Model",
        default=4,
        unit="steps",
        only_if=RECURRENT,
        ge=1,
        le=64,
    )
    injection: Literal["blocks", "always", "once", "never"] = form_field(
        "When the puzzle is added to the state: at every step of the first blocks (reflection), at every step, at the very "
        "first step only, or never.",
        group="Model",
        default="blocks",
        only_if=SR2,
    )
    injected_blocks: int = form_field(
        "Blocks in which the puzzle is fed back, from the first; SR² has one.",
        group="Model",
        default=1,
        unit="blocks",
        only_if={**SR2, "injection": "blocks"},
        ge=1,
        le=64,
    )
    alignment: bool = form_field(
        "Compare and detach after every block; otherwise once after the last, with gradients through all of them.",
        group="Model",
        default=True,
        only_if=SR2,
    )
    weights: Literal["shared", "two", "unshared"] = form_field(
        "One transformer block for every step, one for reflection and one for refinement, or one for each step of a block.",
        group="Model",
        default="shared",
        only_if=SR2,
    )
    layers: int = form_field(
        "Transformer blocks of the feed-forward model.",
        group="Model",
        default=8,
        unit="layers",
        only_if={"model": "feed_forward"},
        ge=1,
        le=64,
    )
    positions: Literal["rope", "learned", "both"] = form_field(
        "How cells are told apart: rotary positions in the attention, a learned vector added to the token, or both.",
        group="Model",
        default="both",
    )
    d_model: int = form_field("Width of the state of a cell.", group="Model", default=64, ge=8, le=1024)
    heads: int = form_field("Attention heads.", group="Model", default=4, advanced=True, ge=1, le=64)
    d_inner: int = form_field(
        "Inner width of the gated feed-forward part.",
        group="Model",
        default=160,
        advanced=True,
        ge=8,
        le=8192,
    )
    loss: Literal["softmax", "stablemax"] = form_field(
        "Cross-entropy over softmax, or over stablemax as in the authors' code.",
        group="Training",
        default="softmax",
        advanced=True,
    )
    precision: Literal["float32", "bfloat16"] = form_field(
        "What products within a block compute in; bfloat16 is for GPUs, a processor is slower with it.",
        group="Training",
        default="float32",
        advanced=True,
    )
    budget: Literal["compute", "steps"] = form_field(
        "What ends training: a number of floating-point operations, so that models of different cost compare, or of steps.",
        group="Training",
        default="compute",
    )
    teraflops: float = form_field(
        "Training compute of a seed, in 10¹² floating-point operations (a core does about 1.5 a minute).",
        group="Training",
        default=8.0,
        unit="TFLOP",
        only_if={"budget": "compute"},
        gt=0,
        le=1e9,
    )
    n_steps: int = form_field(
        "Optimiser steps of a seed.",
        group="Training",
        default=3_000,
        unit="steps",
        only_if={"budget": "steps"},
        ge=1,
    )
    batch_size: int = form_field(
        "Puzzles per step.", group="Training", default=64, unit="puzzles", ge=1, le=8192
    )
    learning_rate: float = form_field("Learning rate of AdamW.", group="Training", default=1e-3, gt=0, le=1)
    warmup_steps: int = form_field(
        "Steps with a rising learning rate.", group="Training", default=100, unit="steps", advanced=True, ge=0
    )
    weight_decay: float = form_field(
        "Weight decay of AdamW.", group="Training", default=0.1, advanced=True, ge=0, le=10
    )
    ema: float = form_field(
        "Share of the old in the running mean of the weights, at every step; evaluation uses the mean.",
        group="Training",
        default=0.99,
        advanced=True,
        ge=0,
        lt=1,
    )
    evaluations: int = form_field(
        "Times the validation puzzles are solved while training; the best of them gives the weights.",
        group="Evaluation",
        default=20,
        advanced=True,
        ge=1,
        le=1000,
    )
    test_factor: int = form_field(
        "Blocks at the test, as a multiple of those trained.",
        group="Evaluation",
        default=2,
        unit="× N",
        advanced=True,
        only_if=RECURRENT,
        ge=1,
        le=8,
    )
    kept_puzzles: int = form_field(
        "Test puzzles of which every board is stored.",
        group="Evaluation",
        default=12,
        unit="puzzles",
        advanced=True,
        ge=1,
        le=64,
    )
    checkpoint_every: int = form_field(
        "Steps between checkpoints; a killed run loses at most these.",
        group="Training",
        default=500,
        unit="steps",
        advanced=True,
        ge=1,
    )

    @property
    def n_blocks(self) -> int:
        """Blocks trained; a feed-forward model has one."""
        return 1 if self.model == "feed_forward" else self.blocks

    @property
    def steps(self) -> int:
        """Optimiser steps of a seed: those asked for, or as many as the compute pays for, at least one."""
        if self.budget == "steps":
            return self.n_steps
        return max(1, int(self.teraflops * 1e12 / flops_per_step(self)))

    @property
    def n_tokens(self) -> int:
        return self.side + 1 if self.puzzle == "sudoku" else 5

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.puzzle == "sudoku":
            if self.side not in BOXES:
                raise ConfigError("side", f"a Sudoku of side {self.side} is not offered; choose 4, 6 or 9.")
            least, most = FEWEST_CLUES[self.side], self.side**2 - 1
            if not least <= self.clues <= most:
                raise ConfigError(
                    "clues", f"{self.clues} do not suit side {self.side}; choose {least} to {most}."
                )
        elif self.side % 2 == 0 or self.side < 7:
            raise ConfigError("side", f"a maze needs an odd side of 7 or more, not {self.side}.")
        if self.d_model % (2 * self.heads):
            raise ConfigError(
                "heads",
                f"width {self.d_model} does not split into {self.heads} heads of even width; change one.",
            )
        if self.model == "hrm" and self.recurrences < 2:
            raise ConfigError("recurrences", "HRM takes half of them for its fast state; give 2 or more.")
        if self.injection == "blocks" and self.injected_blocks > self.blocks:
            raise ConfigError("injected_blocks", f"it exceeds the {self.blocks} blocks; lower it.")
        return self
