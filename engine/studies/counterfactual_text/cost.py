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
GATES, FLOW_VALUES = 10, 300  # numbers kept: of a GRU per token and hidden unit, of a row by a prior's flow
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
    kept = min(n_seeds * len(arms), cores) * _batch_bytes(config)
    return {
        "seconds": LOADING_SECONDS + work + reading,
        "memory_bytes": memory + kept,
        "disk_bytes": n_seeds * len(arms) * (3e5 + config.vocabulary * 2e3 * config.reads_text) + 1e6,
        "based_on": TEXT,
    }


def _batch_bytes(config: Config) -> float:
    """Bytes that one arm's batch keeps for the backward pass, and the rows of it on which the Jacobian is taken.

    Of vectors two hidden layers of encoder and decoder, before and after GELU; of texts, per token, the GRUs' gates (two
    readers and a writer), word vectors and a number for every word of the vocabulary. The Jacobian decodes its rows once for
    each latent.
    """
    latents = config.d_content + config.d_style
    if config.reads_text:
        decoded = (config.words + 1) * (GATES * config.hidden + 2 * config.embedding + latents)
        row = 3 * decoded + (config.words + 1) * config.vocabulary
    else:
        decoded = 4 * config.hidden + 2 * config.n_outputs + latents
        row = 2 * decoded + 2 * FLOW_VALUES
    traces = 1 + config.d_style + config.d_content * (config.lambda_partial > 0)
    sparse = any(arm in (MATTE, INDEPENDENT) for arm in config.arm_names)
    return 4 * (
        config.batch_size * row + sparse * min(config.batch_size, config.jacobian_rows) * traces * decoded
    )
