"""Arms on pictures: what each answers for corrupted pictures, every one adapted to alone unless the arm's name says otherwise.

A network is called as net(images, hidden) and gives logits and rebuilt patches, as `patches.PatchNetwork` does. Minimal change:
a patch either is what the rest of the picture lets expect, or it counts as changed at a fixed price τ. Σ min(error, τ) over
patches is lowered by turns: patches dearer than τ are hidden, the others judged again without them; the class is read from what
is left.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from analyses.extrapolation import FEW, NEAREST, SOURCE, TENT, TENT_BATCH, TTT, TTT_ENTROPY
from engine.studies.extrapolation.adapting import Parameters, adapt_alone, entropy, run_alone
from engine.studies.extrapolation.models import norm_parameters
from engine.studies.extrapolation.patches import folds, rebuilding_loss, to_patches

RATES = {TENT: (1e-3, 3e-3, 1e-2), TENT_BATCH: (1e-3, 3e-3, 1e-2), TTT: (1e-4, 3e-4, 1e-3)}
QUANTILES = (0.9, 0.95, 0.98, 0.99, 0.995)
TURNS = 3
MOST_HIDDEN = 0.75
JUDGING_ROUNDS, TRAINING_ROUNDS = 2, 2
ENTROPY_STEPS = 3
MASK_SEED = 0


@dataclass
class Settings:
    """What is chosen on validation pictures: learning rates by arm, and the quantile of source errors that is the price τ."""

    rates: dict[str, float] = field(default_factory=lambda: {arm: values[0] for arm, values in RATES.items()})
    quantile: float = QUANTILES[-1]


@dataclass(frozen=True)
class Expected:
    """Errors of source patches: their mean (P) at every place, and the sorted errors in units of it."""

    mean: Tensor
    errors: Tensor

    def price(self, quantile: float) -> float:
        return float(self.errors[min(len(self.errors) - 1, int(quantile * len(self.errors)))])


@dataclass(frozen=True)
class Judged:
    """Patches of n pictures: `error` (n × P) in units of what is usual there, `hidden` (n × P), `rebuilt` (n × P × pixels)."""

    error: Tensor
    hidden: Tensor
    rebuilt: Tensor


class PictureArms:
    """The arms of one network; `together` pictures at a time are adapted in one pass, without seeing each other."""

    def __init__(self, net: nn.Module, steps: int, source: tuple[Tensor, Tensor], together: int = 50) -> None:
        self.net, self.steps, self.together = net, steps, together
        self.source_images, self.source_labels = source
        self.size: int = net.size  # type: ignore[assignment]
        self.n_patches: int = net.n_patches  # type: ignore[assignment]
        rng = np.random.default_rng(MASK_SEED)
        self.judging = torch.from_numpy(folds(self.n_patches, JUDGING_ROUNDS, rng))
        self.training = torch.from_numpy(folds(self.n_patches, TRAINING_ROUNDS, rng))
        self.shown = torch.zeros(self.n_patches, dtype=torch.bool)
        self.expected: Expected | None = None

    def logits(self, arm: str, images: Tensor, settings: Settings) -> Tensor:
        """Logits (n × K) of an arm for pictures (n × C × S × S); the nearest neighbour's class counts as 1."""
        if arm == TENT_BATCH:
            return self._tent(images[None], settings.rates[arm])[0]
        answer: dict[str, Callable[[Tensor], Tensor]] = {
            SOURCE: lambda part: self.read(part, self.shown.expand(len(part), -1)),
            NEAREST: self._nearest,
            TENT: lambda part: self._tent(part[:, None], settings.rates[TENT])[:, 0],
            TTT: lambda part: self._read_by(self._rebuilding(part, settings.rates[TTT]), part),
            TTT_ENTROPY: lambda part: self._read_by(self._sharpened(part, settings.rates[TTT]), part),
            FEW: lambda part: self.read(part, self.judge(part, settings.quantile).hidden),
        }
        return torch.cat([answer[arm](part) for part in images.split(self.together)])

    def answer(self, arm: str, images: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
        """Classes (n) and their probabilities (n; NaN of the nearest neighbour, which has none)."""
        found = self.logits(arm, images, settings).softmax(dim=1).max(dim=1)
        return found.indices, found.values * float("nan") if arm == NEAREST else found.values

    @torch.no_grad()
    def read(self, images: Tensor, hidden: Tensor) -> Tensor:
        """The network's logits (n × K) with patches hidden."""
        found: Tensor = self.net(images, hidden)[0]
        return found

    @torch.no_grad()
    def _nearest(self, images: Tensor) -> Tensor:
        place = torch.cdist(images.flatten(1), self.source_images.flatten(1)).argmin(dim=1)
        labels = self.source_labels[place]
        return torch.nn.functional.one_hot(labels, int(self.source_labels.max()) + 1).to(images.dtype)

    def _tent(self, batches: Tensor, rate: float) -> Tensor:
        """Logits (n × b × K) for n batches of b pictures, norms adapted to each batch by entropy."""
        shown = self.shown.expand(batches.shape[1], -1)

        def loss(call: Callable[..., tuple[Tensor, Tensor]], images: Tensor) -> Tensor:
            return entropy(call(images, shown)[0]).mean()

        adapted = adapt_alone(self.net, norm_parameters(self.net), (batches,), loss, self.steps, rate)
        return run_alone(self.net, adapted, (batches,), lambda call, images: call(images, shown)[0])

    def _rebuilding(self, images: Tensor, rate: float) -> Parameters:
        """Test-time training: parameters (n × …) after steps of rebuilding hidden patches of each picture."""
        hidden = self.training

        def loss(call: Callable[..., tuple[Tensor, Tensor]], image: Tensor) -> Tensor:
            copies = image.expand(len(hidden), *image.shape)
            return rebuilding_loss(copies, call(copies, hidden)[1], hidden, self.size)

        names = self.net.trained_at_test()  # type: ignore[operator]
        return adapt_alone(self.net, names, (images,), loss, self.steps, rate)

    def _sharpened(self, images: Tensor, rate: float) -> Parameters:
        """The same with a few further steps that lower the entropy."""

        def loss(call: Callable[..., tuple[Tensor, Tensor]], image: Tensor) -> Tensor:
            return entropy(call(image[None], self.shown[None])[0][0])

        start = self._rebuilding(images, rate)
        return adapt_alone(self.net, list(start), (images,), loss, ENTROPY_STEPS, rate, start)

    def _read_by(self, adapted: Parameters, images: Tensor) -> Tensor:
        return run_alone(
            self.net, adapted, (images,), lambda call, image: call(image[None], self.shown[None])[0][0]
        )

    @torch.no_grad()
    def errors(self, images: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Error (n × P) of every patch as the others that are not `hidden` (n × P) rebuild it, and what they make of it."""
        n, p = hidden.shape
        total, rebuilt, seen = torch.zeros(n, p), None, torch.zeros(p)
        truth = to_patches(images, self.size)
        for mask in self.judging:
            made = self.net(images, hidden | mask)[1]
            total[:, mask] += ((made - truth) ** 2).mean(dim=-1)[:, mask]
            rebuilt = torch.zeros_like(made) if rebuilt is None else rebuilt
            rebuilt[:, mask] += made[:, mask]
            seen[mask] += 1
        assert rebuilt is not None
        return total / seen, rebuilt / seen[:, None]

    def learn_expected(self, images: Tensor) -> None:
        """What errors are usual, from source pictures that nothing was trained on."""
        error = torch.cat(
            [self.errors(part, self.shown.expand(len(part), -1))[0] for part in images.split(self.together)]
        )
        mean = error.mean(dim=0).clamp_min(1e-2 * error.mean()).clamp_min(1e-8)
        self.expected = Expected(mean, (error / mean).flatten().sort().values)

    def judge(self, images: Tensor, quantile: float) -> Judged:
        """Which patches of each picture have changed, at the price that `quantile` of source errors stay below."""
        assert self.expected is not None, "learn_expected comes first"
        price = self.expected.price(quantile)
        hidden = self.shown.expand(len(images), -1).clone()
        most = int(MOST_HIDDEN * self.n_patches)
        for _ in range(TURNS):
            error, rebuilt = self.errors(images, hidden)
            error = error / self.expected.mean
            worst = torch.zeros_like(hidden).scatter(1, error.topk(most, dim=1).indices, True)
            hidden = (error > price) & worst
        return Judged(error, hidden, rebuilt)


def choose(
    arms: PictureArms, images: Tensor, labels: Tensor, offered: tuple[str, ...]
) -> tuple[Settings, list[dict[str, float | str | bool]]]:
    """Settings with the highest accuracy on validation pictures (corrupted in a way that is never measured), and all that was tried.

    Of equals the smaller rate, and the larger quantile, is taken. Without classes (−1) the first of each is kept.
    """
    settings, rows = Settings(), []
    known = bool((labels >= 0).all()) and len(labels) > 0
    grid: list[tuple[str, float]] = [
        (arm, rate) for arm, rates in RATES.items() if arm in offered for rate in rates
    ]
    grid += [(FEW, quantile) for quantile in reversed(QUANTILES)]
    best: dict[str, float] = {}
    for arm, value in grid if known else []:
        tried = Settings({**settings.rates, arm: value}, value if arm == FEW else settings.quantile)
        accuracy = float((arms.logits(arm, images, tried).argmax(dim=1) == labels).double().mean())
        rows.append(
            {
                "arm": arm,
                "setting": "quantile" if arm == FEW else "rate",
                "value": value,
                "accuracy": accuracy,
            }
        )
        if accuracy > best.get(arm, -1.0):
            best[arm] = accuracy
            if arm == FEW:
                settings.quantile = value
            else:
                settings.rates[arm] = value
    for row in rows:
        arm = str(row["arm"])
        row["chosen"] = row["value"] == (settings.quantile if arm == FEW else settings.rates[arm])
    return settings, rows
