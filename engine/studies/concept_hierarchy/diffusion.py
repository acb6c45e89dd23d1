"""Concept levels by diffusion timestep: a small conditional denoiser, and concepts injected part of the way.

The reading of arXiv 2406.00519, sections 6 and 7.1: an early reverse step decides high-level concepts, a late one
low-level concepts. Each condition is dropped at random in training, so a concept "not yet injected" is a null token.
How early a concept must be injected also depends on the energy of its pattern; the control "equal" levels that.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from analyses.streams import stream_seed
from data.concept_images import SIDE, ConceptImages

Prediction = Literal["noise", "velocity"]

TIMESTEPS = 100
BETAS = (1e-4, 0.15)
WIDTH, EMBEDDING = 256, 32
DROPPED = 0.3
BATCH, LEARNING_RATE = 256, 1e-3
STARTS = tuple(round(0.1 * i, 1) for i in range(11))
SECOND = 0.4
SHOWN = 8
JACOBIAN_IMAGES, JACOBIAN_TIMES = 32, tuple(range(0, TIMESTEPS, 5))
PIXELS = SIDE * SIDE
CONCEPTS, ORDERS = ("high", "low"), {"high first": (0.0, SECOND), "low first": (SECOND, 0.0)}


class Denoiser(nn.Module):
    """What is predicted of a noisy image (B × 64), its timestep and two concepts (B), `n_high` / `n_low` for none."""

    def __init__(self, n_high: int, n_low: int) -> None:
        super().__init__()
        self.time = nn.Embedding(TIMESTEPS, EMBEDDING)
        self.high = nn.Embedding(n_high + 1, EMBEDDING)
        self.low = nn.Embedding(n_low + 1, EMBEDDING)
        self.layers = nn.Sequential(
            nn.Linear(PIXELS + 3 * EMBEDDING, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.SiLU(),
            nn.Linear(WIDTH, PIXELS),
        )

    def forward(self, x: Tensor, t: Tensor, high: Tensor, low: Tensor) -> Tensor:
        return self.layers(torch.cat([x, self.time(t), self.high(high), self.low(low)], dim=-1))


class Diffusion:
    """One denoiser of one seed, trained step by step; `tensors` and `load` make it resumable bit by bit.

    It predicts the noise ε, as Stable Diffusion in the paper does, or the velocity √ᾱ ε − √(1 − ᾱ) x (Salimans & Ho
    2022). Both have the same optimum, but at high noise an error in ε is a large error in the image. Weights and
    batches come from streams of their own, each step's from the seed and the step's number.
    """

    def __init__(
        self, data: ConceptImages, seed: int, n_steps: int, prediction: Prediction = "noise"
    ) -> None:
        self.data, self.seed, self.n_steps, self.step = data, seed, n_steps, 0
        self.prediction = prediction
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed("denoiser start", seed))
            self.model = Denoiser(data.n_high, data.n_low)
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE)
        self.images = torch.from_numpy(data.images).float()
        self.concepts = torch.from_numpy(np.stack([data.high, data.low]))
        self.betas = torch.linspace(BETAS[0] ** 0.5, BETAS[1] ** 0.5, TIMESTEPS) ** 2
        self.kept = torch.cumprod(1 - self.betas, dim=0)

    def advance(self) -> float:
        """One optimiser step on a random batch; the mean squared error of what is predicted."""
        generator = self._generator("denoiser batch", self.step)
        rows = torch.randint(len(self.images), (BATCH,), generator=generator)
        t = torch.randint(TIMESTEPS, (BATCH,), generator=generator)
        noise = torch.randn(BATCH, PIXELS, generator=generator)
        dropped = torch.rand(2, BATCH, generator=generator) < DROPPED
        nulls = torch.tensor([[self.data.n_high], [self.data.n_low]])
        high, low = torch.where(dropped, nulls, self.concepts[:, rows])
        x = self.images[rows]
        for group in self.optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, 4 * (1 - self.step / self.n_steps))
        with torch.enable_grad():
            loss = (
                (self.model(self.noisy(x, t, noise), t, high, low) - self._target(x, t, noise))
                .square()
                .mean()
            )
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        self.step += 1
        return float(loss.detach())

    def noisy(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Images (B × 64) at timestep `t` (B) of the forward process."""
        kept = self.kept[t][:, None]
        return kept.sqrt() * x + (1 - kept).sqrt() * noise

    def _target(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        if self.prediction == "noise":
            return noise
        kept = self.kept[t][:, None]
        return kept.sqrt() * noise - (1 - kept).sqrt() * x

    def _noise_in(self, x: Tensor, t: int, high: Tensor, low: Tensor) -> Tensor:
        """The noise ε̂ (B × 64) that the model sees in images at timestep t."""
        found = self.model(x, torch.full((len(x),), t), high, low)
        if self.prediction == "noise":
            return found
        return self.kept[t].sqrt() * found + (1 - self.kept[t]).sqrt() * x

    def _generator(self, name: str, *numbers: int) -> torch.Generator:
        return torch.Generator().manual_seed(stream_seed(name, self.seed, *numbers))

    def tensors(self) -> dict[str, Tensor]:
        """Weights and Adam's moments."""
        found = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            found |= {f"adam.{number}.{name}": value for name, value in state.items()}
        return found

    def load(self, tensors: dict[str, Tensor], step: int) -> None:
        """Continue from what `tensors` held at `step`."""
        named = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
        self.model.load_state_dict(named)
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("adam."):
                _, number, name = key.split(".")
                state.setdefault(int(number), {})[name] = value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": state})
        self.step = step

    @torch.no_grad()
    def generate(self, high: Tensor, low: Tensor, starts: tuple[float, float], stream: int) -> Tensor:
        """Images (n × 64) with `high` and `low` (n) injected from these fractions of the reverse steps on; 1 is never."""
        generator = self._generator("denoiser sample", stream)
        n = len(high)
        nulls = torch.full((n,), self.data.n_high), torch.full((n,), self.data.n_low)
        x = torch.randn(n, PIXELS, generator=generator)
        for done in range(TIMESTEPS):
            t = TIMESTEPS - 1 - done
            given = [done >= round(start * TIMESTEPS) for start in starts]
            h, lo = high if given[0] else nulls[0], low if given[1] else nulls[1]
            noise = self._noise_in(x, t, h, lo)
            x = (x - self.betas[t] / (1 - self.kept[t]).sqrt() * noise) / (1 - self.betas[t]).sqrt()
            if t:
                x = x + self.betas[t].sqrt() * torch.randn(n, PIXELS, generator=generator)
        return x


def level_rows(diffusion: Diffusion, n: int, proceed: Callable[[], None]) -> list[dict[str, Any]]:
    """Table `diffusion_levels` without energies: share of images that show a concept injected from a start on.

    The other concept is never injected. Concepts asked for are balanced; all starts share their noise.
    """
    rows = []
    wanted = _wanted(diffusion, n)
    for place, concept in enumerate(CONCEPTS):
        for start in STARTS:
            proceed()
            starts = (start, 1.0) if concept == "high" else (1.0, start)
            images = diffusion.generate(*wanted, starts, stream=place)
            rows.append(
                {
                    "seed": diffusion.seed,
                    "concept": concept,
                    "start": start,
                    "match": _matches(diffusion, images, wanted)[place],
                    "chance": _chance(diffusion)[place],
                }
            )
    return rows


def order_rows(diffusion: Diffusion, n: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tables `diffusion_orders` and `diffusion_samples` without energies: one concept from the start, one from 0.4."""
    orders, samples = [], []
    wanted = _wanted(diffusion, n)
    for order, starts in ORDERS.items():
        images = diffusion.generate(*wanted, starts, stream=len(CONCEPTS))
        matches, chance = _matches(diffusion, images, wanted), _chance(diffusion)
        base = {"seed": diffusion.seed, "order": order}
        orders += [
            {**base, "concept": concept, "match": matches[i], "chance": chance[i]}
            for i, concept in enumerate(CONCEPTS)
        ]
        samples += [
            {
                **base,
                "sample": i,
                "row": row,
                "column": column,
                "value": float(images[i, row * SIDE + column]),
            }
            for i in range(min(SHOWN, n))
            for row in range(SIDE)
            for column in range(SIDE)
        ]
    return orders, samples


def jacobian_rows(diffusion: Diffusion) -> list[dict[str, Any]]:
    """Table `jacobian_sparsity` without energies: share of entries of |∂ prediction / ∂x_t| below the median over all timesteps.

    A stand-in for the paper's attention sparsity (Fig. A4): the denoiser here has no attention.
    """
    generator = diffusion._generator("denoiser jacobian")
    rows = torch.randint(len(diffusion.images), (JACOBIAN_IMAGES,), generator=generator)
    x, (high, low) = diffusion.images[rows], diffusion.concepts[:, rows]
    noise = torch.randn(JACOBIAN_IMAGES, PIXELS, generator=generator)
    jacobian = torch.func.vmap(torch.func.jacrev(diffusion.model.__call__), in_dims=(0, None, 0, 0))
    entries = torch.stack(
        [
            jacobian(diffusion.noisy(x, torch.full((len(x),), t), noise), torch.tensor(t), high, low).abs()
            for t in JACOBIAN_TIMES
        ]
    ).detach()
    below = (entries < entries.median()).float().mean(dim=(1, 2, 3))
    return [
        {"seed": diffusion.seed, "timestep": t, "share_below": float(share)}
        for t, share in zip(JACOBIAN_TIMES, below, strict=True)
    ]


def _wanted(diffusion: Diffusion, n: int) -> tuple[Tensor, Tensor]:
    """Concepts to ask for (n, n), every combination equally often."""
    places = torch.arange(n)
    return places % diffusion.data.n_high, places // diffusion.data.n_high % diffusion.data.n_low


def _matches(diffusion: Diffusion, images: Tensor, wanted: tuple[Tensor, Tensor]) -> list[float]:
    found = diffusion.data.read(images.double().numpy())
    return [float(np.mean(a == b.numpy())) for a, b in zip(found, wanted, strict=True)]


def _chance(diffusion: Diffusion) -> tuple[float, float]:
    return 1 / diffusion.data.n_high, 1 / diffusion.data.n_low
