"""Named starting values."""

from typing import Any

ONE_ARM: dict[str, Any] = {"arms": "smartclip", "lambda_sweep": ()}

PRESETS: dict[str, dict[str, Any]] = {
    "tour": {
        "start_from": "bundled",
        "n_train": 3_000,
        "n_validation": 150,
        "n_test": 500,
        "arms": "smartclip",
        "lambda_sweep": (2.0,),
        "arm_steps": 80,
        "control_draws": 5,
    },
    "standard": {},
    "tied": {**ONE_ARM, "captions": "tied"},
    "prefix": {**ONE_ARM, "captions": "prefix"},
    "emoji": {"pictures": "emoji"},
    "paper": {
        "pictures": "folder",
        "folder": "sharegpt4v",
        "model": "clip",
        "clip": "clip-vit-base-patch16",
        **ONE_ARM,
        "batch_size": 1_024,
        "arm_steps": 3_650,
        "learning_rate": 1e-6,
        "mask_learning_rate": 1e-3,
        "lambda_sparse": 2.0,
        "scale": 100.0,
    },
}
