"""Named starting values, and the sweeps that run from one button."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "tour": {"rounds": 60, "swap_rounds": 15, "decisions": 6},
    "standard": {},
    "weak": {"tau": 0.5},
    "mixed": {"mechanism": "mixed"},
    "no_shift": {"mechanism": "none"},
    "feature_shift": {"mechanism": "features"},
    "mixture": {"source": "mixture"},
    "topics": {"source": "topics", "tau": 0.05},
    "sentiment": {"source": "sentiment", "tau": 0.05},
    "paper": {
        "source": "mixture",
        "n_classes": 100,
        "n_samples": 60_000,
        "swap_rounds": 0,
        "hidden": 256,
        "learning_rate": 1e-4,
        "schedule": "released",
    },
}

SWEEPS: dict[str, list[dict[str, Any]]] = {
    "strengths": [{"preset": "standard", "tau": tau} for tau in (0.05, 0.1, 0.2, 0.5, 1.0)],
    "mechanisms": [
        {"preset": "standard", "mechanism": mechanism}
        for mechanism in ("adversarial", "mixed", "none", "features")
    ],
    "schedules": [
        {"preset": "standard"},
        {"preset": "standard", "hidden": 256, "learning_rate": 1e-4, "schedule": "released"},
    ],
}
