"""The small denoiser: it learns, samples repeat, a resume changes no bit, and its tables are whole."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from data.concept_images import blob_stripes
from engine.studies.concept_hierarchy import diffusion as diffusion_module
from engine.studies.concept_hierarchy.diffusion import (
    JACOBIAN_TIMES,
    ORDERS,
    Diffusion,
    jacobian_rows,
    level_rows,
    order_rows,
)

DATA = blob_stripes(2_000, "equal", np.random.default_rng(0))
STEPS = 500
STARTS = (0.0, 1.0)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(diffusion_module, "STARTS", STARTS)
        yield
    torch.set_num_threads(before)


def trained(steps: int, seed: int = 0, prediction: str = "noise") -> Diffusion:
    diffusion = Diffusion(DATA, seed, STEPS, prediction)
    for _ in range(steps):
        diffusion.advance()
    return diffusion


@pytest.fixture(scope="module")
def model() -> Diffusion:
    return trained(STEPS)


def test_a_resume_changes_no_bit() -> None:
    whole, first = trained(12), trained(7)
    second = Diffusion(DATA, 0, STEPS)
    second.load({name: value.clone() for name, value in first.tensors().items()}, 7)
    for _ in range(5):
        second.advance()
    for name, value in whole.tensors().items():
        assert torch.equal(value, second.tensors()[name]), name


def test_seeds_differ_and_global_state_is_left_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    a, b = trained(2, seed=0), trained(2, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.equal(a.tensors()["model.layers.0.weight"], b.tensors()["model.layers.0.weight"])


def test_a_concept_given_from_the_start_is_shown_and_one_never_given_is_chance(model: Diffusion) -> None:
    rows = level_rows(model, 128, lambda: None)
    assert len(rows) == 2 * len(STARTS)
    match = {(row["concept"], row["start"]): row["match"] for row in rows}
    for concept in ("high", "low"):
        assert match[concept, 0.0] > 0.5
        assert match[concept, 1.0] < 0.4
    assert {row["chance"] for row in rows} == {0.25}
    assert rows == level_rows(model, 128, lambda: None)


def test_both_predictions_sample_what_they_learnt() -> None:
    model = trained(STEPS, prediction="velocity")
    rows = level_rows(model, 64, lambda: None)
    assert next(r["match"] for r in rows if r["concept"] == "high" and r["start"] == 0) > 0.8


def test_orders_and_samples(model: Diffusion) -> None:
    orders, samples = order_rows(model, 64)
    assert {(row["order"], row["concept"]) for row in orders} == {
        (order, concept) for order in ORDERS for concept in ("high", "low")
    }
    assert len(samples) == len(ORDERS) * 8 * 64
    assert max(row["row"] for row in samples) == 7 == max(row["column"] for row in samples)


def test_the_jacobian_is_compared_with_one_threshold(model: Diffusion) -> None:
    rows = jacobian_rows(model)
    assert [row["timestep"] for row in rows] == list(JACOBIAN_TIMES)
    assert np.mean([row["share_below"] for row in rows]) == pytest.approx(0.5, abs=0.01)


def test_the_forward_process_ends_in_noise() -> None:
    model = Diffusion(DATA, 0, STEPS)
    assert model.kept[0] > 0.99 and model.kept[-1] < 0.01
