"""How long and how large: a run's cost from rates measured on two processor cores (docs/benchmarks.md)."""

import os
from typing import Any

from engine.activation_sources import find_source
from engine.language_model import BUNDLED
from engine.studies.sae_consistency.config import Config

CORES = 2
LAYER_TOKENS_PER_SECOND = 21_000
RUN_TOKENS_PER_SECOND = 20_000
FLOPS_PER_SECOND = 1.9e11
VECTOR_SECONDS = {"relu": 45e-6, "gated": 70e-6}
TOP_VECTOR_SECONDS, WORLD_VECTOR_SECONDS, WORLD_STEP_SECONDS = 22e-6, 1.2e-6, 3e-3
FORWARD_TOKENS_PER_SECOND, EXPLAINED_PAIR_SECONDS = 600, 0.05
LOADING_SECONDS = 12.0
BASE_MEMORY = 1.4e9
TEXT = "Scaled from rates measured on two processor cores; activations that an earlier run collected cost nothing again."
RUN = "How fast a run's model is read depends on its size and depth; its part of the time is a rough guess."
TEXT_OTHER = "The language model is not the bundled one, so its part of the time is a rough guess."


def estimate(config: Config, n_seeds: int) -> dict[str, Any]:
    """Seconds, memory and disk of a run without a GPU.

    A batch takes 16 bytes for each vector and latent of a language model, whose codes are sparse. SAEs of a world are small:
    their codes are dense and their seeds train at once, each with six numbers for each vector and latent (pre-activations,
    values, mask, gradients) and six for each of its coordinates.
    """
    share = CORES / max(1, len(os.sched_getaffinity(0)))
    world = config.source == "synthetic"
    d_in = _width(config)
    vectors = config.steps * config.batch_size * n_seeds
    each = VECTOR_SECONDS.get(config.architecture, TOP_VECTOR_SECONDS)
    training = vectors * (2 * d_in * config.d_sae / FLOPS_PER_SECOND + each)
    sizes = n_seeds * config.d_sae * d_in * 4
    if world:
        training = vectors * WORLD_VECTOR_SECONDS + config.steps * WORLD_STEP_SECONDS
        batch = n_seeds * config.batch_size * 6 * (config.d_sae + d_in) * 4
        memory = BASE_MEMORY / 3 + 8 * sizes + batch
        return _cost(LOADING_SECONDS / 3 + training * share, memory, 4 * sizes, TEXT)
    layers = 1 if config.reads_run else int(config.hook_point.split(".")[1]) + 1
    rate = RUN_TOKENS_PER_SECOND if config.reads_run else LAYER_TOKENS_PER_SECOND / layers
    reading = 1.05 * config.n_tokens / rate
    passes = (1 + 5 * n_seeds) * config.functional_tokens / FORWARD_TOKENS_PER_SECOND
    evaluation = (passes + EXPLAINED_PAIR_SECONDS * config.explained_pairs) if n_seeds > 1 else 0.0
    seconds = LOADING_SECONDS + (reading + training + evaluation) * share
    disk = 1.1 * config.n_tokens * d_in * 2
    note = TEXT if config.model == BUNDLED else f"{TEXT} {RUN if config.reads_run else TEXT_OTHER}"
    memory = BASE_MEMORY + 8 * sizes + min(disk, 1.1e9) + config.batch_size * config.d_sae * 16
    return _cost(seconds, memory, disk + 8 * sizes, note)


def _width(config: Config) -> int:
    """Width of the vectors; of a language model that of the bundled one."""
    if config.source == "synthetic":
        return config.d_in
    return find_source(config.model).width(config.hook_point) if config.reads_run else 576


def _cost(seconds: float, memory: float, disk: float, note: str) -> dict[str, Any]:
    return {"seconds": seconds, "memory_bytes": memory, "disk_bytes": disk, "based_on": note}
