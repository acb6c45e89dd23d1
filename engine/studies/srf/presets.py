"""Named starting values."""

from typing import Any

WEAK: dict[str, Any] = {
    "start": "tower",
    "n_labelled": 770,
    "n_pool": 2_000,
    "generator_steps": 1_200,
    "arm_steps": 1_200,
    "learning_rate": 1.5e-3,
    "arms": "base,random,triangle",
    "sweep": (),
    "contrast": False,
    "noise": False,
}  # a pilot's configuration: fluent, and right in about half of its answers
REGIME: dict[str, Any] = {
    "arms": "base,random,triangle,triangle_tied,oracle",
    "sweep": (),
    "contrast": False,
    "noise": False,
}

PRESETS: dict[str, dict[str, Any]] = {
    "tour": {
        "n_labelled": 300,
        "n_pool": 600,
        "n_test": 100,
        "generator": "bundled",
        "arms": "triangle",
        "sweep": (),
        "arm_steps": 60,
        "contrast": False,
        "noise": False,
    },
    "standard": {"rounds": 2},
    "weak": WEAK,
    "few_labels": {**REGIME, "n_labelled": 150, "n_pool": 8_000},
    "more_shift": {**REGIME, "shift": 2.0},
    "no_shift": {**REGIME, "shift": 0.0},
    "scratch": {
        "start": "tower",
        "n_labelled": 2_000,
        "generator_steps": 4_000,
        "arm_steps": 3_000,
        "learning_rate": 2e-3,
    },
    "emoji": {
        "pictures": "emoji",
        "start": "none",
        "n_labelled": 900,
        "generator_steps": 1_500,
        "arm_steps": 1_000,
        "tower_steps": 1_500,
        "learning_rate": 2e-3,
    },
    "folder": {
        "pictures": "folder",
        "folder": "my-images",
        "start": "none",
        "arms": "base,random,no_filter,triangle,triangle_tied,confidence,bottom",
        "noise": False,
    },
    "paper": {
        "pictures": "folder",
        "folder": "llava_v1_5_mix665k",
        "model": "large",
        "model_id": "llava-hf/llava-1.5-7b-hf",
        "arms": "base,random,no_filter,triangle,confidence,recap,bottom",
        "sweep": (0.05, 0.5, 0.8),
        "rounds": 2,
        "generator_steps": 5_195,
        "arm_steps": 6_760,
        "batch_size": 128,
        "learning_rate": 2e-5,
        "noise": False,
    },
}
