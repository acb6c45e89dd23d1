"""Words for runs of caption masks, from their settings."""

from collections.abc import Callable
from pathlib import PurePath
from typing import Any

Config = dict[str, Any]
STYLES = {"openmoji": "OpenMoji", "noto": "Noto", "both": "OpenMoji and Noto"}
CAPTIONS = {"prefix": "captions in a fixed order", "tied": "tied captions"}


def pictures_words(config: Config) -> str:
    """The pictures: "scenes", "emoji (OpenMoji)", "folder flowers"."""
    if config["pictures"] == "emoji":
        return f"emoji ({STYLES[config['emoji_style']]})"
    return f"folder {PurePath(config['folder']).name}" if config["pictures"] == "folder" else "scenes"


def clip_words(config: Config) -> str:
    """Where the CLIP comes from."""
    if config["model"] == "clip":
        return f"CLIP of {PurePath(config['clip']).name}"
    start = str(config["start_from"])
    if start.startswith("run:"):
        return f"CLIP of run {start.removeprefix('run:')[:6]}"
    return "bundled CLIP" if start else f"CLIP of {config['caption_steps'] + config['clip_steps']:,} steps"


def settings(config: Config) -> str:
    """A run's settings in one line."""
    named = [arm for arm in config["arms"].split(",") if arm.strip()]
    arms = len(named) + len(
        [weight for weight in config["lambda_sweep"] if weight != config["lambda_sparse"]]
    )
    parts = (
        pictures_words(config),
        clip_words(config),
        f"{arms} arm{'' if arms == 1 else 's'} × {config['arm_steps']} steps",
        f"λ {config['lambda_sparse']:g}",
        CAPTIONS.get(config["captions"], ""),
    )
    return " · ".join(part for part in parts if part)


MASK_SETTINGS: dict[str, Callable[[Config], str]] = {"smartclip": settings}
