"""How long and how large a run is."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.studies.srf.config import Config

SECONDS_PER_ROW = 1e-3  # of a training step of the small model, one core
TOWER_SECONDS_PER_ROW = 1.3e-3
SECONDS_PER_TRIPLET = 5e-3  # a sampled pair and both predictions again
SECONDS_PER_ANSWER = 6e-4
SEEN_PER_SECOND, DRAWN_PER_SECOND = 1_500, 1_500
NOISE_SECONDS, LOADING_SECONDS = 16.0, 8.0
BASE_MEMORY, IMAGE_BYTES, PARAMETERS, UNKNOWN_POOL = 5e8, 48 * 48 * 3 + 16 * 64 * 4, 170_000, 1_000
LARGE_FACTOR, LARGE_MEMORY, LARGE_ROWS = 3_000, 20e9, 8
WIDTH, TOKENS, WORDS = 64, 45, 60  # of the small model; tokens of a row with its image, words it knows
BLOCK_VALUES, TOWER_BLOCK_VALUES, BLOCKS = 22, 19, 3  # kept per token and width of a block
LARGE_ROW_BYTES = 700 * (32 * 4_096 * 34 + 32_064 * 12)
TEXT = "Scaled from rates measured on two processor cores; one core trains one seed."


def estimate(config: "Config", n_seeds: int) -> dict[str, Any]:
    """Seconds, memory and disk of a run without a GPU."""
    cores = max(1, len(os.sched_getaffinity(0)))
    share = max(1.0, n_seeds / cores)
    pool = config.n_pool if config.pictures == "scenes" else UNKNOWN_POOL
    trainings = sum(
        len(config.arms_of(number)) for number in range(1, 1 if config.is_imported else config.rounds + 1)
    )
    trainings = 3 if config.is_imported else trainings
    generators = 0 if config.is_imported else config.rounds
    tuned = 0 if config.is_imported else config.generators_tuned
    steps = tuned * config.generator_steps + trainings * config.arm_steps
    training = steps * config.batch_size * SECONDS_PER_ROW
    answers = 2 * config.per_image * config.n_test * (trainings + generators)
    writing = generators * pool * SECONDS_PER_TRIPLET + answers * SECONDS_PER_ANSWER
    images = config.n_labelled + 2 * config.n_test + pool * config.rounds
    once = LOADING_SECONDS + images / SEEN_PER_SECOND + images / DRAWN_PER_SECOND
    if config.start == "none" and config.model == "small":
        once += config.tower_steps * config.batch_size * TOWER_SECONDS_PER_ROW
    if config.noise and not config.is_imported:
        once += NOISE_SECONDS * n_seeds
    size = 1.0 if config.model == "small" else LARGE_FACTOR
    memory = BASE_MEMORY + images * IMAGE_BYTES if config.model == "small" else LARGE_MEMORY
    held, at_once = (
        (config.batch_size, min(n_seeds, cores))
        if config.model == "small"
        else (min(config.batch_size, LARGE_ROWS), 1)
    )
    memory += held * _row_bytes(config) * at_once
    return {
        "seconds": once + share * (training + writing) * size,
        "memory_bytes": memory + n_seeds * PARAMETERS * 4 * (2 * config.rounds + 5),
        "disk_bytes": n_seeds * PARAMETERS * 4 * 4 * (2 * config.rounds + 2)
        + images * 4_000
        + n_seeds * pool * config.rounds * 200,
        "based_on": TEXT,
    }


def _row_bytes(config: "Config") -> float:
    """Bytes that a row of a batch keeps for the backward pass: what the language model's blocks and its head compute.

    The small model keeps 22 numbers per token and width in each of three blocks, and its tower as much again of 17 tokens
    while it is trained. A large one is taken to be LLaVA-1.5-7B: 700 tokens, 32 blocks of width 4,096 with 34 bytes each
    (2205.05198), and three copies of the logits; eight rows are held at a time.
    """
    if config.model == "large":
        return LARGE_ROW_BYTES
    values = BLOCKS * TOKENS * BLOCK_VALUES * WIDTH + 2 * TOKENS * WORDS
    if config.start == "none":
        values += BLOCKS * 17 * TOWER_BLOCK_VALUES * WIDTH + 2 * 3 * 48**2
    return 4 * values
