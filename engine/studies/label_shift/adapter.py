"""The adapter: a small network from class accuracies to the next log prior (arXiv 2410.04499, the prior predictor T)."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyses.streams import stream_seed
from engine.studies.label_shift.config import Config

Floats = NDArray[np.float64]
WEIGHT_DECAY_PER_ROUND = 0.995


class Adapter:
    """MLP K–h–h–K with ReLU and softmax, trained by cross-entropy on all pairs (S, observed class shares) so far."""

    def __init__(self, config: Config, n_classes: int, seed: int) -> None:
        self.config, self.n_classes, self.seed = config, n_classes, seed
        self.pairs = 0
        width = config.hidden
        sizes = ((n_classes, width), (width, width), (width, n_classes))
        first, second, last = (torch.nn.Linear(*size) for size in sizes)
        self.network = torch.nn.Sequential(first, torch.nn.ReLU(), second, torch.nn.ReLU(), last)
        generator = torch.Generator().manual_seed(stream_seed("label shift adapter", seed))
        with torch.no_grad():
            for layer in (first, second, last):
                bound = layer.in_features**-0.5
                layer.weight.uniform_(-bound, bound, generator=generator)
                layer.bias.uniform_(-bound, bound, generator=generator)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=config.learning_rate, foreach=True)

    def log_prior(self, statistics: Tensor) -> Tensor:
        """log T(S) (… × K)."""
        return torch.log_softmax(self.network(statistics), dim=-1)

    def forecast(self, statistics: Floats) -> Floats:
        """log T(S) in double precision, renormalised."""
        with torch.no_grad():
            logits = self.network(torch.from_numpy(statistics.astype(np.float32))).double()
            return np.asarray(torch.log_softmax(logits, dim=-1).numpy())

    def learn(self, statistics: Floats, marginals: Floats) -> None:
        """A round's steps on all pairs (n × K each), oldest first."""
        s, m = (torch.from_numpy(values.astype(np.float32)) for values in (statistics, marginals))
        self.pairs = len(s)
        with torch.enable_grad():
            if self.config.schedule == "released":
                self._pass(s, m)
                return
            for _ in range(self.config.steps_per_round):
                self._step(s, m, torch.ones(len(s)))

    def _pass(self, s: Tensor, m: Tensor) -> None:
        """One pass over the pairs in two halves, in a random order, older pairs weighing less."""
        weights = WEIGHT_DECAY_PER_ROUND ** torch.arange(len(s) - 1, -1, -1, dtype=torch.float32)
        rng = np.random.default_rng(stream_seed("label shift pairs", self.seed, len(s)))
        order = torch.from_numpy(rng.permutation(len(s)))
        for part in order.split(max(1, -(-len(s) // 2))):
            self._step(s[part], m[part], weights[part])

    def _step(self, s: Tensor, m: Tensor, weights: Tensor) -> None:
        self.optimiser.zero_grad()
        loss = -(weights * (m * self.log_prior(s)).sum(dim=1)).sum() / weights.sum()
        loss.backward()
        self.optimiser.step()

    def jacobian(self, statistic: Floats) -> Floats:
        """d log T / dS (K targets × K sources) at one S (K)."""
        found = torch.func.jacrev(self.log_prior)(torch.from_numpy(statistic.astype(np.float32)))
        return np.asarray(found.detach().double().numpy())

    def weights(self) -> dict[str, Tensor]:
        """A copy of the network's parameters by name."""
        return {name: value.detach().clone() for name, value in self.network.named_parameters()}

    def with_weights(self, weights: dict[str, Tensor]) -> "Adapter":
        """An adapter of the same shape with other weights."""
        other = Adapter(self.config, self.n_classes, self.seed)
        with torch.no_grad():
            for name, value in other.network.named_parameters():
                value.copy_(weights[name])
        return other

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training goes on from."""
        found = {"pairs": torch.tensor(self.pairs)}
        for name, value in self.network.named_parameters():
            state = self.optimiser.state.get(value, {})
            found[f"value.{name}"] = value.detach().clone()
            for kind in ("exp_avg", "exp_avg_sq"):
                found[f"{kind}.{name}"] = state[kind].clone() if state else torch.zeros_like(value)
            found[f"step.{name}"] = state["step"].clone() if state else torch.tensor(0.0)
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from `tensors()`."""
        self.pairs = int(tensors["pairs"])
        for name, value in self.network.named_parameters():
            with torch.no_grad():
                value.copy_(tensors[f"value.{name}"])
            if tensors[f"step.{name}"] > 0:
                self.optimiser.state[value] = {
                    "step": tensors[f"step.{name}"].clone(),
                    **{kind: tensors[f"{kind}.{name}"].clone() for kind in ("exp_avg", "exp_avg_sq")},
                }
