"""A dictionary cut over processes learns what a whole one learns."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from engine.errors import UserError
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.parts import CutTrainer, Parts
from engine.studies.sae_consistency.saes import ARCHITECTURES, Sae
from engine.studies.sae_consistency.trainer import Trainer

D_IN, BATCH, STEPS = 12, 64, 20
Settings = dict[str, object]


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        found = Parts(3, "cpu", Path(folder), pytest.fail)
        yield found
        found.close()
    torch.set_num_threads(threads)


def config(**values: object) -> Config:
    return Config.model_validate(
        {"source": "synthetic", "d_sae": 80, "k": 2, "dead_after": 200, "learning_rate": 3e-3, **values}
    )


def fresh(config: Config) -> Sae:
    sae = ARCHITECTURES[config.architecture](config, D_IN, [5], torch.full((D_IN,), 0.1))
    sae.calibrate(batch(0))
    return sae


def batch(number: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(number)
    return torch.randn(BATCH, D_IN, generator=generator) * torch.linspace(0.2, 2, D_IN)


CASES: list[Settings] = [
    *({"architecture": name} for name in ARCHITECTURES),
    {"architecture": "topk", "d_sae": 601, "dead_after": 200},
    {"architecture": "batch_topk", "d_sae": 601, "decoder_norm": "free", "weight_decay": 1e-3},
    {"architecture": "topk", "control": "frozen_decoder", "align_encoder": True},
    {"architecture": "topk", "control": "soft_frozen", "learning_rate": 0.05},
]


@pytest.mark.parametrize("settings", CASES, ids=lambda s: " ".join(map(str, s.values())))
def test_the_parts_learn_what_the_whole_learns(parts: Parts, settings: Settings) -> None:
    """Up to the order of sums, which moves a number by some 1e-6."""
    values = config(**settings)
    whole, cut = Trainer(values, [5], fresh(values)), CutTrainer(values, [5], fresh(values), parts)
    revived = False
    for number in range(STEPS):
        expected = whole.step(batch(number), number, values.learning_rate)[5]
        found = cut.step(batch(number), number, values.learning_rate)[5]
        assert found == pytest.approx(expected, rel=1e-3, abs=1e-4)
        revived = revived or expected["dead_fraction"] > 0
    assert revived or values.architecture not in ("topk", "batch_topk")
    for name, value in cut.saes()[5].tensors.items():
        torch.testing.assert_close(value, whole.sae.tensors[name], rtol=2e-3, atol=2e-4)
    assert torch.equal(cut.dead_of(5), whole.dead_of(5))


def test_parts_go_on_from_a_checkpoint_to_the_same_bits_and_so_does_a_whole_dictionary(parts: Parts) -> None:
    values = config(architecture="batch_topk")
    first = CutTrainer(values, [5], fresh(values), parts)
    for number in range(10):
        first.step(batch(number), number, 1e-3)
    kept = first.tensors()
    second, whole = CutTrainer(values, [5], fresh(values), parts), Trainer(values, [5], fresh(values))
    second.load(kept)
    whole.load({name: value.clone() for name, value in kept.items()})
    for number in range(10, 20):
        first.step(batch(number), number, 1e-3)
        second.step(batch(number), number, 1e-3)
        whole.step(batch(number), number, 1e-3)
    for name, value in first.tensors().items():
        assert torch.equal(value, second.tensors()[name]), name
        torch.testing.assert_close(value, whole.tensors()[name], rtol=2e-3, atol=2e-4)


def test_a_loss_that_is_no_number_is_said_once_and_the_parts_go_on(parts: Parts) -> None:
    values = config()
    trainer = CutTrainer(values, [5], fresh(values), parts)
    with pytest.raises(UserError, match="learning_rate"):
        trainer.step(torch.full((BATCH, D_IN), 1e30), 0, 1e-3)
    other = CutTrainer(values, [5], fresh(values), parts)
    assert other.step(batch(0), 0, 1e-3)[5]["l0"] == pytest.approx(2, abs=0.1)


def test_a_finished_trainer_keeps_the_whole_sae(parts: Parts) -> None:
    values = config()
    trainer = CutTrainer(values, [5], fresh(values), parts)
    trainer.step(batch(0), 0, 1e-3)
    before = {name: value.clone() for name, value in trainer.saes()[5].tensors.items()}
    dead = trainer.dead_of(5)
    trainer.finish()
    for name, value in trainer.saes()[5].tensors.items():
        assert torch.equal(value, before[name])
    assert torch.equal(trainer.dead_of(5), dead)
