"""One seed: its base model, then one arm of reinforcement after the other; every step draws from a stream of its own,
so that a resume needs weights, moments and counters only."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from engine.errors import UserError
from engine.studies.sapo.audit import training_rows
from engine.studies.sapo.config import ARMS, INDICATORS
from engine.studies.sapo.grpo import (
    informative_groups,
    policy_loss,
    step_aware_advantages,
)
from engine.studies.sapo.policies import Policies, sampler_of
from engine.studies.sapo.policy import (
    Logits,
    denoising_loss,
    load,
    log_probabilities,
    prompt_mask,
    weights,
)
from engine.studies.sapo.rollouts import (
    Group,
    Process,
    chunks,
    generator_of,
    process_rewards,
    rng_of,
    roll_out,
)

BASE = "base"
WARMUP, BASE_UNIT, RL_UNIT = 100, 50, 2
BASE_BETAS, RL_BETAS, BASE_DECAY, BASE_GRADIENT = (0.9, 0.98), (0.9, 0.99), 0.01, 1.0
Log = Callable[..., None]


class Learner:
    """The state machine of a seed. `stage` counts base and arms, `step` the steps done in the stage.

    `ends` holds the weights after each finished stage; `passes` the forward passes of each arm's rollouts so far;
    `curve` the rows of the table `sapo_curve`, `last` some rollouts of each arm's last iteration.
    """

    def __init__(self, policies: Policies, seed: int, data_seed: int, log: Log) -> None:
        self.policies, self.seed, self.data_seed, self.log = policies, seed, data_seed, log
        self.key = str(seed)
        self.config, self.task = policies.config, policies.task
        self.policy = policies.trainable(seed)
        self.sampler = sampler_of(policies, self.policy)
        self.stages = (BASE, *self.config.chosen_arms)
        self.stage, self.step = 0, 0
        self.ends: dict[str, dict[str, Tensor]] = {}
        self.passes: dict[str, int] = {}
        self.iterations: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.last: dict[str, dict[str, list[dict[str, Any]]]] = {}
        self.curve: list[dict[str, Any]] = []
        self.reference: Logits = self.policy
        self.optimiser = self._base_optimiser()
        self.kept_moments: dict[str, Tensor] = {}

    @property
    def finished(self) -> bool:
        return self.stage == len(self.stages)

    @property
    def arm(self) -> str:
        return self.stages[self.stage]

    def start_from(self, tensors: Mapping[str, Tensor] | None) -> None:
        """Take a trained base instead of training one; None takes the policy as it is."""
        try:
            if tensors is not None:
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
        base = self.config.base_steps / BASE_UNIT if self.config.trains_base else 0
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
        found = self.task.examples(rng, config.base_batch, "base")
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
        self._update([loss], BASE_GRADIENT, "base_learning_rate")
        self.step += 1
        if self.step % BASE_UNIT == 0 or self.step == config.base_steps:
            self.log(self.step, self.seed, base_loss=loss.item())

    def _update(self, losses: Iterable[Tensor], max_gradient: float, field: str) -> None:
        """One optimiser step on the sum of losses, each propagated back before the next is made."""
        self.optimiser.zero_grad(set_to_none=True)
        for loss in losses:
            if not bool(torch.isfinite(loss)):
                raise UserError(field, f"the loss is no longer finite; lower {field}.")
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
        """The policy and a reference at the base, and a fresh optimiser."""
        load(self.policy, self.ends[BASE])
        self.reference = self.policies.reference(self.ends[BASE])
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
        """μ optimiser steps; what to log of the last one."""
        config, shape = self.config, group.prompts.shape
        hidden = [
            prompt_mask(shape, config.prompt_mask, generator_of("prompt mask", *streams, inner))
            for inner in range(config.inner_iterations)
        ]
        with torch.no_grad():
            old = [self._log_probabilities(self.policy, group, each) for each in hidden]
            anchor = [self._log_probabilities(self.reference, group, each) for each in hidden]
        shown: dict[str, float] = {}
        for place in zip(hidden, old, anchor, strict=True):
            shown = {}
            losses = self._losses(group, advantages, *place, shown)
            self._update(losses, config.max_gradient, "learning_rate")
        return shown

    def _log_probabilities(self, logits_of: Logits, group: Group, hidden: Tensor) -> Tensor:
        """Of every rollout's tokens (n × L), a pass's rows at a time."""
        parts = [
            log_probabilities(
                logits_of, group.prompts[rows], group.completions[rows], hidden[rows], self.task.mask
            )
            for rows in chunks(len(hidden), self.policies.rows)
        ]
        return torch.cat(parts)

    def _losses(
        self,
        group: Group,
        advantages: Tensor,
        hidden: Tensor,
        old: Tensor,
        anchor: Tensor,
        shown: dict[str, float],
    ) -> Iterator[Tensor]:
        """A pass's share of the loss at a time; `shown` gets what to log of all of them."""
        counted = torch.from_numpy(self.task.counted(group.completions.numpy()))
        for rows in chunks(len(hidden), self.policies.rows):
            inputs = (group.prompts[rows], group.completions[rows], hidden[rows], self.task.mask)
            new = log_probabilities(self.policy, *inputs)
            parts = (new, old[rows], anchor[rows], advantages[rows], self.config.clip, self.config.kl_weight)
            loss, figures = policy_loss(*parts, counted[rows])
            share = float(counted[rows].sum() / counted.sum())
            for name, value in figures.items():
                shown[name] = shown.get(name, 0.0) + share * value
            yield share * loss

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
            found |= {f"{index}.{name}": value.to("cpu", copy=True) for name, value in state.items()}
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
                groups.setdefault(group, {})[name] = value.cpu()
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
