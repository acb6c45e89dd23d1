"""A map of a run's triplets: their texts and images laid out in the plane by UMAP."""

from collections.abc import Sequence
from typing import Any

from engine.run import Run
from engine.studies.base import Study
from engine.tools.triplet_map.config import Config


class TripletMap(Study):
    """Lay out what triplets say and show; the job's one seed is UMAP's (arXiv 1802.03426), on exact nearest neighbours."""

    name = "triplet_map"
    title = "Map of triplets"
    Config = Config
    tables = ("triplet_points",)

    def train(self, run: Run) -> None:
        from engine.tools.triplet_map.mapping import make_map

        make_map(run)

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        from engine.tools.triplet_map.reading import identity

        return identity(config, seeds)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, Any]:
        from engine.tools.triplet_map.reading import estimate

        return estimate(config)
