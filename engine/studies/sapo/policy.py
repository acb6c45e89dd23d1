"""The masked-diffusion policy: a bidirectional transformer that predicts every masked token at once (LLaDA, 2502.09992)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.errors import UserError
from engine.studies.sapo.config import Config

MASK_EPSILON = 1e-3
Logits = Callable[[Tensor], Tensor]
"""Tokens of prompt and completion (n × (P + L), on the CPU) → logits of the completion (n × L × vocabulary, anywhere)."""


class Block(nn.Module):
    """Attention and SwiGLU, each after an RMS norm and added to the stream."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        inner = -(-8 * width // 3 // 16) * 16
        self.norm_attention, self.norm_mlp = nn.RMSNorm(width), nn.RMSNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width, bias=False)
        self.attention_out = nn.Linear(width, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, length, width = x.shape
        split = self.query_key_value(self.norm_attention(x)).view(n, length, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.attention_out(attended.transpose(1, 2).reshape(n, length, width))
        gate, up = self.gate_up(self.norm_mlp(x)).chunk(2, dim=-1)
        return x + self.down(functional.silu(gate) * up)


class Policy(nn.Module):
    """Learned positions, no time input: how much is masked is seen from the masks themselves."""

    def __init__(
        self, vocabulary: int, prompt_length: int, completion_length: int, width: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        self.prompt_length = prompt_length
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(prompt_length + completion_length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.RMSNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def initialise(self, generator: torch.Generator) -> "Policy":
        """Draw every matrix from N(0, 0.02²), those that write to the stream smaller by √(2 × layers)."""
        shrink = (2 * len(self.blocks)) ** -0.5
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() > 1:
                    writes = "attention_out" in name or "down" in name
                    parameter.normal_(0, 0.02 * (shrink if writes else 1.0), generator=generator)
        return self

    def stream(self, tokens: Tensor, layer: int | None = None) -> Tensor:
        """Residual stream (n × (P + L) × width) after `layer` blocks, all of them by default."""
        x = self.tokens(tokens.to(self.positions.weight.device)) + self.positions.weight
        for block in self.blocks[: len(self.blocks) if layer is None else layer]:
            x = block(x)
        return x

    def forward(self, tokens: Tensor) -> Tensor:
        logits: Tensor = self.head(self.norm(self.stream(tokens)[:, self.prompt_length :]))
        return logits


def blank_policy(config: Config) -> Policy:
    """A small policy of a config's sizes, its weights to be drawn or loaded. Raises UserError for a large one."""
    if config.is_large:
        raise UserError(
            "policy",
            f"a run of policy {config.policy} left an adapter, not a model; only small policies open here.",
        )
    task = config.make_task()
    sizes = (len(task.vocabulary), task.prompt_length, task.completion_length)
    return Policy(*sizes, config.width, config.layers, config.heads)


def denoising_loss(
    logits_of: Logits, prompts: Tensor, completions: Tensor, mask: int, generator: torch.Generator
) -> Tensor:
    """LLaDA's loss: t ~ U(0, 1) per row, each completion token masked with p = (1 − ε) t + ε, CE / p over masked tokens.

    The prompt stays unmasked; the sum is divided by the number of completion tokens, masked or not.
    """
    n, length = completions.shape
    t = torch.rand(n, 1, generator=generator)
    p_mask = (1 - MASK_EPSILON) * t + MASK_EPSILON
    masked = torch.rand(n, length, generator=generator) < p_mask
    noisy = torch.where(masked, mask, completions)
    logits = logits_of(torch.cat([prompts, noisy], dim=1))
    truth = completions.flatten().to(logits.device)
    loss = functional.cross_entropy(logits.flatten(0, 1), truth, reduction="none")
    return (loss.view(n, length) * masked.to(loss.device) / p_mask.to(loss.device)).sum() / (n * length)


def prompt_mask(shape: torch.Size, share: float, generator: torch.Generator) -> Tensor:
    """Which prompt tokens the log-probability estimator hides."""
    return torch.rand(shape, generator=generator) < share


def log_probabilities(
    logits_of: Logits, prompts: Tensor, completions: Tensor, hidden: Tensor, mask: int
) -> Tensor:
    """Mean-field estimate of diffu-GRPO (d1, 2504.12216), n × L: one forward pass with the whole completion masked.

    `hidden` (n × P) are the prompt tokens masked too, padding (−1) never; new, old and reference policies share it. A
    sequence's log-probability is the sum over its positions, as if they were independent. At least float32.
    """
    blank = torch.full_like(completions, mask)
    logits = logits_of(torch.cat([torch.where(hidden & (prompts >= 0), mask, prompts), blank], dim=1))
    precision = torch.promote_types(logits.dtype, torch.float32)
    laws = logits.log_softmax(dim=-1, dtype=precision)
    return laws.gather(-1, completions.to(laws.device).unsqueeze(-1)).squeeze(-1)


class Trainable(Protocol):
    """What training needs of a policy besides its logits; `state_dict` holds what is trained, and nothing else."""

    def __call__(self, tokens: Tensor) -> Tensor: ...
    def parameters(self) -> Iterator[nn.Parameter]: ...
    def state_dict(self) -> Mapping[str, Tensor]: ...
    def load_state_dict(self, tensors: dict[str, Tensor]) -> Any: ...


AnyPolicy = TypeVar("AnyPolicy", bound=Trainable)


def weights(policy: Trainable) -> dict[str, Tensor]:
    """A copy of what is trained of a policy, on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in policy.state_dict().items()}


def load(policy: AnyPolicy, tensors: Mapping[str, Tensor]) -> AnyPolicy:
    policy.load_state_dict(dict(tensors))
    return policy
