"""One world and seed: learn classifier and generative model on source rows, then explain targets at every distance."""

from functools import cached_property
from math import ceil, cos, pi
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses.extrapolation import FEW, FITTED, MODERATE, NEAREST, RIGHT, SOURCE, WORLD_ARMS
from analyses.streams import stream_seed
from data.extrapolation import Rows, World
from engine.studies.extrapolation.adapting import adapt_alone, entropy, run_alone
from engine.studies.extrapolation.config import Config
from engine.studies.extrapolation.models import LATENT_PENALTY, SourceModel, Support, norm_parameters
from engine.studies.extrapolation.objectives import Fit, Objective, fit

CHUNK = 50
DRAWS = 64
CURVE_POINTS, CURVE_TARGETS = 6, 100
VALIDATION_ROWS, PROBE_ROWS, SHARED_TARGETS = 1_000, 600, 100


def make_world(config: Config, regime: str, seed: int) -> World:
    """The world of a regime: of the run, or of the seed where every seed has its own."""
    own = (seed,) if config.own_world else ()
    return World(
        regime,  # type: ignore[arg-type]
        config.n_classes, config.n_coordinates, config.n_affected, config.invariant == "continuous", config.slope,
        config.noise, stream_seed(f"extrapolation {regime} world", config.world_seed, *own),
    )  # fmt: skip


class WorldLearner:
    """`advance` does a piece of work: 50 training steps, or every arm on the targets of one distance."""

    def __init__(self, config: Config, regime: str, data_seed: int, seed: int) -> None:
        self.config, self.regime, self.data_seed, self.seed = config, regime, data_seed, seed
        self.world = make_world(config, regime, seed)
        self.model = SourceModel(config, stream_seed("extrapolation weights", seed) % 2**63)
        self.trained = list(self.model.parameters())
        self.optimiser = torch.optim.Adam(self.trained, config.learning_rate)
        self.done = 0
        self.losses: dict[str, float] = {}
        n, k = config.n_targets, len(config.distances)
        self.labels = torch.zeros((k, n), dtype=torch.long)
        self.answers = torch.zeros((k, len(WORLD_ARMS), n), dtype=torch.long)
        self.curve = torch.zeros((k, len(self.trims)), dtype=torch.float64)

    @property
    def trims(self) -> list[int]:
        """The numbers q of left-out coordinates at which the curve is taken."""
        most = self.config.n_coordinates - 2
        return sorted({round(share * most / (CURVE_POINTS - 1)) for share in range(CURVE_POINTS)})

    @property
    def training(self) -> int:
        """Pieces of work that are training."""
        return ceil(self.config.steps / CHUNK)

    @property
    def total(self) -> int:
        return self.training + len(self.config.distances)

    @property
    def step(self) -> int:
        """Training steps taken."""
        return min(self.done * CHUNK, self.config.steps)

    def rng(self, name: str, *more: int) -> np.random.Generator:
        """A named stream of this regime, data seed and seed."""
        return np.random.default_rng(
            stream_seed(f"extrapolation {self.regime} {name}", self.data_seed, self.seed, *more)
        )

    @cached_property
    def source(self) -> Rows:
        return self.world.source(self.config.n_source, self.rng("source"))

    @cached_property
    def validation(self) -> Rows:
        return self.world.source(VALIDATION_ROWS, self.rng("validation"))

    def targets(self, place: int) -> Rows:
        """The targets at the place-th distance."""
        return self.world.targets(
            self.config.n_targets, self.config.distances[place], self.rng("targets", place)
        )

    def advance(self) -> dict[str, float]:
        """One piece of work; what there is to log of it."""
        logged = self._train() if self.done < self.training else self._meet(self.done - self.training)
        self.done += 1
        return logged

    def _train(self) -> dict[str, float]:
        config, rows = self.config, self.source
        rng = self.rng("batches", self.done)
        x, y = torch.from_numpy(rows.x).float(), torch.from_numpy(rows.y)
        self.model.train()
        first = self.step
        for step in range(first, min(first + CHUNK, config.steps)):
            chosen = torch.from_numpy(rng.integers(len(rows), size=config.batch_size))
            noise = torch.from_numpy(rng.standard_normal((config.batch_size, self.model.latent_size))).float()
            class_loss, error, size = self.model.losses(x[chosen], y[chosen], noise)
            self._update(class_loss + error + LATENT_PENALTY * size, step)
        self.model.eval()
        with torch.no_grad():
            held = torch.from_numpy(self.validation.x).float(), torch.from_numpy(self.validation.y)
            class_loss, error, _ = self.model.losses(*held, torch.zeros(len(held[1]), self.model.latent_size))
        self.losses = {"class_loss": float(class_loss), "reconstruction": float(error)}
        return self.losses

    def _update(self, loss: Tensor, step: int) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = self.config.learning_rate * 0.5 * (1 + cos(pi * step / self.config.steps))
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()

    def freeze(self) -> None:
        """Training is over: parameters stay."""
        self.model.eval().requires_grad_(False)

    @cached_property
    def latents(self) -> Tensor:
        """ŝ of the source rows (n × m)."""
        with torch.no_grad():
            return self.model.encode(torch.from_numpy(self.source.x).float(), torch.from_numpy(self.source.y))

    @cached_property
    def support(self) -> Support:
        return Support.of(self.latents)

    @cached_property
    def bank(self) -> Tensor:
        """Source latents from which fits start (K × DRAWS × m)."""
        rng, y = self.rng("bank"), self.source.y
        chosen = [rng.choice(np.flatnonzero(y == k), DRAWS) for k in range(self.config.n_classes)]
        return self.latents[torch.from_numpy(np.stack(chosen))]

    def objective(self, arm: str, changed: int | None = None, pull: float | None = None) -> Objective:
        """An arm's objective with the run's knobs, or with others."""
        config = self.config
        return Objective(
            arm,
            config.pull if pull is None else pull,
            config.changed if changed is None else changed,
            config.fit_steps,
        )

    def explain(self, arm: str, x: Tensor, changed: int | None = None, pull: float | None = None) -> Fit:
        """Targets x (n × d) explained by one of the two objectives."""
        return fit(self.model, self.support, self.objective(arm, changed, pull), x, self.bank)

    def tent(self, x: Tensor) -> Tensor:
        """Logits (n × K) after TENT on each target alone: entropy lowered by the batch norms' scales and shifts."""
        net, config = self.model.classifier, self.config
        # The source's statistics stay: one sample has none of its own.
        adapted = adapt_alone(
            net, norm_parameters(net), (x,), lambda call, one: entropy(call(one[None])[0]), config.adapt_steps, config.tent_rate
        )  # fmt: skip
        return run_alone(net, adapted, (x,), lambda call, one: call(one[None])[0])

    def neighbours(self, x: Tensor) -> Tensor:
        """For each target the nearest source row's place (n)."""
        return torch.cdist(x, torch.from_numpy(self.source.x).float()).argmin(dim=1)

    def answer(self, arm: str, x: Tensor) -> Tensor:
        """Classes (n) that an arm gives to targets x (n × d)."""
        if arm in FITTED:
            return self.explain(arm, x).prediction
        if arm == NEAREST:
            return torch.from_numpy(self.source.y)[self.neighbours(x)]
        with torch.no_grad() if arm == SOURCE else torch.enable_grad():
            logits = self.model.classifier(x) if arm == SOURCE else self.tent(x)
        return logits.argmax(dim=1)

    def _meet(self, place: int) -> dict[str, float]:
        self.freeze()
        rows = self.targets(place)
        x = torch.from_numpy(rows.x).float()
        self.labels[place] = torch.from_numpy(rows.y)
        for number, arm in enumerate(WORLD_ARMS):
            self.answers[place, number] = self.answer(arm, x)
        for number, q in enumerate(self.trims):
            some = x[:CURVE_TARGETS]
            right = self.explain(FEW, some, changed=q).prediction == self.labels[place, :CURVE_TARGETS]
            self.curve[place, number] = right.double().mean()
        accuracy = (self.answers[place] == self.labels[place]).double().mean(dim=1)
        return {"accuracy": float(accuracy[WORLD_ARMS.index(RIGHT[self.regime])])}

    def shared(self) -> tuple[Rows, Rows]:
        """Source rows and targets at a moderate distance that all seeds of the run look at."""
        config = self.config
        rng = np.random.default_rng(
            stream_seed(f"extrapolation {self.regime} shared", config.world_seed, self.data_seed)
        )
        moderate = max([one for one in config.distances if one <= MODERATE] or config.distances[:1])
        return self.world.source(PROBE_ROWS, rng), self.world.targets(SHARED_TARGETS, moderate, rng)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, optimiser and what was measured, to go on from."""
        found = {f"model.{name}": value.clone() for name, value in self.model.state_dict().items()}
        for place, parameter in enumerate(self.trained):
            for name, value in self.optimiser.state.get(parameter, {}).items():
                found[f"adam.{place}.{name}"] = value.clone()
        return found | {
            "labels": self.labels.clone(),
            "answers": self.answers.clone(),
            "curve": self.curve.clone(),
        }

    def state(self) -> dict[str, Any]:
        """What else there is to go on from: nothing."""
        return {}

    def load(self, tensors: dict[str, Tensor], done: int, state: dict[str, Any]) -> None:
        """Go on from `tensors()` after `done` pieces of work."""
        self.done = done
        weights = {name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")}
        self.model.load_state_dict(weights)
        for place, parameter in enumerate(self.trained):
            names = ("step", "exp_avg", "exp_avg_sq")
            if f"adam.{place}.step" in tensors:
                self.optimiser.state[parameter] = {
                    name: tensors[f"adam.{place}.{name}"].clone() for name in names
                }
        for name in ("labels", "answers", "curve"):
            getattr(self, name).copy_(tensors[name])


def load_world(
    config: Config, regime: str, data_seed: int, seed: int, weights: dict[str, Any]
) -> WorldLearner:
    """A finished world of a run, ready to explain targets."""
    learner = WorldLearner(config, regime, data_seed, seed)
    learner.model.load_state_dict(weights)
    learner.done = learner.total
    learner.freeze()
    return learner
