"""Loss recovered: how much of what a hook point tells the language model survives the SAE (arXiv 2309.08600, 2408.05147)."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import torch
from torch import Tensor

from engine import schema
from engine.run import Run
from engine.studies.sae_consistency.functional import Windows, ablations, held_out_windows
from engine.studies.sae_consistency.saes import Sae

if TYPE_CHECKING:
    from engine.language_model import LanguageModel
    from engine.tools.feature_cards.of_run import OfRun

ZERO = -1
STAGE = "measuring loss recovered"


class Zeros:
    """What zero ablation puts in place of an SAE's reconstruction: vectors of zeros."""

    def encode(self, x: Tensor) -> Tensor:
        return torch.zeros_like(x)

    def decode(self, z: Tensor) -> Tensor:
        return torch.zeros_like(z)


def write_checks(run: Run, of: "OfRun", model: "LanguageModel") -> None:
    """Write the table `checks`, a row a seed, on the run's first `run.config.checks_tokens` held-out tokens.

    None of them leaves the table empty. Where the run ablated on as many tokens, `cross_entropy_sae` and `kl_sae`
    equal those of its table `saes`. Raises Stopped.
    """
    rows: list[dict[str, Any]] = []
    if run.config.checks_tokens:
        windows = held_out_windows(of.activations, run.config.checks_tokens)
        rows = loss_recovered(run, model, of.activations.manifest["hook_point"], windows, of.saes, of.scale)
    run.write_table("checks", pa.Table.from_pylist(rows, schema=schema.run_columns("checks")))


def loss_recovered(
    run: Run, model: "LanguageModel", hook_point: str, windows: Windows, saes: Mapping[int, Sae], scale: float
) -> list[dict[str, Any]]:
    """A row of `checks` for each seed: losses with the model as it is, with its SAE, and with zeros, in nats.

    Only kept positions (not position 0, not massive) are replaced, by the reconstruction of `scale` · activation
    divided by `scale`, or by zeros; mean ablation is not used. Cross-entropy and KL(original ‖ replaced) are means
    over `n_tokens` predictions, those of every window but of its first position. loss_recovered =
    (CE_zero − CE_sae) / (CE_zero − CE_model) and kl_recovered = 1 − KL_sae / KL_zero, as sae-lens defines them: 1 is
    a perfect SAE, 0 as bad as zeros; None where zeros do no harm. Raises Stopped.
    """
    measured = ablations(
        model,
        hook_point,
        windows,
        {ZERO: cast(Sae, Zeros()), **saes},
        scale,
        {key: {} for key in (ZERO, *saes)},
        lambda: run.should_stop,
        lambda done, total: run.progress(done, total, STAGE),
    ).saes
    n_tokens = windows.tokens[:, 2:].numel()
    return [_row(seed, measured[seed], measured[ZERO], n_tokens) for seed in saes]


def _row(seed: int, sae: dict[str, float], zero: dict[str, float], n_tokens: int) -> dict[str, Any]:
    harm = zero["cross_entropy_sae"] - zero["cross_entropy"]
    return {
        "seed": seed,
        "cross_entropy": sae["cross_entropy"],
        "cross_entropy_sae": sae["cross_entropy_sae"],
        "cross_entropy_zero": zero["cross_entropy_sae"],
        "loss_recovered": (zero["cross_entropy_sae"] - sae["cross_entropy_sae"]) / harm if harm > 0 else None,
        "kl_sae": sae["kl_sae"],
        "kl_zero": zero["kl_sae"],
        "kl_recovered": 1 - sae["kl_sae"] / zero["kl_sae"] if zero["kl_sae"] > 0 else None,
        "n_tokens": n_tokens,
    }
