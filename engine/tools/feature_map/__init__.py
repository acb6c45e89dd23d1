"""A map of features: decoder directions of one or several runs' SAEs laid out in the plane by UMAP."""

from collections.abc import Sequence
from typing import Any

from engine.run import Run
from engine.studies.base import Study
from engine.tools.feature_map.config import Config


class FeatureMap(Study):
    """Lay out decoder directions by cosine, every seed of every run in one plane; the job's one seed is UMAP's.

    UMAP: McInnes, Healy & Melville, arXiv 1802.03426, on exact nearest neighbours.
    """

    name = "feature_map"
    title = "Map of features"
    Config = Config
    tables = ("map_points",)

    def train(self, run: Run) -> None:
        from engine.tools.feature_map.mapping import make_map

        make_map(run)

    def fingerprint(self, config: Any, seeds: Sequence[int]) -> str:
        from engine.tools.feature_map.dictionaries import identity

        return identity(config, seeds)

    def estimate(self, config: Any, n_seeds: int) -> dict[str, Any]:
        from engine.tools.feature_map.dictionaries import estimate

        return estimate(config)
