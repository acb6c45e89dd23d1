"""Sentences with another style: abduct s̃, set it, predict with content and domain kept (arXiv 2402.15309, section 3).

Labels name a direction of s̃ and nothing else: the difference of the mean codes of a few labelled training texts of each style.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyses.counterfactual_text import direction, moved
from analyses.streams import stream_seed
from engine.studies.counterfactual_text.config import BETA_VAE, Config
from engine.studies.counterfactual_text.evaluation import EXO, RAW
from engine.studies.counterfactual_text.model import Latents, Model
from engine.studies.counterfactual_text.networks import TextDecoder
from engine.studies.counterfactual_text.source import Source, decode

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
LATENT = "latent"
UP, DOWN = "first axis up", "first axis down"


@dataclass(frozen=True)
class Axis:
    """A direction `unit` of codes, where the two styles stand on it (`low`, `high`), and its `spread`."""

    unit: Floats
    low: float
    high: float
    spread: float

    def level(self, target: Ints, push: float) -> Floats:
        """Where codes are set for target 0 or 1 (n): beyond the style's mean by `push` spreads."""
        return np.where(target == 1, self.high + push * self.spread, self.low - push * self.spread)


def styles_of(source: Source) -> tuple[str, str]:
    """Names of the two targets; a file without two labels is moved along the first axis of s̃."""
    assert source.texts is not None
    names = source.texts.styles
    return (names[0], names[1]) if names else (DOWN, UP)


def routes_of(arm: str) -> tuple[str, ...]:
    """The ways an arm can be moved: through s̃, by s itself; the β-VAE by its most telling single latent."""
    return (LATENT,) if arm == BETA_VAE else (EXO, RAW)


def examples(config: Config, source: Source, data_seed: int) -> Ints:
    """The labelled training texts that name the direction: `labelled` of each style and domain, as many as there are."""
    texts = source.texts
    assert texts is not None
    rng = np.random.default_rng(stream_seed("counterfactual examples", data_seed))
    rows = rng.permutation(texts.rows("train"))
    found = []
    for d in range(len(texts.domains)):
        for k in range(len(texts.styles)):
            mine = rows[(texts.domain[rows] == d) & (texts.label[rows] == k)]
            found.append(mine[: config.labelled])
    return np.concatenate(found) if found else np.array([], dtype=np.int64)


class Rewriter:
    """An arm of a seed that moves sentences; the axis of each route is read off the labelled examples once."""

    def __init__(self, config: Config, model: Model, source: Source, data_seed: int) -> None:
        assert source.texts is not None and isinstance(model.decoder, TextDecoder)
        self.config, self.model, self.source, self.decoder = config, model.eval(), source, model.decoder
        chosen = examples(config, source, data_seed)
        places = np.searchsorted(source.texts.rows("train"), chosen)
        train = source.parts["train"]
        labels = source.texts.label[chosen]
        known = len(np.unique(labels)) == 2
        shown = places if known else np.arange(min(500, len(train.seen)))
        found = self.abduct(train.seen[shown], train.domain[shown])
        self.axes = {
            route: self._axis(self._codes(found, route), labels if known else None, route)
            for route in routes_of(model.arm)
        }

    @torch.no_grad()
    def abduct(self, seen: Tensor, domain: Tensor) -> Latents:
        return self.model.latents(seen, domain)

    def _codes(self, latents: Latents, route: str) -> Floats:
        """What a route acts on (n × d)."""
        both = torch.cat([latents.content, latents.style], dim=1)
        return {EXO: latents.noise, RAW: latents.style, LATENT: both}[route].double().numpy()

    def _axis(self, codes: Floats, labels: Ints | None, route: str) -> Axis:
        if labels is None:
            first = codes[:, 0]
            return Axis(
                np.eye(codes.shape[1])[0], float(first.mean()), float(first.mean()), float(first.std())
            )
        if route == LATENT:
            gap = np.abs(codes[labels == 1].mean(axis=0) - codes[labels == 0].mean(axis=0))
            best = int(np.argmax(gap / (codes.std(axis=0) + 1e-9)))
            sign = np.sign(codes[labels == 1, best].mean() - codes[labels == 0, best].mean()) or 1.0
            unit = sign * np.eye(codes.shape[1])[best]
            along = codes @ unit
            return Axis(
                unit, float(along[labels == 0].mean()), float(along[labels == 1].mean()), float(along.std())
            )
        return Axis(*direction(codes, labels))

    @torch.no_grad()
    def rewrite(self, seen: Tensor, domain: Tensor, target: Ints, route: str) -> list[tuple[str, ...]]:
        """Sentences (n) moved to the target style (n, 0 or 1) by a route."""
        latents = self.abduct(seen, domain)
        codes = self._codes(latents, route)
        axis = self.axes[route]
        new = torch.from_numpy(
            moved(codes, axis.unit, axis.level(target, self.config.push)).astype(np.float32)
        )
        if route == EXO:
            z = self.model.predict(latents, new, domain)
        elif route == RAW:
            z = torch.cat([latents.content, new], dim=1)
        else:
            z = new
        return self.write(z)

    @torch.no_grad()
    def reconstruct(self, seen: Tensor, domain: Tensor) -> list[tuple[str, ...]]:
        """Sentences as the model writes them when nothing is moved."""
        latents = self.abduct(seen, domain)
        return self.write(torch.cat([latents.content, latents.style], dim=1))

    def write(self, z: Tensor) -> list[tuple[str, ...]]:
        """Sentences of latents (n × (d_c + d_s))."""
        return decode(self.decoder.write(z), self.source.words)


def pair_rows(config: Config, source: Source, data_seed: int) -> tuple[Ints, Ints]:
    """Test texts that are rewritten (as places in the split) and their targets: `pairs` of each domain, half to each style.

    A text goes to the other style than its own; of a domain without such labels any text does.
    """
    texts = source.texts
    assert texts is not None
    rng = np.random.default_rng(stream_seed("counterfactual pairs", data_seed))
    rows, half = texts.rows("test"), config.pairs // 2
    places, targets = [], []
    for d in range(len(texts.domains)):
        mine = rng.permutation(np.flatnonzero(texts.domain[rows] == d))
        for k in range(2):
            labelled = mine[texts.label[rows[mine]] == k]
            chosen = (
                labelled[:half]
                if len(labelled)
                else mine[texts.label[rows[mine]] < 0][k * half : (k + 1) * half]
            )
            places.append(chosen)
            targets.append(np.full(len(chosen), 1 - k))
    return np.concatenate(places), np.concatenate(targets)


def joined(texts: Sequence[tuple[str, ...]]) -> list[str]:
    """Sentences as text."""
    return [" ".join(text) for text in texts]
