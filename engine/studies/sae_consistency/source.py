"""Where training vectors come from: a world in memory, or activations on disk, of a language model or a run's model."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from analyses.streams import stream_seed
from data.sae_consistency import World, make_world
from engine.errors import UserError
from engine.run import Run
from engine.studies.sae_consistency.config import Config

if TYPE_CHECKING:
    from engine.activations import Activations

Rows = NDArray[np.float32]
WORLD_FIELDS = (
    "world", "n_true_features", "d_in", "true_sparsity", "zipf_exponent", "correlation", "world_seed", "n_samples",
)  # fmt: skip
NO_TEXT = "Loss recovered and agreement in meaning are left out: they need a language model and text."
HELDOUT_VECTORS = 10_000
BLOCK = 64


class RowSource(Protocol):
    """`n_rows` vectors of width `d_in`; `gather` returns some of them as float32 (len(indices) × d_in)."""

    n_rows: int
    d_in: int

    def gather(self, indices: NDArray[np.int64]) -> Rows: ...


class MemoryRows:
    """Rows of an array."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.n_rows, self.d_in = rows.shape

    def gather(self, indices: NDArray[np.int64]) -> Rows:
        return self.rows[indices]


@dataclass(frozen=True)
class Source:
    """Training and held-out vectors; `scale` maps raw activations to them; `truth` (d_gt × d_in) in a world only.

    In a world, `world` draws more of them and `true_codes` (held-out vectors × d_gt) says what is active in each.
    `activations` is the collection on disk; None in a world.
    """

    train: RowSource
    heldout: RowSource
    scale: float = 1.0
    truth: Rows | None = None
    world: World | None = None
    true_codes: sparse.csr_array | None = None
    activations: "Activations | None" = None
    provenance: tuple[tuple[str, str], ...] = ()


def open_source(run: Run) -> Source:
    """The vectors a run's config names; collects activations first when no earlier run did. Raises UserError."""
    config: Config = run.config
    if config.source == "synthetic":
        return _world(config)
    from engine.activations import open_activations

    found = open_activations(run)
    if config.reads_run:
        run.message(NO_TEXT)
    provenance = (("model_name", config.model), ("hook_name", config.hook_point))
    return Source(found.train, found.heldout, found.scale, activations=found, provenance=provenance)


def source_key(config: Config) -> str:
    """Equal for configs that read the same vectors. Raises UserError."""
    if config.source == "synthetic":
        return json.dumps([getattr(config, name) for name in WORLD_FIELDS])
    from engine.activations import fingerprint

    return fingerprint(config)


def _world(config: Config) -> Source:
    generators = [
        np.random.default_rng(stream_seed(name, config.world_seed)) for name in ("world", "train", "heldout")
    ]
    try:
        world = make_world(
            config.world,
            config.n_true_features,
            config.d_in,
            config.true_sparsity,
            generators[0],
            zipf_exponent=config.zipf_exponent,
            correlation=config.correlation,
        )
    except ValueError as error:
        raise UserError("true_sparsity", str(error)) from error
    train = MemoryRows(world.sample(config.n_samples, generators[1]))
    heldout, codes = world.sample_with_codes(HELDOUT_VECTORS, generators[2])
    return Source(train, MemoryRows(heldout), truth=world.features, world=world, true_codes=codes)


class BatchOrder:
    """Which rows each step reads: blocks of 64 neighbours in a new random order every epoch.

    The rows are shuffled where they are written, so neighbours are independent, and a block is one read from
    disk. Each epoch cuts the blocks at another offset and leaves out less than one block and one batch. The
    stream is "order" of the data seed.
    """

    def __init__(self, n_rows: int, batch_size: int, data_seed: int) -> None:
        if batch_size > n_rows:
            raise UserError("batch_size", f"{batch_size} exceeds the {n_rows} training vectors; lower it.")
        self.n_rows, self.batch_size, self.data_seed = n_rows, batch_size, data_seed
        self.block = BLOCK if n_rows - n_rows % BLOCK >= batch_size else 1
        self.per_epoch = n_rows // self.block * self.block // batch_size
        self._epoch, self._offset = -1, 0
        self._blocks = np.empty(0, dtype=np.int64)

    def indices(self, step: int) -> NDArray[np.int64]:
        """Row numbers (batch_size) of a step, sorted, so that a memory-mapped read goes forward."""
        epoch, position = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            generator = np.random.default_rng(stream_seed("order", self.data_seed, epoch))
            self._offset = int(generator.integers(self.n_rows))
            self._blocks, self._epoch = generator.permutation(self.n_rows // self.block), epoch
        places = np.arange(position * self.batch_size, (position + 1) * self.batch_size)
        rows = self._blocks[places // self.block] * self.block + places % self.block
        return np.sort((rows + self._offset) % self.n_rows)
