"""Words for runs of extrapolation, from their settings."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

Config = dict[str, Any]
TIERS = {
    "world": "a synthetic world whose latents, classes and changed coordinates are known",
    "digits": "real handwriting (scikit-learn, CC BY 4.0), with noise added here",
    "emoji": "emoji of people, OpenMoji (CC BY-SA 4.0), by skin tone, with noise added here",
    "folder": "your own pictures, with noise added here",
}


def data(config: Config) -> str:
    """The data in words: "dense and sparse world", "digits"."""
    if config["source"] == "world":
        regimes = "dense and sparse" if config["regime"] == "both" else str(config["regime"])
        own = ", one a seed" if config["own_world"] else ""
        continuous = ", continuous c" if config["invariant"] == "continuous" else ""
        return f"{regimes} world{own}{continuous}"
    if config["source"] == "folder":
        own = f" with {PurePath(config['classifier']).name}" if config["classifier"] else ""
        return f"{PurePath(config['folder']).name}{own}"
    return str(config["source"])


def settings(config: Config) -> str:
    """A run's settings in one line."""
    if config["source"] == "world":
        reach = f"distances to {max(config['distances']):g} · {config['n_targets']} targets each"
        return f"{data(config)} · {reach} · q {config['changed']}, λ {config['pull']:g}"
    cells = f"{len(config['scopes'])} scopes × {len(config['severities'])} severities"
    return f"{data(config)} · {cells} · {config['n_pictures']} pictures each"


EXTRAPOLATION_SETTINGS: dict[str, Callable[[Config], str]] = {"extrapolation": settings}
