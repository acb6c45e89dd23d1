"""A world whose true features are known: sparse sums of random directions (arXiv 2505.20254, synthetic data)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class World:
    """`features` (d_gt × m), unit rows: the true dictionary. `true_sparsity` of them make each vector."""

    features: NDArray[np.float32]
    true_sparsity: int

    def sample(self, n: int, generator: np.random.Generator) -> NDArray[np.float32]:
        """n vectors (n × m): distinct features drawn uniformly, coefficients |N(0, 1)|, no noise."""
        d_gt = len(self.features)
        chosen = np.argpartition(generator.random((n, d_gt)), self.true_sparsity - 1, axis=1)
        coefficients = np.zeros((n, d_gt), dtype=np.float32)
        drawn = np.abs(generator.standard_normal((n, self.true_sparsity), dtype=np.float32))
        np.put_along_axis(coefficients, chosen[:, : self.true_sparsity], drawn, axis=1)
        return coefficients @ self.features


def make_world(n_true_features: int, d_in: int, true_sparsity: int, generator: np.random.Generator) -> World:
    """Gaussian directions of unit length as the true features."""
    features = generator.standard_normal((n_true_features, d_in), dtype=np.float32)
    return World(features / np.linalg.norm(features, axis=1, keepdims=True), true_sparsity)
