"""Graphs over hidden discrete variables, found from ranks of tables alone (2406.00519 §4, step 2)."""

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

from engine.studies.concept_hierarchy.rank import Statistic


@dataclass(frozen=True)
class Discovery:
    """A graph over observed variables and found latents.

    `graph` has a node for every observed name and every latent ("L1", "L2", … by their smallest member), node
    attribute `kind` ("observed" or "latent"), and edge attribute `directed`: False where data cannot tell the
    direction (the stored one then points from the higher to the lower level). `n_states` maps a latent to the number
    of its states; `n_tests` counts the rank tests made.
    """

    graph: nx.DiGraph
    n_states: dict[str, int]
    n_tests: int


def discover(
    states: np.ndarray,
    names: Sequence[str],
    *,
    alpha: float = 0.01,
    n_latent_states: int | None = None,
    statistic: Statistic = "bartlett",
    max_k: int = 1,
) -> Discovery:
    """The latent hierarchy behind `states` (n × p codes from 0)."""
    raise NotImplementedError
