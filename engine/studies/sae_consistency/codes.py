"""Whether the codes agree, not only the dictionaries: matched activations on the same vectors, and the round trip."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from engine.studies.sae_consistency.saes import Sae
from engine.studies.sae_consistency.source import RowSource

Floats = NDArray[np.float64]
BATCH = 2048
COLUMNS = 4096
ROUND_TRIPS = 1024
ROUND_TRIP_BATCH = 256


class CodeBuilder:
    """Collects the codes of one SAE batch by batch, as sparse rows (8 bytes per active latent)."""

    def __init__(self) -> None:
        self._rows: list[sparse.csr_array] = []

    def add(self, z: Tensor) -> None:
        """Append latents z (B × d_sae, dense)."""
        rows, columns = torch.nonzero(z, as_tuple=True)
        starts = torch.zeros(len(z) + 1, dtype=torch.int64)
        starts[1:] = torch.bincount(rows.cpu(), minlength=len(z)).cumsum(0)
        values = z[rows, columns].cpu().numpy()
        places = columns.to(torch.int32).cpu().numpy()
        self._rows.append(sparse.csr_array((values, places, starts.numpy()), shape=tuple(z.shape)))

    def codes(self) -> sparse.csc_array:
        """All codes so far (vectors × d_sae). Raises ValueError before the first batch."""
        return sparse.vstack(self._rows, format="csc")


def sparse_codes(sae: Sae, rows: RowSource, device: str, limit: int | None = None) -> sparse.csc_array:
    """Codes (vectors × d_sae) of the first `limit` rows, or of all."""
    builder = CodeBuilder()
    n_rows = rows.n_rows if limit is None else min(limit, rows.n_rows)
    for start in range(0, n_rows, BATCH):
        indices = np.arange(start, min(start + BATCH, n_rows))
        builder.add(sae.encode(torch.from_numpy(rows.gather(indices)).to(device)))
    return builder.codes()


def code_consistency(
    codes_a: sparse.csc_array, codes_b: sparse.csc_array, pairs: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """How alike matched features fire on the same vectors.

    `codes_a`, `codes_b` (vectors × d_sae) are read on the same vectors; `pairs` (n × 2) names a latent of each.
    Returns the Pearson correlation of the two activations over all vectors, zeros included (n), and the Jaccard
    index of their supports (n); both NaN where a feature never fires, the correlation also where one is constant.
    After arXiv 2605.31245: matched dictionaries can carry different codes. Raises ValueError for codes of
    different numbers of vectors.
    """
    n_rows = codes_a.shape[0]
    if codes_b.shape[0] != n_rows:
        raise ValueError(f"codes of {n_rows} and {codes_b.shape[0]} vectors cannot be compared.")
    correlation, jaccard = np.full((2, len(pairs)), np.nan)
    for start in range(0, len(pairs), COLUMNS):
        part = slice(start, start + COLUMNS)
        a, b = (
            codes[:, pairs[part, side]].astype(np.float64) for side, codes in enumerate((codes_a, codes_b))
        )
        (sum_a, square_a, fires_a), (sum_b, square_b, fires_b) = _moments(a), _moments(b)
        product, _, overlap = _moments(a.multiply(b))
        covariance = product - sum_a * sum_b / n_rows
        spread = (square_a - sum_a**2 / n_rows) * (square_b - sum_b**2 / n_rows)
        alive = (fires_a > 0) & (fires_b > 0)
        varies = alive & (spread > 1e-12 * square_a * square_b)
        np.divide(covariance, np.sqrt(spread.clip(min=0)), out=correlation[part], where=varies)
        np.divide(overlap, fires_a + fires_b - overlap, out=jaccard[part], where=alive)
    return correlation, jaccard


def _moments(codes: Any) -> tuple[Floats, Floats, Floats]:
    """Per column: sum, sum of squares, number of non-zeros."""
    columns = sparse.csc_array(codes)
    columns.eliminate_zeros()
    n, counts = columns.shape[1], np.diff(columns.indptr)
    owner = np.repeat(np.arange(n), counts)
    sums = (np.bincount(owner, weights, n) for weights in (columns.data, columns.data**2, None))
    total, square, count = (np.asarray(found, dtype=np.float64) for found in sums)
    return total, square, count


def round_trip(
    sae: Sae, codes: sparse.csc_array, generator: np.random.Generator, n: int = ROUND_TRIPS
) -> tuple[float, float]:
    """Whether encode(decode(z)) gives z back on `n` random codes that look like the SAE's own.

    A random code has as many active latents as the mean L0 of `codes` (vectors × d_sae), drawn uniformly from the
    latents that fire there, and values drawn from all values there. Returns the mean share of its support that
    is active again, and the mean of ‖z′ − z‖ / ‖z‖; (nan, nan) for codes that are all zero.

    The round-trip property of arXiv 2505.20254 makes the decoder injective on sparse codes; the paper's exact
    statement was not seen, and this test is our practical reading of it.
    """
    values = codes.data[codes.data > 0]
    firing = np.flatnonzero(np.diff(codes.indptr))
    if not len(values):
        return np.nan, np.nan
    k = min(max(round(len(values) / codes.shape[0]), 1), len(firing))
    recovered, error = [], []
    for start in range(0, n, ROUND_TRIP_BATCH):
        rows = min(ROUND_TRIP_BATCH, n - start)
        support = np.stack([generator.choice(firing, k, replace=False) for _ in range(rows)])
        z = np.zeros((rows, codes.shape[1]), dtype=np.float32)
        np.put_along_axis(z, support, generator.choice(values, (rows, k)), axis=1)
        code = torch.from_numpy(z).to(sae.decoder.device)
        found = sae.encode(sae.decode(code))
        recovered.append(((found > 0) & (code > 0)).sum(dim=1).double() / k)
        error.append(((found - code).norm(dim=1) / code.norm(dim=1)).double())
    return float(torch.cat(recovered).mean()), float(torch.cat(error).mean())
