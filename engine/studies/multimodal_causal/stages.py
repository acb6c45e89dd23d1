"""A training stage: replicas side by side, the best held-out state of each kept, resumable to the bit."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from engine.run import Run, Stopped
from engine.studies.multimodal_causal.networks import Parameters

CHECKS = 40
PATIENCE = 10
DECAY = 0.3


class Stage(ABC):
    """What is trained in one stage. `parameters` have the replica first; `seeds` names each replica's seed.

    `warm_up` is the step before which no state counts as best. `metrics` are logged for the replica that
    `shown` names for each seed.
    """

    name: str
    steps: int
    learning_rate: float
    seeds: Sequence[int]
    parameters: Parameters
    warm_up: int = 0

    @abstractmethod
    def losses(self, step: int) -> Tensor:
        """The training loss of every replica (replicas) at a step."""

    @abstractmethod
    def held_out(self) -> tuple[Tensor, dict[str, Tensor]]:
        """The held-out objective of every replica, lower is better, and the metrics to log, (replicas) each."""

    def step_together(self, step: int, optimiser: torch.optim.Optimizer) -> None:
        """One optimiser step of every replica; replicas share no parameter, so their sum is minimised."""
        factor = min(1.0, (self.steps - step) / max(1.0, DECAY * self.steps))
        for group in optimiser.param_groups:
            group["lr"] = self.learning_rate * factor
        optimiser.zero_grad()
        with torch.enable_grad():
            self.losses(step).sum().backward()
        optimiser.step()


class Session:
    """The stages of one run in order. Outcomes of finished stages and the state of the current one are saved.

    `outcomes` maps a stage's name to its best parameters.
    """

    def __init__(self, run: Run, checkpoint_every: int) -> None:
        self.run, self.checkpoint_every = run, checkpoint_every
        self.outcomes: dict[str, Parameters] = {}
        self.offset = 0
        restored = run.restore()
        self._step, self._tensors, self._state = restored or (0, {}, {"done": []})
        for name in self._state["done"]:
            self.outcomes[name] = _under(self._tensors, f"done/{name}/")

    def train(self, stage: Stage) -> Parameters:
        """The best held-out parameters of a stage's replicas, trained, resumed or found finished. Raises Stopped."""
        if stage.name not in self.outcomes:
            best = self._train(stage)
            self.outcomes[stage.name] = best
            self._save(self.offset + stage.steps, {})
        self.offset += stage.steps
        return self.outcomes[stage.name]

    def _train(self, stage: Stage) -> Parameters:
        live = {name: value.to(self.run.device).requires_grad_() for name, value in stage.parameters.items()}
        stage.parameters = live
        optimiser = torch.optim.Adam(list(live.values()), lr=stage.learning_rate, fused=False)
        first, best, score, waited = self._resume(stage, optimiser)
        every = max(1, stage.steps // CHECKS)
        for step in range(first, stage.steps):
            if self.run.should_stop or (step > first and step % self.checkpoint_every == 0):
                self._save(self.offset + step, _live(stage, optimiser, best, score, waited, step))
            if self.run.should_stop:
                raise Stopped
            stage.step_together(step, optimiser)
            if (step + 1) % every == 0 or step + 1 == stage.steps:
                found, metrics = stage.held_out()
                self._log(stage, step + 1, metrics)
                if step + 1 >= stage.warm_up:
                    better = found < score
                    waited = 0 if bool(better.any()) else waited + 1
                    keep_better(best, live, better)
                    score = torch.where(better, found, score)
            self.run.progress(step + 1, stage.steps, stage.name)
            if waited >= PATIENCE:
                break
        return best

    def _log(self, stage: Stage, step: int, metrics: dict[str, Tensor]) -> None:
        for seed in dict.fromkeys(stage.seeds):
            of_seed = [i for i, other in enumerate(stage.seeds) if other == seed]
            values = {name: float(value[of_seed].mean()) for name, value in metrics.items()}
            self.run.log(self.offset + step, seed, **values)

    def _resume(self, stage: Stage, optimiser: torch.optim.Adam) -> tuple[int, Parameters, Tensor, int]:
        live = stage.parameters
        if self._state.get("stage") != stage.name:
            best = {name: value.detach().clone() for name, value in live.items()}
            replicas = next(iter(live.values())).shape[0]
            return 0, best, torch.full((replicas,), torch.inf, device=self.run.device), 0
        with torch.no_grad():
            for name, value in live.items():
                value.copy_(self._tensors[f"live/{name}"])
                moments = {kind: self._tensors[f"{kind}/{name}"] for kind in ("exp_avg", "exp_avg_sq")}
                optimiser.state[value] = {"step": torch.tensor(float(self._state["stage_step"])), **moments}
        best = _under(self._tensors, "best/")
        return self._state["stage_step"], best, self._tensors["score"], self._state["waited"]

    def _save(self, step: int, live: dict[str, Any]) -> None:
        tensors = {
            f"done/{name}/{key}": value.contiguous()
            for name, outcome in self.outcomes.items()
            for key, value in outcome.items()
        }
        state = {"done": list(self.outcomes), **live.get("state", {})}
        self.run.checkpoint(step, {**tensors, **live.get("tensors", {})}, state)


def keep_better(best: Parameters, live: Parameters, better: Tensor) -> None:
    """Copy the replicas that improved into `best`, in place."""
    for name, value in live.items():
        best[name][better] = value.detach()[better]


def _live(
    stage: Stage, optimiser: torch.optim.Adam, best: Parameters, score: Tensor, waited: int, step: int
) -> dict[str, Any]:
    tensors = {"score": score.clone()}
    for name, value in stage.parameters.items():
        tensors[f"live/{name}"] = value.detach().contiguous()
        tensors[f"best/{name}"] = best[name].contiguous()
        for kind in ("exp_avg", "exp_avg_sq"):
            moment = optimiser.state[value].get(kind, torch.zeros_like(value))
            tensors[f"{kind}/{name}"] = moment.contiguous()
    return {"tensors": tensors, "state": {"stage": stage.name, "stage_step": step, "waited": waited}}


def _under(tensors: Parameters, prefix: str) -> Parameters:
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
