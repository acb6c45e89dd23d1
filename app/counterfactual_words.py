"""Words for runs of counterfactual text, from their settings."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

Config = dict[str, Any]
TIERS = {
    "bench": "a synthetic world whose content, style and style noise are known",
    "text": "real snippets with human ratings (VADER, MIT) in four domains",
    "file": "your own texts",
}


def data(config: Config) -> str:
    """The data in words: "world of 8 domains"."""
    if config["source"] == "bench":
        dense = ", style everywhere" if config["own_outputs"] == config["n_outputs"] else ""
        many = "worlds" if config["worlds"] == "one per seed" else "world"
        return f"{many} of {config['n_domains']} domains{dense}"
    return "four domains of snippets" if config["source"] == "text" else PurePath(config["table"]).name


def settings(config: Config) -> str:
    """A run's settings in one line."""
    arms = len([arm for arm in config["arms"].split(",") if arm.strip()])
    parts = [
        data(config),
        f"{arms} arm{'' if arms == 1 else 's'} × {config['n_steps']:,} steps",
        f"λ {config['lambda_sparse']:g}",
        "splines" if config["flow"] == "spline" else "",
    ]
    return " · ".join(part for part in parts if part)


COUNTERFACTUAL_SETTINGS: dict[str, Callable[[Config], str]] = {"counterfactual_text": settings}
