"""What one seed sees: rows of discrete variables, or of the continuous blocks they are observed through."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from analyses.streams import stream_seed
from data.assets import AssetMissing
from data.concept_hierarchy import hierarchy_graph, make_hierarchy, make_mixing
from data.questionnaires import questionnaire
from engine.errors import UserError
from engine.studies.concept_hierarchy.config import Config

if TYPE_CHECKING:
    from engine.run import Run

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

PART = 0.8
MAX_STATES = 8
MIN_COLUMNS = 4


@dataclass(frozen=True)
class Sample:
    """`states` (n × p codes from 0) and where their rows stand in the source; `x` (n × d) when mixed observations are
    all a user has of them."""

    states: Ints
    rows: Ints
    x: Floats | None = None


@dataclass(frozen=True)
class Source:
    """A data set: names of its variables, what is known of them, and a sample for every seed.

    `truth`: the true graph before reduction. `groups`: the known group of a variable. `text(rows, columns)`: what
    stands in rows, of these columns, for a reader.
    """

    names: tuple[str, ...]
    draw: Callable[[int], Sample]
    text: Callable[[Sequence[int], Sequence[int]], list[str]] | None = None
    truth: nx.DiGraph | None = None
    groups: dict[str, str] = field(default_factory=dict)


def open_source(run: "Run") -> Source:
    """The source a run's config names. Raises UserError, Stopped."""
    config: Config = run.config
    if config.source == "world":
        return _world(config)
    if config.source == "features":
        from engine.studies.concept_hierarchy.features import open_features

        return open_features(run)
    return _table(config) if config.source == "table" else _questionnaire(config)


def stream(name: str, *seeds: int) -> np.random.Generator:
    """The generator of a named stream."""
    return np.random.default_rng(stream_seed(name, *seeds))


def _world(config: Config) -> Source:
    graph = hierarchy_graph(config.shape, stream("hierarchy graph", config.world_seed))
    names = tuple(node for node in graph if node.startswith("x"))

    def draw(seed: int) -> Sample:
        number = config.world_seed + seed
        try:
            world = make_hierarchy(
                graph, config.n_states, stream("hierarchy tables", number), config.row_distance
            )
        except ValueError as error:
            raise UserError("row_distance", str(error)) from error
        drawn = world.sample(config.n_samples, stream("hierarchy sample", number))
        states = np.stack([drawn[name] for name in names], axis=1)
        if not config.continuous:
            return Sample(states, np.arange(len(states)))
        mixing = make_mixing(
            len(names), config.n_states, config.separation, stream("hierarchy mixing", number)
        )
        x = mixing.observe(states, stream("hierarchy noise", number))
        return Sample(states, np.arange(len(states)), x)

    return Source(names, draw, truth=graph)


def _questionnaire(config: Config) -> Source:
    try:
        found = questionnaire("bfi" if config.source == "bfi" else "burnout")
    except AssetMissing as error:
        raise UserError("source", str(error)) from error

    def text(rows: Sequence[int], columns: Sequence[int]) -> list[str]:
        return [
            "; ".join(f"{found.wording[j].rstrip('.')}: {found.values[i, j]:g}" for j in columns)
            for i in rows
        ]

    groups = dict(zip(found.items, found.factors, strict=True))
    return real(config, coded(found.values, found.items, config.n_bins), found.items, text, groups=groups)


def _table(config: Config) -> Source:
    from analyses.graph_files import read_graph
    from data.user_tables import read_table

    try:
        frame = read_table(config.table)
    except ValueError as error:
        raise UserError("table", str(error)) from error
    names = tuple(map(str, frame.columns))
    if len(names) < MIN_COLUMNS:
        raise UserError("table", f"it has {len(names)} columns; give at least {MIN_COLUMNS} variables.")
    values = frame.to_numpy(dtype=np.float64)
    truth = None
    if config.true_graph:
        try:
            truth = read_graph(config.true_graph, None)
        except ValueError as error:
            raise UserError("true_graph", str(error)) from error
        unknown = sorted(set(names) - set(truth))
        if unknown:
            raise UserError("true_graph", f"it lacks the column {unknown[0]} of the table; add its edges.")

    def text(rows: Sequence[int], columns: Sequence[int]) -> list[str]:
        return ["; ".join(f"{names[j]} = {values[i, j]:g}" for j in columns) for i in rows]

    return real(config, coded(values, names, config.n_bins), names, text, truth)


def real(
    config: Config,
    states: Ints,
    names: Sequence[str],
    text: Callable[[Sequence[int], Sequence[int]], list[str]],
    truth: nx.DiGraph | None = None,
    groups: dict[str, str] | None = None,
) -> Source:
    """A source of fixed rows (n × p): every seed sees a random 80 % of them, at most `n_samples`, none twice.

    Rows are drawn without replacement because copies of a row would make the rank tests reject too often.
    """

    def draw(seed: int) -> Sample:
        size = min(config.n_samples, round(PART * len(states)))
        rows = np.sort(stream("hierarchy rows", seed).choice(len(states), size, replace=False))
        return Sample(states[rows], rows)

    return Source(tuple(names), draw, text, truth, groups or {})


def coded(values: Floats, names: Sequence[str], n_bins: int) -> Ints:
    """Codes from 0 (n × p) of ordered values: the values themselves, or `n_bins` groups of about equal size.

    Cuts lie between values, each where the share below is nearest to 1 / n_bins, 2 / n_bins … Raises UserError for
    a column with one value, or with more than MAX_STATES where they are kept.
    """
    codes = np.empty(values.shape, dtype=np.int64)
    for j, name in enumerate(names):
        kept, places, counts = np.unique(values[:, j], return_inverse=True, return_counts=True)
        if len(kept) < 2:
            raise UserError("table", f"column {name} has a single value; remove it.")
        if n_bins:
            below = np.cumsum(counts)[:-1] / len(values)
            cuts = {int(np.abs(below - k / n_bins).argmin()) for k in range(1, n_bins)}
            places = np.searchsorted(sorted(cuts), places, side="left")
        elif len(kept) > MAX_STATES:
            raise UserError("n_bins", f"{name} has {len(kept)} values; set n_bins to cut it into groups.")
        codes[:, j] = places
    return codes
