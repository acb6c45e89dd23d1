"""The parts of stage 2: an exact invertible map, edge strengths that are the Jacobian, and the choice of λ."""

import numpy as np
import pytest
import torch

from engine.studies.multimodal_causal.components import choose_sparsity
from engine.studies.multimodal_causal.flow import make_flow, to_codes, to_components
from engine.studies.multimodal_causal.networks import Batches, generators
from engine.studies.multimodal_causal.prior import (
    allowed_edges,
    conditional_mean,
    edge_strengths,
    log_density,
    make_prior,
)
from engine.studies.multimodal_causal.subspaces import encode

KEYS = [(0, 0), (1, 0)]


@pytest.fixture(params=[1, 2, 3, 4])
def flow(request: pytest.FixtureRequest) -> tuple[dict[str, torch.Tensor], int]:
    draws = generators("test", KEYS)
    parameters = make_flow(draws, 2, request.param, layers=2, hidden=8)
    noise = torch.Generator().manual_seed(3)
    moved = {name: v + 0.3 * torch.randn(v.shape, generator=noise) for name, v in parameters.items()}
    return moved, request.param


def test_flow_is_invertible_with_exact_determinant(flow: tuple[dict[str, torch.Tensor], int]) -> None:
    parameters, d = flow
    parameters = {name: value.double() for name, value in parameters.items()}
    codes = torch.randn(2, 2, 30, d, generator=torch.Generator().manual_seed(0)).double()
    z, log_determinant = to_components(parameters, codes)
    assert torch.allclose(to_codes(parameters, z), codes, atol=1e-6)
    one = {name: value[:1, :1] for name, value in parameters.items()}

    def single(x: torch.Tensor) -> torch.Tensor:
        return to_components(one, x[None, None, None])[0][0, 0, 0]

    for row in range(5):
        jacobian = torch.autograd.functional.jacobian(single, codes[0, 0, row])
        assert torch.linalg.slogdet(jacobian)[1] == pytest.approx(float(log_determinant[0, 0, row]), abs=1e-6)


def test_restarts_are_different_rotations() -> None:
    first, second = make_flow(generators("test", KEYS), 1, 3, 2, 8)["skew0"]
    assert not torch.allclose(first, second)


def _prior(within: bool) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    parameters = make_prior(generators("test", KEYS), 6, 8)
    mask = allowed_edges((0, 1, 2), 2, within).expand(2, 6, 6)
    z = torch.randn(2, 50, 6, generator=torch.Generator().manual_seed(0))
    return {name: 3 * value for name, value in parameters.items()}, mask, z


@pytest.mark.parametrize("within", [False, True])
def test_edge_strength_is_the_normalised_jacobian(within: bool) -> None:
    parameters, mask, z = _prior(within)
    _, hidden = conditional_mean(parameters, mask, z)
    strengths = edge_strengths(parameters, mask, z, hidden)
    one = {name: value[1:] for name, value in parameters.items()}

    def single(row: torch.Tensor) -> torch.Tensor:
        return conditional_mean(one, mask[1:], row[None, None])[0][0, 0]

    jacobians = torch.stack([torch.autograd.functional.jacobian(single, row) for row in z[1]])
    spread = z[1].std(dim=0)
    expected = jacobians.square().mean(dim=0).sqrt() * spread[None, :] / spread[:, None]
    assert torch.allclose(strengths[1], expected * mask[1], atol=1e-3)
    assert float(strengths[1][mask[1] == 0].abs().max()) == 0.0


def test_edge_strength_ignores_units() -> None:
    parameters, mask, z = _prior(False)
    _, hidden = conditional_mean(parameters, mask, z)
    before = edge_strengths(parameters, mask, z, hidden)
    scaled = dict(parameters)
    scaled["inner"], scaled["linear"] = parameters["inner"].clone(), parameters["linear"].clone()
    scaled["inner"][:, :, 0] /= 7
    scaled["linear"][:, :, 0] /= 7
    other = z.clone()
    other[..., 0] *= 7
    _, hidden = conditional_mean(scaled, mask, other)
    assert torch.allclose(edge_strengths(scaled, mask, other, hidden), before, atol=1e-3)


def test_density_is_normalised() -> None:
    parameters = {"log_scale": torch.tensor([[0.3]])}
    grid = torch.linspace(-12, 12, 20_001)[None, :, None]
    density = log_density(parameters, torch.zeros_like(grid), grid).exp().sum() * 24 / 20_000
    assert float(density) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_allowed_edges_follow_the_order(order: tuple[int, ...]) -> None:
    mask = allowed_edges(order, 2, within=False)
    for target, source in np.argwhere(mask.numpy() > 0):
        assert order[source // 2] < order[target // 2]
    assert int(mask.sum()) == 3 * 4


def test_the_sparsest_weight_that_keeps_the_gain_is_chosen() -> None:
    grid = (0.0, 0.1, 0.2, 0.4)
    assert choose_sparsity([-1.0, -1.02, -1.05, -1.5], -2.0, grid) == 2
    assert choose_sparsity([-1.0, -1.02, -1.05, -1.09], -2.0, grid) == 3
    assert choose_sparsity([-1.0, -1.5, -1.09, -1.2], -2.0, grid) == 2
    assert choose_sparsity([-1.0, -1.2, -1.2, -1.2], -2.0, grid) == 0
    assert choose_sparsity([-2.2, -2.1, -2.3, -2.4], -2.0, grid) == 1


def test_batches_cover_an_epoch_and_depend_on_the_seed() -> None:
    batches = Batches(20, 5, [0, 1], 0)
    rows = torch.cat([batches.indices(step) for step in range(4)], dim=1)
    assert all(sorted(row.tolist()) == list(range(20)) for row in rows)
    assert rows[0].tolist() != rows[1].tolist()
    assert torch.equal(Batches(20, 5, [0, 1], 0).indices(7), batches.indices(7))
    assert not torch.equal(Batches(20, 5, [0, 1], 1).indices(0), Batches(20, 5, [0, 1], 0).indices(0))


def test_codes_are_white() -> None:
    draw = torch.Generator().manual_seed(0)
    parameters = {
        "encoder.weight0": torch.randn(2, 3, 4, 2, generator=draw),
        "encoder.bias0": torch.zeros(2, 3, 1, 2),
    }
    x = torch.randn(2, 3, 500, 4, generator=draw)
    codes = encode(parameters, x)
    covariance = codes.transpose(-1, -2) @ codes / 500
    assert torch.allclose(covariance, torch.eye(2).expand(2, 3, 2, 2), atol=1e-4)
    assert torch.allclose(encode(parameters, x[:, :, :50], x), codes[:, :, :50], atol=1e-5)
