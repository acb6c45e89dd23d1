"""Hand-written gradients against autograd, and the geometry the SAEs promise."""

import numpy as np
import pytest
import torch

from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.saes import ARCHITECTURES, Sae, geometric_median

D_IN, BATCH = 12, 40


def build(architecture: str, decoder_norm: str, d_sae: int) -> Sae:
    config = Config(
        architecture=architecture,
        decoder_norm=decoder_norm,
        d_sae=d_sae,
        k=4,
        l1_coefficient=0.1,
        aux_coefficient=0.5,
    )
    sae = ARCHITECTURES[architecture](config, D_IN, seed=3, b_dec=torch.linspace(-0.2, 0.2, D_IN))
    generator = torch.Generator().manual_seed(1)
    sae.encoder += 0.1 * torch.randn(sae.encoder.shape, generator=generator)
    sae.b_enc += 0.05 * torch.randn(sae.b_enc.shape, generator=generator)
    return sae


def autograd_loss(sae: Sae, x: torch.Tensor, dead: torch.Tensor) -> torch.Tensor:
    """The published losses, written densely."""
    config = sae.config
    pre = (x - sae.b_dec) @ sae.encoder.T + sae.b_enc
    if config.architecture == "relu":
        z = pre.relu()
        error = z @ sae.decoder + sae.b_dec - x
        return (error.square().sum() + config.l1_coefficient * z.sum()) / len(x)
    kept = torch.zeros_like(pre).scatter(1, pre.topk(config.k, dim=1).indices, 1.0)
    error = (pre.relu() * kept) @ sae.decoder + sae.b_dec - x
    loss = error.square().sum() / len(x)
    if dead.any():
        k_aux = min(int(dead.sum()), max(config.k, D_IN // 2))
        chosen = pre.masked_fill(~dead, -torch.inf).topk(k_aux, dim=1).indices
        mask = torch.zeros_like(pre).scatter(1, chosen, 1.0)
        miss = (pre.relu() * mask) @ sae.decoder + error.detach()
        loss = loss + config.aux_coefficient * miss.square().sum() / len(x)
    return loss


@pytest.mark.parametrize("d_sae", [40, 600])
@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize(("architecture", "n_dead"), [("topk", 0), ("topk", 3), ("topk", 9), ("relu", 0)])
def test_gradients_equal_autograd(architecture: str, n_dead: int, decoder_norm: str, d_sae: int) -> None:
    sae = build(architecture, decoder_norm, d_sae)
    x = torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(2))
    dead = torch.zeros(d_sae, dtype=torch.bool)
    dead[:n_dead] = True
    with torch.no_grad():
        step = sae.step(x, dead)
    mine = {name: parameter.grad.clone() for name, parameter in sae.parameters.items()}
    for parameter in sae.parameters.values():
        parameter.grad = None
        parameter.requires_grad_()
    loss = autograd_loss(sae, x, dead)
    loss.backward()
    assert step.loss == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in sae.parameters.items():
        expected = parameter.grad
        if name == "decoder" and decoder_norm == "unit":
            along = (expected * sae.decoder).sum(dim=1, keepdim=True)
            expected = (expected - along * sae.decoder).detach()
        assert mine[name].stride() == parameter.stride(), name
        assert float((mine[name] - expected).norm() / expected.norm()) < 1e-5, name


def test_topk_keeps_at_most_k_and_reports_what_fired() -> None:
    sae = build("topk", "unit", 600)
    x = torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        z = sae.encode(x)
        step = sae.step(x, torch.zeros(600, dtype=torch.bool))
    assert int((z > 0).sum(dim=1).max()) <= 4
    assert step.l0 == pytest.approx(float((z > 0).sum(dim=1).float().mean()))
    assert torch.equal(step.fired, (z > 0).any(dim=0))


def test_sparse_and_dense_codes_give_the_same_products(monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.studies.sae_consistency.saes import topk

    x = torch.randn(BATCH, D_IN, generator=torch.Generator().manual_seed(2))
    dead = torch.arange(600) < 20
    gradients = []
    for limit in (0, 10_000):
        monkeypatch.setattr(topk, "DENSE_UP_TO", limit)
        sae = build("topk", "unit", 600)
        with torch.no_grad():
            sae.step(x, dead)
        gradients.append([parameter.grad for parameter in sae.parameters.values()])
    for sparse, dense in zip(*gradients, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-4, atol=1e-6)


def test_initialisation_is_the_seeds_alone() -> None:
    first, again = build("topk", "unit", 40), build("topk", "unit", 40)
    assert torch.equal(first.decoder, again.decoder)
    other = ARCHITECTURES["topk"](first.config, D_IN, seed=4, b_dec=torch.zeros(D_IN))
    assert not torch.equal(first.decoder, other.decoder)
    torch.testing.assert_close(first.decoder.norm(dim=1), torch.ones(40))


def test_geometric_median_resists_an_outlier() -> None:
    generator = np.random.default_rng(0)
    points = generator.standard_normal((500, 5)).astype(np.float32)
    points[0] = 1e4
    median = geometric_median(torch.from_numpy(points))
    assert float(median.norm()) < 0.2
    assert float(torch.from_numpy(points).mean(dim=0).norm()) > 10
