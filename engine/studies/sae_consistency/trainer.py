"""One optimiser over one SAE, or over several seeds whose products are batched, and what a resume needs of it."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from engine.errors import UserError
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.saes import ARCHITECTURES, Sae

STACK_D_IN, STACK_D_SAE, STACK_D_SAE_GPU = 64, 512, 8192
CALIBRATION_ROWS = 1024


class Trainer:
    """The SAEs of `seeds` (stacked when several), their optimiser, and how long each latent has been silent."""

    def __init__(self, config: Config, seeds: Sequence[int], sae: Sae) -> None:
        self.config, self.seeds, self.sae = config, tuple(seeds), sae
        parameters = sae.trained.values()
        self.optimiser = torch.optim.Adam(parameters, lr=config.learning_rate, foreach=True)
        self.silent = torch.zeros(sae.b_enc.shape, dtype=torch.int64, device=sae.b_enc.device)

    @property
    def dead(self) -> Tensor:
        return self.silent >= self.config.dead_after

    def saes(self) -> dict[int, Sae]:
        """Every seed's SAE, sharing memory with the trained one."""
        return {seed: self.sae.one(index) for index, seed in enumerate(self.seeds)}

    def dead_of(self, seed: int) -> Tensor:
        return self._mine(self.dead, self.seeds.index(seed))

    def step(self, x: Tensor, number: int, learning_rate: float) -> dict[int, dict[str, float]]:
        """Train on a batch x (B × d_in), the `number`-th; each seed's metrics."""
        result = self.sae.step(x, self.dead, number)
        losses = result.loss.flatten().tolist()
        if not np.isfinite(losses).all():
            raise UserError("learning_rate", "the loss is no longer finite; lower learning_rate.")
        self.optimiser.param_groups[0]["lr"] = learning_rate
        self.optimiser.step()
        self.sae.constrain()
        self.silent = torch.where(result.fired, 0, self.silent + len(x))
        dead = self.sae.summed(self.dead.float().sum(dim=-1))
        total = float((x - x.mean(dim=0)).square().sum())
        columns = {
            "loss": losses,
            "fvu": [error / total if total else 0.0 for error in result.squared_error.flatten().tolist()],
            "l0": result.l0.flatten().tolist(),
            "dead_fraction": (dead / self.config.d_sae).flatten().tolist(),
        }
        return {
            seed: {name: column[index] for name, column in columns.items()}
            for index, seed in enumerate(self.seeds)
        }

    def finish(self) -> None:
        """Make ready for evaluation once no step follows."""

    def _mine(self, tensor: Tensor, index: int) -> Tensor:
        return tensor[index] if self.sae.stacked else tensor

    def tensors(self) -> dict[str, Tensor]:
        """Everything a later process needs to go on bit-exactly, under names of each seed."""
        return {
            f"seed-{seed}.{name}": (value if name.endswith(".step") else self._mine(value, index)).clone()
            for index, seed in enumerate(self.seeds)
            for name, value in self.named().items()
        }

    def named(self) -> dict[str, Tensor]:
        """The same of all seeds together, as they are and not copied."""
        named = {**self.sae.tensors, "silent": self.silent}
        for name, parameter in self.sae.trained.items():
            for key, value in self.optimiser.state[parameter].items():
                named[f"adam.{name}.{key}"] = value
        return named

    def load(self, tensors: dict[str, Tensor]) -> None:
        def whole(name: str) -> Tensor:
            parts = [tensors[f"seed-{seed}.{name}"] for seed in self.seeds]
            return torch.stack(parts) if self.sae.stacked else parts[0]

        self.silent = whole("silent")
        for name, value in self.sae.tensors.items():
            value.copy_(whole(name))
        for name, parameter in self.sae.trained.items():
            step = f"seed-{self.seeds[0]}.adam.{name}.step"
            if step in tensors:
                self.optimiser.state[parameter] = {
                    "step": tensors[step].cpu(),
                    **{key: whole(f"adam.{name}.{key}") for key in ("exp_avg", "exp_avg_sq")},
                }


def make_saes(
    config: Config, sample: Tensor, seeds: Sequence[int], inits: Sequence[int], b_dec: Tensor
) -> list[tuple[Sequence[int], Sae]]:
    """SAEs and whose they are: one stack of all seeds where batched products gain, else one each.

    `sample` (n × d_in) holds training vectors that thresholds start from; `inits` are the initialisation seeds.
    """
    d_in = sample.shape[1]
    together = len(set(inits)) == len(seeds) and stacks(config, d_in, b_dec.device)
    groups = [(seeds, inits)] if together else [([s], [i]) for s, i in zip(seeds, inits, strict=True)]
    made = ARCHITECTURES[config.architecture]
    saes = [(mine, made(config, d_in, starts, b_dec)) for mine, starts in groups]
    for _, sae in saes:
        sae.calibrate(sample[:: max(1, len(sample) // CALIBRATION_ROWS)])
    return saes


def stacks(config: Config, d_in: int, device: torch.device) -> bool:
    """Whether one SAE is too small to fill the machine, so that seeds are batched (benchmarks/sae_training.py)."""
    if config.seed_varies != "init" or config.start_from or config.n_gpus > 1:
        return False
    if device.type == "cuda":
        return config.d_sae <= STACK_D_SAE_GPU
    return d_in <= STACK_D_IN and config.d_sae <= STACK_D_SAE
