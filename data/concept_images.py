"""8×8 images with a high-level and a low-level concept, for reading concept levels off diffusion timesteps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Energies = Literal["natural", "equal"]
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SIDE = 8
BLOB, STRIPES, NOISE = 2.2, 0.07, 0.02
BLOB_WIDTH = 1.2
THICKNESSES = 3


@dataclass(frozen=True)
class ConceptImages:
    """n images (n × 64, about −3 to 3) with their concepts `high` and `low` (n), and how a new image is read.

    `read(images)` gives the high and the low concept of images (m × 64).
    """

    images: Floats
    high: Ints
    low: Ints
    n_high: int
    n_low: int
    read: Callable[[Floats], tuple[Ints, Ints]]


def blob_stripes(n: int, energies: Energies, generator: np.random.Generator) -> ConceptImages:
    """A wide blob in one of four places (high) plus fine stripes in one of four directions (low), and little noise.

    A concept's energy is the variance of its patterns between states: what tells one state from another. natural: the
    blob's contrast is 2.2, the stripes' 0.07. equal: both concepts have the mean of the two energies. Images are read
    by the nearest of the 16 templates.
    """
    blobs, stripes = blob_patterns(), stripe_patterns()
    if energies == "equal":
        common = (energy(blobs) + energy(stripes)) / 2
        blobs, stripes = (part * np.sqrt(common / energy(part)) for part in (blobs, stripes))
    high, low = generator.integers(4, size=n), generator.integers(4, size=n)
    images = blobs[high] + stripes[low] + NOISE * generator.standard_normal((n, SIDE * SIDE))
    templates = (blobs[:, None] + stripes[None]).reshape(16, -1)

    def read(found: Floats) -> tuple[Ints, Ints]:
        distances = (templates**2).sum(axis=1) - 2 * found @ templates.T
        nearest = distances.argmin(axis=1)
        return nearest // 4, nearest % 4

    return ConceptImages(images, high, low, 4, 4, read)


def energy(patterns: Floats) -> float:
    """Variance between the patterns (k × 64) of a concept, summed over pixels."""
    return float(patterns.var(axis=0).sum())


def blob_patterns() -> Floats:
    """Four Gaussian blobs (4 × 64) in the quadrants, each with mean 0."""
    y, x = np.mgrid[:SIDE, :SIDE]
    centres = [(a, b) for a in (1.5, 5.5) for b in (1.5, 5.5)]
    blobs = [np.exp(-((y - a) ** 2 + (x - b) ** 2) / (2 * BLOB_WIDTH**2)).ravel() for a, b in centres]
    return BLOB * np.stack([blob - blob.mean() for blob in blobs])


def stripe_patterns() -> Floats:
    """Four stripes (4 × 64) of two to four pixels' period: rows, columns and both diagonals, each with mean 0."""
    y, x = np.mgrid[:SIDE, :SIDE]
    waves = [y % 2, x % 2, (x + y) // 2 % 2, (x - y) // 2 % 2]
    return STRIPES * np.stack([2.0 * wave.ravel() - 1 for wave in waves])


def digits() -> ConceptImages:
    """scikit-learn's 1,797 digits: the class is high, the thickness of the strokes low (thirds of ink in each class).

    New images are read by a support vector machine trained on all of them, and by the ink of the class it names.
    """
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    loaded = load_digits()
    images, high = (loaded.data - 8) / 4, loaded.target.astype(np.int64)
    ink = images.mean(axis=1)
    cuts = np.stack([np.quantile(ink[high == c], np.arange(1, THICKNESSES) / THICKNESSES) for c in range(10)])
    judge = SVC(gamma="scale").fit(images, high)

    def thickness(found: Floats, classes: Ints) -> Ints:
        return (found.mean(axis=1)[:, None] > cuts[classes]).sum(axis=1)

    def read(found: Floats) -> tuple[Ints, Ints]:
        classes = judge.predict(found).astype(np.int64)
        return classes, thickness(found, classes)

    return ConceptImages(images, high, thickness(images, high), 10, THICKNESSES, read)
