"""A published masked-diffusion language model as the policy: frozen, with one LoRA adapter per seed that is trained.

The reference policy is the model with its adapter disabled, and what a run keeps of a policy is its adapter, under the
names of PEFT's own files. Rows with prompts of unequal length run apart, each without its padding, so nothing depends on
how a model treats padding. Nothing here draws from torch's global generator.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from data.sapo import Task
from engine.errors import UserError
from engine.studies.adapters import adapter_parameters
from engine.studies.sapo.config import Config
from engine.studies.sapo.large_loading import Loaded, open_model
from engine.studies.sapo.policy import Logits, Trainable, load
from engine.studies.sapo.rollouts import generator_of
from engine.studies.sapo.text_task import TextTask

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linear maps with an adapter, d1's list; those a model names otherwise have none (LLaDA: output, gate and down)."""
EVALUATED = "evaluated"


class LargePolicy:
    """The model with one adapter, or without any. Logits of the completion, at most in the model's own precision."""

    def __init__(self, model: Any, loaded: Loaded, adapter: str | None, length: int) -> None:
        self.model, self.loaded, self.adapter, self.length = model, loaded, adapter, length

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens n × (P + L), padding −1 before a prompt → logits n × L × vocabulary."""
        if self.adapter is not None and self.model.active_adapter != self.adapter:
            self.model.set_adapter(self.adapter)
        with self.model.disable_adapter() if self.adapter is None else nullcontext():
            padding = (tokens < 0).sum(dim=1)
            places = [torch.nonzero(padding == each).squeeze(1) for each in padding.unique()]
            parts = [self._logits(tokens[rows, int(padding[rows[0]]) :]) for rows in places]
        if len(parts) == 1:
            return parts[0]
        return torch.cat(parts)[torch.cat(places).argsort().to(parts[0].device)]

    def _logits(self, tokens: Tensor) -> Tensor:
        found: Tensor = self.loaded.logits(self.model, tokens.to(self.loaded.device), self.length)
        return found

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        return adapter_parameters(self.model, self.adapter)

    def parameters(self) -> Iterator[nn.Parameter]:
        return (parameter for _, parameter in self._named())

    def state_dict(self) -> dict[str, Tensor]:
        return {name: parameter.detach() for name, parameter in self._named()}

    @torch.no_grad()
    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        for name, parameter in self._named():
            parameter.copy_(tensors[name])

    @torch.no_grad()
    def initialise(self, generator: torch.Generator) -> "LargePolicy":
        """Draw A from U(−1, 1) / √d_in, PEFT's law, and set B to 0: the adapter begins as nothing."""
        for name, parameter in self._named():
            if "lora_A" in name:
                drawn = torch.rand(parameter.shape, generator=generator) * 2 - 1
                parameter.copy_(drawn / math.sqrt(parameter.shape[1]))
            else:
                parameter.zero_()
        return self


class LargePolicies:
    """Adapters of one model, which all seeds share: they train one after the other."""

    def __init__(self, config: Config, device: str) -> None:
        self.config, self.found = config, open_model(config, device)
        self.rows: int | None = config.pass_rows
        self.source: str | None = (
            f"{config.large_model} · LoRA rank {config.lora_rank} · {self.found.versions}"
        )
        self.task: Task = TextTask(
            config.make_task(), self.found.tokenizer, self.found.mask, config.completion_length
        )
        self.model: Any = None
        _require_both_sides(self._policy(EVALUATED))

    def trainable(self, seed: int) -> Trainable:
        return self._policy(f"seed_{seed}").initialise(generator_of("initialisation", seed))

    def loaded(self, tensors: Mapping[str, Tensor]) -> Logits:
        return load(self._policy(EVALUATED), tensors)

    def reference(self, base: Mapping[str, Tensor]) -> Logits:
        return LargePolicy(self.model, self.found, None, self.config.completion_length)

    def _policy(self, adapter: str) -> LargePolicy:
        """The policy of an adapter, made when it is first named. Raises UserError where the model has no place for one."""
        import peft

        settings = peft.LoraConfig(
            r=self.config.lora_rank, lora_alpha=self.config.lora_alpha, target_modules=list(TARGETS)
        )
        if self.model is None:
            try:
                self.model = peft.get_peft_model(self.found.model, settings, adapter_name=adapter).eval()
            except ValueError:
                raise UserError(
                    "policy_model",
                    f"it has none of the maps {', '.join(TARGETS)}, to which LoRA could be added.",
                ) from None
        elif adapter not in self.model.peft_config:
            self.model.add_adapter(adapter, settings)
        return LargePolicy(self.model, self.found, adapter, self.config.completion_length)


@torch.no_grad()
def _require_both_sides(policy: LargePolicy) -> None:
    """Raises UserError where a prediction does not depend on later tokens: then it is no denoising model."""
    tokens = torch.zeros(2, policy.length + 1, dtype=torch.int64)
    tokens[1, -1] = 1
    first, other = policy(tokens)[:, 0].float()
    if policy.length > 1 and torch.equal(first, other):
        raise UserError(
            "policy_model",
            "its predictions do not depend on later tokens; name a masked-diffusion language model.",
        )
