"""The rows a config names: features of every view, classes, and for each seed which rows train, validate and test."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analyses.streams import stream_seed
from data.files import sha256_file
from data.label_shift import SPLITS, Mixture, check_features, make_mixture, noisy_digits, read_features
from engine.errors import UserError
from engine.run import Run
from engine.studies.label_shift.config import Config

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PIXELS, COORDINATES, FEATURES = "pixels", "coordinates", "features"
MIXTURE_FEATURES = 10
SHARES = (0.4, 0.3, 0.3)


@dataclass(frozen=True)
class Source:
    """N rows: `views` name → features (N × d), `labels` (N) that index `names`.

    The first view is what the deployed backbone reads. `split` (N, indexing SPLITS) is the user's own, `mixture` the one
    the rows come from.
    """

    views: dict[str, Floats]
    labels: Ints
    names: tuple[str, ...]
    split: Ints | None = None
    mixture: Mixture | None = None

    @property
    def n_classes(self) -> int:
        return len(self.names)

    @property
    def first(self) -> str:
        return next(iter(self.views))


def open_source(run: Run) -> Source:
    """Rows and features. Raises UserError, Stopped."""
    config: Config = run.config
    if config.source == "digits":
        pixels, labels = noisy_digits(config.noise, _shared("digits", config))
        return Source({PIXELS: pixels}, labels, tuple(map(str, range(10))))
    if config.source == "mixture":
        mixture = make_mixture(config.n_classes, MIXTURE_FEATURES, config.spread, _shared("mixture", config))
        rows, labels = mixture.sample(config.n_samples, _shared("mixture rows", config))
        return Source(
            {COORDINATES: rows},
            labels,
            tuple(f"class {k + 1}" for k in range(config.n_classes)),
            None,
            mixture,
        )
    if config.source == "features":
        return _own(run)
    from engine.studies.label_shift.texts import read_texts

    return read_texts(run)


def _shared(name: str, config: Config) -> np.random.Generator:
    """A stream that all seeds of a run share."""
    return np.random.default_rng(stream_seed(f"label shift {name}", config.world_seed))


def _own(run: Run) -> Source:
    config: Config = run.config
    try:
        found = read_features(config.table, config.most_rows, _shared("rows", config))
    except ValueError as error:
        raise UserError("table", str(error)) from error
    if found.left_out:
        run.message(f"{found.left_out:,} of {found.rows:,} rows have no label and were left out.")
    if len(found.labels) < found.rows - found.left_out:
        run.message(
            f"{len(found.labels):,} of {found.rows - found.left_out:,} labelled rows were drawn; most_rows asks for no more."
        )
    return Source({FEATURES: found.features}, found.labels, found.names, found.split)


def split_rows(source: Source, data_seed: int, seed: int) -> dict[str, Ints]:
    """Row numbers of train, validation and test: the user's split, or 40 : 30 : 30 % of each class at random."""
    if source.split is not None:
        return {name: np.flatnonzero(source.split == place) for place, name in enumerate(SPLITS)}
    rng = np.random.default_rng(stream_seed("label shift split", data_seed, seed))
    parts: dict[str, list[Ints]] = {name: [] for name in SPLITS}
    for k in range(source.n_classes):
        mine = rng.permutation(np.flatnonzero(source.labels == k))
        edges = np.round(np.cumsum(SHARES[:2]) * len(mine)).astype(int)
        for name, rows in zip(SPLITS, np.split(mine, edges), strict=True):
            parts[name].append(rows)
    return {name: np.sort(np.concatenate(rows)) for name, rows in parts.items()}


def data_identity(config: Config) -> str:
    """A hash of the data that are not made here, part of the run's identity.

    Raises UserError for a file that cannot be used, before a run is queued for it.
    """
    if config.source == "features":
        try:
            check_features(config.table)
        except ValueError as error:
            raise UserError("table", str(error)) from error
        from pathlib import Path

        return sha256_file(Path(config.table).expanduser())
    if config.source in ("topics", "sentiment"):
        from engine.studies.label_shift.texts import texts_identity

        return texts_identity(config)
    return ""
