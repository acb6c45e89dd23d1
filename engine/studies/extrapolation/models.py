"""What is learnt on a world's source rows: a classifier of x, and a generative model x ≈ ĝ(class, ŝ) with its support.

ŝ is not observed: an encoder finds it within each class, so ŝ holds what varies there, that is s, and c's variation where c is
continuous. The classifier has batch norms, whose scales and shifts TENT adapts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot

from data.extrapolation import C_SIZE, S_SIZE
from engine.studies.extrapolation.config import Config

HIDDEN, DECODER_HIDDEN = 64, 96
LEAK = 0.2
LATENT_PENALTY = 0.01
LATENT_NOISE = 0.05
INSIDE = 0.99


def network(n_in: int, n_out: int, hidden: int, normed: bool = False) -> nn.Sequential:
    """Two hidden layers with leaky units, with batch norms if `normed`."""
    layers: list[nn.Module] = []
    for a, b in ((n_in, hidden), (hidden, hidden)):
        layers += [nn.Linear(a, b), *([nn.BatchNorm1d(b)] if normed else []), nn.LeakyReLU(LEAK)]
    return nn.Sequential(*layers, nn.Linear(hidden, n_out))


@dataclass(frozen=True)
class Support:
    """Where the source's ŝ lie: `mean` (m), `whiten` (m × m), and the whitened radius that holds 99 % of them."""

    mean: Tensor
    whiten: Tensor
    radius: Tensor

    def norm(self, latents: Tensor) -> Tensor:
        """Whitened distance from the mean (…)."""
        return ((latents - self.mean) @ self.whiten).norm(dim=-1)

    def beyond(self, latents: Tensor) -> Tensor:
        """Whitened distance from the support, 0 within."""
        return (self.norm(latents) - self.radius).clamp_min(0)

    def project(self, latents: Tensor) -> Tensor:
        """The latents drawn straight to the mean until they lie within the support."""
        shrink = (self.radius / self.norm(latents).clamp_min(1e-12)).clamp_max(1)
        return self.mean + (latents - self.mean) * shrink[..., None]

    @classmethod
    def of(cls, latents: Tensor) -> "Support":
        """The support of rows (n × m)."""
        mean = latents.mean(dim=0)
        covariance = torch.cov(latents.T).reshape(latents.shape[1], -1)
        jitter = 1e-6 * covariance.diagonal().mean().clamp_min(1e-6) * torch.eye(len(covariance))
        whiten = torch.linalg.inv(torch.linalg.cholesky(covariance + jitter)).T.contiguous()
        norms = ((latents - mean) @ whiten).norm(dim=1)
        return cls(mean, whiten, norms.quantile(INSIDE))


class SourceModel(nn.Module):
    """Classifier, encoder and class-conditional decoder of one world and seed."""

    def __init__(self, config: Config, seed: int) -> None:
        super().__init__()
        self.n_classes = config.n_classes
        self.latent_size = S_SIZE + (C_SIZE if config.invariant == "continuous" else 0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            d, k, m = config.n_coordinates, config.n_classes, self.latent_size
            self.classifier = network(d, k, HIDDEN, normed=True)
            self.encoder = network(d + k, m, HIDDEN)
            self.decoder = network(m + k, d, DECODER_HIDDEN)

    def classes(self, labels: Tensor) -> Tensor:
        return one_hot(labels, self.n_classes).to(torch.float32)

    def encode(self, x: Tensor, labels: Tensor) -> Tensor:
        """ŝ (n × m) of rows of known class."""
        found: Tensor = self.encoder(torch.cat([x, self.classes(labels)], dim=-1))
        return found

    def decode(self, labels: Tensor, latents: Tensor) -> Tensor:
        """ĝ(class, ŝ) (… × d) for labels (…) and latents (… × m)."""
        found: Tensor = self.decoder(torch.cat([latents, self.classes(labels)], dim=-1))
        return found

    def losses(self, x: Tensor, labels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropy, squared error of the reconstruction, and mean squared ŝ; `noise` (n × m) is added to ŝ."""
        latents = self.encode(x, labels)
        rebuilt = self.decode(labels, latents + LATENT_NOISE * noise)
        return (
            cross_entropy(self.classifier(x), labels),
            ((rebuilt - x) ** 2).sum(dim=-1).mean(),
            (latents**2).sum(dim=-1).mean(),
        )


def norm_parameters(net: nn.Module) -> Iterator[str]:
    """Names of the scales and shifts of a network's normalisation layers, which TENT adapts."""
    for name, module in net.named_modules():
        if "norm" in type(module).__name__.lower():
            for part, _ in module.named_parameters(recurse=False):
                yield f"{name}.{part}" if name else part
