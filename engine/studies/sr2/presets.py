"""Named starting values, the arms of the ablation table, and the sweeps that run from one button."""

from typing import Any

FOUR: dict[str, Any] = {
    "side": 4,
    "clues": 6,
    "n_train": 8_000,
    "n_validation": 256,
    "n_test": 256,
    "blocks": 4,
    "teraflops": 1.0,
    "batch_size": 128,
    "learning_rate": 2e-3,
    "evaluations": 10,
    "checkpoint_every": 100,
}

PRESETS: dict[str, dict[str, Any]] = {
    "tour": FOUR,
    "standard": {"teraflops": 6.0},
    "four": {**FOUR, "teraflops": 4.0, "n_test": 1_000},
    "six_ten_clues": {"clues": 10, "teraflops": 9.0},
    "nine": {
        "side": 9,
        "clues": 40,
        "d_model": 96,
        "d_inner": 256,
        "batch_size": 32,
        "teraflops": 6.0,
        "evaluations": 10,
    },
    "maze": {"puzzle": "maze", "side": 11, "batch_size": 32, "teraflops": 6.0, "evaluations": 10},
    "paper": {
        "side": 9,
        "clues": 24,
        "search_only": True,
        "n_test": 2_000,
        "d_model": 512,
        "heads": 8,
        "d_inner": 1536,
        "blocks": 16,
        "recurrences": 16,
        "positions": "rope",
        "loss": "stablemax",
        "precision": "bfloat16",
        "budget": "steps",
        "n_steps": 78_125,
        "batch_size": 768,
        "learning_rate": 1e-4,
        "warmup_steps": 2_000,
        "weight_decay": 1.0,
        "ema": 0.9997,
        "evaluations": 50,
        "checkpoint_every": 1_000,
    },
}

ARMS: dict[str, dict[str, Any]] = {
    "SR²": {},
    "feed-forward, 8 layers": {"model": "feed_forward", "layers": 8},
    "feed-forward, 1 layer": {"model": "feed_forward", "layers": 1},
    "no alignment": {"alignment": False},
    "reflection only": {"blocks": 1, "recurrences": 16},
    "single injection": {"injection": "once"},
    "always injected": {"injection": "always"},
    "injected in 2 blocks": {"injected_blocks": 2},
    "2 blocks of 12": {"blocks": 2, "recurrences": 12},
    "12 blocks of 2": {"blocks": 12, "recurrences": 2},
    "two functions": {"weights": "two"},
    "unshared layers": {"weights": "unshared"},
    "HRM-like": {"model": "hrm"},
    "TRM-like": {"model": "trm"},
}

SWEEPS: dict[str, list[dict[str, Any]]] = {
    "ablations": [{"preset": "standard", **arm} for arm in ARMS.values()],
    "positions": [
        {"preset": "standard", "positions": positions, "injection": injection}
        for positions in ("rope", "learned", "both")
        for injection in ("blocks", "always", "once")
    ],
}
