"""Rollouts of a policy in groups, their rewards, and the continuations that estimate a process reward."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analyses.streams import stream_seed
from data.sapo import Scores, Task
from engine.studies.sapo.config import Config
from engine.studies.sapo.grpo import group_advantages, process_reward
from engine.studies.sapo.policy import Logits
from engine.studies.sapo.sampler import Denoising, denoise, joined
from engine.studies.sapo.schedule import Schedule


def generator_of(name: str, *seeds: int) -> torch.Generator:
    """A torch generator of a named stream."""
    return torch.Generator().manual_seed(stream_seed(f"sapo {name}", *seeds))


def rng_of(name: str, *seeds: int) -> np.random.Generator:
    """A numpy generator of a named stream."""
    return np.random.default_rng(stream_seed(f"sapo {name}", *seeds))


def chunks(n: int, rows: int | None) -> list[slice]:
    """Consecutive slices of n rows, at most `rows` each; one of all without it."""
    size = rows or max(1, n)
    return [slice(at, at + size) for at in range(0, max(1, n), size)]


class Sampler:
    """A policy's ways to denoise the prompts of a task, at most `rows` of them in one forward pass (None: all)."""

    def __init__(self, config: Config, task: Task, logits_of: Logits, rows: int | None = None) -> None:
        self.config, self.task, self.logits_of, self.rows = config, task, logits_of, rows
        self.schedule: Schedule = config.schedule()

    def masked(self, n: int) -> Tensor:
        return torch.full((n, self.task.completion_length), self.task.mask)

    def sample(
        self, prompts: Tensor, generator: torch.Generator, greedy: bool = False, record: bool = False
    ) -> Denoising:
        """Denoise each prompt (n × P) from the fully masked completion."""
        return self.go_on(prompts, self.masked(len(prompts)), None, generator, greedy=greedy, record=record)

    def go_on(
        self,
        prompts: Tensor,
        states: Tensor,
        first_step: Tensor | None,
        generator: torch.Generator,
        greedy: bool = False,
        record: bool = False,
        schedule: Schedule | None = None,
    ) -> Denoising:
        """Denoise states (n × L) on from their step, at the same block and step as the rollout they come from.

        Another `schedule` than the config's may be given.
        """
        parts = [
            denoise(
                self.logits_of,
                prompts[rows],
                states[rows],
                schedule or self.schedule,
                self.task.mask,
                generator,
                temperature=0.0 if greedy else self.config.temperature,
                remasking=self.config.remasking,
                first_step=None if first_step is None else first_step[rows],
                record=record,
                open_only=self.task.is_text,
            )
            for rows in chunks(len(states), self.rows)
        ]
        return joined(parts)

    def scores(self, prompts: Tensor, completions: Tensor) -> Scores:
        return self.task.scores(prompts.numpy(), completions.numpy())


@dataclass(frozen=True)
class Group:
    """Rollouts of Q prompts × G: `prompts` and `states` have Q·G rows, the rest is Q × G; `passes` counts forward passes."""

    prompts: Tensor
    denoised: Denoising
    scores: Scores
    rewards: Tensor
    correctness: Tensor
    advantages: Tensor

    @property
    def completions(self) -> Tensor:
        return self.denoised.completions


@dataclass(frozen=True)
class Branches:
    """Continuations of rollouts: each one's rollout (row of the group), the step it starts from, and its end."""

    rollout: Tensor
    step: Tensor
    completions: Tensor
    scores: Scores


@dataclass(frozen=True)
class Process:
    """Process rewards (Q × G, 0 where none was asked for), the step t₁ of each prompt (Q), and what they cost.

    `mean` is over the rollouts that were asked for, 0 where none was.
    """

    rewards: Tensor
    t1: Tensor
    branches: Branches | None
    passes: int
    mean: float


def roll_out(sampler: Sampler, prompts: Tensor, group_size: int, generator: torch.Generator) -> Group:
    """G rollouts of each prompt (Q × P), scored against their group."""
    rows = prompts.repeat_interleave(group_size, dim=0)
    denoised = sampler.sample(rows, generator)
    scores = sampler.scores(rows, denoised.completions)
    shape = (len(prompts), group_size)
    rewards, correctness = (torch.from_numpy(x).view(shape) for x in (scores.reward, scores.correctness))
    return Group(rows, denoised, scores, rewards, correctness, group_advantages(rewards))


def draw_t1(law: str, n: int, steps: int, generator: torch.Generator) -> Tensor:
    """Steps already done at t₁, one per prompt (n), in 1 … steps − 1."""
    low, high = {
        "uniform": (1, steps - 1),
        "early": (1, max(1, (steps - 1) // 2)),
        "middle": (max(1, steps // 2), max(1, steps // 2)),
        "late": (max(1, steps // 2), steps - 1),
    }[law]
    return torch.randint(low, high + 1, (n,), generator=generator)


def process_rewards(sampler: Sampler, group: Group, needed: Tensor, generator: torch.Generator) -> Process:
    """Eq. 4 for the rollouts `needed` (Q × G): N continuations from the state after t₁ against the value at t₂.

    t₂ = T takes the mean correctness of the group's own rollouts; an earlier t₂ takes N continuations from it.
    """
    config, shape = sampler.config, group.rewards.shape
    t1 = draw_t1(config.t1, shape[0], sampler.schedule.steps, generator)
    rows = torch.nonzero(needed.flatten()).squeeze(1)
    steps = t1.repeat_interleave(shape[1])[rows]
    after, branches, passes = _values(sampler, group, rows, steps, generator)
    before = group.correctness.mean(dim=1).repeat_interleave(shape[1])[rows]
    if config.t2 == "earlier":
        t2 = (torch.rand(shape[0], generator=generator) * t1).long().repeat_interleave(shape[1])[rows]
        value, _, more = _values(sampler, group, rows, t2, generator)
        before, passes = value, passes + more
    rewards = torch.zeros(shape[0] * shape[1], dtype=torch.float64)
    rewards[rows] = process_reward(after, before)
    mean = float(rewards[rows].mean()) if len(rows) else 0.0
    return Process(rewards.view(shape), t1, branches, passes, mean)


def _values(
    sampler: Sampler, group: Group, rows: Tensor, steps: Tensor, generator: torch.Generator
) -> tuple[Tensor, Branches | None, int]:
    """Mean correctness of N continuations of each of `rows` from its state after `steps` steps."""
    if not len(rows):
        return torch.zeros(0, dtype=torch.float64), None, 0
    n = sampler.config.process_rollouts
    rollout, step = rows.repeat_interleave(n), steps.repeat_interleave(n)
    prompts = group.prompts[rollout]
    ended = sampler.go_on(prompts, group.denoised.states[rollout, step], step, generator)
    scores = sampler.scores(prompts, ended.completions)
    values = torch.from_numpy(scores.correctness).view(len(rows), n).mean(dim=1)
    return values, Branches(rollout, step, ended.completions, scores), ended.passes
