"""Named starting values."""

from typing import Any

CHAIN: dict[str, Any] = {
    "task": "chain",
    "width": 64,
    "layers": 2,
    "base_steps": 2_000,
    "base_batch": 256,
    "base_learning_rate": 3e-3,
    "prompts": 16,
}

LARGE: dict[str, Any] = {
    "arms": "diffu_grpo,sapo",
    "prompts": 4,
    "group_size": 6,
    "inner_iterations": 8,
    "learning_rate": 3e-6,
    "temperature": 0.9,
    "pass_rows": 6,
    "eval_prompts": 64,
    "eval_every": 25,
    "value_prompts": 2,
    "value_rollouts": 1,
    "kept": 2,
    "checkpoint_every": 1,
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
    "sudoku": {
        "task": "sudoku",
        "blanks": 11,
        "base_steps": 150,
        "iterations": 40,
        "prompts": 16,
        "learning_rate": 3e-5,
    },
    "chain": {
        **CHAIN,
        "arms": "diffu_grpo,sapo,grpo_longer,grpo_wider,sapo_no_indicator,process_only",
    },
    "qwen": {**LARGE, "policy": "qwen"},
    "paper": {
        **LARGE,
        "policy": "llada",
        "four_bit": True,
        "prompts": 16,
        "inner_iterations": 12,
        "pass_rows": 2,
    },
}
