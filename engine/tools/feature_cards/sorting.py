"""From raw buckets to one sorted file per seed: feature ascending, value descending, in memory that does not grow."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data.files import sync
from engine.tools.feature_cards.stream import ENTRY, Entries

LIMIT = 4_000_000
ROW_GROUP = 122_880
SCHEMA = pa.schema([("feature", pa.int32()), ("token", pa.int32()), ("value", pa.float32())])


@dataclass(frozen=True)
class Active:
    """Where a feature is active: `tokens` and `values`, the largest value first, equal ones in reading order."""

    feature: int
    tokens: NDArray[np.int32]
    values: NDArray[np.float32]


def sorted_features(bucket: Path) -> Iterator[Active]:
    """The features of a raw bucket in order; holds LIMIT entries at a time, or those of one feature."""
    counts = np.zeros(0, dtype=np.int64)
    for entries in _chunks(bucket):
        found = np.bincount(entries["feature"])
        longer, shorter = (found, counts) if len(found) > len(counts) else (counts, found)
        counts = longer.copy()
        counts[: len(shorter)] += shorter
    for low, high in _ranges(counts):
        parts = [entries[_within(entries, low, high)] for entries in _chunks(bucket)]
        yield from _sorted(np.concatenate(parts), low)


def _chunks(bucket: Path) -> Iterator[Entries]:
    with bucket.open("rb") as file:
        while len(entries := np.fromfile(file, dtype=ENTRY, count=LIMIT)):
            yield entries


def _ranges(counts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Ranges low ≤ feature < high that hold LIMIT entries or fewer, or a single feature."""
    active = np.flatnonzero(counts)
    low, held = None, 0
    for feature in active.tolist():
        if low is not None and held + counts[feature] > LIMIT:
            yield low, feature
            low, held = None, 0
        low = feature if low is None else low
        held += int(counts[feature])
    if low is not None:
        yield low, len(counts)


def _within(entries: Entries, low: int, high: int) -> NDArray[np.bool_]:
    return (entries["feature"] >= low) & (entries["feature"] < high)


def _sorted(entries: Entries, low: int) -> Iterator[Active]:
    """One 64-bit key orders a feature's entries: the value's bits, inverted, above the token."""
    features = entries["feature"] - low
    counts = np.bincount(features)
    order = np.argsort(features.astype(np.min_scalar_type(len(counts))), kind="stable")
    bits = np.ascontiguousarray(entries["value"]).view(np.uint32)
    keys = (~bits).astype(np.uint64) << np.uint64(32)
    keys |= entries["token"].astype(np.uint64)
    keys = keys[order]
    end = 0
    for number in np.flatnonzero(counts).tolist():
        start, end = end, end + int(counts[number])
        mine = np.sort(keys[start:end])
        values = ~(mine >> np.uint64(32)).astype(np.uint32)
        yield Active(low + number, mine.astype(np.uint32).view(np.int32), values.view(np.float32))


class SortedFile:
    """Writes features in row groups of ROW_GROUP rows; complete or absent."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        self.path, self.temporary = path, path.with_suffix(".tmp")
        self.writer = pq.ParquetWriter(
            self.temporary,
            SCHEMA,
            compression="zstd",
            use_dictionary=["feature"],
            column_encoding={"token": "PLAIN", "value": "BYTE_STREAM_SPLIT"},
        )
        self._waiting: list[pa.Table] = []
        self._n_waiting = 0

    def add(self, found: Iterable[Active]) -> None:
        """Append features in ascending order."""
        for active in found:
            features = np.full(len(active.tokens), active.feature, dtype=np.int32)
            columns = [features, active.tokens, active.values]
            self._waiting.append(pa.Table.from_arrays([pa.array(c) for c in columns], schema=SCHEMA))
            self._n_waiting += len(features)
            if self._n_waiting >= ROW_GROUP:
                self._write(self._n_waiting // ROW_GROUP * ROW_GROUP)

    def _write(self, n_rows: int) -> None:
        waiting = pa.concat_tables(self._waiting) if self._waiting else SCHEMA.empty_table()
        self.writer.write_table(waiting.slice(0, n_rows).combine_chunks(), row_group_size=ROW_GROUP)
        self._waiting = [waiting.slice(n_rows)]
        self._n_waiting -= n_rows

    def close(self) -> None:
        """Write what is left and give the file its name."""
        if self._n_waiting or not self._waiting:
            self._write(self._n_waiting)
        self.writer.close()
        sync(self.temporary)
        os.replace(self.temporary, self.path)

    def abandon(self) -> None:
        self.writer.close()
        self.temporary.unlink(missing_ok=True)
