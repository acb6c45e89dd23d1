"""Words for runs of performative label shift, from their settings."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

Config = dict[str, Any]
SOURCES = {
    "digits": "digits under noise",
    "topics": "topics of news",
    "sentiment": "sentiment of snippets",
}
TIERS = {
    "digits": "real handwriting (scikit-learn) with noise added here",
    "mixture": "a Gaussian mixture, synthetic, whose exact posterior is known",
    "topics": "real news (BBC, for research), read by a real pretrained model",
    "sentiment": "real snippets with human ratings (VADER, MIT), read by a real pretrained model",
    "features": "your own rows",
}


def data(config: Config) -> str:
    """The data in words: "mixture of 20"."""
    source = str(config["source"])
    if source == "mixture":
        return f"mixture of {config['n_classes']}"
    return SOURCES.get(source) or PurePath(config["table"]).name


def reaction(config: Config) -> str:
    """How the world reacts: "Eq. 6, τ 0.1"."""
    mechanism = str(config["mechanism"])
    if mechanism == "none":
        return "no reaction"
    if mechanism == "features":
        return f"P(X | Y) moves, step {config['feature_step']:g}"
    return f"{'Eq. 6' if mechanism == 'adversarial' else 'classes mixed'}, τ {config['tau']:g}"


def settings(config: Config) -> str:
    """A run's settings in one line."""
    swap = f" + {config['swap_rounds']} swapped" if config["swap_rounds"] else ""
    parts = [data(config), reaction(config), f"{config['rounds']}{swap} rounds"]
    parts += ["released schedule"] if config["schedule"] == "released" else []
    return " · ".join(parts)


SHIFT_SETTINGS: dict[str, Callable[[Config], str]] = {"label_shift": settings}
