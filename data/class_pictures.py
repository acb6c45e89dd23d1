"""Pictures with one class each, and the corruption of a block of them: digits, emoji of people, a user's folder of folders.

Every refusal is a ValueError (AssetMissing where a package is missing) with one sentence that says what to do.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.emoji import emoji_pictures
from data.image_folder import open_image
from data.pictures import Origin, split_rows

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif")
FEWEST, MOST, MOST_CLASSES = 20, 20_000, 1_000
MOST_BYTES = 2 * 10**9
SHARES = (0.2, 0.25)
NO_CLASS = -1


@dataclass(frozen=True)
class ClassPictures:
    """n pictures (float32, n × channels × side × side, from 0 to 1) of named classes.

    `labels` (n) index `names`, −1 where nobody told the class; `splits` holds the rows of train, validation and test;
    `skipped` says, a sentence each, what was left out of a folder and why.
    """

    origin: Origin
    images: Floats
    labels: Ints
    names: tuple[str, ...]
    splits: Mapping[str, Ints]
    skipped: tuple[str, ...] = ()

    @property
    def side(self) -> int:
        return int(self.images.shape[-1])

    @property
    def channels(self) -> int:
        return int(self.images.shape[1])

    @property
    def labelled(self) -> bool:
        """Whether every picture has a class."""
        return bool((self.labels != NO_CLASS).all())


def digit_pictures(rng: np.random.Generator) -> ClassPictures:
    """scikit-learn's 1,797 handwritten digits, 8 × 8."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = np.asarray(found.images[:, None] / 16.0, dtype=np.float32)
    origin = Origin("handwritten digits (scikit-learn)", "real", "CC BY 4.0")
    splits = split_rows(np.arange(len(images)), SHARES, rng)
    return ClassPictures(
        origin, images, found.target.astype(np.int64), tuple(str(i) for i in range(10)), splits
    )


def people_pictures(rng: np.random.Generator) -> ClassPictures:
    """OpenMoji's people by skin tone, 48 × 48; no test picture's person was seen in that tone. Raises AssetMissing."""
    found = emoji_pictures("openmoji", rng)
    images = np.asarray(np.moveaxis(found.images / 255.0, -1, 1), dtype=np.float32)
    return ClassPictures(
        found.origin, images, found.attributes["tone"].astype(np.int64), found.values["tone"], found.splits
    )


def read_class_folder(
    folder: Path, side: int, rng: np.random.Generator, needs_classes: bool
) -> ClassPictures:
    """A user's pictures, cut to squares: one sub-folder a class, or, without `needs_classes`, pictures side by side.

    Raises ValueError where too few can be read.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder on this machine; name one that exists.")
    classes = sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    if not classes and needs_classes:
        raise ValueError(
            f"{folder} has no sub-folders; put the pictures of each class into one named for it."
        )
    if len(classes) == 1 and needs_classes:
        raise ValueError(f"{folder} has one class, {classes[0].name[:60]}; two or more are needed.")
    if len(classes) > MOST_CLASSES:
        raise ValueError(
            f"{folder} has {len(classes):,} sub-folders; at most {MOST_CLASSES:,} classes are read."
        )
    files = [(one, k) for k, part in enumerate(classes) for one in _files(part)] or [
        (one, NO_CLASS) for one in _files(folder)
    ]
    images, labels, skipped = [], [], []
    most = min(MOST, MOST_BYTES // (12 * side**2))
    if len(files) > most:
        skipped.append(f"Of {len(files):,} pictures {most:,} were drawn, as many as fit at {side} × {side}.")
        files = [files[i] for i in np.sort(rng.permutation(len(files))[:most])]
    for path, label in files:
        try:
            images.append(np.moveaxis(open_image(path, side).astype(np.float32) / 255, -1, 0))
            labels.append(label)
        except ValueError as error:
            skipped.append(f"{error}.")
    if len(images) < FEWEST:
        first = f" The first skipped one: {skipped[0]}" if skipped else ""
        raise ValueError(
            f"{folder} holds {len(images)} readable pictures; {FEWEST} or more are needed.{first}"
        )
    origin = Origin(f"the folder {folder.name}", "real", "yours")
    splits = split_rows(np.arange(len(images)), SHARES, rng)
    names = tuple(one.name for one in classes)
    found = ClassPictures(
        origin, np.stack(images), np.array(labels, dtype=np.int64), names, splits, tuple(skipped)
    )
    missing = set(range(len(names))) - set(found.labels[splits["train"]].tolist())
    if needs_classes and missing:
        raise ValueError(
            f"class {names[min(missing)][:60]} has too few readable pictures; add some or remove it."
        )
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(one for one in folder.iterdir() if one.suffix.lower() in ENDINGS and one.is_file())


def block_mask(n: int, side: int, block: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which pixels (n × side × side) lie in a square of `block` pixels, placed anywhere in each picture."""
    top, left = rng.integers(side - block + 1, size=(2, n, 1))
    place = np.arange(side)
    rows = (place >= top) & (place < top + block)
    columns = (place >= left) & (place < left + block)
    return np.asarray(rows[:, :, None] & columns[:, None, :])


def noisy_block(
    images: Floats, block: int, severity: float, clip: bool, rng: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    """Gaussian noise of standard deviation `severity` (white is 1) in a square; pixels kept within 0 to 1 with `clip`.

    Returns pictures and the mask of the square (n × side × side).
    """
    mask = block_mask(len(images), images.shape[-1], block, rng)
    noise = severity * rng.standard_normal(images.shape).astype(np.float32)
    changed = images + np.where(mask[:, None], noise, np.float32(0))
    return (np.clip(changed, 0, 1) if clip else changed).astype(np.float32), mask


def covered_block(images: Floats, block: int, rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
    """A square covered by one random colour: the corruption on which settings are chosen, never one of those measured."""
    mask = block_mask(len(images), images.shape[-1], block, rng)
    colour = rng.random((len(images), images.shape[1], 1, 1)).astype(np.float32)
    return np.where(mask[:, None], colour, images).astype(np.float32), mask
