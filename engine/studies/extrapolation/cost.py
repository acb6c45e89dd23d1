"""How long and how large a run is, from rates measured on two processor cores."""

import os
from typing import Any

from engine.studies.extrapolation.config import Config

LOADING_SECONDS, BASE_MEMORY = 4.0, 5e8
WORLD_STEP_SECONDS, FIT_SECONDS, TENT_SECONDS = 4.5e-3, 7e-6, 1.5e-4
COMPARING_SECONDS = 1.3  # of latents with the truth, and with each other seed
CURVE_FITS, CURVE_SHARE, CURVE_TARGETS = 6, 0.3, 100
PICTURE_STEP_SECONDS, PICTURE_SECONDS = 1.0e-5, 2.2e-4
OWN_STEP_SECONDS = 2e-3
PATCHES = {"digits": 16, "emoji": 64, "folder": 64}
PIXELS = {"digits": 8**2, "emoji": 3 * 48**2}
TRIED, CHOICE_PICTURES = 14, 60
HIDDEN, DECODER_HIDDEN, WIDTH, HEADS = 64, 96, 48, 4  # of a world's networks, and of the network over patches
TOGETHER = 0.9
TEXT = (
    "Scaled from rates measured on two processor cores; a classifier of your own is taken to be a small one."
)


def estimate(config: Config, n_seeds: int) -> dict[str, Any]:
    """Seconds, memory and disk of a run without a GPU."""
    cores = max(1, len(os.sched_getaffinity(0)))
    share = max(1.0, n_seeds / (cores * (TOGETHER if cores > 1 else 1.0)))
    each = _world(config, n_seeds) * len(config.regimes) if config.source == "world" else _pictures(config)
    learners = n_seeds * (len(config.regimes) if config.source == "world" else 1)
    rows = (
        len(config.distances) * 12_000
        if config.source == "world"
        else len(config.scopes) * len(config.severities) * 20_000
    )
    return {
        "seconds": LOADING_SECONDS + share * each,
        "memory_bytes": BASE_MEMORY
        + n_seeds * 1e8
        + min(learners, cores) * config.batch_size * _row_bytes(config),
        "disk_bytes": n_seeds * (rows + 5e5),
        "based_on": TEXT,
    }


def _world(config: Config, n_seeds: int) -> float:
    """Seconds of one core for one regime and seed."""
    fits = config.n_targets * (1 + CURVE_SHARE) + CURVE_FITS * CURVE_SHARE * min(
        CURVE_TARGETS, config.n_targets
    )
    fitting = FIT_SECONDS * fits * config.fit_steps * config.n_classes
    tent = TENT_SECONDS * config.n_targets * config.adapt_steps
    training = config.steps * WORLD_STEP_SECONDS * config.batch_size / 128
    comparing = COMPARING_SECONDS * (1 + (0 if config.own_world else (n_seeds - 1) / 2))
    return training + len(config.distances) * (fitting + tent) + comparing


def _pictures(config: Config) -> float:
    """Seconds of one core for one seed."""
    patches = PATCHES[config.source]
    own = OWN_STEP_SECONDS if config.classifier else 0.0
    cells = 1 + len(config.scopes) * len(config.severities)
    pictures = cells * config.n_pictures + TRIED * CHOICE_PICTURES / 4
    adapting = pictures * config.adapt_steps * (PICTURE_SECONDS * patches + 10 * own)
    return config.steps * config.batch_size * (PICTURE_STEP_SECONDS * patches + own) + adapting


def _row_bytes(config: Config) -> float:
    """Bytes that a row of a training batch keeps for the backward pass.

    Of a world what the layers of classifier, encoder and decoder take in, with batch norms in the classifier. Of a picture
    its pixels six times, as patches, rebuilt and compared, and per patch, in each of two blocks, 20 numbers for each of the
    width and three of each of four heads for every patch.
    """
    if config.source == "world":
        layers = 2 * (3 * HIDDEN + 2 * HIDDEN + 2 * DECODER_HIDDEN)
        return 4 * (layers + 5 * config.n_coordinates + 4 * config.n_classes)
    patches = PATCHES[config.source]
    pixels = PIXELS.get(config.source, 3 * config.side**2)
    return 4 * (patches * (2 * (20 * WIDTH + 3 * HEADS * patches) + 3 * WIDTH) + 6 * pixels)
