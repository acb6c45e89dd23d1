"""Names of the arms of extrapolation (arXiv 2501.09163), and agreement of learnt latents with the truth and between seeds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analyses.identifiability import block_r2

Floats = NDArray[np.float64]
SOURCE = "source only"
TENT = "TENT"
NEAREST = "nearest source neighbour"
NEAR = "minimal distance"
FEW = "minimal change"
TENT_BATCH = "TENT, whole batch"
TTT = "masked reconstruction"
TTT_ENTROPY = "masked reconstruction + entropy"
WORLD_ARMS = (SOURCE, NEAREST, TENT, NEAR, FEW)
PICTURE_ARMS = (SOURCE, NEAREST, TENT, TENT_BATCH, TTT, TTT_ENTROPY, FEW)
FITTED = (NEAR, FEW)
DENSE, SPARSE = "dense", "sparse"
RIGHT = {DENSE: NEAR, SPARSE: FEW}
WRONG = {DENSE: FEW, SPARSE: NEAR}
MODERATE = 4.0
R2_ROWS = 400


@dataclass(frozen=True)
class BlockAgreement:
    """Held-out R² of one block of latents from another within classes, and the same with rows of `given` shuffled within them."""

    r2: float
    null: float


def block_agreement(
    target: Floats, given: Floats, classes: NDArray[np.int64], rng: np.random.Generator
) -> BlockAgreement:
    """R² of `target` (n × d) from `given` (n × k) and the class, both standardised within each class. Raises ValueError.

    Within classes, as ŝ has a law of its own in each, and knowing the class alone is to count for nothing.
    """
    numbers = np.unique(classes, return_inverse=True)[1]
    y, x = _within(target, numbers), _within(given, numbers)
    known = np.eye(numbers.max() + 1)[numbers] if numbers.max() else np.zeros((len(x), 0))
    shuffled = x.copy()
    for k in range(numbers.max() + 1):
        mine = np.flatnonzero(numbers == k)
        shuffled[mine] = x[rng.permutation(mine)]
    values = [block_r2(y, np.hstack([one, known]), rng, max_rows=R2_ROWS) for one in (x, shuffled)]
    return BlockAgreement(*values)


def _within(values: Floats, classes: NDArray[np.int64]) -> Floats:
    """Values with mean 0 and standard deviation 1 in every class; a column that is constant there is 0."""
    found = np.zeros_like(values, dtype=np.float64)
    for k in range(classes.max() + 1):
        mine = values[classes == k]
        spread = mine.std(axis=0)
        found[classes == k] = (mine - mine.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    return found


def projection(x: Floats) -> tuple[Floats, Floats]:
    """Mean (d) and the two directions (2 × d) of largest variance of rows x, each with its largest entry positive."""
    mean = x.mean(axis=0)
    directions = np.linalg.svd(x - mean, full_matrices=False)[2][:2]
    signs = np.sign(directions[np.arange(2), np.abs(directions).argmax(axis=1)])
    return mean, directions * signs[:, None]
