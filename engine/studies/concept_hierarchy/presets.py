"""Named starting values."""

from typing import Any

NO_BASELINES = {"linear_rank": False, "latent_classes": False, "pairwise_clustering": False}

PRESETS: dict[str, dict[str, Any]] = {
    "tour": {"shape": "chain", "n_samples": 5_000, "n_bootstraps": 4},
    "standard": {},
    "chain": {"shape": "chain"},
    "mixed": {"shape": "mixed"},
    "deep": {"shape": "deep", "n_bootstraps": 10},
    "binary": {"shape": "mixed", "n_states": 2},
    "continuous": {"shape": "mixed", "observed": "continuous"},
    "bfi": {"source": "bfi", "n_bootstraps": 5},
    "features": {"source": "features", "n_bootstraps": 5},
    "diffusion": {"source": "images"},
    "paper": {"shape": "random", "observed": "continuous", "n_samples": 100_000, "n_bootstraps": 20},
}
