"""Words for runs of self-refinement, from their settings."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

Config = dict[str, Any]


def settings(config: Config) -> str:
    """A run's settings in one line."""
    rounds = int(config["rounds"])
    labelled = "" if config["pictures"] == "folder" else f"{config['n_labelled']:,} labelled"
    parts = (
        f"retrained on {PurePath(config['selection']).stem}" if config["selection"] else "",
        f"folder {PurePath(config['folder']).name}"
        if config["pictures"] == "folder"
        else str(config["pictures"]),
        PurePath(config["model_id"]).name if config["model"] == "large" else "",
        labelled,
        f"{config['n_pool']:,} unlabelled" if config["pictures"] == "scenes" else "",
        f"best {float(config['keep']):.0%}",
        f"{rounds} rounds" if rounds > 1 else "",
    )
    return " · ".join(part for part in parts if part)


SRF_SETTINGS: dict[str, Callable[[Config], str]] = {"srf": settings}
