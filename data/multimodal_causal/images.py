"""The image version: coloured digits beside rotated digits (arXiv 2411.06518, Variant MNIST; here scikit-learn's).

Modality a is an 8 × 8 digit in two colour channels, b another digit, rotated. Latents: a1 the colour, a2 which of two
digits; b1 the rotation, a function of the colour plus noise, b2 which digit, the same as a2 nine times in ten. Which
handwritten image of the digit is shown is noise of the modality. Drawn here: nothing but the handwriting is real.
"""

from dataclasses import dataclass

import networkx as nx
import numpy as np
from scipy.ndimage import map_coordinates
from scipy.special import ndtr
from sklearn.datasets import load_digits

from data.multimodal_causal.worlds import NOISE_SHARE, Floats, Sample

DIGITS = (4, 7)
SAME = 0.9
DEGREES = 60.0
COLOUR_SLOPE = 1.5
CALIBRATION = 4_000
SHAPES = {"a": (2, 8, 8), "b": (1, 8, 8)}


@dataclass(frozen=True)
class ImageWorld:
    """Two modalities of flattened, standardised pixels; the interface of `worlds.World`.

    a1 and b1 have mean 0 and variance 1; a2 and b2 are −1 or 1. `pixels`: modality → mean and standard deviation of
    each pixel (1 where it never changes); `handwriting`: the images of either digit, values 0 to 1; `bend`: standard
    deviation of tanh(1.5 · a1), by which the effect of the colour is scaled.
    """

    handwriting: tuple[Floats, Floats]
    pixels: dict[str, tuple[Floats, Floats]]
    bend: float
    latents: tuple[str, ...] = ("a1", "a2", "b1", "b2")
    modalities: tuple[str, ...] = ("a", "b")

    @property
    def graph(self) -> nx.DiGraph:
        """a1 → b1, a2 → b2."""
        return nx.DiGraph([("a1", "b1"), ("a2", "b2")])

    def block(self, modality: str) -> list[int]:
        """Columns of `latents` that belong to a modality."""
        return [i for i, latent in enumerate(self.latents) if latent.startswith(modality)]

    def sample(self, n: int, generator: np.random.Generator) -> Sample:
        """n pairs of images: a of width 128 (two channels of 64 pixels), b of width 64."""
        return self._draw(n, generator, None, 0.0)

    def do(self, latent: str, value: float, n: int, generator: np.random.Generator) -> Sample:
        """n pairs in which `latent` is set to `value`; a2 and b2 take its sign. Raises KeyError. See `World.do`."""
        if latent not in self.latents:
            raise KeyError(f"{latent} is not a latent of this world; it has {', '.join(self.latents)}.")
        return self._draw(n, generator, latent, value)

    def images(self, modality: str, observations: Floats) -> Floats:
        """Observations (n × width) as pictures (n × channels × 8 × 8), values 0 to 1 but for what a model adds."""
        mean, std = self.pixels[modality]
        return (observations * std + mean).reshape(-1, *SHAPES[modality])

    def _draw(self, n: int, generator: np.random.Generator, target: str | None, value: float) -> Sample:
        latents, pictures = _pictures(self.handwriting, self.bend, n, generator, target, value)
        observations = {m: (pictures[m] - mean) / std for m, (mean, std) in self.pixels.items()}
        return Sample(observations, latents)


def make_image_world(world_seed: int = 0) -> ImageWorld:
    """The image world; the seed only draws the rows that standardise the pixels."""
    digits = load_digits()
    written = tuple(digits.images[digits.target == digit] / 16.0 for digit in DIGITS)
    generator = np.random.default_rng(np.random.SeedSequence(world_seed))
    bend = float(np.tanh(COLOUR_SLOPE * generator.standard_normal(100_000)).std())
    _, pictures = _pictures(written, bend, CALIBRATION, generator, None, 0.0)
    pixels = {}
    for modality, rows in pictures.items():
        std = rows.std(axis=0)
        pixels[modality] = (rows.mean(axis=0), np.where(std > 1e-6, std, 1.0))
    return ImageWorld(written, pixels, bend)


def _pictures(
    handwriting: tuple[Floats, Floats],
    bend: float,
    n: int,
    generator: np.random.Generator,
    target: str | None,
    value: float,
) -> tuple[Floats, dict[str, Floats]]:
    """Latents (n × 4) and flattened pixels of either modality, values 0 to 1."""
    noise = generator.standard_normal((n, 2))
    odds = generator.random((n, 2))
    which = generator.random((n, 2))
    fixed = np.full(n, float(value))
    side = np.where(fixed > 0, 1.0, -1.0)
    colour = fixed if target == "a1" else noise[:, 0]
    first = side if target == "a2" else np.where(odds[:, 0] < 0.5, -1.0, 1.0)
    bent = np.sqrt(1 - NOISE_SHARE**2) * np.tanh(COLOUR_SLOPE * colour) / bend + NOISE_SHARE * noise[:, 1]
    turn = fixed if target == "b1" else bent
    second = side if target == "b2" else np.where(odds[:, 1] < SAME, first, -first)
    shown = [_written(handwriting, digit, which[:, i]) for i, digit in enumerate((first, second))]
    share = ndtr(colour)[:, None, None]
    coloured = np.stack([(1 - share) * shown[0], share * shown[0]], axis=1)
    rotated = _rotated(shown[1], np.deg2rad(DEGREES * (2 * ndtr(turn) - 1)))
    pixels = {"a": coloured.reshape(n, -1), "b": rotated.reshape(n, -1)}
    return np.column_stack([colour, first, turn, second]), pixels


def _written(handwriting: tuple[Floats, Floats], digit: Floats, which: Floats) -> Floats:
    """Images (n × 8 × 8) of the digit each row asks for, the share `which` into its collection."""
    images = [collection[(which * len(collection)).astype(int)] for collection in handwriting]
    return np.where((digit > 0)[:, None, None], images[1], images[0])


def _rotated(images: Floats, angles: Floats) -> Floats:
    """Each image (n × 8 × 8) turned about its centre by its angle in radians, linear interpolation, 0 outside."""
    n, height, width = images.shape
    rows, columns = np.meshgrid(np.arange(height) - 3.5, np.arange(width) - 3.5, indexing="ij")
    cosine, sine = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    index = np.broadcast_to(np.arange(n)[:, None, None], images.shape)
    places = [index, cosine * rows - sine * columns + 3.5, sine * rows + cosine * columns + 3.5]
    return map_coordinates(images, np.stack(places), order=1, mode="constant")
