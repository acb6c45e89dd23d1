"""What latents do to observations: decoders, loadings, partial dependence and interventions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import Pipeline, make_pipeline

from analyses.identifiability import correlations
from analyses.streams import stream_seed
from engine.studies.multimodal_causal.networks import Parameters
from engine.studies.multimodal_causal.prior import conditional_mean
from engine.studies.multimodal_causal.source import Source

Floats = NDArray[np.float64]
CENTRES, DECODER_ROWS, EFFECT_ROWS = 150, 3_000, 500
PENALTIES = np.logspace(-3, 2, 6)
GRID_POINTS, SHOWN_VARIABLES = 15, 12
VALUES = (-2.0, -1.0, 1.0, 2.0)


@dataclass(frozen=True)
class Mechanisms:
    """The learnt causal model of one seed over standardised latents z = (raw − centre) / scale · sign.

    `parameters` and `mask` (targets × sources) are the refitted prior's, on raw components; `names` label the latents.
    """

    parameters: Parameters
    mask: torch.Tensor
    centre: Floats
    scale: Floats
    names: tuple[str, ...]

    @property
    def graph(self) -> nx.DiGraph:
        """Edges of the mask."""
        found: nx.DiGraph = nx.DiGraph()
        found.add_nodes_from(range(len(self.names)))
        found.add_edges_from((int(s), int(t)) for t, s in torch.nonzero(self.mask))
        return found

    def mean(self, z: Floats) -> Floats:
        """Mean of every latent given the others, standardised both ways (rows × latents)."""
        raw = torch.from_numpy(z * self.scale + self.centre).float()[None]
        with torch.no_grad():
            found = conditional_mean(self.parameters, self.mask[None], raw)[0][0]
        return np.asarray((found.double().numpy() - self.centre) / self.scale)

    def do(self, z: Floats, latent: int, value: float) -> Floats:
        """z (rows × latents) after latent is set to value: its descendants anew, every latent's own noise kept."""
        noise = z - self.mean(z)
        changed = z.copy()
        changed[:, latent] = value
        below = nx.descendants(self.graph, latent)
        for target in nx.topological_sort(self.graph):
            if target in below:
                changed[:, target] = self.mean(changed)[:, target] + noise[:, target]
        return changed


def fit_decoder(latents: Floats, observed: NDArray[Any], seed: int) -> Pipeline:
    """Ridge regression on a Nyström map of an RBF kernel: mean observations (rows × variables) given a block."""
    draw = stream_seed("decoder", seed) % 2**32
    kernel = Nystroem(
        gamma=0.5 / latents.shape[1], n_components=min(CENTRES, len(latents)), random_state=draw
    )
    return make_pipeline(kernel, RidgeCV(PENALTIES)).fit(latents[:DECODER_ROWS], observed[:DECODER_ROWS])


class Effects:
    """Rows of the tables about what one seed's latents do; z is standardised, (rows × latents) in blocks of `n_latents`."""

    def __init__(
        self,
        source: Source,
        seed: int,
        mechanisms: Mechanisms,
        train: Floats,
        heldout: Floats,
        n_latents: int,
    ) -> None:
        self.source, self.seed, self.mechanisms, self.n_latents = source, seed, mechanisms, n_latents
        self.heldout = heldout
        self.rows = heldout[:EFFECT_ROWS]
        self.decoders = {
            m: fit_decoder(train[:, self.block(i)], source.train[m], seed)
            for i, m in enumerate(source.modalities)
        }

    def block(self, place: int) -> slice:
        return slice(place * self.n_latents, (place + 1) * self.n_latents)

    def loadings(self) -> list[dict[str, Any]]:
        """Spearman correlation of every latent with the variables of its own modality, held-out rows."""
        rows = []
        for place, modality in enumerate(self.source.modalities):
            found = correlations(
                self.source.heldout[modality], self.heldout[:, self.block(place)], "spearman"
            )
            for v, variable in enumerate(self.source.variables[modality]):
                for k in range(self.n_latents):
                    rows.append(
                        {
                            "seed": self.seed,
                            "latent": self.mechanisms.names[place * self.n_latents + k],
                            "variable": variable,
                            "modality": modality,
                            "correlation": found[v, k],
                        }
                    )
        return rows

    def dependence(self, loadings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Mean decoded value of a latent's most loaded variables as the latent alone moves, its block-mates as they are."""
        rows = []
        for place, modality in enumerate(self.source.modalities):
            block = self.rows[:, self.block(place)]
            names = self.source.variables[modality]
            for k in range(self.n_latents):
                latent = self.mechanisms.names[place * self.n_latents + k]
                size = {r["variable"]: abs(r["correlation"]) for r in loadings if r["latent"] == latent}
                shown = sorted(size, key=lambda name: -size[name])[:SHOWN_VARIABLES]
                low, high = (float(q) for q in np.quantile(block[:, k], [0.025, 0.975]))
                for x in np.linspace(low, high, GRID_POINTS):
                    moved = block.copy()
                    moved[:, k] = x
                    mean = self.decoders[modality].predict(moved).mean(axis=0)
                    rows += [
                        {
                            "seed": self.seed,
                            "latent": latent,
                            "variable": name,
                            "x": float(x),
                            "y": float(mean[names.index(name)]),
                        }
                        for name in shown
                    ]
        return rows

    def interventions(self) -> list[dict[str, Any]]:
        """Change of every variable's mean (standard deviations) when a latent is set; in a world also the truth."""
        rows = []
        before = self._decoded(self.rows)
        for k, latent in enumerate(self.mechanisms.names):
            for value in VALUES:
                after = self._decoded(self.mechanisms.do(self.rows, k, value))
                changes = {m: after[m] - before[m] for m in before}
                rows += self._change_rows(latent, value, "model", changes)
                if self.source.world is not None and latent in self.source.latent_names:
                    rows += self._change_rows(latent, value, "world", self._true_change(latent, value))
        return rows

    def _decoded(self, z: Floats) -> dict[str, Floats]:
        return {
            m: self.decoders[m].predict(z[:, self.block(i)]).mean(axis=0)
            for i, m in enumerate(self.source.modalities)
        }

    def _true_change(self, latent: str, value: float) -> dict[str, Floats]:
        world = self.source.world
        assert world is not None
        before, after = (
            draw(np.random.default_rng(stream_seed("world's do", self.seed)))
            for draw in (
                lambda rng: world.sample(EFFECT_ROWS, rng),
                lambda rng: world.do(latent, value, EFFECT_ROWS, rng),
            )
        )
        return {
            m: (after.observations[m] - before.observations[m]).mean(axis=0) / self.source.scale[m]
            for m in self.source.modalities
        }

    def _change_rows(
        self, latent: str, value: float, kind: str, changes: dict[str, Floats]
    ) -> list[dict[str, Any]]:
        return [
            {
                "seed": self.seed,
                "latent": latent,
                "value": value,
                "target": variable,
                "kind": kind,
                "modality": modality,
                "change": float(change),
            }
            for modality, change_of in changes.items()
            for variable, change in zip(self.source.variables[modality], change_of, strict=True)
        ]
