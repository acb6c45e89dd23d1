"""How long, how large: a run's cost from rates measured on two cores (docs/benchmarks.md)."""

from engine.studies.sae_consistency.config import Config


def estimate(config: Config, n_seeds: int) -> dict[str, float]:
    return {}
