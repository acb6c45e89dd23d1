"""Training several seeds of one SAE recipe on one stream of identical batches."""

import time
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses.matching import match, mean_correlation_coefficient
from engine.errors import UserError
from engine.run import Run, Stopped
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.results import write_results
from engine.studies.sae_consistency.saes import ARCHITECTURES, Sae, geometric_median
from engine.studies.sae_consistency.source import BatchOrder, RowSource, Source, open_source

BIAS_SAMPLE = 8192
LOGGED_POINTS = 200


class SeedTrainer:
    """One seed: its SAE, its optimiser, and how long each latent has been silent."""

    def __init__(self, config: Config, d_in: int, seed: int, b_dec: Tensor) -> None:
        self.config, self.seed = config, seed
        self.sae: Sae = ARCHITECTURES[config.architecture](config, d_in, seed, b_dec)
        self.optimiser = torch.optim.Adam(self.sae.parameters.values(), lr=config.learning_rate, foreach=True)
        self.silent = torch.zeros(config.d_sae, dtype=torch.int64, device=b_dec.device)

    @property
    def dead(self) -> Tensor:
        return self.silent >= self.config.dead_after

    def step(self, x: Tensor, learning_rate: float) -> dict[str, float]:
        """Train on a batch x (B × d_in); the step's metrics."""
        result = self.sae.step(x, self.dead)
        if not np.isfinite(result.loss):
            raise UserError("learning_rate", "the loss is no longer finite; lower learning_rate.")
        self.optimiser.param_groups[0]["lr"] = learning_rate
        self.optimiser.step()
        self.sae.constrain()
        self.silent = torch.where(result.fired, 0, self.silent + len(x))
        total = float((x - x.mean(dim=0)).square().sum())
        return {
            "loss": result.loss,
            "fvu": result.squared_error / total if total else 0.0,
            "l0": result.l0,
            "dead_fraction": float(self.dead.float().mean()),
        }

    def tensors(self) -> dict[str, Tensor]:
        """Everything a later process needs to go on bit-exactly, under names of this seed."""
        named = {**self.sae.parameters, "silent": self.silent}
        for name, parameter in self.sae.parameters.items():
            for key, value in self.optimiser.state[parameter].items():
                named[f"adam.{name}.{key}"] = value
        return {f"seed-{self.seed}.{name}": value for name, value in named.items()}

    def load(self, tensors: dict[str, Tensor]) -> None:
        mine = {
            name.removeprefix(f"seed-{self.seed}."): value
            for name, value in tensors.items()
            if name.startswith(f"seed-{self.seed}.")
        }
        self.silent = mine["silent"]
        for name, parameter in self.sae.parameters.items():
            parameter.copy_(mine[name])
            prefix = f"adam.{name}."
            keys = [key for key in mine if key.startswith(prefix)]
            state = {key.removeprefix(prefix): mine[key] for key in keys}
            self.optimiser.state[parameter] = {k: v.cpu() if k == "step" else v for k, v in state.items()}


class Training:
    """R seeds on one stream: the same rows, in the same order, for every seed."""

    def __init__(self, run: Run, source: Source) -> None:
        self.run, self.source = run, source
        self.config: Config = run.config
        self.order = BatchOrder(source.train.n_rows, self.config.batch_size, run.data_seed)
        b_dec = decoder_bias(source.train, self.config.decoder_bias).to(run.device)
        d_in = source.train.d_in
        self.trainers = [SeedTrainer(self.config, d_in, seed, b_dec) for seed in run.seeds]
        self.match_points = match_points(self.config.n_steps, self.config.n_match_points)
        self.trajectory: list[dict[str, Any]] = []
        self.gt_trajectory: list[dict[str, Any]] = []

    @property
    def measured(self) -> set[int]:
        """Steps the trajectories hold; a single seed outside a world has neither pairs nor a truth."""
        return {row["step"] for row in self.trajectory + self.gt_trajectory}

    def go(self) -> None:
        """Train to the last step, from the newest checkpoint if there is one."""
        step = self._restore()
        n_steps = self.config.n_steps
        every = max(1, n_steps // LOGGED_POINTS)
        since, mark = time.perf_counter(), step
        while True:
            if step in self.match_points and step not in self.measured:
                self._measure(step)
            if step == n_steps:
                return
            if self.run.should_stop:
                self._checkpoint(step)
                raise Stopped
            metrics = self._train_batch(step)
            step += 1
            if step % every == 0 or step == n_steps:
                speed = (
                    (step - mark) * self.order.batch_size * len(self.trainers) / (time.perf_counter() - since)
                )
                since, mark = time.perf_counter(), step
                self._log(step, metrics, speed)
            self.run.progress(step, n_steps, "training")
            if step % self.config.checkpoint_every == 0 or step == n_steps:
                self._checkpoint(step)

    def _train_batch(self, step: int) -> list[dict[str, float]]:
        rows = self.source.train.gather(self.order.indices(step))
        x = torch.from_numpy(rows).to(self.run.device)
        if not bool(torch.isfinite(x).all()):
            raise UserError(
                "hook_point", "its activations hold NaN or infinite values; choose another layer or model."
            )
        rate = self.config.learning_rate * schedule(step, self.config)
        return [trainer.step(x, rate) for trainer in self.trainers]

    def _log(self, step: int, metrics: list[dict[str, float]], speed: float) -> None:
        rate = self.config.learning_rate * schedule(step - 1, self.config)
        for trainer, values in zip(self.trainers, metrics, strict=True):
            self.run.log(step, trainer.seed, **values)
        self.run.log(step, learning_rate=rate, activations_per_second=speed)

    def _measure(self, step: int) -> None:
        """PW-MCC of every pair, and GT-MCC of every seed in a world, at this step."""
        decoders = {trainer.seed: trainer.sae.decoder.cpu().numpy() for trainer in self.trainers}
        values = []
        for a, b in combinations(decoders, 2):
            found = match(decoders[a], decoders[b])
            values.append(found.mcc_abs)
            self.trajectory.append(
                {
                    "step": step,
                    "seed_a": a,
                    "seed_b": b,
                    "pw_mcc_abs": found.mcc_abs,
                    "pw_mcc_signed": found.mcc_signed,
                }
            )
        if values:
            self.run.log(step, pw_mcc_abs=float(np.mean(values)))
        if self.source.truth is not None:
            for seed, decoder in decoders.items():
                value = mean_correlation_coefficient(decoder, self.source.truth)
                self.gt_trajectory.append({"step": step, "seed": seed, "gt_mcc_abs": value})
                self.run.log(step, seed, gt_mcc_abs=value)

    def _checkpoint(self, step: int) -> None:
        tensors = {name: value for trainer in self.trainers for name, value in trainer.tensors().items()}
        self.run.checkpoint(
            step, tensors, {"trajectory": self.trajectory, "gt_trajectory": self.gt_trajectory}
        )

    def _restore(self) -> int:
        restored = self.run.restore()
        if restored is None:
            return 0
        step, tensors, state = restored
        self.trajectory, self.gt_trajectory = state["trajectory"], state["gt_trajectory"]
        for trainer in self.trainers:
            trainer.load(tensors)
        return step


def train(run: Run) -> None:
    """Collect or open the vectors, train every seed, evaluate, match, write the tables and the SAEs."""
    source = open_source(run)
    with torch.no_grad():
        training = Training(run, source)
        training.go()
        write_results(run, source, training)


def schedule(step: int, config: Config) -> float:
    """Learning-rate factor of a step: linear warm-up, plateau, linear decay to zero at the end."""
    warmup = int(config.warmup_fraction * config.n_steps)
    decay = int(config.decay_fraction * config.n_steps)
    rising = (step + 1) / warmup if step < warmup else 1.0
    falling = (config.n_steps - step) / decay if decay and step >= config.n_steps - decay else 1.0
    return min(rising, falling)


def match_points(n_steps: int, n: int) -> set[int]:
    """n log-spaced steps from 0 to n_steps."""
    if n == 0:
        return set()
    return {0, *np.geomspace(1, n_steps, n - 1).round().astype(int).tolist()}


def decoder_bias(rows: RowSource, kind: str) -> Tensor:
    """Start of b_dec (d_in) from an evenly spaced sample of the training rows, the same for every seed."""
    if kind == "zero":
        return torch.zeros(rows.d_in)
    spaced = np.linspace(0, rows.n_rows - 1, min(BIAS_SAMPLE, rows.n_rows)).astype(np.int64)
    sample = torch.from_numpy(rows.gather(spaced))
    return geometric_median(sample) if kind == "geometric_median" else sample.mean(dim=0)
