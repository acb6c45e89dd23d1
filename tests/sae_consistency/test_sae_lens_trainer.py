"""Checkpoints that sae-lens' own trainer writes give the same activations here, to 1e-5 of their largest."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from engine.sae_formats.reading import read_checkpoint
from tests.sae_consistency.test_checkpoints import our_code

D_IN, D_SAE, BATCH, STEPS = 32, 96, 256, 120
ARCHITECTURES = {"standard": "relu", "gated": "gated", "jumprelu": "jumprelu", "topk": "topk"}
TOLERANCE = 1e-5


def mixtures(n: int, seed: int) -> Tensor:
    """Sparse sums of 48 directions, off centre, as activations of a model are."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(48, D_IN, generator=generator), dim=1)
    generator.manual_seed(seed)
    amounts = torch.rand(n, 48, generator=generator) * 3
    on = torch.rand(n, 48, generator=generator) < 0.1
    return (amounts * on) @ directions + 0.3


def trained_by_sae_lens(folder: Path, layout: str, x: Tensor, d_sae: int = D_SAE, **options: Any) -> Any:
    """A SAE that SAETrainer fitted to rows of `x`; the trainer has written `folder`, the last path it knows."""
    from sae_lens import SAETrainer
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.registry import get_sae_training_class

    def batches() -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(1)
        while True:
            yield x[torch.randint(len(x), (BATCH,), generator=generator)]

    kind, config = get_sae_training_class(layout)
    made = {"topk": {"k": 8}, "standard": {"l1_coefficient": 0.05}, "gated": {"l1_coefficient": 0.05}}
    torch.manual_seed(2)
    sae: Any = kind(config(d_in=x.shape[1], d_sae=d_sae, device="cpu", **made.get(layout, {}), **options))
    settings = SAETrainerConfig(
        total_training_samples=STEPS * BATCH, train_batch_size_samples=BATCH, lr=3e-3, lr_end=3e-3,
        checkpoint_path=str(folder.parent), save_final_checkpoint=True, logger=LoggingConfig(log_to_wandb=False),
    )  # fmt: skip
    trainer = SAETrainer(cfg=settings, sae=sae, data_provider=batches())
    trained = trainer.fit()
    (folder.parent / f"final_{STEPS * BATCH}").rename(folder)
    return trained


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """Of any activation, as a share of the largest."""
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("apply_b_dec", [True, False])
@pytest.mark.parametrize("layout", ARCHITECTURES)
def test_the_trainers_checkpoint_gives_the_same_activations(
    tmp_path: Path, layout: str, apply_b_dec: bool
) -> None:
    x = mixtures(2_000, seed=3)
    sae = trained_by_sae_lens(tmp_path / "sae", layout, x, apply_b_dec_to_input=apply_b_dec)
    assert (tmp_path / "sae" / "trainer_state.pt").exists()
    found = read_checkpoint(tmp_path / "sae")
    assert (found.origin, found.architecture) == ("sae-lens", ARCHITECTURES[layout])
    with torch.no_grad():
        theirs = sae.encode(x)
    ours = our_code(found, found.architecture, x, found.k)
    assert float((theirs != 0).float().mean()) > 0.01
    assert largest_difference(ours, theirs) <= TOLERANCE
    decoded = ours @ found.tensors["decoder"] + found.tensors["b_dec"]
    assert largest_difference(decoded, sae(x).detach()) <= TOLERANCE
