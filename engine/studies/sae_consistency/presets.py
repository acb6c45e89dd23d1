"""Named starting values, and the sweeps that run from one button."""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "tour": {
        "hook_point": "blocks.5.hook_out",
        "n_tokens": 45_000,
        "d_sae": 1152,
        "k": 32,
        "n_steps": 350,
        "batch_size": 256,
        "learning_rate": 3e-3,
        "checkpoint_every": 100,
        "dead_after": 50_000,
        "functional_tokens": 0,
        "explained_pairs": 0,
    },
    "standard": {},
    "paper": {
        "model": "EleutherAI/pythia-160m-deduped",
        "hook_point": "blocks.8.hook_out",
        "corpus": "monology/pile-uncopyrighted",
        "n_tokens": 500_000_000,
        "context_size": 1024,
        "d_sae": 16_384,
        "k": 20,
        "n_steps": 244_140,
        "batch_size": 2048,
        "learning_rate": 3e-4,
        "dead_after": 10_000_000,
        "checkpoint_every": 2000,
    },
    "world": {
        "source": "synthetic",
        "d_sae": 32,
        "k": 3,
        "n_steps": 8_000,
        "batch_size": 1024,
        "learning_rate": 3e-3,
        "checkpoint_every": 1000,
        "jumprelu_bandwidth": 0.1,
        "n_match_points": 20,
    },
    "organism": {
        "source": "synthetic",
        "d_in": 40,
        "n_true_features": 40,
        "true_sparsity": 8,
        "d_sae": 40,
        "k": 8,
        "n_steps": 4_000,
        "batch_size": 512,
        "learning_rate": 3e-3,
        "checkpoint_every": 1000,
        "jumprelu_bandwidth": 0.1,
        "n_match_points": 10,
    },
    "sweep": {
        "hook_point": "blocks.5.hook_out",
        "n_tokens": 200_000,
        "d_sae": 1152,
        "n_steps": 600,
        "batch_size": 512,
        "learning_rate": 3e-3,
        "checkpoint_every": 200,
        "dead_after": 50_000,
        "n_match_points": 0,
        "functional_tokens": 0,
        "explained_pairs": 0,
    },
}

SPARSITIES = (16, 32, 64, 128)
L1 = {"relu": (0.7, 1.2, 2.0, 3.2), "gated": (1.5, 2.7, 4.5, 7.0)}


def _architectures() -> list[dict[str, Any]]:
    """Six architectures and the frozen-decoder control at four sparsities each."""
    grid: list[dict[str, Any]] = []
    for architecture in ("topk", "batch_topk", "matryoshka_batch_topk", "jumprelu"):
        grid += [{"architecture": architecture, "k": k} for k in SPARSITIES]
    for architecture, weights in L1.items():
        grid += [{"architecture": architecture, "l1_coefficient": weight} for weight in weights]
    grid += [{"architecture": "topk", "control": "frozen_decoder", "k": k} for k in SPARSITIES]
    return [{"preset": "sweep", **settings} for settings in grid]


SWEEPS: dict[str, list[dict[str, Any]]] = {
    "architectures": _architectures(),
    "k": [{"preset": "sweep", "k": k} for k in (8, *SPARSITIES)],
}
