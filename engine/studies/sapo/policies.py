"""Where the policies of a run come from: small ones made here, or adapters of one published model (engine.studies.sapo.large)."""

from collections.abc import Mapping
from typing import Protocol

from torch import Tensor

from data.sapo import Task
from engine.studies.sapo.config import Config
from engine.studies.sapo.policy import Logits, Trainable, blank_policy, load
from engine.studies.sapo.rollouts import Sampler, generator_of


class Policies(Protocol):
    """`task` is what the policies are asked, `rows` how many completions one forward pass takes (None: any number),
    `source` the published model, if any.
    """

    config: Config
    task: Task
    rows: int | None
    source: str | None

    def trainable(self, seed: int) -> Trainable:
        """A policy of a seed's own, at its start."""
        ...

    def loaded(self, tensors: Mapping[str, Tensor]) -> Logits:
        """A policy with the weights that `policy.weights` took of one."""
        ...

    def reference(self, base: Mapping[str, Tensor]) -> Logits:
        """The policy that the KL is taken to; `base` are weights of the base."""
        ...


class SmallPolicies:
    """Policies of a config's sizes, each with all of its weights to itself."""

    rows: int | None = None
    source: str | None = None

    def __init__(self, config: Config, device: str = "cpu") -> None:
        self.config, self.device = config, device
        self.task: Task = config.make_task()

    def trainable(self, seed: int) -> Trainable:
        policy = blank_policy(self.config).initialise(generator_of("initialisation", seed))
        return policy.to(self.device)

    def loaded(self, tensors: Mapping[str, Tensor]) -> Logits:
        return load(blank_policy(self.config), tensors).requires_grad_(False).to(self.device)

    def reference(self, base: Mapping[str, Tensor]) -> Logits:
        return self.loaded(base)


def open_policies(config: Config, device: str) -> Policies:
    """The source of a run's policies on a torch device. Raises UserError where a large one cannot be loaded."""
    if config.is_large:
        from engine.studies.sapo.large import LargePolicies

        return LargePolicies(config, device)
    return SmallPolicies(config, device)


def sampler_of(policies: Policies, policy: Logits) -> Sampler:
    return Sampler(policies.config, policies.task, policy, policies.rows)
