"""Small networks of many replicas side by side: every tensor's first dimension is the replica."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from analyses.streams import stream_seed

Parameters = dict[str, Tensor]


def generators(name: str, keys: Sequence[Sequence[int]]) -> list[torch.Generator]:
    """One generator for each replica, of the stream `name` and the replica's key (seed, restart, …)."""
    return [torch.Generator().manual_seed(stream_seed(name, *key)) for key in keys]


def uniform(draws: Sequence[torch.Generator], shape: Sequence[int], bound: float) -> Tensor:
    """Uniform in ±bound, (replicas × shape), each replica from its own generator."""
    return torch.stack([(2 * torch.rand(*shape, generator=draw) - 1) * bound for draw in draws])


def make_layers(
    draws: Sequence[torch.Generator],
    name: str,
    groups: Sequence[int],
    widths: Sequence[int],
    gain: float = 1.0,
) -> Parameters:
    """Weights of `groups` networks of the given widths in every replica; `gain` scales the last layer."""
    parameters = {}
    for layer, (fan_in, fan_out) in enumerate(pairwise(widths)):
        bound = 1 / math.sqrt(fan_in) * (gain if layer == len(widths) - 2 else 1.0)
        parameters[f"{name}.weight{layer}"] = uniform(draws, (*groups, fan_in, fan_out), bound)
        parameters[f"{name}.bias{layer}"] = uniform(draws, (*groups, 1, fan_out), bound)
    return parameters


def forward(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """The networks `name` on x (replicas × groups × rows × width); leaky ReLU between layers."""
    layer = 0
    while f"{name}.weight{layer}" in parameters:
        x = functional.leaky_relu(x, 0.1) if layer else x
        x = x @ parameters[f"{name}.weight{layer}"] + parameters[f"{name}.bias{layer}"]
        layer += 1
    return x


def standardise(x: Tensor) -> Tensor:
    """Every column of x (… × rows × width) with mean 0 and variance 1 over its rows."""
    centred = x - x.mean(dim=-2, keepdim=True)
    return centred / (centred.square().mean(dim=-2, keepdim=True) + 1e-6).sqrt()


class Batches:
    """Which rows a step reads, a function of (seed, step) alone, so that a resumed run reads the same.

    Every epoch of a seed is a new permutation, of the stream "batches" of the data seed; `rows` bounds it.
    """

    def __init__(self, n_rows: int, batch_size: int, seeds: Sequence[int], data_seed: int) -> None:
        self.n_rows, self.batch_size = n_rows, min(batch_size, n_rows)
        self.seeds, self.data_seed = list(seeds), data_seed
        self.per_epoch = n_rows // self.batch_size
        self._epoch = -1
        self._order = torch.empty(0)

    def indices(self, step: int) -> Tensor:
        """Row numbers (seeds × batch_size) of a step."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self._epoch:
            keys = [stream_seed("batches", self.data_seed, seed, epoch) for seed in self.seeds]
            orders = [np.random.default_rng(key).permutation(self.n_rows) for key in keys]
            self._order, self._epoch = torch.from_numpy(np.stack(orders)), epoch
        return self._order[:, place * self.batch_size : (place + 1) * self.batch_size]
