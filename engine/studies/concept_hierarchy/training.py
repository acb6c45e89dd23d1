"""Running the study: a search for every seed, or a denoiser for every seed and kind of energies."""

from collections.abc import Callable
from typing import Any, Literal, cast

import networkx as nx
import numpy as np
import pyarrow as pa

from engine import schema
from engine.run import Run, Stopped
from engine.studies.concept_hierarchy import baselines
from engine.studies.concept_hierarchy.clustering import factor_clusters, rank_clusters
from engine.studies.concept_hierarchy.config import Config
from engine.studies.concept_hierarchy.discretise import discretise
from engine.studies.concept_hierarchy.rank import pairwise_rank_statistics
from engine.studies.concept_hierarchy.results import (
    ESTIMATED_STATES,
    OURS,
    TRUE_STATES,
    Known,
    Rows,
    bootstrap_shares,
    cluster_row,
    concept_rows,
    edge_rows,
    member_rows,
    node_rows,
    rank_rows,
    score_row,
    truth_rows,
)
from engine.studies.concept_hierarchy.search import Discovery, discover
from engine.studies.concept_hierarchy.source import Ints, Sample, Source, open_source, stream

SEARCH_TABLES = (
    "hierarchy_nodes",
    "hierarchy_edges",
    "hierarchy_scores",
    "rank_statistics",
    "concept_members",
    "concept_states",
    "concept_examples",
    "discrete_states",
)
DIFFUSION_TABLES = ("diffusion_levels", "diffusion_orders", "diffusion_samples", "jacobian_sparsity")
HALF = 0.5
IMAGES = 20_000
LOGGED_POINTS = 100
Tables = dict[str, Rows]
Method = Callable[[Ints, list[str]], Discovery]


def train(run: Run) -> None:
    """Search or train what the run's config asks for and write every table. Raises UserError, Stopped."""
    tables = _train_denoisers(run) if run.config.source == "images" else _search(run)
    for name in (*SEARCH_TABLES, *DIFFUSION_TABLES):
        run.write_table(name, pa.Table.from_pylist(tables.get(name, []), schema=schema.run_columns(name)))
    run.progress(1, 1, "done")


class SeedSearch:
    """The searches of one seed; `bootstraps` holds the edges of those already done on halves of the rows."""

    def __init__(self, run: Run, source: Source, seed: int, bootstraps: list[list[list[str]]]) -> None:
        self.run, self.source, self.seed = run, source, seed
        self.config: Config = run.config
        self.bootstraps = bootstraps
        self.known = Known.of(source)
        self.sample: Sample = source.draw(seed)
        self.states, self.names = self.sample.states, list(source.names)
        self.seen = TRUE_STATES
        self.tables: Tables = {name: [] for name in SEARCH_TABLES}

    def methods(self) -> dict[str, Method]:
        """Every method that is on, ours first."""
        config = self.config
        found: dict[str, Method] = {OURS: self._discover}
        if config.linear_rank:
            found["linear rank"] = lambda x, n: baselines.linear_rlcd(
                x, n, alpha=config.alpha, max_k=max(config.max_k, 2)
            )
        if config.latent_classes:
            found["latent classes"] = lambda x, n: baselines.latent_classes(
                x, n, n_latent_states=config.n_latent_states or None, seed=self.seed
            )
        if config.pairwise_clustering:
            n_groups = len(set(self.source.groups.values())) or None
            found["pairwise clustering"] = lambda x, n: baselines.pairwise_clusters(
                x, n, n_latent_states=config.n_latent_states or None, n_clusters=n_groups
            )
        return found

    def _discover(self, states: Ints, names: list[str]) -> Discovery:
        return discover(
            states,
            names,
            alpha=self.config.alpha,
            n_latent_states=self.config.n_latent_states or None,
            statistic=self.config.statistic,
            max_k=self.config.max_k,
        )

    def execute(self, save: Callable[[], None]) -> Tables:
        """All rows of the seed; `save` is called when it may stop. Raises Stopped."""
        if self.config.continuous:
            self._discretise()
        n_states = self.config.n_states if self.config.source == "world" else None
        self._add(truth_rows(self.known, self.names, n_states, self.seed))
        ours = None
        for method, search in self.methods().items():
            save()
            found = search(self.states, self.names)
            ours = ours or found
            self._record(method, found, save)
        assert ours is not None
        self._add(concept_rows(ours, self.sample, self.states, self.names, self.source, self.seed))
        self._rank_statistics()
        return self.tables

    def _discretise(self) -> None:
        """Step 1; step 2 is also run on the true states, to show what the error of step 1 costs."""
        assert self.sample.x is not None
        found = discretise(self.sample.x, self.states, self.names, self.config.blocks == "known", self.seed)
        self.tables["discrete_states"] = [{"seed": self.seed, **row} for row in found.rows]
        self.run.log(0, self.seed, blocks_f1=found.blocks_f1)
        for method, search in self.methods().items():
            self._score(method, search(self.states, self.names))
        self.states, self.names, self.seen = found.states, list(found.names), ESTIMATED_STATES

    def _record(self, method: str, found: Discovery, save: Callable[[], None]) -> None:
        shares = self._shares(found.graph, save) if method == OURS and self.config.n_bootstraps else None
        groups, seed = self.known.groups, self.seed
        states = {name: int(column.max()) + 1 for name, column in zip(self.names, self.states.T, strict=True)}
        self._add(
            {
                "hierarchy_nodes": node_rows(
                    found.graph, self.names, {**states, **found.n_states}, groups, method, seed
                ),
                "hierarchy_edges": edge_rows(found.graph, self.names, self.known, shares, method, seed),
                "concept_members": member_rows(found.graph, self.names, method, seed),
            }
        )
        self._score(method, found)

    def _score(self, method: str, found: Discovery) -> None:
        row = score_row(found, self.names, self.known, method, self.seen, len(self.states), self.seed)
        self.tables["hierarchy_scores"].append(row)
        if method == OURS and row["skeleton_f1"] is not None:
            self.run.log(
                0, self.seed, **{f"skeleton_f1_on_{self.seen.replace(' ', '_')}": row["skeleton_f1"]}
            )

    def _shares(self, full: nx.DiGraph, save: Callable[[], None]) -> Any:
        """Confidence of the edges of `full` from searches on random halves of the rows."""
        for number in range(len(self.bootstraps), self.config.n_bootstraps):
            save()
            self.run.progress(
                number, self.config.n_bootstraps, f"searching halves of the rows, seed {self.seed}"
            )
            generator = stream("hierarchy bootstrap", self.seed, number)
            rows = generator.permutation(len(self.states))[: round(HALF * len(self.states))]
            graph = self._discover(self.states[rows], self.names).graph
            self.bootstraps.append([[a, b] for a, b in graph.edges])
        graphs = [nx.DiGraph([(a, b) for a, b in edges]) for edges in self.bootstraps]
        return bootstrap_shares(graphs, full, self.names)

    def _rank_statistics(self) -> None:
        """Every pair against the rest; where groups are known, clusters from these statistics and a factor analysis."""
        config = self.config
        rank = config.n_latent_states or max(2, int(np.median(self.states.max(axis=0) + 1)))
        found = pairwise_rank_statistics(self.states, rank, config.statistic, config.alpha)
        self.tables["rank_statistics"] += rank_rows(found, self.names, self.seed)
        groups = self.source.groups
        if groups:
            n = len(set(groups.values()))
            for method, clusters in (
                ("pairwise rank statistic", rank_clusters(found.statistic, self.names, n)),
                ("factor analysis", factor_clusters(self.states, self.names, n)),
            ):
                row = cluster_row(clusters, groups, method, self.seen, len(self.states), self.seed)
                self.tables["hierarchy_scores"].append(row)

    def _add(self, rows: Tables) -> None:
        for name, more in rows.items():
            self.tables[name] += more


def _search(run: Run) -> Tables:
    restored = run.restore()
    state: dict[str, Any] = restored[2] if restored else {"done": 0, "tables": {}, "bootstraps": []}
    step = restored[0] if restored else 0
    source = open_source(run)

    def save(always: bool = False) -> None:
        nonlocal step
        if always or run.should_stop:
            step += 1
            run.checkpoint(step, {}, state)
        if run.should_stop:
            raise Stopped

    for number, seed in enumerate(run.seeds):
        if number < state["done"]:
            continue
        run.progress(number, len(run.seeds), "searching")
        tables = SeedSearch(run, source, seed, state["bootstraps"]).execute(save)
        merged = {name: state["tables"].get(name, []) + rows for name, rows in tables.items()}
        state = {"done": number + 1, "tables": merged, "bootstraps": []}
        save(always=True)
    return cast(Tables, state["tables"])


def _train_denoisers(run: Run) -> Tables:
    """A denoiser for every seed and kind of energies, one after the other; checkpointed within each."""
    import torch

    from engine.studies.concept_hierarchy.diffusion import Diffusion

    torch.set_num_threads(1)
    config: Config = run.config
    kinds = [(seed, energies) for seed in run.seeds for energies in energies_of(config)]
    total = len(kinds) * config.diffusion_steps
    restored = run.restore()
    step, tensors, state = restored if restored else (0, {}, {"done": 0, "tables": {}})
    for number in range(state["done"], len(kinds)):
        seed, energies = kinds[number]
        before = number * config.diffusion_steps
        diffusion = Diffusion(
            images_of(config, seed, energies), seed, config.diffusion_steps, config.prediction
        )
        if step > before:
            diffusion.load(tensors, step - before)
        _train_one(run, diffusion, before, total, state)
        rows = _measured(run, diffusion, energies, config.n_generated)
        run.write_tensors(f"denoiser-seed-{seed}-{energies}", diffusion.model.state_dict())
        tables = {name: state["tables"].get(name, []) + rows[name] for name in DIFFUSION_TABLES}
        step, state = before + config.diffusion_steps, {"done": number + 1, "tables": tables}
        run.checkpoint(step, {}, state)
    return cast(Tables, state["tables"])


def energies_of(config: Config) -> list[Literal["natural", "equal"]]:
    """Kinds of energies trained on; digits have no patterns whose energies could be levelled."""
    return ["natural", "equal"] if config.images == "blob_stripes" else ["natural"]


def images_of(config: Config, seed: int, energies: Literal["natural", "equal"]) -> Any:
    """The images of a seed; digits are the same for all."""
    from data.concept_images import blob_stripes, digits

    return (
        digits()
        if config.images == "digits"
        else blob_stripes(IMAGES, energies, stream("concept images", seed))
    )


def _train_one(run: Run, diffusion: Any, before: int, total: int, state: dict[str, Any]) -> None:
    """Train a denoiser to its last step. Raises Stopped after a checkpoint."""
    config: Config = run.config
    for _ in range(diffusion.step, config.diffusion_steps):
        loss = diffusion.advance()
        step, now = diffusion.step, before + diffusion.step
        if step % max(1, config.diffusion_steps // LOGGED_POINTS) == 0:
            run.log(now, diffusion.seed, loss=loss)
        run.progress(now, total, "training denoisers")
        if run.should_stop or (step % config.checkpoint_every == 0 and step < config.diffusion_steps):
            run.checkpoint(now, diffusion.tensors(), state)
        if run.should_stop:
            raise Stopped


def _measured(run: Run, diffusion: Any, energies: str, n: int) -> Tables:
    """Rows of every diffusion table of a trained denoiser. Raises Stopped; they are then measured again."""
    from engine.studies.concept_hierarchy.diffusion import jacobian_rows, level_rows, order_rows

    def proceed() -> None:
        if run.should_stop:
            raise Stopped

    levels = level_rows(diffusion, n, proceed)
    proceed()
    orders, samples = order_rows(diffusion, n)
    rows = dict(zip(DIFFUSION_TABLES, (levels, orders, samples, jacobian_rows(diffusion)), strict=True))
    return {name: [{**row, "energies": energies} for row in found] for name, found in rows.items()}
