"""Photographs of pages compared with references by tiles, so that another font does not matter and a missing block does.

Two figures, from trials on ten pages in both themes (rows jittered by ± 16 pixels as another font would; a blank page; 160 pixels
taken out; blocks wiped): jitter changed at most 0.28 of the tiles that hold something and emptied 3; a blank page changed 0.33 and
emptied 20 or more, 160 pixels taken out changed 0.40 or more, a wiped block of 320 × 440 pixels emptied 4 or more.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Values = NDArray[np.float32]
SHRINK = 8  # a pixel of a reference is a square of so many pixels of the page
TILE = (8, 16)  # rows and columns of a reference's pixels
REACH = 3  # rows by which a tile may have moved
CHANGED = 6.0  # mean difference in grey values, of 255, that makes a tile another
FLAT, SOME, MUCH = 1.5, 4.0, 6.0  # spread of grey values in a tile that holds nothing, something, much
MOST_CHANGED, MOST_EMPTIED = 0.3, 3


@dataclass(frozen=True)
class Change:
    """The share of the tiles with content that are nowhere near their place, and how many that held much are empty."""

    share: float
    emptied: int

    @property
    def is_seen(self) -> bool:
        return self.share > MOST_CHANGED or self.emptied > MOST_EMPTIED


def shrunk(photograph: bytes) -> Image.Image:
    """A PNG of a page as a small picture of 16 greys, as references are kept."""
    page = Image.open(io.BytesIO(photograph)).convert("L")
    small = page.resize((page.width // SHRINK, page.height // SHRINK), Image.Resampling.BOX)
    return small.quantize(16, dither=Image.Dither.NONE)


def read(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("L")


def compare(reference: Image.Image, shown: Image.Image) -> Change:
    """How a page changed; pictures of equal width, of any mode. Where one is longer, its end is changed."""
    rows = max(reference.height, shown.height)
    old, new = _padded(reference, rows), _padded(shown, rows)
    moved = [np.roll(new, shift, axis=0) for shift in range(-REACH, REACH + 1)]
    difference = np.min([_tiles(np.abs(old - one)).mean(axis=(1, 3)) for one in moved], axis=0)
    held, holds = _spread(old), np.max([_spread(one) for one in moved], axis=0)
    content = np.maximum(held, _spread(new)) > SOME
    share = float((difference > CHANGED).sum() / max(content.sum(), 1))
    return Change(share, int(((held > MUCH) & (holds < FLAT)).sum()))


def _padded(picture: Image.Image, rows: int) -> Values:
    """Grey values, mid-grey beyond the picture's end."""
    values = np.asarray(picture.convert("L"), np.float32)
    rows += -rows % TILE[0]
    return np.pad(values, ((0, rows - values.shape[0]), (0, -values.shape[1] % TILE[1])), constant_values=128)


def _tiles(values: Values) -> Values:
    height, width = TILE
    tiles: Values = values.reshape(values.shape[0] // height, height, values.shape[1] // width, width)
    return tiles


def _spread(values: Values) -> Values:
    spread: Values = _tiles(values).std(axis=(1, 3))
    return spread
