"""The pictures a config names, and the CLIP its arms go on from."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analyses.streams import stream_seed
from data.assets import ASSETS, AssetMissing
from data.emoji import NOTO, emoji_pictures, has_noto
from data.files import read_json, sha256_file
from data.image_folder import folder_pictures
from data.paths import state_dir
from data.pictures import Pictures
from data.scenes import scene_pictures
from engine.errors import UserError
from engine.studies.smartclip.config import BASE, Config

if TYPE_CHECKING:
    from torch import Tensor

BUNDLED = Path(__file__).resolve().parents[3] / "data" / "weights" / "smartclip" / "scenes.safetensors"
SMALL_SIDE, PUBLISHED_SIDE = 48, 224
SHARED = ("pictures", "folder", "emoji_style", "picture_seed", "width", "heads", "captions", "tied")


def open_pictures(config: Config) -> Pictures:
    """Every split of a config's pictures; the same object for configs that name the same. Raises UserError."""
    sizes = config.n_train, config.n_validation, config.n_test
    side = SMALL_SIDE if config.model == "small" else PUBLISHED_SIDE
    if config.pictures == "scenes":
        return _scenes(sizes, config.picture_seed)
    if config.pictures == "emoji":
        return _emoji(config.emoji_style, config.picture_seed)
    return _folder(config.folder, side, config.picture_seed)


@lru_cache(maxsize=2)
def _scenes(sizes: tuple[int, int, int], seed: int) -> Pictures:
    try:
        return scene_pictures(sizes, np.random.default_rng(stream_seed("scenes", seed)))
    except ValueError as error:
        raise UserError("n_test", str(error)) from error


@lru_cache(maxsize=2)
def _emoji(style: str, seed: int) -> Pictures:
    try:
        return emoji_pictures(style, np.random.default_rng(stream_seed("emoji", seed)))  # type: ignore[arg-type]
    except AssetMissing as error:
        raise UserError("emoji_style", str(error)) from error


@lru_cache(maxsize=2)
def _folder(folder: str, side: int, seed: int) -> Pictures:
    try:
        return folder_pictures(
            Path(folder).expanduser(), side, np.random.default_rng(stream_seed("folder", seed))
        )
    except (ValueError, OSError) as error:
        raise UserError("folder", str(error)) from error


def picture_identity(config: Config) -> str:
    """Equal for configs that name the same pictures, without drawing them. Raises UserError where they cannot be had."""
    if config.pictures == "scenes":
        return f"scenes {config.n_train}+{config.n_validation}+{config.n_test} seed {config.picture_seed}"
    if config.pictures == "emoji":
        if config.emoji_style != "openmoji" and not has_noto():
            raise UserError(
                "emoji_style",
                "the font of noto is not installed; run `apt-get install fonts-noto-color-emoji`.",
            )
        fonts = f"{ASSETS['openmoji'].sha256[:12]} {NOTO.stat().st_size if has_noto() else ''}"
        return f"emoji {config.emoji_style} {fonts} seed {config.picture_seed}"
    return f"folder {_folder_hash(Path(config.folder).expanduser())} seed {config.picture_seed}"


def _folder_hash(folder: Path) -> str:
    """A hash of the list, and of names, sizes and dates of what lies beside it."""
    import hashlib

    if not folder.is_dir():
        raise UserError("folder", f"{folder} is no folder on this machine; name one that exists.")
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        about = path.stat()
        digest.update(f"{path.relative_to(folder)} {about.st_size} {about.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def base_file(config: Config, seed: int) -> Path:
    """The weights a seed starts from; a seed that a run lacks takes its first. Raises UserError."""
    if config.start_from == "bundled":
        return BUNDLED
    directory = state_dir() / "runs" / config.start_from.removeprefix("run:")
    if not config.start_from.startswith("run:") or not (directory / "manifest.json").exists():
        raise UserError("start_from", f"{config.start_from} is no finished run; write run:ID or bundled.")
    record = read_json(directory / "config.json")
    if record["study"] != "smartclip":
        raise UserError("start_from", f"{config.start_from} is a run of {record['study']}, not of smartclip.")
    for name in SHARED:
        if record["config"][name] != getattr(config, name):
            raise UserError(
                name, f"the CLIP of {config.start_from} has {record['config'][name]}; set {name} to it."
            )
    chosen = seed if seed in record["seeds"] else record["seeds"][0]
    return directory / "tensors" / f"{weights_name(chosen, BASE)}.safetensors"


def base_tensors(config: Config, seed: int) -> "dict[str, Tensor]":
    """The CLIP a seed starts from. Raises UserError."""
    from safetensors.torch import load_file

    return load_file(base_file(config, seed))


def base_identity(config: Config, seeds: list[int]) -> str:
    """The hash of what a run starts from, part of its identity. Raises UserError."""
    if not config.start_from:
        return ""
    return " ".join(dict.fromkeys(sha256_file(base_file(config, seed))[:16] for seed in seeds))


def weights_name(seed: int, arm: str) -> str:
    """The file of a run's tensors that holds an arm's weights."""
    return f"seed-{seed}-{arm}"
