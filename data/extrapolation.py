"""Worlds x = g(c, s) in which a target lies off the source's support at a chosen distance (arXiv 2501.09163, section 3).

c is invariant and causes the class; s changes, and its source support is a disk. In a dense world s acts on every coordinate of
x, in a sparse one on a few. Both latents, the class and the coordinates that s acts on are known.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Regime = Literal["dense", "sparse"]
RADIUS = 2.0
C_SIZE, S_SIZE = 4, 2
WIDTH, GAIN = 24, 1.2
CENTROID = 2.0
WITHIN = 0.25
PROBE = 20_000


@dataclass(frozen=True)
class Rows:
    """n rows: `x` (n × d), class `y` (n), invariant latent `c` (n × 4), changing latent `s` (n × 2)."""

    x: Floats
    y: Ints
    c: Floats
    s: Floats

    def __len__(self) -> int:
        return len(self.y)


class Mixing:
    """A network of three layers with orthonormal weights and leaky units: x from latents, invertible onto its image."""

    def __init__(self, n_in: int, n_out: int, slope: float, rng: np.random.Generator) -> None:
        self.slope = slope
        sizes = (n_in, WIDTH, WIDTH, n_out)
        self.layers = [
            (GAIN * _orthonormal(b, a, rng), 0.3 * rng.standard_normal(b)) for a, b in pairwise(sizes)
        ]

    def __call__(self, latents: Floats) -> Floats:
        values = latents
        for place, (weight, bias) in enumerate(self.layers):
            values = values @ weight.T + bias
            if place < len(self.layers) - 1:
                values = np.where(values > 0, values, self.slope * values)
        return values


def _orthonormal(rows: int, columns: int, rng: np.random.Generator) -> Floats:
    """A matrix (rows × columns) with orthonormal rows or columns, whichever are fewer."""
    basis = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))[0]
    return basis if rows >= columns else basis.T


@dataclass(frozen=True)
class World:
    """One world: `n_classes` values of c (or `continuous` regions around them), d coordinates, `affected` of them by s.

    `slope` is that of the mixing's leaky units: nearer to 1 is smoother, and tells classes apart further off the support.
    `noise` is the standard deviation of the noise where every coordinate of the source has standard deviation 1.
    """

    regime: Regime
    n_classes: int
    n_coordinates: int
    n_affected: int
    continuous: bool
    slope: float
    noise: float
    seed: int

    @cached_property
    def _parts(self) -> tuple[Floats, Mixing | None, Mixing, NDArray[np.bool_]]:
        rng = np.random.default_rng(self.seed)
        centroids = rng.standard_normal((self.n_classes, C_SIZE))
        centroids *= CENTROID / np.linalg.norm(centroids, axis=1, keepdims=True)
        if self.regime == "dense":
            touched = np.ones(self.n_coordinates, dtype=bool)
            return centroids, None, Mixing(C_SIZE + S_SIZE, self.n_coordinates, self.slope, rng), touched
        touched = np.isin(
            np.arange(self.n_coordinates), rng.permutation(self.n_coordinates)[: self.n_affected]
        )
        stable = Mixing(C_SIZE, int((~touched).sum()), self.slope, rng)
        return centroids, stable, Mixing(C_SIZE + S_SIZE, int(touched.sum()), self.slope, rng), touched

    @property
    def affected(self) -> NDArray[np.bool_]:
        """Which coordinates (d) depend on s."""
        return self._parts[3]

    @cached_property
    def _scale(self) -> tuple[Floats, Floats]:
        rng = np.random.default_rng(self.seed + 1)
        y, s = rng.integers(self.n_classes, size=PROBE), disk(PROBE, rng)
        raw = self._raw(self.invariant(y, rng), s)
        return raw.mean(axis=0), raw.std(axis=0)

    def _raw(self, c: Floats, s: Floats) -> Floats:
        _, stable, touched_by, touched = self._parts
        both = np.concatenate([c, s], axis=1)
        if stable is None:
            return touched_by(both)
        x = np.empty((len(c), self.n_coordinates))
        x[:, ~touched], x[:, touched] = stable(c), touched_by(both)
        return x

    def invariant(self, y: Ints, rng: np.random.Generator) -> Floats:
        """c (n × 4) of classes y: the class' own value, or one near it where c is continuous."""
        around = WITHIN * np.clip(rng.standard_normal((len(y), C_SIZE)), -2, 2) if self.continuous else 0.0
        return np.asarray(self._parts[0][y] + around)

    def mix(self, c: Floats, s: Floats) -> Floats:
        """g(c, s) without noise (n × d), in standard deviations of the source."""
        mean, std = self._scale
        return np.asarray((self._raw(c, s) - mean) / std)

    def _rows(self, y: Ints, s: Floats, rng: np.random.Generator) -> Rows:
        c = self.invariant(y, rng)
        x = self.mix(c, s)
        return Rows(x + self.noise * rng.standard_normal(x.shape), y, c, s)

    def source(self, n: int, rng: np.random.Generator) -> Rows:
        """n source rows: classes alike, s uniform in the disk."""
        return self._rows(rng.integers(self.n_classes, size=n), disk(n, rng), rng)

    def targets(self, n: int, distance: float, rng: np.random.Generator) -> Rows:
        """n targets whose s lies `distance` beyond the support's rim, in any direction; at 0 they are source rows."""
        if distance == 0:
            return self.source(n, rng)
        return self._rows(rng.integers(self.n_classes, size=n), circle(n, RADIUS + distance, rng), rng)

    def target(self, label: int, distance: float, angle: float, rng: np.random.Generator) -> Rows:
        """One target of a class at a chosen distance and angle (degrees)."""
        turn = np.deg2rad(angle)
        s = (RADIUS + distance) * np.array([[np.cos(turn), np.sin(turn)]])
        return self._rows(np.array([label], dtype=np.int64), s, rng)

    def manifold(self, label: int, most: float, rings: int = 9, spokes: int = 48) -> tuple[Floats, Floats]:
        """s and g(c, s) of one class on circles out to radius `most`: (rings · spokes × 2, × d)."""
        radius, turn = np.meshgrid(
            np.linspace(most / rings, most, rings),
            np.linspace(0, 2 * np.pi, spokes, endpoint=False),
            indexing="ij",
        )
        s = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=-1).reshape(-1, S_SIZE)
        return s, self.mix(np.repeat(self._parts[0][[label]], len(s), axis=0), s)


def disk(n: int, rng: np.random.Generator) -> Floats:
    """n points (n × 2) uniform in the disk that is the source's support."""
    turn, radius = 2 * np.pi * rng.random(n), RADIUS * np.sqrt(rng.random(n))
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)


def circle(n: int, radius: float, rng: np.random.Generator) -> Floats:
    """n points (n × 2) uniform on a circle."""
    turn = 2 * np.pi * rng.random(n)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
