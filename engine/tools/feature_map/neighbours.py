"""Exact nearest neighbours by cosine, block by block."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK_VALUES = 16_000_000


def nearest(
    rows: NDArray[np.float32], k: int, device: str, report: Callable[[int, int], None]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k nearest of each unit row (n × d), itself first: indices and distances 1 − cosine (n × k, from 0).

    Compares every pair, so the answer is exact; UMAP's own search is approximate, and compiles for half a minute.
    `report(done, n)` is called between blocks and may raise to stop.
    """
    everything = torch.from_numpy(rows).to(device)
    n = len(rows)
    size = max(1, BLOCK_VALUES // n)
    indices = np.empty((n, k), np.int32)
    distances = np.empty((n, k), np.float32)
    for start in range(0, n, size):
        report(start, n)
        cosine = everything[start : start + size] @ everything.T
        own = torch.arange(len(cosine), device=device)
        cosine[own, own + start] = 2.0
        values, found = cosine.topk(k, dim=1)
        stop = start + len(cosine)
        indices[start:stop] = found.cpu().numpy()
        distances[start:stop] = (1 - values).clamp(min=0).cpu().numpy()
    report(n, n)
    return indices, distances
