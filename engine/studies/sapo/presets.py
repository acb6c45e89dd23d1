"""Named starting values."""

from typing import Any

CHAIN: dict[str, Any] = {
    "task": "chain",
    "width": 64,
    "layers": 2,
    "base_steps": 2_000,
    "base_batch": 256,
    "base_learning_rate": 3e-3,
}

PRESETS: dict[str, dict[str, Any]] = {
    "tour": {
        **CHAIN,
        "start_from": "bundled",
        "arms": "diffu_grpo,sapo",
        "iterations": 40,
        "eval_prompts": 100,
        "value_prompts": 24,
    },
    "standard": {},
    "sudoku": {"task": "sudoku", "blanks": 11, "base_steps": 160, "iterations": 40},
    "chain": {
        **CHAIN,
        "arms": "diffu_grpo,sapo,grpo_longer,grpo_wider,sapo_no_indicator,process_only",
    },
    "paper": {
        "policy": "llada",
        "arms": "diffu_grpo,sapo",
        "prompts": 16,
        "group_size": 6,
        "inner_iterations": 12,
        "learning_rate": 3e-6,
        "temperature": 0.9,
    },
}
