"""One seed: its base model, then one arm of reinforcement after the other; every step draws from a stream of its own,
so that a resume needs weights, moments and counters only."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from engine.errors import UserError
from engine.studies.sapo.audit import training_rows
from engine.studies.sapo.config import ARMS, Config
from engine.studies.sapo.grpo import (
    Indicator,
    informative_groups,
    policy_loss,
    step_aware_advantages,
)
from engine.studies.sapo.policy import (
    blank_policy,
    denoising_loss,
    load,
    log_probabilities,
    prompt_mask,
    weights,
)
from engine.studies.sapo.rollouts import (
    Group,
    Process,
    Sampler,
    generator_of,
    process_rewards,
    rng_of,
    roll_out,
)

BASE = "base"
WARMUP, BASE_UNIT, RL_UNIT = 100, 50, 2
BASE_BETAS, RL_BETAS, BASE_DECAY, BASE_GRADIENT = (0.9, 0.98), (0.9, 0.99), 0.01, 1.0
INDICATORS: Mapping[str, Indicator] = {
    "sapo": "above_average",
    "sapo_no_indicator": "none",
    "process_only": "process_only",
}
Log = Callable[..., None]


class Learner:
    """The state machine of a seed. `stage` counts base and arms, `step` the steps done in the stage.

    `ends` holds the weights after each finished stage; `passes` the forward passes of each arm's rollouts so far;
    `curve` the rows of the table `sapo_curve`, `last` some rollouts of each arm's last iteration.
    """

    def __init__(self, config: Config, seed: int, data_seed: int, log: Log) -> None:
        self.config, self.seed, self.data_seed, self.log = config, seed, data_seed, log
        self.task = config.make_task()
        self.policy = blank_policy(config).initialise(generator_of("initialisation", seed))
        self.sampler = Sampler(config, self.task, self.policy)
        self.stages = (BASE, *config.chosen_arms)
        self.stage, self.step = 0, 0
        self.ends: dict[str, dict[str, Tensor]] = {}
        self.passes: dict[str, int] = {}
        self.iterations: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.last: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.curve: list[dict[str, Any]] = []
        self.reference = self.policy
        self.optimiser = self._base_optimiser()
        self.kept_moments: dict[str, Tensor] = {}

    @property
    def finished(self) -> bool:
        return self.stage == len(self.stages)

    @property
    def arm(self) -> str:
        return self.stages[self.stage]

    def start_from(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a trained base instead of training one."""
        try:
            load(self.policy, tensors)
        except RuntimeError:
            raise UserError(
                "start_from", "that base has other sizes; give its task, width and layers, or train a base."
            ) from None
        self._next_stage()

    def advance(self) -> None:
        """Do one unit of work: 50 base steps or 2 iterations. Raises UserError where the loss is no longer finite."""
        if self.arm == BASE:
            for _ in range(BASE_UNIT):
                self._base_step()
                if self.step == self.config.base_steps:
                    return self._next_stage()
            return
        for _ in range(RL_UNIT):
            self._iteration()
            if self._arm_is_over():
                return self._next_stage()

    def work(self) -> tuple[float, float]:
        """Units done and in all, about."""
        base = 0 if self.config.start_from else self.config.base_steps / BASE_UNIT
        arm = self.config.iterations / RL_UNIT
        total = base + arm * len(self.config.chosen_arms)
        if self.finished:
            return total, total
        if self.arm == BASE:
            return self.step / BASE_UNIT, total
        done = min(self.step, self.config.iterations) / RL_UNIT
        return base + arm * (self.stage - 1) + done, total

    # Base model

    def _base_optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.policy.parameters(),
            lr=self.config.base_learning_rate,
            betas=BASE_BETAS,
            weight_decay=BASE_DECAY,
            foreach=True,
        )

    def _base_step(self) -> None:
        config = self.config
        rng = rng_of("base data", self.data_seed, self.seed, self.step)
        found = self.task.examples(rng, config.base_batch, "train")
        completions = self.task.with_junk(rng, found.completions, config.junk_share)
        left = (config.base_steps - self.step) / config.base_steps
        for group in self.optimiser.param_groups:
            group["lr"] = config.base_learning_rate * min(1, (self.step + 1) / WARMUP) * left
        loss = denoising_loss(
            self.policy,
            torch.from_numpy(found.prompts),
            torch.from_numpy(completions),
            self.task.mask,
            generator_of("base masks", self.seed, self.step),
        )
        self._update(loss, BASE_GRADIENT, "base_learning_rate")
        self.step += 1
        if self.step % BASE_UNIT == 0 or self.step == config.base_steps:
            self.log(self.step, self.seed, base_loss=loss.item())

    def _update(self, loss: Tensor, max_gradient: float, field: str) -> None:
        if not bool(torch.isfinite(loss)):
            raise UserError(field, f"the loss is no longer finite; lower {field}.")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), max_gradient)
        self.optimiser.step()

    # Arms

    def _next_stage(self) -> None:
        """Keep the weights of the stage that is over and get the next one ready."""
        self.ends[self.arm] = weights(self.policy)
        self.iterations[self.arm] = self.step
        if self.arm == "diffu_grpo":
            self.kept_moments = self._moments()
        self.stage, self.step = self.stage + 1, 0
        if not self.finished:
            self._begin_arm()

    def _prepare_arm(self) -> None:
        """A policy and a reference at the base, and a fresh optimiser."""
        self.policy = load(blank_policy(self.config), self.ends[BASE])
        self.sampler = Sampler(self.config, self.task, self.policy)
        self.reference = load(blank_policy(self.config), self.ends[BASE]).requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.policy.parameters(),
            lr=self.config.learning_rate,
            betas=RL_BETAS,
            weight_decay=self.config.weight_decay,
            foreach=True,
        )

    def _begin_arm(self) -> None:
        """Start from the base; grpo_longer goes on where diffu_grpo ended, whose first iterations are the same."""
        self._prepare_arm()
        self.passes[self.arm] = 0
        if self.arm == "grpo_longer":
            load(self.policy, self.ends["diffu_grpo"])
            self._set_moments(self.kept_moments)
            self.step = self.iterations["diffu_grpo"]
            self.passes[self.arm] = self.passes["diffu_grpo"]
            mine = [row for row in self.curve if row["arm"] == "diffu_grpo"]
            self.curve += [{**row, "arm": self.arm} for row in mine]
            self.sizes[self.arm], self.last[self.arm] = self.sizes["diffu_grpo"], self.last["diffu_grpo"]
            if self._arm_is_over():
                self._next_stage()
        else:
            self._evaluate()

    def _arm_is_over(self) -> bool:
        if self.arm == "grpo_longer":
            return self.passes[self.arm] >= self.passes["sapo"]
        return self.step >= self.config.iterations

    def _group_size(self) -> int:
        """G; for grpo_wider the G that comes nearest to the forward passes of sapo."""
        if self.arm != "grpo_wider":
            return self.config.group_size
        per_rollout = self.config.prompts * self.sampler.schedule.steps * self.config.iterations
        return max(self.config.group_size, round(self.passes["sapo"] / per_rollout))

    def _iteration(self) -> None:
        """Roll out, reward, and take μ optimiser steps."""
        config, arm = self.config, self.arm
        streams = (self.data_seed, self.seed, self.step)
        found = self.task.examples(rng_of("prompts", *streams), config.prompts, "train")
        prompts = torch.from_numpy(found.prompts)
        self.sizes[arm] = self._group_size()
        group = roll_out(self.sampler, prompts, self.sizes[arm], generator_of("rollouts", *streams))
        advantages, process = group.advantages, None
        if arm in INDICATORS:
            needed = advantages > 0 if arm == "sapo" else torch.ones_like(advantages, dtype=torch.bool)
            process = process_rewards(self.sampler, group, needed, generator_of("continuations", *streams))
            advantages = step_aware_advantages(advantages, process.rewards, INDICATORS[arm])
        self.passes[arm] += group.denoised.passes + (process.passes if process else 0)
        shown = self._improve(group, advantages.flatten(), streams)
        self.step += 1
        self._record(group, advantages, process, shown)
        self.last[arm] = training_rows(self.task, group, advantages, process, self.step)
        if self.step % config.eval_every == 0 or self._arm_is_over():
            self._evaluate()

    def _improve(self, group: Group, advantages: Tensor, streams: tuple[int, ...]) -> dict[str, float]:
        config, mask = self.config, self.task.mask
        hidden = [
            prompt_mask(group.prompts.shape, config.prompt_mask, generator_of("prompt mask", *streams, inner))
            for inner in range(config.inner_iterations)
        ]
        inputs = [(group.prompts, group.completions, each, mask) for each in hidden]
        with torch.no_grad():
            old = [log_probabilities(self.policy, *each) for each in inputs]
            reference = [log_probabilities(self.reference, *each) for each in inputs]
        shown: dict[str, float] = {}
        for each, before, anchor in zip(inputs, old, reference, strict=True):
            new = log_probabilities(self.policy, *each)
            loss, shown = policy_loss(new, before, anchor, advantages, config.clip, config.kl_weight)
            self._update(loss, config.max_gradient, "learning_rate")
        return shown

    def _record(
        self, group: Group, advantages: Tensor, process: Process | None, shown: dict[str, float]
    ) -> None:
        scores = group.scores
        row = {
            "split": "training",
            "reward": float(scores.reward.mean()),
            "exact": float(scores.exact.mean()),
            "cell": float(scores.cell.mean()),
            "junk": _mean(scores.junk),
            "trace_valid": _mean(scores.trace_valid),
            "informative": informative_groups(advantages),
            "process": None if process is None else process.mean,
            **shown,
        }
        self._add(row)
        names = ("reward", "exact", "junk", "trace_valid", "informative", "kl")
        values = {f"{self.arm}.{name}": row[name] for name in names if row[name] is not None}
        self.log(self.step, self.seed, **values)

    def _evaluate(self) -> None:
        """Sampled scores on validation prompts, the same for every arm and iteration."""
        found = self.task.examples(
            rng_of("validation", self.data_seed), self.config.eval_prompts, "validation"
        )
        prompts = torch.from_numpy(found.prompts)
        ended = self.sampler.sample(prompts, generator_of("validation", self.data_seed, self.seed, self.step))
        scores = self.sampler.scores(prompts, ended.completions)
        row = {
            "split": "validation",
            "reward": float(scores.reward.mean()),
            "exact": float(scores.exact.mean()),
            "cell": float(scores.cell.mean()),
            "junk": _mean(scores.junk),
            "trace_valid": _mean(scores.trace_valid),
            "informative": None,
            "process": None,
            "kl": None,
            "clipped": None,
        }
        self._add(row)
        self.log(self.step, self.seed, **{f"{self.arm}.validation_exact": float(scores.exact.mean())})

    def _add(self, row: dict[str, Any]) -> None:
        place = {"seed": self.seed, "arm": self.arm, "iteration": self.step, "passes": self.passes[self.arm]}
        self.curve.append({**place, **row})

    # Checkpoints

    def _moments(self) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for index, state in self.optimiser.state_dict()["state"].items():
            found |= {f"{index}.{name}": value.clone() for name, value in state.items()}
        return found

    def _set_moments(self, moments: Mapping[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in moments.items():
            index, name = key.split(".")
            state.setdefault(int(index), {})[name] = value.clone()
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})

    def tensors(self) -> dict[str, Tensor]:
        """Everything a resume needs besides `state`, under `S/<seed>/…`."""
        groups = {"policy": weights(self.policy), "moments": self._moments(), "kept": self.kept_moments}
        groups |= {f"end:{arm}": ended for arm, ended in self.ends.items()}
        return {
            f"{self.seed}/{group}/{name}": value
            for group, held in groups.items()
            for name, value in held.items()
        }

    def state(self) -> dict[str, Any]:
        names = ("stage", "step", "passes", "iterations", "sizes", "last", "curve")
        return {name: getattr(self, name) for name in names}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        groups: dict[str, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            seed, group, name = key.split("/")
            if int(seed) == self.seed:
                groups.setdefault(group, {})[name] = value
        self.ends = {arm: groups[f"end:{arm}"] for arm in (BASE, *ARMS) if f"end:{arm}" in groups}
        self.kept_moments = groups.get("kept", {})
        self.stage = state["stage"]
        if not self.finished and self.arm != BASE:
            self._prepare_arm()
        load(self.policy, groups["policy"])
        if not self.finished:
            self._set_moments(groups.get("moments", {}))
        for name, value in state.items():
            setattr(self, name, value)


def _mean(values: Any) -> float | None:
    """The mean, or None where a task has no such notion."""
    mean = float(values.mean())
    return None if mean != mean else mean
