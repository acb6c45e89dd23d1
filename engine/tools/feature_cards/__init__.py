"""Feature cards: what every feature of a finished run responds to, where it points, what it does."""

from collections.abc import Sequence
from typing import Any

from engine.run import Run
from engine.studies.base import Study
from engine.tools.feature_cards.config import Config

TOKEN_SECONDS, ENTRY_SECONDS, LOADING_SECONDS = 12e-6, 4e-7, 25.0
FLOPS_PER_SECOND, FORWARD_TOKENS_PER_SECOND = 1.9e11, 600
PROBE_TOKENS, ENTRY_BYTES = 40, 18
MEMORY = 1.6e9


class FeatureCards(Study):
    """Read a run's activations once with all its SAEs and write a card for every feature."""

    name = "feature_cards"
    title = "Feature cards"
    Config = Config
    tables = ("cards", "card_logits", "card_neighbours", "checks", "probes")

    def train(self, run: Run) -> None:
        import torch

        from engine.tools.feature_cards.making import make_cards

        with torch.no_grad():
            make_cards(run)

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        from data.files import sha256_file
        from engine.tools.feature_cards.of_run import find_run

        directory, _ = find_run(config.of, seeds)
        return sha256_file(directory / "manifest.json")[:16]

    def estimate(self, config: Any, n_seeds: int) -> dict[str, float]:
        from engine.tools.feature_cards.of_run import find_run

        _, of = find_run(config.of, ())
        tokens = min(config.max_tokens, of.n_tokens)
        flops = 2 * 576 * of.d_sae / FLOPS_PER_SECOND
        encoding = tokens * n_seeds * (flops + TOKEN_SECONDS + of.k * ENTRY_SECONDS)
        forward = config.checks_tokens * (2 + n_seeds) + config.probe_documents * PROBE_TOKENS
        seconds = LOADING_SECONDS + encoding + forward / FORWARD_TOKENS_PER_SECOND
        disk = tokens * n_seeds * of.k * ENTRY_BYTES
        return {"seconds": seconds, "memory_bytes": MEMORY, "disk_bytes": disk}
