"""How long and how large a run is: floating-point operations at a rate measured on one processor core."""

import os
from typing import Any

from engine.studies.sapo.config import Config

FLOPS_PER_SECOND = 3.0e10
LOADING_SECONDS = 5.0
BASE_MEMORY = 4e8
WORKERS = 2
EXTRA_ROLLOUTS = 0.5
TEXT = "Counted from parameters and tokens at 30 GFLOP/s a core, measured on two processor cores with two seeds at once."


def parameters(config: Config) -> int:
    """Parameters of the small policy."""
    task = config.make_task()
    width = config.width
    inner = -(-8 * width // 3 // 16) * 16
    block = 4 * width * width + 3 * width * inner
    return config.layers * block + width * (
        2 * len(task.vocabulary) + task.prompt_length + task.completion_length
    )


def estimate(config: Config, n_seeds: int) -> dict[str, Any]:
    """Seconds, memory and disk of a run without a GPU; an import takes seconds."""
    if config.imported:
        return _cost(LOADING_SECONDS, BASE_MEMORY, 1e7, "Reading files of text.")
    task, steps = config.make_task(), config.schedule().steps
    pass_flops = 2 * parameters(config) * (task.prompt_length + task.completion_length)
    base = 0 if config.start_from else 3 * config.base_steps * config.base_batch
    rollouts = config.prompts * config.group_size
    matched = (1 + EXTRA_ROLLOUTS) * len(config.chosen_arms)
    arms = matched * config.iterations * rollouts * (steps + 5 * config.inner_iterations)
    evaluation = (
        (1 + len(config.chosen_arms))
        * steps
        * (config.eval_prompts * 3 + config.value_prompts * config.value_rollouts * steps / 2)
    )
    passes = base + arms + evaluation
    busy = max(1.0, n_seeds / min(WORKERS, len(os.sched_getaffinity(0))))
    tokens = 2 * config.kept * steps * task.completion_length * (1 + len(config.chosen_arms)) * n_seeds
    weights = parameters(config) * 4 * n_seeds * (4 + len(config.chosen_arms))
    return _cost(
        LOADING_SECONDS + busy * passes * pass_flops / FLOPS_PER_SECOND,
        BASE_MEMORY + weights,
        20 * tokens + 3 * weights,
        TEXT,
    )


def _cost(seconds: float, memory: float, disk: float, note: str) -> dict[str, Any]:
    return {"seconds": seconds, "memory_bytes": memory, "disk_bytes": disk, "based_on": note}
