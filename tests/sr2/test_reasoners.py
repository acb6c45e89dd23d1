"""Reasoners: sizes, positions, where the puzzle enters, gradients, and the operations that are counted."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from engine.errors import UserError
from engine.studies.sr2 import Sr2 as Study
from engine.studies.sr2.config import Config
from engine.studies.sr2.cost import applications, block_flops, flops_per_step
from engine.studies.sr2.network import Block, cross_entropy, rotary_table, rotate
from engine.studies.sr2.reasoners import Sr2, make_reasoner, n_parameters, trace
from engine.studies.sr2.trainer import Trainer

SMALL: dict[str, Any] = {
    "side": 4, "clues": 6, "blocks": 3, "recurrences": 2, "d_model": 16, "heads": 2, "d_inner": 24, "batch_size": 4,
}  # fmt: skip


def config(**changes: Any) -> Config:
    return Config(**{**SMALL, **changes})


def boards(n: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 5, (n, 16), generator=torch.Generator().manual_seed(seed))


def test_parameter_counts_are_those_of_the_pilot() -> None:
    """Block 4 D² + 3 D · inner; embeddings and head 7 tokens each; 36 learned positions."""
    block = 4 * 64**2 + 3 * 64 * 160
    assert n_parameters(make_reasoner(Config(), 0)) == block + (7 + 7 + 36) * 64 == 50_304
    assert n_parameters(make_reasoner(Config(positions="rope"), 0)) == block + 14 * 64
    eight = n_parameters(make_reasoner(Config(model="feed_forward"), 0))
    assert eight == 8 * block + 50 * 64 and 7.5 < eight / 50_304 < 7.7
    for changes, blocks in (
        ({"weights": "two"}, 2), ({"weights": "unshared"}, 4), ({"model": "hrm"}, 2), ({"model": "trm"}, 1),
        ({"injection": "always"}, 1), ({"alignment": False}, 1),
    ):  # fmt: skip
        assert n_parameters(make_reasoner(Config(**changes), 0)) == blocks * block + 50 * 64


def test_the_published_block_has_its_published_size() -> None:
    paper = Config(**Study.presets["paper"])
    model = make_reasoner(paper, 0)
    assert n_parameters(model.layers[0]) == 4 * 512**2 + 3 * 512 * 1536 == 3_407_872


@pytest.mark.parametrize(("positions", "equivariant"), [("rope", False), ("both", False), ("learned", True)])
def test_f_without_the_puzzle_knows_cells_apart_only_by_rotation(positions: str, equivariant: bool) -> None:
    layer = make_reasoner(config(positions=positions), 0).layers[0]
    z = torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        moved, plain = layer(z[:, order]), layer(z)[:, order]
    assert torch.allclose(moved, plain, atol=1e-5) == equivariant


def test_rope_depends_on_the_distance_of_cells_only_and_keeps_norms() -> None:
    table = rotary_table(12, 8)
    q, k = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    turned_q, turned_k = (rotate(x.expand(12, 1, 8), table)[:, 0] for x in (q, k))
    products = turned_q @ turned_k.T
    assert torch.allclose(products.diagonal(3), products[0, 3].expand(9), atol=1e-5)
    assert not torch.allclose(products[0, 3], products[3, 0], atol=1e-3)
    assert torch.allclose(turned_q.norm(dim=1), q.norm().expand(12), atol=1e-5)
    angle = torch.tensor(1.0)
    first = rotate(torch.eye(8)[0].expand(2, 1, 8), rotary_table(2, 8))[1, 0]
    assert torch.allclose(first[[0, 1]], torch.stack([angle.cos(), angle.sin()]), atol=1e-6)


def test_attention_for_pictures_is_the_attention_that_is_used() -> None:
    layer: Block = make_reasoner(config(), 0).layers[0]  # type: ignore[assignment]
    z = torch.randn(2, 16, 16)
    q, k, v = layer._projected(z)
    used = torch.nn.functional.scaled_dot_product_attention(q, k, v)
    assert torch.allclose(layer.attention(z) @ v, used, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "injected"),
    [
        ({}, {0}),
        ({"injected_blocks": 2}, {0, 1}),
        ({"injection": "always"}, {0, 1, 2}),
        ({"injection": "never"}, set()),
    ],
)
def test_the_puzzle_enters_in_the_blocks_it_should(changes: dict[str, Any], injected: set[int]) -> None:
    model = make_reasoner(config(**changes), 0)
    e, other = model.embed(boards(seed=0)).detach(), model.embed(boards(seed=1)).detach()
    for block in range(3):
        state = (torch.randn(4, 16, 16),)
        same = torch.equal(model.block(state, e, block)[0], model.block(state, other, block)[0])
        assert same == (block not in injected)


def test_a_single_injection_is_at_the_very_first_step() -> None:
    model = make_reasoner(config(injection="once"), 0)
    assert isinstance(model, Sr2)
    assert [(b, s) for b in range(3) for s in range(2) if model.injects(b, s)] == [(0, 0)]


def test_state_is_carried_detached_between_blocks_and_starts_anew() -> None:
    trainer = Trainer(config(), 0, "cpu")
    inputs = boards()
    starts = []
    original = trainer.model.block
    trainer.model.block = lambda state, e, number: (  # type: ignore[method-assign]
        starts.append((number, state[0].clone(), state[0].requires_grad)) or original(state, e, number)
    )
    for _ in range(4):
        before = trainer.carry
        trainer.step(inputs, inputs)
        number, start, tracked = starts[-1]
        assert not tracked
        if number > 0:
            assert torch.equal(start, before[0])
    assert [number for number, _, _ in starts] == [0, 1, 2, 0]
    assert torch.equal(starts[0][1], starts[3][1]), "the fixed start vector"


def test_without_alignment_gradients_reach_the_first_block() -> None:
    trainer = Trainer(config(alignment=False, injection="once"), 0, "cpu")
    trainer.step(boards(), boards())
    assert trainer.model.embed.token.grad is not None
    assert trainer.model.embed.token.grad.abs().sum() > 0


def test_evaluation_starts_fresh_whatever_was_carried() -> None:
    trainer = Trainer(config(), 0, "cpu")
    ends = []
    for _ in range(2):
        ends.append(trace(trainer.mean, boards(), 3)[0])
        trainer.carry = (torch.full((4, 16, 16), 9.0),)
    assert torch.equal(*ends)


def test_more_blocks_go_on_from_the_same_states() -> None:
    model = make_reasoner(config(), 0)
    seen: dict[int, list[torch.Tensor]] = {3: [], 6: []}
    for blocks, states in seen.items():
        trace(model, boards(), blocks, lambda block, z, states=states: states.append(z))
    assert len(seen[3]) == 6 and len(seen[6]) == 12
    assert all(torch.equal(a, b) for a, b in zip(seen[3], seen[6], strict=False))


def test_running_mean_and_warm_up_by_hand() -> None:
    trainer = Trainer(config(ema=0.75, warmup_steps=10, learning_rate=1e-2), 0, "cpu")
    start = trainer.model.head.detach().clone()
    trainer.step(boards(), boards())
    assert trainer.optimiser.param_groups[0]["lr"] == pytest.approx(1e-3)
    expected = 0.75 * start + 0.25 * trainer.model.head.detach()
    assert torch.allclose(trainer.mean.head, expected, atol=1e-7)


def test_stablemax_by_hand() -> None:
    """s(1) = 2, s(−1) = 1/2: probabilities 0.8 and 0.2."""
    logits = torch.tensor([[[1.0, -1.0]]])
    assert float(cross_entropy(logits, torch.tensor([[0]]), "stablemax")) == pytest.approx(0.22314355)
    assert float(cross_entropy(logits, torch.tensor([[1]]), "stablemax")) == pytest.approx(1.6094379)


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"alignment": False}, {"model": "feed_forward", "layers": 3}, {"model": "trm"},
        {"model": "hrm", "recurrences": 4},
    ],
)  # fmt: skip
def test_counted_operations_are_those_torch_counts(changes: dict[str, Any]) -> None:
    """Products with weights; torch counts no attention on a processor, and two cells' products of it are 4 · width."""
    chosen = config(**changes)
    trainer = Trainer(chosen, 0, "cpu")
    with FlopCounterMode(display=False) as counter:
        trainer.step(boards(), boards())
    without, with_gradient = applications(chosen)
    attention = (without + 3 * with_gradient) * 4 * (16 * 16 * 4) * chosen.d_model
    assert flops_per_step(chosen) - attention == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_equal_compute_means_equal_operations() -> None:
    arms = (
        {},
        {"alignment": False},
        {"model": "feed_forward"},
        {"blocks": 1, "recurrences": 16},
        {"model": "hrm"},
    )
    spent = [Config(**arm).steps * flops_per_step(Config(**arm)) for arm in arms]
    assert max(spent) / min(spent) < 1.01
    assert block_flops(Config()) == 2 * 36 * (4 * 64**2 + 3 * 64 * 160) + 4 * 36**2 * 64


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"side": 5}, "side"), ({"puzzle": "maze", "side": 8}, "side"), ({"clues": 16}, "clues"),
        ({"heads": 3}, "heads"), ({"injected_blocks": 4}, "injected_blocks"),
        ({"model": "hrm", "recurrences": 1}, "recurrences"),
    ],
)  # fmt: skip
def test_bad_values_are_refused_by_name(changes: dict[str, Any], field: str) -> None:
    from engine.studies.base import parse_config

    with pytest.raises(UserError) as refused:
        parse_config(Study(), None, {**SMALL, **changes})
    assert refused.value.field == field


@pytest.mark.parametrize("preset", Study.presets)
def test_presets_are_valid_and_cost_something(preset: str) -> None:
    cost = Study().estimate(Config(**Study.presets[preset]), 3)
    assert cost["seconds"] > 10 and cost["memory_bytes"] > 1e8
