"""What a finished run leaves: every table of the study."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from analyses.identifiability import mean_correlation
from engine import schema
from engine.run import Run, Stopped
from engine.studies.multimodal_causal.components import side_by_side
from engine.studies.multimodal_causal.config import Config
from engine.studies.multimodal_causal.effects import Effects, Mechanisms
from engine.studies.multimodal_causal.fitting import Fitted, strengths_and_edges
from engine.studies.multimodal_causal.names import NO_SPARSITY, OURS, PC, STAGE_ONE, TRUTH
from engine.studies.multimodal_causal.pc import PcGraph, pc_graph
from engine.studies.multimodal_causal.scoring import (
    Latents,
    against_truth,
    correlation_rows,
    graph_row,
    identify,
    latent_rows,
    score_rows,
)
from engine.studies.multimodal_causal.source import Source

Floats = NDArray[np.float64]
KEPT_ROWS = 1_000
TABLES = (
    "latents", "latent_correlations", "latent_scores", "latent_values", "latent_edges", "true_latents", "true_edges",
    "graph_scores", "latent_loadings", "partial_dependence", "latent_interventions", "sparsity_path",
)  # fmt: skip


class Results:
    """Collects the rows of all tables, seed by seed."""

    def __init__(self, run: Run, source: Source, fitted: Fitted) -> None:
        self.run, self.source, self.fitted = run, source, fitted
        self.config: Config = run.config
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        self.reference: dict[str, Latents] = {}

    def write(self) -> None:
        """Measure every seed and write the tables. Raises Stopped; what was trained is kept."""
        self._truth()
        for place, seed in enumerate(self.run.seeds):
            if self.run.should_stop:
                raise Stopped
            self.run.progress(place, len(self.run.seeds), "measuring")
            self._seed(place, seed)
        if self.source.latents is None:
            self._pc(pc_graph(self.source, self.config.n_bootstraps))
        for name, rows in self.rows.items():
            self.run.write_table(name, pa.Table.from_pylist(rows, schema=schema.run_columns(name)))
        self.run.progress(1, 1, "done")

    def _truth(self) -> None:
        source = self.source
        for modality, columns in source.blocks.items():
            self.rows["true_latents"] += [
                {"latent": source.latent_names[c], "modality": modality} for c in columns
            ]
        if source.graph is not None:
            self.rows["true_edges"] += [{"source": a, "target": b} for a, b in source.graph.edges]
        if source.latents is not None:
            self._values(None, TRUTH, source.latent_names, source.latents)

    def _values(self, seed: int | None, method: str, names: tuple[str, ...], values: Floats) -> None:
        kept = values[:KEPT_ROWS]
        self.rows["latent_values"] += [
            {"seed": seed, "method": method, "latent": name, "row": i, "value": float(value)}
            for k, name in enumerate(names)
            for i, value in enumerate(kept[:, k])
        ]

    def _seed(self, place: int, seed: int) -> None:
        fitted = self.fitted
        best = fitted.place(place, fitted.chosen[place])
        found = {
            OURS: fitted.heldout(fitted.refit, best),
            STAGE_ONE: fitted.codes.heldout[place],
            NO_SPARSITY: fitted.heldout(fitted.sparse, fitted.place(place, 0)),
            **{method: values[place] for method, values in fitted.baselines.items()},
        }
        identified = {method: self._latents(seed, method, values) for method, values in found.items()}
        self._edges(place, identified[OURS], identified[NO_SPARSITY])
        self._path(place, seed)
        self._effects(place, seed, identified[OURS])

    def _latents(self, seed: int, method: str, components: Tensor) -> Latents:
        values = standardised(flat(components))
        latents = identify(
            self.source, seed, method, values, self.config.n_latents, self.reference.get(method)
        )
        self.reference.setdefault(method, latents)
        self.rows["latents"] += latent_rows(latents)
        self.rows["latent_correlations"] += correlation_rows(self.source, latents)
        self.rows["latent_scores"] += score_rows(
            self.source, latents, self.config.n_latents, method != NO_SPARSITY, method == OURS
        )
        self._values(seed, method, latents.ids, latents.values)
        return latents

    def _edges(self, place: int, ours: Latents, dense: Latents) -> None:
        fitted = self.fitted
        at, at_zero = fitted.place(place, fitted.chosen[place]), fitted.place(place, 0)
        allowed = fitted.sparse.replicas[at].mask.numpy() > 0
        draws = fitted.draws[place].numpy()
        shares = (draws > float(fitted.thresholds[place])).mean(axis=0) if len(draws) else None
        strengths, present = strengths_and_edges(fitted, at)
        self._edge_rows(ours, allowed, strengths.numpy(), present.numpy(), shares)
        penalised = fitted.sparse.strengths[at_zero].cpu()
        free = penalised > fitted.thresholds[place]
        self._edge_rows(dense, allowed, penalised.numpy(), free.numpy() & allowed, None)

    def _edge_rows(
        self,
        latents: Latents,
        allowed: NDArray[np.bool_],
        strengths: Floats,
        present: NDArray[np.bool_],
        shares: Floats | None,
    ) -> None:
        truth = None if self.source.graph is None else set(self.source.graph.edges)
        for target, cause in np.argwhere(allowed):
            edge = (latents.names[cause], latents.names[target])
            self.rows["latent_edges"].append(
                {
                    "seed": latents.seed,
                    "method": latents.method,
                    "source": edge[0],
                    "target": edge[1],
                    "strength": float(strengths[target, cause]),
                    "present": bool(present[target, cause]),
                    "bootstrap_share": None if shares is None else float(shares[target, cause]),
                    "in_truth": None if truth is None else edge in truth,
                }
            )
        self.rows["graph_scores"].append(graph_row(self.source, latents, present, allowed))

    def _path(self, place: int, seed: int) -> None:
        fitted = self.fitted
        for level, weight in enumerate(fitted.grid):
            at = fitted.place(place, level)
            present = strengths_and_edges(fitted, at)[1].numpy()
            values = standardised(flat(fitted.heldout(fitted.refit, at)))
            latents = identify(self.source, seed, OURS, values, self.config.n_latents, None)
            scores = against_truth(self.source, latents, present)
            self.rows["sparsity_path"].append(
                {
                    "seed": seed,
                    "lambda_sparsity": weight,
                    "held_out_log_likelihood": float(fitted.refit.likelihoods[at].mean()),
                    "mcc": self._mcc(latents),
                    "n_edges": int(present.sum()),
                    "edge_f1": None if scores is None else scores.f1,
                    "chosen": level == fitted.chosen[place],
                }
            )

    def _mcc(self, latents: Latents) -> float | None:
        if self.source.latents is None:
            return None
        size = self.config.n_latents
        blocks = [
            mean_correlation(
                self.source.latents[:, columns], latents.values[:, i * size : (i + 1) * size], "spearman"
            ).value
            for i, columns in enumerate(self.source.blocks.values())
        ]
        return float(np.mean(blocks))

    def _effects(self, place: int, seed: int, latents: Latents) -> None:
        fitted = self.fitted
        at = fitted.place(place, fitted.chosen[place])
        raw = flat(fitted.heldout(fitted.refit, at))
        centre, scale = raw.mean(axis=0), raw.std(axis=0) * latents.sign
        parameters = {name: value.cpu() for name, value in fitted.refit.take([at]).items()}
        mask = fitted.refit.replicas[at].mask.cpu()
        mechanisms = Mechanisms(parameters, mask, centre, scale, latents.names)
        train = (flat(fitted.training(at)) - centre) / scale
        effects = Effects(self.source, seed, mechanisms, train, latents.values, self.config.n_latents)
        loadings = effects.loadings()
        self.rows["latent_loadings"] += loadings
        self.rows["partial_dependence"] += effects.dependence(loadings)
        self.rows["latent_interventions"] += effects.interventions()

    def _pc(self, found: PcGraph) -> None:
        seed = self.run.seeds[0]
        ids = [
            {"latent": name, "modality": modality, "name": name, "true_latent": None, "correlation": None}
            for name, modality in zip(found.names, found.modality_of, strict=True)
        ]
        self.rows["latents"] += [{"seed": seed, "method": PC, **row} for row in ids]
        self._values(seed, PC, found.names, standardised(found.values))
        modality_of = {v: m for m, names in self.source.variables.items() for v in names}
        self.rows["latent_loadings"] += [
            {"seed": seed, "latent": latent, "variable": v, "modality": modality_of[v], "correlation": value}
            for (latent, v), value in found.loadings.items()
        ]
        for (a, b), share in found.adjacent.items():
            source, target = (b, a) if (b, a) in found.arrows else (a, b)
            self.rows["latent_edges"].append(
                {
                    "seed": seed,
                    "method": PC,
                    "source": found.names[source],
                    "target": found.names[target],
                    "strength": None,
                    "present": (a, b) in found.present,
                    "bootstrap_share": share,
                    "in_truth": None,
                }
            )


def flat(components: Tensor) -> Floats:
    """(modalities × rows × latents) → rows × all latents, float64."""
    return np.asarray(side_by_side(components[None])[0].cpu().double().numpy())


def standardised(values: Floats) -> Floats:
    """Columns with mean 0 and variance 1."""
    return (values - values.mean(axis=0)) / values.std(axis=0)


def write_results(run: Run, source: Source, fitted: Fitted) -> None:
    """Write every table of the study. Raises Stopped."""
    Results(run, source, fitted).write()
