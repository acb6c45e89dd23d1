"""One trained SAE on held-out vectors: what it explains, which latents fire, how often and where, and its own geometry."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from analyses.dictionaries import Neighbours, encoder_alignment, neighbours
from analyses.streams import stream_seed
from engine.studies.sae_consistency.codes import CodeBuilder, round_trip
from engine.studies.sae_consistency.saes import Sae
from engine.studies.sae_consistency.source import RowSource

BATCH = 2048
CODE_ROWS = 10_000
CONTEXTS = 5


@dataclass(frozen=True)
class Evaluation:
    """Held-out figures of one SAE; `mean_norm` is that of the vectors it read.

    Per feature (d_sae): share of vectors it fires on, its mean value when it fires, its `top_values` and `top_rows`
    (d_sae × 5), the cosine of its encoder and decoder rows, its neighbours in the dictionary. `codes` (vectors × d_sae)
    of the first 10,000 vectors, and how far random codes like them survive decoding and encoding.
    """

    fvu: float
    l0: float
    mean_norm: float
    frequency: NDArray[np.float64]
    mean_activation: NDArray[np.float64]
    top_values: Tensor
    top_rows: Tensor
    codes: sparse.csc_array
    alignment: NDArray[np.float64]
    neighbours: Neighbours
    round_trip: tuple[float, float]


def evaluate(sae: Sae, rows: RowSource, device: str) -> Evaluation:
    """One pass over the held-out rows in batches."""
    d_sae = sae.config.d_sae
    count, total = torch.zeros(d_sae, dtype=torch.float64), torch.zeros(d_sae, dtype=torch.float64)
    top_values = torch.zeros(d_sae, CONTEXTS)
    top_rows = torch.full((d_sae, CONTEXTS), -1)
    error, norms, square = 0.0, 0.0, 0.0
    mean = torch.zeros(rows.d_in, dtype=torch.float64)
    codes = CodeBuilder()
    for start in range(0, rows.n_rows, BATCH):
        indices = np.arange(start, min(start + BATCH, rows.n_rows))
        x = torch.from_numpy(rows.gather(indices)).to(device)
        z = sae.encode(x)
        error += float((sae.decode(z) - x).square().sum(dtype=torch.float64))
        mean += x.sum(dim=0, dtype=torch.float64).cpu()
        norms += float(x.norm(dim=1).sum(dtype=torch.float64))
        square += float(x.square().sum(dtype=torch.float64))
        count += (z > 0).sum(dim=0).cpu()
        total += z.sum(dim=0, dtype=torch.float64).cpu()
        top_values, top_rows = _merge_top(top_values, top_rows, z.cpu(), start)
        if start < CODE_ROWS:
            codes.add(z[: CODE_ROWS - start])
    variance = square - float(mean.square().sum()) / rows.n_rows
    fired = count.numpy()
    sample = codes.codes()
    encoder, decoder = sae.encoder.cpu().numpy(), sae.decoder.cpu().numpy()
    generator = np.random.default_rng(stream_seed("round trip", sae.seeds[0]))
    return Evaluation(
        fvu=error / variance,
        l0=float(fired.sum() / rows.n_rows),
        mean_norm=norms / rows.n_rows,
        frequency=fired / rows.n_rows,
        mean_activation=np.divide(total.numpy(), fired, out=np.zeros(d_sae), where=fired > 0),
        top_values=top_values,
        top_rows=top_rows,
        codes=sample,
        alignment=encoder_alignment(encoder, decoder),
        neighbours=neighbours(decoder),
        round_trip=round_trip(sae, sample, generator),
    )


def _merge_top(values: Tensor, rows: Tensor, z: Tensor, start: int) -> tuple[Tensor, Tensor]:
    found, places = z.T.topk(min(CONTEXTS, len(z)), dim=1)
    values, order = torch.cat([values, found], dim=1).topk(CONTEXTS, dim=1)
    return values, torch.cat([rows, places + start], dim=1).gather(1, order)
