"""UMAP on given neighbours, with progress by epoch, and compiled code kept for the next job."""

import os
import warnings
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from data.paths import cache_dir


def keep_compiled_code() -> None:
    """Let numba keep what it compiles for UMAP in the cache folder; call before the first import of umap.

    numba drops what was compiled by other versions, from other sources or for another processor.
    """
    folder = cache_dir() / "numba"
    folder.mkdir(mode=0o700, exist_ok=True)
    os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))
    from umap import layouts, umap_

    slow = (
        (umap_, "smooth_knn_dist"),
        (umap_, "compute_membership_strengths"),
        (layouts, "_nb_optimize_layout_euclidean_single_epoch"),
    )
    for module, name in slow:
        if function := getattr(module, name, None):
            function.enable_caching()


def layout(
    rows: NDArray[np.float32],
    neighbours: tuple[NDArray[np.int32], NDArray[np.float32]],
    seed: int,
    min_dist: float,
    report: Callable[[int, int], None],
) -> NDArray[np.float32]:
    """Positions (n × 2, arbitrary units) of unit rows (n × d), the same for the same seed.

    `neighbours` are indices and distances (n × k) as `neighbours.nearest` gives them. `report(epoch, epochs)` is called
    a few times a second from the first epoch on, and may raise to stop.
    """
    from umap import UMAP

    indices, distances = neighbours
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reducer = UMAP(
            n_neighbors=indices.shape[1],
            min_dist=min_dist,
            metric="cosine",
            random_state=seed,
            n_jobs=1,
            precomputed_knn=(indices, distances, None),
            force_approximation_algorithm=True,
            tqdm_kwds={"disable": False, "file": _Epochs(report), "bar_format": "{n}/{total}"},
        )
        return np.asarray(reducer.fit_transform(rows), dtype=np.float32)


class _Epochs:
    """The file that UMAP's progress bar writes to: lines such as "12/500"."""

    def __init__(self, report: Callable[[int, int], None]) -> None:
        self._report = report

    def write(self, text: str) -> None:
        done, _, total = text.strip().partition("/")
        if done.isdecimal() and total.isdecimal() and int(done):
            self._report(int(done), int(total))

    def flush(self) -> None:
        pass
