"""Rows whose classes can be re-weighted: noisy digits, a Gaussian mixture with its exact posterior, a user's features.

Every refusal is a ValueError with one sentence that says what to do.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import log_softmax

from data.parquet import refusing_damage

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SPLITS = ("train", "validation", "test")
FEATURE = re.compile(r"f(\d+)")
FEWEST_ROWS = 20
MOST_CLASSES = 200
MOST_FEATURES = 4_096
BATCH = 8_192


@dataclass(frozen=True)
class Mixture:
    """K Gaussians of unit covariance around `means` (K × d)."""

    means: Floats

    def sample(self, n: int, rng: np.random.Generator) -> tuple[Floats, Ints]:
        """n rows (n × d) with their classes, each class as often as can be."""
        labels = rng.permutation(np.arange(n) % len(self.means))
        return self.means[labels] + rng.standard_normal((n, self.means.shape[1])), labels

    def log_posterior(self, rows: Floats, log_prior: Floats) -> Floats:
        """The exact log P(Y | X) (n × K) under a log prior over classes (K)."""
        distance = ((rows[:, None, :] - self.means) ** 2).sum(axis=2)
        return np.asarray(log_softmax(log_prior - distance / 2, axis=1))


def make_mixture(n_classes: int, n_features: int, spread: float, rng: np.random.Generator) -> Mixture:
    """A mixture whose means are Gaussian with standard deviation `spread` in every direction."""
    return Mixture(spread * rng.standard_normal((n_classes, n_features)))


def noisy_digits(noise: float, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """scikit-learn's handwritten digits (1,797 × 64, pixels from 0 to 1) with Gaussian noise, and which digit each is."""
    from sklearn.datasets import load_digits

    images = load_digits()
    pixels = images.data / 16.0
    return pixels + noise * rng.standard_normal(pixels.shape), images.target.astype(np.int64)


@dataclass(frozen=True)
class FeatureTable:
    """A user's rows: `features` (n × d), `labels` (n) that index `names`, `split` (n) that indexes SPLITS, if it is given.

    `left_out` rows had no label, `rows` is how many the file has.
    """

    features: Floats
    labels: Ints
    names: tuple[str, ...]
    split: Ints | None
    rows: int
    left_out: int


def check_features(path: str | Path) -> None:
    """Look at a Parquet file's columns and labels, not at its features. Raises ValueError."""
    with _opened(path) as file:
        _feature_columns(file)
        _labels(file)


def read_features(path: str | Path, most_rows: int, rng: np.random.Generator) -> FeatureTable:
    """A Parquet file with the columns label, f0, f1, … and, if you have one, split (train, validation, test).

    Labels are numbers or words; rows without one are left out. Of more than `most_rows` labelled rows as many are drawn,
    classes kept in proportion. Features are read batch by batch, so that memory holds only the rows that are kept.
    Raises ValueError for a file that cannot be used, naming the column or the class at fault.
    """
    with _opened(path) as file:
        columns = _feature_columns(file)
        labels, names = _labels(file)
        known = np.flatnonzero(labels >= 0)
        kept = known if len(known) <= most_rows else _thinned(labels, known, most_rows, rng)
        features = _read(file, columns, kept)
        split = _split(file, labels, kept, names)
    return FeatureTable(features, labels[kept], names, split, len(labels), len(labels) - len(known))


@contextmanager
def _opened(path: str | Path) -> Iterator[pq.ParquetFile]:
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"{file} is not a file; give the path of a Parquet table.")
    with refusing_damage(file), pq.ParquetFile(file) as table:
        yield table


def _feature_columns(file: pq.ParquetFile) -> list[str]:
    schema = file.schema_arrow
    if "label" not in schema.names:
        raise ValueError(
            f"it has no column label; name the column that holds the class “label”, it has {_few(schema.names)}."
        )
    found = sorted((int(match[1]), name) for name in schema.names if (match := FEATURE.fullmatch(name)))
    if not found:
        raise ValueError(f"it has no feature columns; name them f0, f1, …, it has {_few(schema.names)}.")
    if len(found) > MOST_FEATURES:
        raise ValueError(
            f"it has {len(found):,} features, more than {MOST_FEATURES:,}; project them to fewer."
        )
    columns = [name for _, name in found]
    for name in columns:
        kind = schema.field(name).type
        if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            raise ValueError(f"column {name} holds {kind}, not numbers; convert it or leave it out.")
    return columns


def _few(names: list[str]) -> str:
    return ", ".join(names[:6]) + (" …" if len(names) > 6 else "")


def _labels(file: pq.ParquetFile) -> tuple[Ints, tuple[str, ...]]:
    """The class of every row (−1: none) and the classes' names, in order. Raises ValueError."""
    column = file.read(columns=["label"]).column("label").combine_chunks()
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_null(kind):
        raise ValueError("column label is empty; give each row a class.")
    if pa.types.is_floating(kind):
        column = column.to_pandas()
        whole = column.dropna()
        if not (np.isfinite(whole) & (whole == whole.round())).all():
            raise ValueError(
                "column label holds fractions; give each row a class, as a whole number or a word."
            )
        values = [None if np.isnan(one) else int(one) for one in column]
    elif (
        pa.types.is_integer(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
    ):
        values = [None if one is None or one == "" else one for one in column.to_pylist()]
    else:
        raise ValueError(f"column label holds {kind}; give each row a class, as a whole number or a word.")
    present = [one for one in values if one is not None]
    if not present:
        raise ValueError("column label is empty; give each row a class.")
    order = {one: place for place, one in enumerate(sorted(set(present)))}
    if len(order) == 1:
        raise ValueError(
            f"all labelled rows are of one class, “{present[0]}”; give rows of two classes or more."
        )
    if len(order) > MOST_CLASSES:
        raise ValueError(
            f"column label holds {len(order):,} classes, more than {MOST_CLASSES}; is it the class of the row?"
        )
    codes = np.array([-1 if one is None else order[one] for one in values], dtype=np.int64)
    rows = np.bincount(codes[codes >= 0])
    if rows.min() < FEWEST_ROWS:
        name = list(order)[int(rows.argmin())]
        raise ValueError(
            f"class “{name}” has fewer than {FEWEST_ROWS} rows ({rows.min()}); add some or leave it out."
        )
    return codes, tuple(str(one) for one in order)


def _thinned(labels: Ints, known: Ints, most: int, rng: np.random.Generator) -> Ints:
    """`most` of the rows `known`, each class in proportion and with at least FEWEST_ROWS, in the file's order."""
    share = most / len(known)
    parts = []
    for k in range(labels.max() + 1):
        mine = known[labels[known] == k]
        size = min(len(mine), max(FEWEST_ROWS, round(share * len(mine))))
        parts.append(rng.choice(mine, size, replace=False))
    return np.sort(np.concatenate(parts))


def _read(file: pq.ParquetFile, columns: list[str], kept: Ints) -> Floats:
    found = np.empty((len(kept), len(columns)))
    start = 0
    for batch in file.iter_batches(BATCH, columns=columns):
        first, last = np.searchsorted(kept, (start, start + batch.num_rows))
        if last > first:
            places = pa.array(kept[first:last] - start)
            for i, name in enumerate(columns):
                found[first:last, i] = (
                    batch.column(name).take(places).to_numpy(zero_copy_only=False).astype(np.float64)
                )
        start += batch.num_rows
    strange = np.argwhere(~np.isfinite(found))
    if len(strange):
        row, column = strange[0]
        raise ValueError(
            f"column {columns[column]} is missing or infinite in row {kept[row] + 1:,}; fill it in or leave the row out."
        )
    return found


def _split(file: pq.ParquetFile, labels: Ints, kept: Ints, names: tuple[str, ...]) -> Ints | None:
    if "split" not in file.schema_arrow.names:
        return None
    values: list[Any] = file.read(columns=["split"]).column("split").to_pylist()
    mine = [values[row] for row in kept]
    strange = sorted({str(one) for one in mine if one not in SPLITS})
    if strange:
        raise ValueError(f"column split holds “{strange[0]}”; write {', '.join(SPLITS)}, or drop the column.")
    split = np.array([SPLITS.index(one) for one in mine], dtype=np.int64)
    for place, part in enumerate(SPLITS):
        rows = np.bincount(labels[kept][split == place], minlength=len(names))
        if rows.min() == 0:
            raise ValueError(
                f"split {part} has no row of class “{names[int(rows.argmin())]}”; move some or drop the column."
            )
    return split
