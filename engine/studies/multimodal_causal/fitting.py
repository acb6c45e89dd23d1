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
REFIT_SHARE, REFIT_SLOWER = 0.6, 3
ACTIVE = 0.01
PRIOR = ("inner", "inner_bias", "outer", "linear", "bias", "log_scale")


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

    def one(self, place: int) -> "Fits":
        """One replica."""
        found = slice(place, place + 1)
        return Fits(self.replicas[found], self.take([place]), self.likelihoods[found], self.strengths[found])

    def take(self, places: Sequence[int]) -> Parameters:
        """Copies of the parameters of some replicas."""
        return {name: value[list(places)].detach().clone() for name, value in self.parameters.items()}


def joined(fits: Sequence[Fits]) -> Fits:
    """Several fits as one."""
    return Fits(
        [replica for one in fits for replica in one.replicas],
        {name: torch.cat([one.parameters[name] for one in fits]) for name in fits[0].parameters},
        torch.cat([one.likelihoods for one in fits]),
        torch.cat([one.strengths for one in fits]),
    )


@dataclass(frozen=True)
class Fitted:
    """Everything a run learnt. `sparse` and `refit` hold (seeds × grid) fits, seed by seed; `grid` begins with 0.

    `chosen` (seeds) are places in the grid; `thresholds` (seeds) decide which edges are drawn; `draws` are the
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
    refit = _refit(session, codes, config, sparse)
    n = len(grid)
    means = refit.likelihoods.mean(dim=1).reshape(-1, n).tolist()
    edgeless = _edgeless(session, codes, config, free).likelihoods.mean(dim=1).tolist()
    chosen = [choose_sparsity(row, alone, grid) for row, alone in zip(means, edgeless, strict=True)]
    thresholds = _thresholds(session, codes, config, sparse, n)
    best = [i * n + level for i, level in enumerate(chosen)]
    draws = _bootstraps(session, codes, config, sparse, refit, best, n)
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
    """Every λ of the grid from random starts; the start with the lowest held-out objective. λ = 0 is `free`."""
    weights = grid[1:]
    replicas = [
        Replica(one.seed, weight, restart, one.mask)
        for one, weight, restart in product(free.replicas, weights, range(config.restarts))
    ]
    rate = FASTER * config.learning_rate
    fits = _fits(session, "sparsity", codes, replicas, config.component_steps, rate)
    penalty = torch.tensor([r.sparsity for r in replicas], device=fits.strengths.device)
    objective = penalty * fits.strengths.sum(dim=(1, 2)) - fits.likelihoods.mean(dim=1)
    best = objective.reshape(len(free.replicas), len(weights), config.restarts).argmin(dim=2)
    both = [
        free.one(place) if level == 0 else fits.one(
            (place * len(weights) + level - 1) * config.restarts + int(best[place, level - 1])
        )
        for place, level in product(range(len(free.replicas)), range(len(grid)))
    ]  # fmt: skip
    return joined(both)


def _all_components(fits: Fits, codes: Codes, part: str, places: Sequence[int], n_levels: int) -> Tensor:
    """Components (fits × rows × all) of one part of the rows under some fits."""
    chosen = getattr(codes, part)[[place // n_levels for place in places]]
    with torch.no_grad():
        return side_by_side(to_components(fits.take(places), chosen)[0])


def _thresholds(session: Session, codes: Codes, config: Config, sparse: Fits, n_levels: int) -> Tensor:
    """Strength above which an edge is drawn (seeds): the fixed one, or the null's where that is larger."""
    seeds = session.run.seeds
    fixed = torch.full((len(seeds),), config.edge_threshold)
    if not config.edge_null:
        return fixed
    places = [i * n_levels for i in range(len(seeds)) for _ in range(confidence.SHUFFLES)]
    parts = []
    for part in ("train", "validation"):
        z = _all_components(sparse, codes, part, places, n_levels)
        shuffled = [
            confidence.shuffled_apart(table, config.n_latents, seeds[place // n_levels], i)
            for i, (table, place) in enumerate(zip(z, places, strict=True))
        ]
        parts.append(torch.stack(shuffled))
    stage = _prior_fits(session, "edge null", parts, sparse, places)
    found = confidence.strengths_on(session.train(stage), stage.mask, parts[0])
    groups = zip(found.chunk(len(seeds)), stage.mask.chunk(len(seeds)), strict=True)
    levels = [float(torch.quantile(null[mask > 0], confidence.NULL_QUANTILE)) for null, mask in groups]
    return torch.maximum(torch.tensor(levels), fixed)


def _prior_fits(
    session: Session,
    name: str,
    parts: Sequence[Tensor],
    sparse: Fits,
    places: Sequence[int],
    start: Parameters | None = None,
) -> confidence.PriorFits:
    """Unpenalised priors over every allowed edge, one for each place."""
    replicas = [sparse.replicas[place] for place in places]
    batches = Batches(
        parts[0].shape[1], confidence.BATCH_SIZE, list(range(len(places))), session.run.data_seed
    )
    mask = torch.stack([replica.mask for replica in replicas]).to(session.run.device)
    seeds = [replica.seed for replica in replicas]
    return confidence.PriorFits(name, parts[0], parts[1], seeds, mask, batches, start)


def _refit(session: Session, codes: Codes, config: Config, sparse: Fits) -> Fits:
    """Each λ's active edges without the penalty, from where the penalised fit ended."""
    active = (sparse.strengths.cpu() > max(config.edge_threshold, ACTIVE)).float()
    replicas = [
        Replica(replica.seed, 0.0, 0, mask * replica.mask)
        for replica, mask in zip(sparse.replicas, active, strict=True)
    ]
    steps = max(1, round(REFIT_SHARE * config.component_steps))
    rate = FASTER / REFIT_SLOWER * config.learning_rate
    return _fits(session, "refit", codes, replicas, steps, rate, sparse.take(range(len(replicas))))


def _edgeless(session: Session, codes: Codes, config: Config, free: Fits) -> Fits:
    """Every seed's fit without any edge: what the likelihood of a graph is measured from."""
    replicas = [Replica(one.seed, 0.0, 0, torch.zeros_like(one.mask)) for one in free.replicas]
    rate = FASTER * config.learning_rate
    return _fits(session, "no edges", codes, replicas, config.component_steps, rate)


def _bootstraps(
    session: Session,
    codes: Codes,
    config: Config,
    sparse: Fits,
    refit: Fits,
    best: Sequence[int],
    n_levels: int,
) -> Tensor:
    """Edge strengths of unpenalised priors on bootstrap rows, (seeds × bootstraps × targets × sources).

    The components are those of the chosen refits (`best`), whose priors they start from; every allowed edge is free.
    """
    seeds, n = session.run.seeds, config.n_bootstraps
    size = sparse.strengths.shape[1:]
    if not n:
        return torch.zeros(len(seeds), 0, *size)
    places = [place for place in best for _ in range(n)]
    train, validation = (
        _all_components(refit, codes, part, places, n_levels) for part in ("train", "validation")
    )
    drawn = torch.stack(
        [
            table[confidence.bootstrap_rows(len(table), seeds[i // n], i % n).to(table.device)]
            for i, table in enumerate(train)
        ]
    )
    start = {name: value for name, value in refit.take(places).items() if name in PRIOR}
    stage = _prior_fits(session, "bootstraps", (drawn, validation), sparse, places, start)
    found = confidence.strengths_on(session.train(stage), stage.mask, drawn)
    return found.reshape(len(seeds), n, *size).cpu()


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


def strengths_and_edges(fitted: Fitted, place: int) -> tuple[Tensor, Tensor]:
    """Edge strengths and which edges are drawn (targets × sources each) of one replica of the path.

    Strengths are the refitted graph's, and the penalised fit's for edges that were not active.
    """
    kept = fitted.refit.replicas[place].mask > 0
    refitted = fitted.refit.strengths[place].cpu()
    strengths = torch.where(kept, refitted, fitted.sparse.strengths[place].cpu())
    return strengths, kept & (refitted > fitted.thresholds[place // len(fitted.grid)])
