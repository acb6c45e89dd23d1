"""Floating-point operations of a training step, and how long and how large a run is."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.studies.sr2.config import Config

CYCLES = 2
CORES = 2
FLOPS_PER_SECOND = 2.4e10
PUZZLE_SECONDS = {4: 0.0006, 6: 0.004, 9: 0.025}
MAZE_SECONDS = 1.5e-5
LOADING_SECONDS, BASE_MEMORY = 4.0, 4e8
TEXT = "Scaled from rates measured on two processor cores; one core trains one seed."


def block_flops(config: "Config") -> int:
    """Operations of one transformer block on one puzzle: products with its weights, and attention."""
    cells, width = config.side**2, config.d_model
    return 2 * cells * (4 * width**2 + 3 * width * config.d_inner) + 4 * cells**2 * width


def applications(config: "Config") -> tuple[int, int]:
    """Transformer blocks run in one optimiser step: without and with gradients."""
    steps = config.recurrences
    if config.model == "feed_forward":
        return 0, config.layers
    if config.model == "sr2":
        return 0, steps if config.alignment else steps * config.blocks
    if config.model == "hrm":
        return CYCLES * (steps // 2 + 1) - 2, 2
    return (CYCLES - 1) * (steps + 1), steps + 1


def flops_per_step(config: "Config") -> int:
    """Operations of one optimiser step; a backward pass counts twice its forward pass."""
    without, with_gradient = applications(config)
    head = 2 * config.side**2 * config.d_model * config.n_tokens
    return config.batch_size * ((without + 3 * with_gradient) * block_flops(config) + 3 * head)


def evaluation_flops(config: "Config", puzzles: int, blocks: int) -> int:
    """Operations of solving `puzzles` over `blocks` blocks, without gradients."""
    without, with_gradient = applications(config)
    runs = without + with_gradient
    if config.model == "sr2" and not config.alignment:
        runs //= config.blocks
    return puzzles * blocks * runs * block_flops(config)


def estimate(config: "Config", n_seeds: int) -> dict[str, Any]:
    """Seconds, memory and disk of a run without a GPU."""
    cores = max(1, len(os.sched_getaffinity(0)))
    share = max(1.0, n_seeds / cores)
    validation = config.evaluations * evaluation_flops(config, config.n_validation, config.n_blocks)
    test = evaluation_flops(config, config.n_test, config.n_blocks * config.test_factor)
    flops = config.steps * flops_per_step(config) + validation + 2 * test
    puzzles = config.n_train + config.n_validation + config.n_test
    each = PUZZLE_SECONDS[config.side] if config.puzzle == "sudoku" else MAZE_SECONDS * config.side**2
    seconds = LOADING_SECONDS + puzzles * each + share * flops / FLOPS_PER_SECOND
    width = config.side**2 * config.d_model * config.batch_size
    memory = BASE_MEMORY + n_seeds * (sum(applications(config)) * 14 * width * 4 + 40e6)
    disk = n_seeds * 4e6 + 2e6
    return {"seconds": seconds, "memory_bytes": memory, "disk_bytes": disk, "based_on": TEXT}
