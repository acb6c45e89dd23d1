"""Training SAEs on one stream: the seeds of a run, and the runs of a launch, see identical batches."""

import time
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analyses.matching import match, mean_correlation_coefficient
from analyses.streams import stream_seed
from engine.errors import UserError
from engine.run import Run, Stopped
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.parts import CutTrainer, Parts, parts_of
from engine.studies.sae_consistency.results import write_results
from engine.studies.sae_consistency.saes import Sae, geometric_median
from engine.studies.sae_consistency.source import BatchOrder, Source, open_source, source_key
from engine.studies.sae_consistency.start import starting_tensors
from engine.studies.sae_consistency.trainer import Trainer, make_saes, stacks
from engine.studies.seeds import surviving

BIAS_SAMPLE = 8192
LOGGED_POINTS = 200
Batches = dict[tuple[int, int, int], Tensor]


class Training:
    """One run: its seeds on one stream, the same rows in the same order unless `seed_varies` says otherwise."""

    def __init__(self, run: Run, source: Source, parts: Parts | None = None) -> None:
        self.run, self.source = run, source
        self.config: Config = run.config
        self.whole_on = "cpu" if parts else run.device
        sample = bias_sample(source).to(self.whole_on)
        b_dec = decoder_bias(sample, self.config.decoder_bias)
        inits = [run.data_seed] * len(run.seeds) if self.config.seed_varies == "order" else run.seeds
        saes = make_saes(self.config, sample, run.seeds, inits, b_dec)
        starts = starting_tensors(self.config, run.seeds, source)
        for seeds, sae in saes:
            if seeds[0] in starts:
                sae.load(starts[seeds[0]])
        self.trainers = [self._trainer(seeds, sae, parts) for seeds, sae in saes]
        is_small = run.device == "cpu" and stacks(self.config, sample.shape[1], b_dec.device)
        self.n_threads = 1 if is_small else torch.get_num_threads()
        self.orders = [self._order(trainer) for trainer in self.trainers]
        self.match_points = match_points(self.config.steps, self.config.n_match_points)
        self.trajectory: list[dict[str, Any]] = []
        self.gt_trajectory: list[dict[str, Any]] = []
        self.step = self._restore()
        self._since, self._mark = time.perf_counter(), self.step

    def _trainer(self, seeds: Sequence[int], sae: Sae, parts: Parts | None) -> Trainer:
        if parts is None:
            return Trainer(self.config, seeds, sae)
        return CutTrainer(self.config, seeds, sae, parts)

    def _order(self, trainer: Trainer) -> BatchOrder:
        data_seed = self.run.data_seed
        if self.config.seed_varies != "init":
            data_seed = stream_seed("order of a seed", trainer.seeds[0])
        return BatchOrder(self.source.train.n_rows, self.config.batch_size, data_seed)

    def take_threads(self) -> None:
        """Products of small SAEs are quicker in one thread; bytes depend on the number, which is the run's own."""
        torch.set_num_threads(self.n_threads)

    @property
    def saes(self) -> dict[int, Sae]:
        return {seed: sae for trainer in self.trainers for seed, sae in trainer.saes().items()}

    def finish(self) -> None:
        for trainer in self.trainers:
            trainer.finish()

    def dead(self, seed: int) -> Tensor:
        """Latents (d_sae) of a seed that have been silent for `dead_after` vectors."""
        return next(trainer for trainer in self.trainers if seed in trainer.seeds).dead_of(seed)

    @property
    def measured(self) -> set[int]:
        """Steps the trajectories hold; a single seed outside a world has neither pairs nor a truth."""
        return {row["step"] for row in self.trajectory + self.gt_trajectory}

    @property
    def finished(self) -> bool:
        return self.step == self.config.steps

    def measure_if_due(self) -> None:
        if self.step in self.match_points and self.step not in self.measured:
            self._measure(self.step)

    def advance(self, batches: Batches) -> None:
        """Train one step; `batches` holds what other runs of this launch have read for it."""
        metrics = self._train_batch(self.step, batches)
        self.step += 1
        n_steps = self.config.steps
        if self.step % max(1, n_steps // LOGGED_POINTS) == 0 or self.finished:
            self._log(metrics)
        self.run.progress(self.step, n_steps, "training")
        if self.step % self.config.checkpoint_every == 0 or self.finished:
            self.checkpoint()

    def _train_batch(self, step: int, batches: Batches) -> dict[int, dict[str, float]]:
        rate = self.config.learning_rate * schedule(step, self.config)
        metrics: dict[int, dict[str, float]] = {}
        for trainer, order in zip(self.trainers, self.orders, strict=True):
            key = (id(self.source), order.batch_size, order.data_seed)
            if key not in batches:
                batches[key] = self._read(order.indices(step))
            metrics |= trainer.step(batches[key], step, rate)
        return metrics

    def _read(self, rows: Any) -> Tensor:
        x = torch.from_numpy(self.source.train.gather(rows)).to(self.run.device)
        if not bool(torch.isfinite(x).all()):
            raise UserError(
                "hook_point", "its activations hold NaN or infinite values; choose another layer or model."
            )
        return x

    def _log(self, metrics: dict[int, dict[str, float]]) -> None:
        vectors = (self.step - self._mark) * self.config.batch_size * len(metrics)
        speed = vectors / (time.perf_counter() - self._since)
        self._since, self._mark = time.perf_counter(), self.step
        rate = self.config.learning_rate * schedule(self.step - 1, self.config)
        for seed, values in metrics.items():
            self.run.log(self.step, seed, **values)
        self.run.log(self.step, learning_rate=rate, activations_per_second=speed)

    def _measure(self, step: int) -> None:
        """PW-MCC of every pair, and GT-MCC of every seed in a world, at this step."""
        decoders = {seed: sae.decoder.cpu().numpy() for seed, sae in self.saes.items()}
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

    def checkpoint(self) -> None:
        tensors = {name: value for trainer in self.trainers for name, value in trainer.tensors().items()}
        self.run.checkpoint(
            self.step, tensors, {"trajectory": self.trajectory, "gt_trajectory": self.gt_trajectory}
        )

    def _restore(self) -> int:
        restored = self.run.restore(self.whole_on)
        if restored is None:
            return 0
        step, tensors, state = restored
        self.trajectory, self.gt_trajectory = state["trajectory"], state["gt_trajectory"]
        for trainer in self.trainers:
            trainer.load(tensors)
        return step


def train(runs: Sequence[Run], finish: Callable[[Run], None] = lambda run: None) -> None:
    """Train the runs of a launch in lockstep, each batch read once; write each one's results and `finish` it.

    A run's result does not depend on its companions: one that is ahead after a resume waits for the others, and one
    that fails leaves them going on. Raises UserError when the only run fails, Stopped when asked to stop.
    """
    sources: dict[str, Source] = {}

    def open_one(run: Run) -> Training:
        key = source_key(run.config)
        sources[key] = sources.get(key) or open_source(run)
        return Training(run, sources[key], parts)

    with torch.no_grad(), parts_of(runs) as parts:
        trainings = _each(runs, open_one)
        while step_together(trainings):
            pass
        for training in trainings:
            if not training.run.ended:
                training.take_threads()
                training.finish()
                write_results(training)
                finish(training.run)


def _each(runs: Sequence[Run], action: Callable[[Run], Training]) -> list[Training]:
    found = []
    for run in runs:
        with surviving(run, alone=len(runs) == 1):
            found.append(action(run))
    return found


def step_together(trainings: Sequence[Training]) -> bool:
    """One step of those furthest behind; whether there is more to do. Raises Stopped after checkpointing all."""
    going = [training for training in trainings if not training.run.ended]
    behind = [training for training in going if not training.finished]
    step = min((training.step for training in behind), default=0)
    now = [training for training in behind if training.step == step] or going
    for training in now:
        training.take_threads()
        training.measure_if_due()
    if not behind:
        return False
    if any(training.run.should_stop for training in going):
        for training in going:
            training.checkpoint()
        raise Stopped
    batches: Batches = {}
    for training in now:
        with surviving(training.run, alone=len(trainings) == 1):
            training.take_threads()
            training.advance(batches)
    return True


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
    return {0, *(np.geomspace(1, n_steps, n - 1).round().astype(int).tolist() if n_steps else [])}


def bias_sample(source: Source) -> Tensor:
    """Evenly spaced training rows (n × d_in), the same for every seed."""
    n_rows = source.train.n_rows
    return torch.from_numpy(
        source.train.gather(np.linspace(0, n_rows - 1, min(BIAS_SAMPLE, n_rows)).astype(np.int64))
    )


def decoder_bias(sample: Tensor, kind: str) -> Tensor:
    """Start of b_dec (d_in)."""
    if kind == "zero":
        return torch.zeros(sample.shape[1], device=sample.device)
    return geometric_median(sample) if kind == "geometric_median" else sample.mean(dim=0)
