"""Named starting values, and the sweeps that run from one button."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "tour": {
        "n_latents": 2,
        "n_samples": 3_000,
        "subspace_steps": 300,
        "component_steps": 300,
        "baseline_steps": 200,
        "batch_size": 256,
        "lambda_grid": (0.2, 0.4),
        "restarts": 1,
        "n_bootstraps": 3,
    },
    "standard": {},
    "two_dimensional": {"n_latents": 2},
    "dense": {"graph": "dense"},
    "inseparable": {"graph": "inseparable"},
    "nhanes": {
        "source": "nhanes",
        "n_latents": 2,
        "encoder_layers": 0,
        "edge_threshold": 0.05,
        "edge_null": True,
        "lambda_grid": (0.02, 0.05, 0.1, 0.2),
        "batch_size": 256,
        "subspace_steps": 600,
        "component_steps": 600,
        "baselines": False,
    },
    "digits": {"source": "digits", "n_latents": 2},
    "paper": {
        "n_modalities": 4,
        "n_latents": 4,
        "width": 32,
        "graph": "rich",
        "n_samples": 200_000,
        "hidden": 256,
        "subspace_steps": 50_000,
        "component_steps": 20_000,
        "baseline_steps": 20_000,
        "batch_size": 4_096,
        "restarts": 4,
        "n_bootstraps": 50,
        "checkpoint_every": 2_000,
    },
}

SWEEPS: dict[str, list[dict[str, Any]]] = {
    "graphs": [
        {"preset": "standard", "graph": graph} for graph in ("sparse", "rich", "dense", "inseparable")
    ],
    "rows": [
        {"preset": "standard", "n_samples": n, "baselines": False} for n in (1_000, 2_000, 4_000, 8_000)
    ],
}
