"""Appendix E: a regression in the anti-causal direction with Laplace noise, refined on its own confident predictions.

X ~ Laplace(0, 1) in 50 dimensions, N ~ Laplace(0, 0.6), Y = XΦᵀ + N with a random Φ of full rank; a network predicts X's mean and
scale from Y. Every control of the paper's claim (NLL 1.184 to 0.905, R² 0.764 to 0.855) starts anew with as many epochs.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from analyses.streams import stream_seed

DIMENSIONS, HIDDEN = 50, 128
LABELLED, UNLABELLED, TEST = 1_900, 4_900, 1_000
EPOCHS, BATCH, RATE, LONGER = 50, 128, 1e-3, 4
KEPT, ROUNDS, SMALLEST = 0.4, 3, 1e-3
ARMS = ("baseline", "confident", "random", "least_confident", "longer", "true_labels")
Data = dict[str, tuple[Tensor, Tensor]]


def draw(seed: int) -> Data:
    """Labelled, unlabelled and test rows as (Y, X)."""
    rng = np.random.default_rng(stream_seed("srf noise data", seed))
    phi = rng.standard_normal((DIMENSIONS, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    n = LABELLED + UNLABELLED + TEST
    x = rng.laplace(0, 1, (n, DIMENSIONS))
    y = x @ phi.T * np.sqrt(DIMENSIONS) + rng.laplace(0, 0.6, (n, DIMENSIONS))
    parts = np.split(np.arange(n), [LABELLED, LABELLED + UNLABELLED])
    return {
        name: (torch.tensor(y[rows], dtype=torch.float32), torch.tensor(x[rows], dtype=torch.float32))
        for name, rows in zip(("labelled", "unlabelled", "test"), parts, strict=True)
    }


def fit(y: Tensor, x: Tensor, seed: int, epochs: int) -> nn.Module:
    """A network Y → (μ, b) of X, by Laplace likelihood with Adam; initialised and shuffled by `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed("srf noise start", seed))
        network = nn.Sequential(
            nn.Linear(DIMENSIONS, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 2 * DIMENSIONS),
        )
    order = torch.Generator().manual_seed(stream_seed("srf noise order", seed))
    adam = torch.optim.Adam(network.parameters(), lr=RATE, foreach=True)
    for _ in range(epochs):
        for rows in torch.randperm(len(y), generator=order).split(BATCH):
            mean, scale = predict(network, y[rows])
            adam.zero_grad(set_to_none=True)
            nll(mean, scale, x[rows]).backward()
            adam.step()
    return network


def predict(network: nn.Module, y: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and scale of X (n × 50 each)."""
    mean, scale = network(y).chunk(2, dim=-1)
    return mean, nn.functional.softplus(scale) + SMALLEST


def nll(mean: Tensor, scale: Tensor, x: Tensor) -> Tensor:
    """Negative log-likelihood of a Laplace distribution, mean over rows and dimensions."""
    return ((x - mean).abs() / scale + torch.log(2 * scale)).mean()


@torch.no_grad()
def figures(network: nn.Module, y: Tensor, x: Tensor) -> dict[str, float]:
    """R² (mean over dimensions) and NLL."""
    mean, scale = predict(network, y)
    explained = 1 - (x - mean).square().sum(dim=0) / (x - x.mean(dim=0)).square().sum(dim=0)
    return {"r2": float(explained.mean()), "nll": float(nll(mean, scale, x))}


def noise_rows(seed: int, epochs: int = EPOCHS) -> list[dict[str, Any]]:
    """Rows of srf_noise for every arm of a seed."""
    data = draw(seed)
    y, x = data["labelled"]
    base = fit(y, x, seed, epochs)
    found = {"baseline": base, "longer": fit(y, x, seed, LONGER * epochs)}
    for arm in ("confident", "random", "least_confident"):
        network = base
        for number in range(ROUNDS):
            network = _refined(network, data, arm, seed, number, epochs)
        found[arm] = network
    every = [torch.cat(pair) for pair in zip(data["labelled"], data["unlabelled"], strict=True)]
    found["true_labels"] = fit(every[0], every[1], seed, epochs)
    return [{"seed": seed, "arm": arm, **figures(found[arm], *data["test"])} for arm in ARMS]


def _refined(network: nn.Module, data: Data, arm: str, seed: int, number: int, epochs: int) -> nn.Module:
    """One round: the means of the chosen 40 % of unlabelled rows join the labelled ones, and a new network is fitted."""
    y = data["unlabelled"][0]
    with torch.no_grad():
        mean, scale = predict(network, y)
    order = scale.mean(dim=1).argsort()
    if arm == "least_confident":
        order = order.flip(0)
    if arm == "random":
        order = torch.randperm(
            len(y), generator=torch.Generator().manual_seed(stream_seed("srf noise random", seed, number))
        )
    rows = order[: round(KEPT * len(y))]
    labelled_y, labelled_x = data["labelled"]
    return fit(torch.cat([labelled_y, y[rows]]), torch.cat([labelled_x, mean[rows]]), seed, epochs)
