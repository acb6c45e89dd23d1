"""The reasoners: SR² with its ablations, a feed-forward transformer, and two-state recurrences like HRM and TRM.

All share one interface: `start` gives a fresh state, `block` runs one alignment block, `decode` reads the answer. A state
is a tuple of tensors (batch × cells × width) whose last one is read. `watch(z)` is called whenever that one is renewed.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from analyses.streams import stream_seed
from engine.studies.sr2.config import Config
from engine.studies.sr2.cost import CYCLES
from engine.studies.sr2.network import Block, Embedding, linear

State = tuple[Tensor, ...]
Watch = Callable[[Tensor], None]


def ignore(z: Tensor) -> None:
    """Watch nothing."""


class Reasoner(ABC, nn.Module):
    """Weights drawn from `generator`; `states` fixed random start vectors (width), which are never trained."""

    def __init__(self, config: Config, generator: torch.Generator, n_blocks: int, states: int) -> None:
        super().__init__()
        self.config = config
        self.embed = Embedding(config, generator)
        self.layers = nn.ModuleList(Block(config, generator) for _ in range(n_blocks))
        self.head = linear(config.n_tokens, config.d_model, generator)
        initial = torch.empty(states, config.d_model)
        nn.init.trunc_normal_(initial, generator=generator)
        self.initial: Tensor
        self.register_buffer("initial", initial)

    def start(self, e: Tensor) -> State:
        """A fresh state for puzzles embedded as `e`: the fixed vectors in every cell."""
        return tuple(vector.expand_as(e) for vector in self.initial)

    @abstractmethod
    def block(self, state: State, e: Tensor, number: int, watch: Watch = ignore) -> State:
        """The state after alignment block `number` (from 0)."""

    def attending(self, state: State, e: Tensor, number: int) -> tuple[Block, Tensor]:
        """The transformer block that renews the answer next, and what it reads, for pictures of attention."""
        return self._layer(0), state[-1]

    def _layer(self, index: int) -> Block:
        return self.layers[index]  # type: ignore[return-value]

    def decode(self, state: State) -> Tensor:
        """Logits (batch × cells × tokens) of the answer."""
        return F.linear(state[-1], self.head)


class Sr2(Reasoner):
    """z ← f(z + e(x)) while reflecting, z ← f(z) while refining (arXiv 2510.08222, algorithm of the authors' code)."""

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        count = {"shared": 1, "two": 2, "unshared": config.recurrences}[config.weights]
        super().__init__(config, generator, count, states=1)

    def injects(self, block: int, step: int) -> bool:
        """Whether the puzzle is added at a step of a block (both from 0)."""
        kind = self.config.injection
        if kind == "blocks":
            return block < self.config.injected_blocks
        return kind == "always" or (kind == "once" and block == step == 0)

    def layer_of(self, block: int, step: int) -> Block:
        kind = self.config.weights
        return self._layer({"shared": 0, "two": int(block > 0), "unshared": step}[kind])

    def block(self, state: State, e: Tensor, number: int, watch: Watch = ignore) -> State:
        z = state[-1]
        for step in range(self.config.recurrences):
            z = self.layer_of(number, step)(z + e if self.injects(number, step) else z)
            watch(z)
        return (z,)

    def attending(self, state: State, e: Tensor, number: int) -> tuple[Block, Tensor]:
        z = state[-1]
        return self.layer_of(number, 0), z + e if self.injects(number, 0) else z


class FeedForward(Reasoner):
    """A transformer of `layers` blocks on the embedded puzzle, once."""

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__(config, generator, config.layers, states=0)

    def start(self, e: Tensor) -> State:
        return (e,)

    def block(self, state: State, e: Tensor, number: int, watch: Watch = ignore) -> State:
        z = e
        for layer in self.layers:
            z = layer(z)
            watch(z)
        return (z,)


class HrmLike(Reasoner):
    """A fast and a slow state in turn; gradients through the last step of each (HRM's one-step approximation)."""

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__(config, generator, 2, states=2)

    def block(self, state: State, e: Tensor, number: int, watch: Watch = ignore) -> State:
        fast, slow = state
        for cycle in range(CYCLES):
            for step in range(self.config.recurrences // 2):
                last = cycle == CYCLES - 1 and step == self.config.recurrences // 2 - 1
                with torch.set_grad_enabled(torch.is_grad_enabled() and last):
                    fast = self._layer(0)(fast + slow + e)
            with torch.set_grad_enabled(torch.is_grad_enabled() and cycle == CYCLES - 1):
                slow = self._layer(1)(slow + fast)
            watch(slow)
        return fast, slow

    def attending(self, state: State, e: Tensor, number: int) -> tuple[Block, Tensor]:
        return self._layer(1), state[0] + state[1]


class TrmLike(Reasoner):
    """One network renews a latent M times, then the answer; gradients through the last of two such cycles (TRM)."""

    def __init__(self, config: Config, generator: torch.Generator) -> None:
        super().__init__(config, generator, 1, states=2)

    def block(self, state: State, e: Tensor, number: int, watch: Watch = ignore) -> State:
        latent, answer = state
        for cycle in range(CYCLES):
            with torch.set_grad_enabled(torch.is_grad_enabled() and cycle == CYCLES - 1):
                for _ in range(self.config.recurrences):
                    latent = self._layer(0)(latent + answer + e)
                answer = self._layer(0)(answer + latent)
            watch(answer)
        return latent, answer

    def attending(self, state: State, e: Tensor, number: int) -> tuple[Block, Tensor]:
        return self._layer(0), state[0] + state[1]


MODELS: dict[str, Callable[[Config, torch.Generator], Reasoner]] = {
    "sr2": Sr2, "feed_forward": FeedForward, "hrm": HrmLike, "trm": TrmLike,
}  # fmt: skip


def make_reasoner(config: Config, seed: int) -> Reasoner:
    """A reasoner with weights of the stream "weights" of `seed`."""
    generator = torch.Generator().manual_seed(stream_seed("sr2 weights", seed))
    return MODELS[config.model](config, generator)


def n_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def trace(
    model: Reasoner,
    puzzles: Tensor,
    blocks: int,
    on_iteration: Callable[[int, Tensor], None] = lambda block, z: None,
    on_block: Callable[[int, State, Tensor], None] = lambda block, state, e: None,
) -> State:
    """Solve puzzles (batch × cells) from a fresh state, without gradients; the last state.

    `on_iteration(block, z)` is called whenever the state that is read was renewed, `on_block(block, state, e)` before
    the first block (−1) and after every block.
    """
    with torch.no_grad():
        e = model.embed(puzzles)
        state = model.start(e)
        on_block(-1, state, e)
        for number in range(blocks):
            state = model.block(state, e, number, partial(on_iteration, number))
            on_block(number, state, e)
        return state
