"""How long and how large: a run's cost from rates measured on two processor cores (docs/benchmarks.md)."""

from math import factorial
from typing import Any

from engine.studies.multimodal_causal.config import Config

FIT_STEP_SECONDS, STEP_SECONDS = 1.2e-3, 4e-3
CONTRAST_SECONDS = 1.1e-8
MEASURE_SECONDS, LOADING_SECONDS = 12.0, 4.0
BASE_MEMORY = 5e8
CRITIC_VALUES, SCORES = 4 * 64 + 32, 5
WIDEST = {"digits": 128, "nhanes": 9, "nhefs": 4, "cells": 28}  # modality of each table, in variables
TEXT = "Scaled from rates measured on one processor core; real tables are taken to have six modalities and 4,000 rows."


def estimate(config: Config, n_seeds: int) -> dict[str, Any]:
    """Seconds, memory and disk of a run without a GPU."""
    modalities = {"world": config.n_modalities, "digits": 2}.get(config.source, 6)
    pairs = modalities * (modalities - 1) / 2
    steps = config.subspace_steps * (1 + config.baselines * 0.5)
    contrast = n_seeds * steps * pairs * config.batch_size**2 * CONTRAST_SECONDS + steps * STEP_SECONDS
    orders = factorial(min(modalities, 4)) if config.modality_order == "learnt" else 1
    levels = len(config.lambda_grid) + 1
    size = (modalities * config.n_latents / 9) ** 1.5
    fits = n_seeds * (orders * config.restarts + levels)
    seconds = contrast + fits * config.component_steps * FIT_STEP_SECONDS * size
    seconds += n_seeds * MEASURE_SECONDS * modalities / 3 + LOADING_SECONDS
    rows = config.n_samples if config.source in ("world", "digits") else 5_000
    memory = BASE_MEMORY + rows * modalities * config.n_latents * 4 * n_seeds * (10 + 2 * config.n_bootstraps)
    return {
        "seconds": seconds,
        "memory_bytes": memory + n_seeds * _batch_bytes(config, modalities, rows),
        "disk_bytes": 3e6 * n_seeds,
        "based_on": TEXT,
    }


def _batch_bytes(config: Config, modalities: int, rows: int) -> float:
    """Bytes that one seed's batch keeps for the backward pass of stage 1, where all seeds train at once.

    Of a row the encoders' layers, the critics of both sides of every pair of modalities, and the scores of all rows against
    all: they, what is summed of them and their gradients, five times the batch for every pair.
    """
    batch, pairs = min(config.batch_size, rows), modalities * (modalities - 1) / 2
    width = WIDEST.get(config.source, config.width)
    encoders = modalities * (width + 2 * config.hidden * config.encoder_layers + 6 * config.n_latents)
    critics = 2 * pairs * (2 * config.n_latents + CRITIC_VALUES)
    return 4 * batch * (encoders + critics + SCORES * pairs * batch)
