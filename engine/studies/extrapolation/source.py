"""The pictures a config names, with the classes of the classifier that names them, and the identity of a run's data."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from analyses.streams import stream_seed
from data.assets import ASSETS, AssetMissing
from data.class_pictures import NO_CLASS, ClassPictures, digit_pictures, people_pictures, read_class_folder
from engine.errors import UserError
from engine.studies.extrapolation.classifier_files import classifier_identity
from engine.studies.extrapolation.config import Config

READ_AT_ONCE = 500


def open_pictures(config: Config) -> ClassPictures:
    """The pictures of a config; the same object for configs that name the same. Raises UserError."""
    if config.source == "folder":
        return _folder(config.folder, config.side, config.classifier, config.world_seed)
    return _known(config.source, config.world_seed)


@lru_cache(maxsize=2)
def _known(source: str, seed: int) -> ClassPictures:
    rng = np.random.default_rng(stream_seed(f"extrapolation {source}", seed))
    try:
        return digit_pictures(rng) if source == "digits" else people_pictures(rng)
    except AssetMissing as error:
        raise UserError("source", str(error)) from error


@lru_cache(maxsize=2)
def _folder(folder: str, side: int, classifier: str, seed: int) -> ClassPictures:
    own = bool(classifier.strip())
    found = _read(folder, side, own, seed)
    return _named_by(classifier, found) if own else found


def _read(folder: str, side: int, own: bool, seed: int) -> ClassPictures:
    rng = np.random.default_rng(stream_seed("extrapolation folder", seed))
    try:
        return read_class_folder(Path(folder.strip()).expanduser(), side, rng, needs_classes=not own)
    except (ValueError, OSError) as error:
        raise UserError("folder", str(error)) from error


def _named_by(classifier: str, pictures: ClassPictures) -> ClassPictures:
    """Labels as the classifier numbers its classes: by name, or in the order of the sub-folders where there are as many."""
    from engine.studies.extrapolation.classifiers import open_classifier

    names = open_classifier(classifier).names
    numbers = {name.strip().lower(): number for number, name in enumerate(names)}
    by_name = [numbers.get(name.strip().lower()) for name in pictures.names]
    if None in by_name and len(names) == len(pictures.names):
        return replace(pictures, names=pictures.names)
    if not by_name or None in by_name:
        unknown = next((n for n, k in zip(pictures.names, by_name, strict=True) if k is None), None)
        note = (
            f"Sub-folder {unknown[:60]} is no class of the classifier: no picture counts as labelled."
            if unknown
            else ""
        )
        skipped = (*pictures.skipped, *([note] if note else []))
        return replace(pictures, names=names, labels=np.full(len(pictures.labels), NO_CLASS), skipped=skipped)
    mapped = np.array([number for number in by_name if number is not None], dtype=np.int64)
    return replace(pictures, names=names, labels=mapped[pictures.labels])


def data_identity(config: Config) -> str:
    """Equal for configs that name the same data. Raises UserError where they cannot be had; of a large folder when the run starts."""
    if config.source == "world":
        return f"world {config.world_seed}"
    if config.source != "folder":
        emoji = ASSETS["openmoji"].sha256[:12] if config.source == "emoji" else ""
        return f"{config.source} {emoji} seed {config.world_seed}"
    own = classifier_identity(config.classifier) if config.classifier.strip() else ""
    folder = Path(config.folder.strip()).expanduser()
    listed = sorted(one for one in folder.rglob("*") if one.is_file()) if folder.is_dir() else []
    if len(listed) <= READ_AT_ONCE:
        _read(config.folder, config.side, bool(own), config.world_seed)
    stamps = [f"{one.relative_to(folder)}:{one.stat().st_size}:{one.stat().st_mtime_ns}" for one in listed]
    return f"folder {stream_seed(' '.join(stamps)):x} {config.side} {own} seed {config.world_seed}"
