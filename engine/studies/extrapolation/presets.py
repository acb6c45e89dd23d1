"""Named starting values, and the sweeps that run from one button."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "tour": {
        "distances": (0.0, 2.0, 4.0, 8.0, 16.0),
        "n_targets": 50,
        "n_source": 3_000,
        "steps": 600,
        "fit_steps": 100,
    },
    "standard": {},
    "continuous": {"regime": "sparse", "invariant": "continuous"},
    "digits": {"source": "digits"},
    "digits_tour": {
        "source": "digits",
        "steps": 500,
        "n_pictures": 30,
        "scopes": (0.25, 0.5, 1.0),
        "severities": (0.5, 1.0, 2.0),
    },
    "emoji": {"source": "emoji", "steps": 1_500, "batch_size": 48, "n_pictures": 60},
    "paper": {"distances": (18.0, 24.0, 30.0), "n_targets": 1_000, "n_source": 20_000, "steps": 10_000},
}

SWEEPS: dict[str, list[dict[str, Any]]] = {
    "affected": [{"preset": "standard", "regime": "sparse", "n_affected": n} for n in (1, 3, 6, 8)],
    "smoothness": [
        {"preset": "standard", "regime": "dense", "slope": slope} for slope in (0.1, 0.3, 0.6, 1.0)
    ],
    "pictures": [{"preset": "digits"}, {"preset": "emoji"}],
}
