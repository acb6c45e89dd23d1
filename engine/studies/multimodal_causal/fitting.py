"""The stages of a run in order: subspaces, components, sparsity, null, refit, bootstraps and baselines."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations, product

import torch
from torch import Tensor

from engine.studies.multimodal_causal import confidence
from engine.studies.multimodal_causal.baselines import BetaVae, SharedEmbedding, baseline_latents
from engine.studies.multimodal_causal.components import (
    Components,
    Replica,
    choose_sparsity,
    side_by_side,
)
from engine.studies.multimodal_causal.config import Config
from engine.studies.multimodal_causal.flow import to_components
from engine.studies.multimodal_causal.networks import Batches, Parameters
from engine.studies.multimodal_causal.prior import allowed_edges
from engine.studies.multimodal_causal.source import Source
from engine.studies.multimodal_causal.stages import Session
from engine.studies.multimodal_causal.subspaces import Subspaces, encode

COMPONENT_BATCH = 256
FASTER = 2
SPARSE_SHARE, REFIT_SHARE, REFIT_SLOWER = 0.6, 0.4, 3


@dataclass(frozen=True)
class Codes:
    """Whitened codes of stage 1, (seeds × modalities × rows × latents) each."""

    train: Tensor
    validation: Tensor
    heldout: Tensor


@dataclass(frozen=True)
class Fits:
    """Fits of stage 2, replica first; `likelihoods` (replicas × validation rows), `strengths` (× targets × sources)."""

    replicas: list[Replica]
    parameters: Parameters
    likelihoods: Tensor
    strengths: Tensor

    def take(self, places: Sequence[int]) -> Parameters:
        """Copies of the parameters of some replicas."""
        return {name: value[list(places)].detach().clone() for name, value in self.parameters.items()}


@dataclass(frozen=True)
class Fitted:
    """Everything a run learnt. `sparse` and `refit` hold (seeds × grid) fits, seed by seed; `grid` begins with 0.

    `chosen` (seeds) are places in the grid; `thresholds` (seeds × grid) decide which edges are drawn; `draws` are the
    bootstraps' edge strengths (seeds × bootstraps × targets × sources); `baselines` maps a method to its latents of
    the held-out rows (seeds × modalities × rows × latents).
    """

    codes: Codes
    grid: tuple[float, ...]
    orders: list[tuple[int, ...]]
    sparse: Fits
    refit: Fits
    thresholds: Tensor
    chosen: list[int]
    draws: Tensor
    baselines: dict[str, Tensor]

    def place(self, seed: int, level: int) -> int:
        """The replica of a seed's place and a place in the grid."""
        return seed * len(self.grid) + level

    def heldout(self, fits: Fits, place: int) -> Tensor:
        """Components of the held-out rows (modalities × rows × latents) of one fit."""
        return self._components(fits, self.codes.heldout, place)

    def training(self, place: int) -> Tensor:
        """Components of the training rows (modalities × rows × latents) of a refitted graph."""
        return self._components(self.refit, self.codes.train, place)

    def _components(self, fits: Fits, codes: Tensor, place: int) -> Tensor:
        with torch.no_grad():
            return to_components(fits.take([place]), codes[place // len(self.grid)][None])[0][0]


def fit(session: Session, source: Source) -> Fitted:
    """Train, or find trained, every stage of a run. Raises Stopped."""
    config: Config = session.run.config
    codes = _subspaces(session, source, config)
    free = _components(session, codes, config)
    grid = (0.0, *config.lambda_grid)
    sparse = _sparse(session, codes, config, free, grid)
    thresholds = _thresholds(session, codes, config, sparse, grid)
    refit = _refit(session, codes, config, sparse, thresholds)
    n = len(grid)
    chosen = [choose_sparsity(refit.likelihoods[i * n : (i + 1) * n], grid) for i in range(len(codes.train))]
    draws = _bootstraps(session, codes, config, sparse, grid, chosen)
    orders = [_order_of(replica.mask, config.n_latents) for replica in free.replicas]
    baselines = _baselines(session, source, config) if config.baselines else {}
    return Fitted(codes, grid, orders, sparse, refit, thresholds, chosen, draws, baselines)


def _tensor(session: Session, source: Source, part: str) -> Tensor:
    return torch.from_numpy(source.padded(getattr(source, part))).to(session.run.device)


def _subspaces(session: Session, source: Source, config: Config) -> Codes:
    run = session.run
    train, validation, heldout = (
        _tensor(session, source, part) for part in ("train", "validation", "heldout")
    )
    hidden = (config.hidden,) * config.encoder_layers
    batches = Batches(train.shape[1], config.batch_size, run.seeds, run.data_seed)
    found = session.train(
        Subspaces(
            train,
            validation,
            run.seeds,
            config.n_latents,
            hidden,
            batches,
            config.subspace_steps,
            config.learning_rate,
        )
    )
    with torch.no_grad():
        parts = [
            encode(found, part.expand(len(run.seeds), *part.shape), train)
            for part in (train, validation, heldout)
        ]
    return Codes(*parts)


def _fits(
    session: Session,
    name: str,
    codes: Codes,
    replicas: list[Replica],
    steps: int,
    learning_rate: float,
    start: Parameters | None = None,
) -> Fits:
    run = session.run
    batches = Batches(codes.train.shape[2], COMPONENT_BATCH, run.seeds, run.data_seed)
    stage = Components(
        name, codes.train, codes.validation, run.seeds, replicas, batches, steps, learning_rate, start
    )
    found = session.train(stage)
    likelihoods, strengths = stage.held_out_rows(found)
    return Fits(replicas, found, likelihoods, strengths)


def _components(session: Session, codes: Codes, config: Config) -> Fits:
    """Without sparsity, from several starts and in every order to be tried; the likeliest on held-out rows of each seed."""
    n_modalities = codes.train.shape[1]
    orders = [tuple(range(n_modalities))]
    if config.modality_order == "learnt":
        orders = list(permutations(range(n_modalities)))
    masks = [allowed_edges(order, config.n_latents, config.within_edges) for order in orders]
    replicas = [
        Replica(seed, 0.0, restart, mask)
        for seed, mask, restart in product(session.run.seeds, masks, range(config.restarts))
    ]
    fits = _fits(
        session, "components", codes, replicas, config.component_steps, FASTER * config.learning_rate
    )
    means = fits.likelihoods.mean(dim=1).reshape(len(session.run.seeds), -1)
    best = [i * means.shape[1] + int(row.argmax()) for i, row in enumerate(means)]
    kept = [fits.replicas[place] for place in best]
    return Fits(kept, fits.take(best), fits.likelihoods[best], fits.strengths[best])


def _order_of(mask: Tensor, n_latents: int) -> tuple[int, ...]:
    """Rank of every modality in the order a mask of allowed edges stands for."""
    return tuple(int(row[::n_latents].sum()) for row in mask[::n_latents])


def _sparse(session: Session, codes: Codes, config: Config, free: Fits, grid: Sequence[float]) -> Fits:
    """Every λ of the grid, each from the seed's best fit without sparsity."""
    replicas, places = [], []
    for place, replica in enumerate(free.replicas):
        replicas += [Replica(replica.seed, weight, 0, replica.mask) for weight in grid]
        places += [place] * len(grid)
    steps = max(1, round(SPARSE_SHARE * config.component_steps))
    rate = FASTER * config.learning_rate
    return _fits(session, "sparsity", codes, replicas, steps, rate, free.take(places))


def _all_components(fits: Fits, codes: Codes, part: str, places: Sequence[int], n_levels: int) -> Tensor:
    """Components (fits × rows × all) of one part of the rows under some fits."""
    chosen = getattr(codes, part)[[place // n_levels for place in places]]
    with torch.no_grad():
        return side_by_side(to_components(fits.take(places), chosen)[0])


def _thresholds(
    session: Session, codes: Codes, config: Config, sparse: Fits, grid: Sequence[float]
) -> Tensor:
    """Strength above which an edge is drawn, (seeds × grid)."""
    n_seeds = len(session.run.seeds)
    fixed = torch.full((n_seeds, len(grid)), config.edge_threshold)
    if not config.edge_null:
        return fixed
    places = [i for i in range(len(sparse.replicas)) for _ in range(confidence.SHUFFLES)]
    parts = []
    for part in ("train", "validation"):
        z = _all_components(sparse, codes, part, places, len(grid))
        shuffled = [
            confidence.shuffled_apart(table, config.n_latents, session.run.seeds[place // len(grid)], i)
            for i, (table, place) in enumerate(zip(z, places, strict=True))
        ]
        parts.append(torch.stack(shuffled))
    stage = _prior_fits(session, "edge null", parts, sparse, places)
    found = confidence.strengths_on(session.train(stage), stage.mask, parts[0])
    null = found.reshape(n_seeds, len(grid), -1)
    allowed = stage.mask.reshape(null.shape) > 0
    levels = [
        [torch.quantile(null[i, j][allowed[i, j]], confidence.NULL_QUANTILE) for j in range(len(grid))]
        for i in range(n_seeds)
    ]
    return torch.maximum(torch.tensor(levels), fixed)


def _prior_fits(
    session: Session,
    name: str,
    parts: Sequence[Tensor],
    sparse: Fits,
    places: Sequence[int],
    start: Parameters | None = None,
) -> confidence.PriorFits:
    run = session.run
    replicas = [sparse.replicas[place] for place in places]
    batches = Batches(parts[0].shape[1], confidence.BATCH_SIZE, list(range(len(places))), run.data_seed)
    return confidence.PriorFits(
        name,
        parts[0],
        parts[1],
        [replica.seed for replica in replicas],
        torch.tensor([replica.sparsity for replica in replicas], device=run.device),
        torch.stack([replica.mask for replica in replicas]).to(run.device),
        batches,
        start,
    )


def _refit(session: Session, codes: Codes, config: Config, sparse: Fits, thresholds: Tensor) -> Fits:
    """Each λ's graph without the penalty, from where the penalised fit ended."""
    masks = (sparse.strengths.cpu() > thresholds.flatten()[:, None, None]).float()
    replicas = [
        Replica(replica.seed, 0.0, 0, mask * replica.mask)
        for replica, mask in zip(sparse.replicas, masks, strict=True)
    ]
    steps = max(1, round(REFIT_SHARE * config.component_steps))
    rate = FASTER / REFIT_SLOWER * config.learning_rate
    return _fits(session, "refit", codes, replicas, steps, rate, sparse.take(range(len(replicas))))


def _bootstraps(
    session: Session, codes: Codes, config: Config, sparse: Fits, grid: Sequence[float], chosen: Sequence[int]
) -> Tensor:
    """Edge strengths of priors fitted again on bootstrap rows, (seeds × bootstraps × targets × sources)."""
    seeds, n = session.run.seeds, config.n_bootstraps
    size = sparse.strengths.shape[1:]
    if not n:
        return torch.zeros(len(seeds), 0, *size)
    places = [i * len(grid) + level for i, level in enumerate(chosen) for _ in range(n)]
    train, validation = (
        _all_components(sparse, codes, part, places, len(grid)) for part in ("train", "validation")
    )
    drawn = torch.stack(
        [
            table[confidence.bootstrap_rows(len(table), seeds[i // n], i % n).to(table.device)]
            for i, table in enumerate(train)
        ]
    )
    prior = ("inner", "inner_bias", "outer", "linear", "bias", "log_scale")
    start = {name: value for name, value in sparse.take(places).items() if name in prior}
    stage = _prior_fits(session, "bootstraps", (drawn, validation), sparse, places, start)
    found = session.train(stage)
    return confidence.strengths_on(found, stage.mask, drawn).reshape(len(seeds), n, *size).cpu()


def _baselines(session: Session, source: Source, config: Config) -> dict[str, Tensor]:
    run = session.run
    train, validation, heldout = (
        _tensor(session, source, part) for part in ("train", "validation", "heldout")
    )
    batches = Batches(train.shape[1], COMPONENT_BATCH, run.seeds, run.data_seed)
    found = {}
    for kind in (BetaVae, SharedEmbedding):
        stage = kind(
            train, validation, run.seeds, config.n_latents, config.hidden, batches, config.baseline_steps,
            config.learning_rate,
        )  # fmt: skip
        with torch.no_grad():
            x = heldout.expand(len(run.seeds), *heldout.shape)
            found[stage.name] = baseline_latents(session.train(stage), x, config.n_latents)
    return found


def conditional_strengths(fitted: Fitted, seed: int) -> Tensor:
    """Edge strengths (targets × sources) of a seed: of the refitted graph, and of the penalised fit for pruned edges."""
    place = fitted.place(seed, fitted.chosen[seed])
    kept = fitted.refit.replicas[place].mask > 0
    return torch.where(kept, fitted.refit.strengths[place].cpu(), fitted.sparse.strengths[place].cpu())
