"""What a run learns from: rows of several modalities, split into training, validation and held-out, with the truth."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyses.streams import stream_seed
from data.files import sha256_file
from data.multimodal_causal.images import ImageWorld, make_image_world
from data.multimodal_causal.worlds import World, make_world
from engine.errors import UserError
from engine.studies.multimodal_causal.config import MAX_ORDERED, Config

Rows = NDArray[np.float32]
VALIDATION_SHARE, HELDOUT_SHARE = 0.15, 0.15
HELDOUT_ROWS = 3_000
FEWEST_ROWS = 100


@dataclass(frozen=True)
class Source:
    """Modality → rows × variables, standardised by the training rows, in three parts.

    In a world `latents` are the true latents of the held-out rows (rows × latents) named `latent_names`, each with its
    modality; `graph` is the true graph, or a user's; `centre` and `scale` map a modality's rows back to the units it
    came in (mean and standard deviation of each variable).
    """

    variables: dict[str, tuple[str, ...]]
    train: dict[str, Rows]
    validation: dict[str, Rows]
    heldout: dict[str, Rows]
    centre: dict[str, Rows]
    scale: dict[str, Rows]
    world: World | ImageWorld | None = None
    latents: NDArray[np.float64] | None = None
    latent_names: tuple[str, ...] = ()
    graph: nx.DiGraph | None = None
    blocks: dict[str, list[int]] = field(default_factory=dict)

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.variables)

    def padded(self, part: dict[str, Rows]) -> Rows:
        """One of the parts as modalities × rows × widest modality, zeros beyond a modality's own variables."""
        width = max(len(names) for names in self.variables.values())
        return np.stack([np.pad(part[m], ((0, 0), (0, width - part[m].shape[1]))) for m in self.modalities])


def open_source(config: Config) -> Source:
    """The rows a config names. Raises UserError."""
    source = _world(config) if config.source in ("world", "digits") else _table(config)
    if config.modality_order == "learnt" and len(source.modalities) > MAX_ORDERED:
        raise UserError(
            "modality_order",
            f"learning the order needs {MAX_ORDERED} modalities or fewer, these are {len(source.modalities)}; give it.",
        )
    return source


def _generator(name: str, config: Config) -> np.random.Generator:
    return np.random.default_rng(stream_seed(f"multimodal {name}", config.world_seed))


def _world(config: Config) -> Source:
    world = _make_world(config)
    drawn = world.sample(config.n_samples, _generator("rows", config))
    held = world.sample(HELDOUT_ROWS, _generator("held-out rows", config))
    n_train = config.n_samples - round(VALIDATION_SHARE * config.n_samples)
    parts = (
        {m: x[:n_train] for m, x in drawn.observations.items()},
        {m: x[n_train:] for m, x in drawn.observations.items()},
        held.observations,
    )
    variables = {m: tuple(f"{m}.x{i + 1}" for i in range(x.shape[1])) for m, x in parts[0].items()}
    return _standardised(
        variables,
        *parts,
        world=world,
        latents=held.latents,
        latent_names=world.latents,
        graph=world.graph,
        blocks={m: world.block(m) for m in world.modalities},
    )


def _make_world(config: Config) -> World | ImageWorld:
    if config.source == "digits":
        return make_image_world(config.world_seed)
    try:
        return make_world(
            config.graph,
            modalities=config.n_modalities,
            block=config.n_latents,
            density=config.density,
            within=config.within_density,
            noise=config.noise,
            noise_dims=config.noise_dims,
            width=config.width,
            world_seed=config.world_seed,
        )
    except ValueError as error:
        raise UserError("graph", str(error)) from error


def _standardised(
    variables: dict[str, tuple[str, ...]],
    train: dict[str, Any],
    validation: dict[str, Any],
    heldout: dict[str, Any],
    **known: Any,
) -> Source:
    centre = {m: x.mean(axis=0) for m, x in train.items()}
    scale = {m: np.where(x.std(axis=0) > 1e-6, x.std(axis=0), 1.0) for m, x in train.items()}

    def scaled(part: dict[str, Any]) -> dict[str, Rows]:
        return {m: ((x - centre[m]) / scale[m]).astype(np.float32) for m, x in part.items()}

    return Source(variables, scaled(train), scaled(validation), scaled(heldout), centre, scale, **known)


def _table(config: Config) -> Source:
    frame, modality_of = _user_table(config) if config.source == "table" else _phenotypes(config.source)
    variables: dict[str, tuple[str, ...]] = {}
    for column, modality in modality_of.items():
        variables[modality] = (*variables.get(modality, ()), column)
    for modality, names in variables.items():
        if len(names) < config.n_latents:
            raise UserError(
                "n_latents",
                f"{modality} has {len(names)} variables and cannot hold {config.n_latents} latents; lower n_latents.",
            )
    if len(frame) < FEWEST_ROWS:
        raise UserError("table", f"{len(frame)} complete rows are too few; {FEWEST_ROWS} are needed.")
    order = _generator("split", config).permutation(len(frame))
    held, tuned = (round(share * len(frame)) for share in (HELDOUT_SHARE, VALIDATION_SHARE))
    places = (order[held + tuned :], order[held : held + tuned], order[:held])
    parts = [
        {m: frame.loc[:, list(names)].to_numpy()[rows] for m, names in variables.items()} for rows in places
    ]
    return _standardised(variables, *parts, graph=_user_graph(config, modality_of))


def _phenotypes(name: str) -> tuple[pd.DataFrame, dict[str, str]]:
    from data.assets import AssetMissing
    from data.phenotypes import load

    try:
        found = load(name)
    except AssetMissing as error:
        raise UserError("source", str(error)) from error
    return found.frame, found.modalities


def _modality_of(config: Config) -> dict[str, str]:
    """Column → modality of a user's table, from its header alone. Raises UserError."""
    from data.user_tables import column_names, read_column_map

    try:
        columns = column_names(config.table)
    except ValueError as error:
        raise UserError("table", str(error)) from error
    try:
        return read_column_map(config.modalities, columns)
    except ValueError as error:
        raise UserError("modalities", str(error)) from error


def _user_table(config: Config) -> tuple[pd.DataFrame, dict[str, str]]:
    from data.user_tables import read_table

    modality_of = _modality_of(config)
    try:
        return read_table(config.table, list(modality_of)), modality_of
    except ValueError as error:
        raise UserError("table", str(error)) from error


def _user_graph(config: Config, modality_of: dict[str, str]) -> nx.DiGraph | None:
    if config.source != "table" or not config.true_graph:
        return None
    from analyses.graph_files import read_graph

    try:
        graph = read_graph(config.true_graph, list(modality_of))
    except ValueError as error:
        raise UserError("true_graph", str(error)) from error
    for modality in dict.fromkeys(modality_of.values()):
        members = [name for name in graph if modality_of[name] == modality]
        if len(members) > config.n_latents:
            raise UserError(
                "true_graph",
                f"it has {len(members)} columns of {modality}, more than n_latents = {config.n_latents}; raise n_latents.",
            )
    return graph


def table_identity(config: Config) -> str:
    """A hash of a user's files, part of the run's identity; empty for other sources.

    Raises UserError for files that cannot be used, before a run is queued for them.
    """
    if config.source != "table":
        return ""
    _user_graph(config, _modality_of(config))
    digests = []
    for text in (config.table, config.modalities, config.true_graph):
        path = Path(text).expanduser()
        digests.append(sha256_file(path) if text and _is_file(path) else "")
    return ":".join(digests)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False
