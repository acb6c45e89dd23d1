"""The tokens a set of cards covers, in reading order, and which stored row holds each one's activation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

STEP = 1_000_000


@dataclass(frozen=True)
class Tokens:
    """`ids` and `kept` of n tokens, `kept` being 0 at position 0 of a window and at massive activations.

    `rows` (ascending) are the stored rows of the kept ones, `places` the tokens they belong to.
    """

    ids: NDArray[np.int32]
    kept: NDArray[np.uint8]
    rows: NDArray[np.int64]
    places: NDArray[np.int32]
    context_size: int


def read_tokens(folder: Path, context_size: int, max_tokens: int) -> Tokens:
    """The first whole windows of an activation folder's training tokens: at most `max_tokens`, one window at least."""
    file = pq.ParquetFile(folder / "tokens-train.parquet")
    n = min(max(max_tokens // context_size, 1) * context_size, file.metadata.num_rows)
    ids, kept, rows = np.empty(n, np.int32), np.empty(n, np.uint8), np.empty(n, np.int64)
    done = 0
    for batch in file.iter_batches(STEP, columns=["token_id", "kept", "row"]):
        part = slice(done, min(done + len(batch), n))
        size = part.stop - part.start
        ids[part] = batch["token_id"].to_numpy()[:size]
        kept[part] = batch["kept"].to_numpy(zero_copy_only=False)[:size]
        rows[part] = batch["row"].to_numpy()[:size]
        done = part.stop
        if done == n:
            break
    places = np.flatnonzero(kept).astype(np.int32)
    mine = rows[places]
    order = np.argsort(mine)
    return Tokens(ids, kept, mine[order], places[order], context_size)


def first_in_windows(
    tokens: NDArray[Any], order: Sequence[int] | NDArray[Any], n: int, context_size: int, taken: set[int]
) -> list[int]:
    """The first `n` indices of `order` whose tokens lie in different windows, none of them `taken`; adds theirs."""
    found: list[int] = []
    for index in order:
        window = int(tokens[index]) // context_size
        if window not in taken:
            taken.add(window)
            found.append(int(index))
            if len(found) == n:
                break
    return found


def around(token: int, width: int, context_size: int, n_tokens: int) -> tuple[int, int]:
    """Start and end of the stretch of `width` tokens either side of one, within its window."""
    start = token - token % context_size
    return max(start, token - width), min(start + context_size, token + width + 1, n_tokens)
