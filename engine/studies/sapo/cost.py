"""How long and how large a run is: floating-point operations at a rate measured on one processor core."""

import os
from dataclasses import dataclass
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
    """Seconds, memory and disk of a run without a GPU; an import takes seconds. Of a large policy memory and disk alone."""
    if config.imported:
        return _cost(LOADING_SECONDS, BASE_MEMORY, 1e7, "Reading files of text.")
    if config.is_large:
        return _large(config, n_seeds)
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


@dataclass(frozen=True)
class Shape:
    """A published model: bytes of its weights in 16 bits and in NF4, layers, width, vocabulary, adapter parameters per rank."""

    sixteen_bit: float
    four_bit: float
    layers: int
    width: int
    vocabulary: int
    per_rank: int


SHAPES = {
    "qwen": Shape(1.2e9, 0.55e9, 28, 1_024, 151_936, 28 * 22_528),
    "llada": Shape(16e9, 5.5e9, 32, 4_096, 126_464, 32 * 40_960),
}
PROMPT_TOKENS = 200  # d1's bound
ACTIVATION_BYTES = (
    34  # per token, layer and width, kept for the gradient (2205.05198, without attention's square)
)
ADAPTER_BYTES, ADAPTER_KEPT = (
    16,
    4,
)  # per parameter: itself, its gradient and two moments; and once more for evaluation
LOGIT_COPIES = 4  # of float32: logits, their log-softmax and both gradients
LARGE_TEXT = "Memory on the GPU, by arithmetic from the published models' sizes; the time was not measured here, since no GPU was at hand."


def large_memory(config: Config, n_seeds: int) -> float:
    """Bytes on the GPU, by arithmetic: weights, adapters with their moments, activations and logits of a pass.

    Qwen3 makes logits of the completion alone, LLaDA of the prompt too.
    """
    shape, tokens = SHAPES[config.policy], PROMPT_TOKENS + config.completion_length
    adapter = shape.per_rank * config.lora_rank
    rows, seen = config.pass_rows, config.completion_length if config.policy == "qwen" else tokens
    return (
        (shape.four_bit if config.four_bit else shape.sixteen_bit)
        + adapter * (ADAPTER_BYTES * n_seeds + ADAPTER_KEPT)
        + rows * tokens * shape.layers * shape.width * ACTIVATION_BYTES
        + rows * seen * shape.vocabulary * 4 * LOGIT_COPIES
    )


def _large(config: Config, n_seeds: int) -> dict[str, Any]:
    """Memory and disk; no seconds, which were not measured."""
    kept = SHAPES[config.policy].per_rank * config.lora_rank * 4
    disk = n_seeds * kept * (3 * (2 + len(config.chosen_arms)))
    return {"memory_bytes": large_memory(config, n_seeds), "disk_bytes": disk, "based_on": LARGE_TEXT}


def _cost(seconds: float, memory: float, disk: float, note: str) -> dict[str, Any]:
    return {"seconds": seconds, "memory_bytes": memory, "disk_bytes": disk, "based_on": note}
