"""Adapting a network to single samples: each gets parameters of its own and never sees another (TENT, test-time training)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Parameters = dict[str, Tensor]


def entropy(logits: Tensor) -> Tensor:
    """Entropy (…) in nats of the classes that logits (… × K) give."""
    log_p = logits.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1)


def adapt_alone(
    net: nn.Module,
    names: Iterable[str],
    inputs: tuple[Tensor, ...],
    loss: Callable[..., Tensor],
    steps: int,
    rate: float,
    start: Parameters | None = None,
) -> Parameters:
    """Copies of the named parameters (n × its shape), the i-th after `steps` of Adam on the loss of the i-th input alone.

    They begin as the network's own, or as `start` (n × its shape).
    `loss(call, *input)` is of one input; `call(*arguments, **named)` runs the network with that input's parameters.
    """
    known = dict(net.named_parameters())
    chosen = {name: known[name] for name in names}
    fixed = {name: value.detach() for name, value in known.items() if name not in chosen}
    n = len(inputs[0])
    copies = {
        name: (value.detach().expand(n, *value.shape) if start is None else start[name])
        .clone()
        .requires_grad_()
        for name, value in chosen.items()
    }

    def one(mine: Parameters, *given: Tensor) -> Tensor:
        return loss(lambda *a, **k: functional_call(net, {**fixed, **mine}, a, k), *given)

    optimiser = torch.optim.Adam(copies.values(), rate)
    losses = (
        vmap(one)
        if n > 1
        else lambda mine, *given: one({k: v[0] for k, v in mine.items()}, *(g[0] for g in given))
    )
    for _ in range(steps):
        optimiser.zero_grad()
        losses(copies, *inputs).sum().backward()
        optimiser.step()
    return {name: value.detach() for name, value in copies.items()}


@torch.no_grad()
def run_alone(
    net: nn.Module, adapted: Parameters, inputs: tuple[Tensor, ...], pick: Callable[..., Tensor]
) -> Tensor:
    """`pick(call, *input)` for every input with its own parameters (n × …)."""
    fixed = {name: value.detach() for name, value in net.named_parameters() if name not in adapted}

    def one(mine: Parameters, *given: Tensor) -> Tensor:
        return pick(lambda *a, **k: functional_call(net, {**fixed, **mine}, a, k), *given)

    if len(inputs[0]) > 1:
        found: Tensor = vmap(one)(adapted, *inputs)
        return found
    return one({name: value[0] for name, value in adapted.items()}, *(given[0] for given in inputs))[None]
