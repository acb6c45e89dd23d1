"""Named starting values."""

from typing import Any

TEXT: dict[str, Any] = {
    "source": "text",
    "d_content": 24,
    "d_style": 6,
    "hidden": 128,
    "embedding": 32,
    "beta_content": 0.05,
    "beta_style": 0.05,
    "free_bits": 0.5,
    "lambda_sparse": 1e-3,
    "lambda_partial": 0.0,
    "words": 10,
    "vocabulary": 3_000,
    "n_steps": 2_000,
    "batch_size": 64,
    "learning_rate": 5e-3,
    "warm_up": 1_000,
    "jacobian_rows": 8,
    "checkpoint_every": 500,
}

PRESETS: dict[str, dict[str, Any]] = {
    "tour": {
        "arms": "matte,no_sparsity",
        "n_steps": 1_000,
        "warm_up": 400,
        "probe_rows": 200,
        "n_test": 1_200,
    },
    "standard": {},
    "worlds": {"worlds": "one per seed"},
    "dense": {"worlds": "one per seed", "own_outputs": 16, "arms": "matte,no_sparsity"},
    "text": TEXT,
    "file": {**TEXT, "source": "file"},
    "paper": {
        **TEXT,
        "d_content": 64,
        "d_style": 16,
        "hidden": 1_024,
        "embedding": 128,
        "words": 20,
        "vocabulary": 10_000,
        "flow": "spline",
        "beta_content": 0.35,
        "beta_style": 0.2,
        "lambda_sparse": 1e-4,
        "lambda_partial": 1e-4,
        "n_steps": 60_000,
        "batch_size": 32,
    },
}
