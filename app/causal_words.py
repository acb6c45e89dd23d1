"""Words for the runs of the two causal studies, from their settings."""

from collections.abc import Callable
from typing import Any


def multimodal(config: dict[str, Any]) -> str:
    """The data and the sparsity weight."""
    return f"{config['source']}"


def hierarchy(config: dict[str, Any]) -> str:
    """The data and the number of states."""
    return f"{config['source']}"


CAUSAL_SETTINGS: dict[str, Callable[[dict[str, Any]], str]] = {
    "multimodal_causal": multimodal,
    "concept_hierarchy": hierarchy,
}
