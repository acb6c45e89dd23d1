"""How long and how large a run is, from rates measured on two processor cores."""

import os
from math import ceil
from typing import Any

from engine.studies.counterfactual_text.config import INDEPENDENT, MATTE, Config

LOADING_SECONDS, BASE_MEMORY = 4.0, 4e8
STEP_SECONDS, SPARSE_SECONDS = 4.5e-3, 2.5e-3  # a step of vectors, and its Jacobian
TEXT_SECONDS, TEXT_SPARSE_SECONDS = 8e-2, 2.5e-2
PROBE_SECONDS = 0.35  # an R² with 600 rows
FLUENCY_SECONDS, SENTENCE_SECONDS = 15.0, 2.5e-2
TEXT = "Scaled from rates measured on two processor cores; one core trains one seed."


def estimate(config: Config, n_seeds: int) -> dict[str, Any]:
    """Seconds, memory and disk of a run without a GPU."""
    arms = config.arm_names
    sparse = sum(arm in (MATTE, INDEPENDENT) for arm in arms)
    probe = PROBE_SECONDS * max(0.3, config.probe_rows / 600)
    if config.reads_text:
        size = config.hidden / 128 * config.vocabulary / 4_000 * config.batch_size / 64 * config.words / 14
        each = config.n_steps * size * (TEXT_SECONDS * len(arms) + TEXT_SPARSE_SECONDS * sparse)
        sentences = config.pairs * 4 * (2 * len(arms) * n_seeds + 3)
        reading = FLUENCY_SECONDS + SENTENCE_SECONDS * sentences if config.fluency else 0.0
        memory = (
            BASE_MEMORY + (1.3e9 if config.fluency else 0.0) + n_seeds * len(arms) * config.vocabulary * 4e3
        )
    else:
        size = (config.hidden / 96 * config.batch_size / 256) ** 0.5
        each = config.n_steps * size * (STEP_SECONDS * len(arms) + SPARSE_SECONDS * sparse) + 7 * probe * len(
            arms
        )
        reading, memory = 0.0, BASE_MEMORY + n_seeds * config.n_rows * config.n_outputs * 12
    together = 1 if config.worlds == "one per seed" and not config.reads_text else len(arms)
    pairs = 2 * 2 * 2 * n_seeds * (n_seeds - 1) / 2 * together * probe
    cores = max(1, len(os.sched_getaffinity(0)))
    work = ceil(n_seeds / cores) * each + pairs / cores
    return {
        "seconds": LOADING_SECONDS + work + reading,
        "memory_bytes": memory,
        "disk_bytes": n_seeds * len(arms) * (3e5 + config.vocabulary * 2e3 * config.reads_text) + 1e6,
        "based_on": TEXT,
    }
