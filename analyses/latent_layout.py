"""Where the nodes and the curves of a graph over latents lie: one column a modality, links as smooth curves."""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]
STEPS = 18
NEAR, FAR = (
    0.16,
    0.4,
)  # columns that a link within a modality bulges: to the next node, and along the whole column
DETOUR, FURTHER = (
    0.45,
    0.25,
)  # rows by which a link passes the columns it skips, and more for each further one


def positions(nodes: Any) -> pd.DataFrame:
    """Column and row of every node (frame with name, modality): one column a modality, its nodes centred, top down."""
    columns = {modality: place for place, modality in enumerate(dict.fromkeys(nodes["modality"]))}
    rank = nodes.groupby("modality", sort=False).cumcount()
    size = nodes.groupby("modality", sort=False)["name"].transform("size")
    tallest = size.max() if len(nodes) else 1
    return pd.DataFrame(
        {
            "x": nodes["modality"].map(columns).astype(float).to_numpy(),
            "y": (rank + (tallest - size) / 2).astype(float).to_numpy(),
        },
        index=list(nodes["name"]),
    )


def curves(places: pd.DataFrame, sources: Any, targets: Any) -> Floats:
    """Points of every link's curve: links × (STEPS + 1) × 2 (x in columns, y in rows).

    A cubic Bézier curve: level at both ends between neighbouring columns, passing above or below the nodes of columns
    that it skips, and an arc beside the column within a modality.
    """
    start = places.loc[list(sources), ["x", "y"]].to_numpy(dtype=float)
    end = places.loc[list(targets), ["x", "y"]].to_numpy(dtype=float)
    across = end[:, 0] - start[:, 0]
    within = across == 0
    skipped = np.maximum(np.abs(across) - 1, 0)
    middle = (places["y"].min() + places["y"].max()) / 2 if len(places) else 0.0
    outwards = np.where(start[:, 1] + end[:, 1] > 2 * middle, 1.0, -1.0)
    detour = np.where(skipped > 0, (DETOUR + FURTHER * skipped) * outwards, 0.0) * 4 / 3
    last = places["x"].max() if len(places) else 0.0
    side = np.where(start[:, 0] == last, -1.0, 1.0) if last else np.ones(len(start))
    length = np.abs(end[:, 1] - start[:, 1]) / max(np.ptp(places["y"]), 1.0) if len(places) else 0.0
    bulge = np.where(within, side * (NEAR + (FAR - NEAR) * length), 0.0) * 4 / 3
    first = start + np.stack([across / 2 + bulge, detour], axis=1)
    second = end + np.stack([-across / 2 + bulge, detour], axis=1)
    t = np.linspace(0, 1, STEPS + 1)[None, :, None]
    points = [start, first, second, end]
    weights = [(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3]
    return np.asarray(sum(w * p[:, None, :] for w, p in zip(weights, points, strict=True)))


def joined(points: Floats) -> tuple[Floats, Floats]:
    """x and y of many curves as one line with gaps: each curve's points and a NaN."""
    gaps = np.full((len(points), 1, 2), np.nan)
    flat = np.concatenate([points, gaps], axis=1).reshape(-1, 2)
    return flat[:, 0], flat[:, 1]
