"""Reading one feature's examples out of a finished feature_cards run, fast enough to browse."""

from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analyses.streams import stream_seed
from data.files import read_json
from engine.activations import memory_map
from engine.token_text import pieces
from engine.tools.feature_cards.tokens import around, first_in_windows

BINS = 50
LARGEST_BOARD = 121  # cells of a board that is shown whole
DRAWS = 64
BANDS = (("75–100 %", 0.0, 0.25), ("50–75 %", 0.25, 0.5), ("25–50 %", 0.5, 0.75), ("0–25 %", 0.75, 1.0))
COLUMNS = ["feature", "token", "value"]


@dataclass(frozen=True)
class _Index:
    """A sorted file's metadata, and the first and last feature of each of its row groups."""

    metadata: pq.FileMetaData
    first: NDArray[np.int64]
    last: NDArray[np.int64]


@dataclass(frozen=True)
class _Corpus:
    """The tokens cards refer to, memory-mapped, and what turns them into text; `row_length` where windows are boards."""

    ids: NDArray[np.int32]
    kept: NDArray[np.uint8]
    context_size: int
    tokenizer: Any
    row_length: int | None

    @property
    def shows_boards(self) -> bool:
        return self.row_length is not None and self.context_size <= LARGEST_BOARD

    def words(self, ids: list[int]) -> list[str]:
        """Tokens by themselves, without what stands between them."""
        return [str(self.tokenizer.id_to_token(token)) for token in ids]


def read_examples(
    folder: Path, seed: int, feature: int, n_top: int = 10, per_band: int = 3, width: int = 16
) -> dict[str, Any]:
    """`n_active`, `histogram` and `examples` of a feature, from the directory of a finished feature_cards run.

    Examples lie in different context windows: the `n_top` largest values ("top"), and `per_band` drawn from each
    quarter of the active tokens by rank, the largest value having rank 1. Each shows `width` tokens either side
    within its window; of a board all cells, and the `row_length`. `values` of a token are None where it was not read
    (position 0 of a text, massive activation). The histogram counts the active tokens in 50 equal bins from 0 to the
    largest value, and is None without any.
    """
    corpus = _corpus(folder)
    tokens, values = active_tokens(folder, seed, feature)
    if not len(tokens):
        return {"n_active": 0, "histogram": None, "examples": []}
    chosen = _chosen(tokens, corpus.context_size, n_top, per_band, stream_seed("examples", seed, feature))
    width = corpus.context_size if corpus.shows_boards else width
    shown = _shown(corpus, tokens, values, [index for _, index in chosen], width)
    return {
        "n_active": len(tokens),
        "histogram": _histogram(values),
        "examples": [
            {"band": band, "rank": index + 1, "value": float(values[index]), **example}
            for (band, index), example in zip(chosen, shown, strict=True)
        ],
    }


def active_tokens(folder: Path, seed: int, feature: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Tokens at which a feature is active and its values there, the largest first."""
    path = folder / "tables" / f"activations-seed-{seed}.parquet"
    status = path.stat()
    index = _index(path, status.st_mtime_ns, status.st_size)
    low, high = np.searchsorted(index.last, feature), np.searchsorted(index.first, feature, side="right")
    if high <= low:
        return np.empty(0, np.int32), np.empty(0, np.float32)
    with pq.ParquetFile(path, metadata=index.metadata, memory_map=True) as file:
        found = file.read_row_groups(range(low, high), columns=COLUMNS, use_threads=False)
    start, end = np.searchsorted(found["feature"].to_numpy(), [feature, feature + 1])
    mine = found.slice(start, end - start)
    return mine["token"].to_numpy(), mine["value"].to_numpy()


def _histogram(values: NDArray[np.float32]) -> dict[str, list[Any]]:
    """Of descending values, by where the edges fall among them."""
    edges = np.linspace(0, values[0], BINS + 1, dtype=np.float32)
    below = np.searchsorted(values[::-1], edges)
    below[-1] = len(values)
    return {"edges": edges.tolist(), "counts": np.diff(below).tolist()}


def _chosen(
    tokens: NDArray[np.int32], context_size: int, n_top: int, per_band: int, seed: int
) -> list[tuple[str, int]]:
    """Band and rank (from 0) of each example."""
    taken: set[int] = set()
    top = first_in_windows(tokens, range(len(tokens)), n_top, context_size, taken)
    found = [("top", index) for index in top]
    generator = np.random.default_rng(seed)
    for band, start, end in BANDS:
        low, high = round(start * len(tokens)), round(end * len(tokens))
        drawn = low + generator.choice(high - low, min(high - low, DRAWS), replace=False, shuffle=True)
        mine = first_in_windows(tokens, drawn, per_band, context_size, taken)
        found += [(band, index) for index in sorted(mine)]
    return found


def _shown(
    corpus: _Corpus, tokens: NDArray[np.int32], values: NDArray[np.float32], chosen: list[int], width: int
) -> list[dict[str, Any]]:
    """Token, peak, and every token's text and value, of the stretches around the chosen active tokens."""
    size, n_tokens = corpus.context_size, len(corpus.ids)
    ends = [around(int(tokens[i]), width, size, n_tokens) for i in chosen]
    number_of = np.full(-(-n_tokens // size), -1, dtype=np.int32)
    number_of[[start // size for start, _ in ends]] = np.arange(len(ends))
    owner = number_of[tokens // size]
    board = {"row_length": corpus.row_length} if corpus.shows_boards else {}
    words = corpus.words if board else partial(pieces, corpus.tokenizer)
    dense = [np.zeros(end - start, dtype=np.float32) for start, end in ends]
    for index in np.flatnonzero(owner >= 0).tolist():
        start, end = ends[owner[index]]
        if start <= tokens[index] < end:
            dense[owner[index]][tokens[index] - start] = values[index]
    return [
        {
            "token": int(tokens[i]),
            "peak": int(tokens[i]) - start,
            "tokens": words(corpus.ids[start:end].tolist()),
            "values": [
                float(value) if kept else None
                for value, kept in zip(mine, corpus.kept[start:end], strict=True)
            ],
            **board,
        }
        for i, (start, end), mine in zip(chosen, ends, dense, strict=True)
    ]


def _corpus(folder: Path) -> _Corpus:
    tensors = folder / "tensors"
    return _opened(tensors, (tensors / "tokens.safetensors").stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _opened(tensors: Path, modified: int) -> _Corpus:
    from tokenizers import Tokenizer

    found = memory_map(tensors / "tokens.safetensors")
    tokenizer = Tokenizer.from_file(str(tensors / "tokenizer.json"))
    cards = read_json(tensors / "cards.json")
    return _Corpus(
        found["token_id"], found["kept"], cards["context_size"], tokenizer, cards.get("row_length")
    )


@lru_cache(maxsize=64)
def _index(path: Path, modified: int, size: int) -> _Index:
    metadata = pq.read_metadata(path)
    groups = (metadata.row_group(i) for i in range(metadata.num_row_groups) if metadata.num_rows)
    ends = [(s.min, s.max) for s in (group.column(0).statistics for group in groups)]
    first, last = np.array(ends, dtype=np.int64).reshape(-1, 2).T
    return _Index(metadata, first, last)
