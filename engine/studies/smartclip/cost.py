"""How long and how large a run is."""

import os
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.studies.smartclip.config import Config

SECONDS_PER_PICTURE = 9e-4  # of one training step of the small CLIP, one core
MASKED_EVALUATION, PLAIN_EVALUATION = 2.5, 1.5
LOADING_SECONDS, RENDERED_PER_SECOND = 5.0, 2_000
BASE_MEMORY, PARAMETERS = 5e8, 330_000
PUBLISHED_PARAMETERS, PUBLISHED_FACTOR = 150e6, 2_500
PIXELS, CONVOLVED, IMAGE_TOKENS = 2 * 3 * 48**2, 2 * (16 * 24**2 + 32 * 12**2), 36
WORDS, MOST_WORDS = 15, 65  # of a caption of scenes and emoji, and the most of a folder's
BLOCK_VALUES, SCORES = 13, 10  # kept of a block per token and width; score matrices of images × captions
PUBLISHED_VALUES = 9e7
TEXT = "Scaled from rates measured on two processor cores; one core trains one seed."


def estimate(config: "Config", n_seeds: int) -> dict[str, Any]:
    """Seconds, memory and disk of a run without a GPU."""
    cores = max(1, len(os.sched_getaffinity(0)))
    rounds = ceil(n_seeds / cores)
    arms = len(config.chosen_arms)
    seen = config.arm_steps * arms * config.batch_size
    if config.trains_clip:
        seen += (config.caption_steps + config.clip_steps) * config.clip_batch_size
    size = 1.0 if config.model == "small" else PUBLISHED_FACTOR
    wide = max(1.0, (config.width / 64) ** 2)
    training = seen * SECONDS_PER_PICTURE * size * wide
    pictures = config.n_test if config.pictures == "scenes" else 600
    evaluation = (arms * MASKED_EVALUATION + PLAIN_EVALUATION) * (0.3 + 0.7 * pictures / 1_000) * size**0.5
    drawing = (config.n_train + 2 * pictures) / RENDERED_PER_SECOND
    parameters = PARAMETERS * wide if config.model == "small" else PUBLISHED_PARAMETERS
    kept = min(n_seeds, cores) * _batch_bytes(config)
    return {
        "seconds": LOADING_SECONDS + drawing + rounds * (training + evaluation),
        "memory_bytes": BASE_MEMORY
        + 7_000 * config.n_train * 4
        + n_seeds * parameters * 4 * (arms + 6)
        + kept,
        "disk_bytes": n_seeds * parameters * 4 * 3 * (arms + 3),
        "based_on": TEXT,
    }


def _batch_bytes(config: "Config") -> float:
    """Bytes that one seed's larger batch keeps for the backward pass: what both towers and the mask network compute, and scores.

    Of a picture the small CLIP keeps its pixels and convolutions, and 13 numbers per token and width of each block (two per
    tower, one of the mask network) and three around them. The published CLIP is counted as ViT-B/16: 197 tokens of width 768
    and 248 of 512 through 12 blocks each, 20 numbers per token and width, and the attention's weights twice.
    """
    batch = max(config.batch_size, config.clip_batch_size if config.trains_clip else 0)
    words = MOST_WORDS if config.pictures == "folder" else WORDS
    tokens = IMAGE_TOKENS * (2 * BLOCK_VALUES + 3) + words * (3 * BLOCK_VALUES + 3)
    small = PIXELS + CONVOLVED + tokens * config.width
    return 4 * batch * ((small if config.model == "small" else PUBLISHED_VALUES) + SCORES * batch)
