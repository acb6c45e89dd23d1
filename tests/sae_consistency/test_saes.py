"""Hand-written gradients against autograd and sae-lens' losses, and the geometry the SAEs promise."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.saes import ARCHITECTURES, Sae, base, code, geometric_median

D_IN, BATCH = 12, 40
ALL = list(ARCHITECTURES)


def build(architecture: str, d_sae: int = 40, seeds: tuple[int, ...] = (3,), **changes: Any) -> Sae:
    settings = {"k": 4, "l1_coefficient": 0.1, "aux_coefficient": 0.5, "jumprelu_bandwidth": 0.5, **changes}
    config = Config(architecture=architecture, d_sae=d_sae, **settings)
    sae = ARCHITECTURES[architecture](config, D_IN, seeds, torch.linspace(-0.2, 0.2, D_IN))
    for index, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(seed)
        for name, value in sae.one(index).parameters.items():
            if name in ("encoder", "b_enc", "r_mag", "b_mag"):
                value += 0.1 * torch.randn(value.shape, generator=generator)
        if architecture == "jumprelu":
            sae.one(index).threshold += torch.rand(d_sae, generator=generator)
    return sae


def vectors(n: int = BATCH) -> Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(2))


class Jump(torch.autograd.Function):
    """1[x > t], its threshold's gradient through a rectangle (arXiv 2407.14435, equation 12)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(x, threshold)
        ctx.width = width
        return (x > threshold).to(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, threshold = ctx.saved_tensors
        inside = ((x - threshold).abs() < ctx.width / 2).to(x)
        return None, (-inside / ctx.width * grads[0]).sum(0), None


def published_loss(sae: Any, x: Tensor, dead: Tensor) -> Tensor:
    """The published losses, written densely for autograd."""
    config, n = sae.config, len(x)
    pre = (x - sae.b_dec) @ sae.encoder.T + sae.b_enc

    def miss(z: Tensor, decoder: Tensor, bias: Tensor) -> Tensor:
        return (z @ decoder + bias - x).square().sum() / n

    if config.architecture == "relu":
        z = pre.relu()
        return miss(z, sae.decoder, sae.b_dec) + config.l1_coefficient * z.sum() / n
    if config.architecture == "gated":
        magnitude = ((x - sae.b_dec) @ (sae.encoder * sae.r_mag.exp()[:, None]).T + sae.b_mag).relu()
        gate = pre.relu()
        frozen = miss(gate, sae.decoder.detach(), sae.b_dec.detach())
        return (
            miss((pre > 0) * magnitude, sae.decoder, sae.b_dec)
            + config.l1_coefficient * gate.sum() / n
            + frozen
        )
    if config.architecture == "jumprelu":
        jumps = Jump.apply(pre, sae.threshold, config.jumprelu_bandwidth)
        z = pre * (pre > sae.threshold) + (jumps - jumps.detach()) * sae.threshold.detach()
        excess = jumps.sum(1) - config.k
        return (
            miss(z, sae.decoder, sae.b_dec) + config.l0_coefficient * 2 / config.k * excess.square().sum() / n
        )
    if config.architecture == "topk":
        kept = torch.zeros_like(pre).scatter(1, pre.topk(config.k, dim=1).indices, 1.0)
    else:
        kept = torch.zeros(pre.numel()).scatter(0, pre.flatten().topk(config.k * n).indices, 1.0).view_as(pre)
    z = pre.relu() * kept
    widths = [len(sae.decoder)]
    if config.architecture == "matryoshka_batch_topk":
        widths = sorted(
            {max(1, round(share * config.d_sae)) for share in (1 / 32, 3 / 32, 7 / 32, 15 / 32, 1)}
        )
    loss = torch.stack([miss(z[:, :width], sae.decoder[:width], sae.b_dec) for width in widths]).sum()
    if dead.any():
        k_aux = min(int(dead.sum()), max(config.k, D_IN // 2))
        chosen = pre.masked_fill(~dead, -torch.inf).topk(k_aux, dim=1).indices
        mask = torch.zeros_like(pre).scatter(1, chosen, 1.0)
        left = (z @ sae.decoder + sae.b_dec - x).detach()
        loss = loss + config.aux_coefficient * ((pre.relu() * mask) @ sae.decoder + left).square().sum() / n
    return loss


def assert_gradients(sae: Any, x: Tensor, dead: Tensor, unit: bool) -> None:
    with torch.no_grad():
        step = sae.step(x, dead)
    mine = {name: parameter.grad for name, parameter in sae.trained.items()}
    for parameter in sae.parameters.values():
        parameter.grad = None
        parameter.requires_grad_()
    loss = published_loss(sae, x, dead)
    loss.backward()
    for parameter in sae.parameters.values():
        parameter.requires_grad_(False)
    assert float(step.loss) == pytest.approx(loss.item(), rel=1e-5)
    for name, parameter in sae.trained.items():
        expected = parameter.grad
        if name == "decoder" and unit:
            expected = expected - (expected * sae.decoder).sum(dim=1, keepdim=True) * sae.decoder
        assert mine[name].stride() == parameter.stride(), name
        assert float((mine[name] - expected).norm() / expected.norm()) < 1e-5, name


@pytest.mark.parametrize("d_sae", [40, 608])
@pytest.mark.parametrize("decoder_norm", ["unit", "free"])
@pytest.mark.parametrize("n_dead", [0, 3, 9])
@pytest.mark.parametrize("architecture", ALL)
def test_gradients_equal_autograd(architecture: str, n_dead: int, decoder_norm: str, d_sae: int) -> None:
    if n_dead and architecture in ("relu", "gated", "jumprelu"):
        pytest.skip("nothing revives dead latents in this architecture")
    sae = build(architecture, d_sae, decoder_norm=decoder_norm)
    dead = torch.arange(d_sae) < n_dead
    assert_gradients(sae, vectors(), dead, decoder_norm == "unit")


@pytest.mark.parametrize("architecture", ALL)
def test_sparse_products_equal_dense_ones(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = torch.arange(608) < 20
    found = []
    for up_to, from_ in ((0, 2.0), (10_000, 0.0)):
        monkeypatch.setattr(code, "DENSE_UP_TO", up_to)
        monkeypatch.setattr(code, "DENSE_FROM", from_)
        sae = build(architecture, 608)
        with torch.no_grad():
            step = sae.step(vectors(), dead)
        found.append([step.loss, step.l0, *(parameter.grad for parameter in sae.parameters.values())])
    for sparse, dense in zip(*found, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("architecture", ALL)
def test_stacked_seeds_equal_single_ones(architecture: str) -> None:
    dead = torch.stack([torch.arange(40) < 4, torch.zeros(40, dtype=torch.bool), torch.arange(40) > 30])
    stacked = build(architecture, seeds=(3, 4, 5), orthogonality=0.3, weight_decay=0.1)
    with torch.no_grad():
        together = stacked.step(vectors(), dead)
        for index, seed in enumerate((3, 4, 5)):
            alone = build(architecture, seeds=(seed,), orthogonality=0.3, weight_decay=0.1)
            step = alone.step(vectors(), dead[index])
            assert float(together.loss[index]) == pytest.approx(float(step.loss), rel=1e-5)
            assert torch.equal(together.fired[index], step.fired)
            for name, parameter in alone.parameters.items():
                mine = stacked.parameters[name].grad[index]
                torch.testing.assert_close(mine, parameter.grad, rtol=1e-4, atol=1e-5)


def sae_lens_twin(sae: Any) -> Any:
    """The training SAE of sae-lens with the same weights."""
    import sae_lens as lens
    from sae_lens.saes import matryoshka_batchtopk_sae as matryoshka

    config = sae.config
    common = {"d_in": D_IN, "d_sae": config.d_sae, "dtype": "float32", "device": "cpu"}
    topk = {"k": config.k, "rescale_acts_by_decoder_norm": False, "aux_loss_coefficient": 0.0}
    widths = sorted({max(1, round(share * config.d_sae)) for share in (1 / 32, 3 / 32, 7 / 32, 15 / 32, 1)})
    twins = {
        "relu": lambda: lens.StandardTrainingSAE(lens.StandardTrainingSAEConfig(**common, l1_coefficient=config.l1_coefficient)),
        "gated": lambda: lens.GatedTrainingSAE(lens.GatedTrainingSAEConfig(**common, l1_coefficient=config.l1_coefficient)),
        "jumprelu": lambda: lens.JumpReLUTrainingSAE(lens.JumpReLUTrainingSAEConfig(
            **common, l0_coefficient=config.l0_coefficient, jumprelu_bandwidth=config.jumprelu_bandwidth,
            jumprelu_sparsity_loss_mode="quadratic", target_l0=config.k)),
        "topk": lambda: lens.TopKTrainingSAE(lens.TopKTrainingSAEConfig(**common, **topk)),
        "batch_topk": lambda: lens.BatchTopKTrainingSAE(lens.BatchTopKTrainingSAEConfig(**common, **topk)),
        "matryoshka_batch_topk": lambda: matryoshka.MatryoshkaBatchTopKTrainingSAE(
            matryoshka.MatryoshkaBatchTopKTrainingSAEConfig(**common, **topk, matryoshka_widths=widths)),
    }  # fmt: skip
    twin = twins[config.architecture]()
    names = {"W_enc": sae.encoder.T, "W_dec": sae.decoder, "b_dec": sae.b_dec}
    names |= {"b_gate": sae.b_enc, "r_mag": sae.r_mag, "b_mag": sae.b_mag} if config.architecture == "gated" else {"b_enc": sae.b_enc}  # fmt: skip
    names |= {"threshold": sae.threshold} if config.architecture == "jumprelu" else {}
    for name, value in names.items():
        getattr(twin, name).data = value.clone().contiguous()
    return twin


@pytest.mark.parametrize("architecture", ALL)
def test_loss_and_gradients_equal_those_of_sae_lens(architecture: str) -> None:
    """But for gated gradients: sae-lens does not freeze the decoder of the auxiliary path as the paper does."""
    from sae_lens.saes.sae import TrainStepInput

    sae = build(architecture, decoder_norm="free")
    twin, x = sae_lens_twin(sae), vectors()
    with torch.no_grad():
        step = sae.step(x, torch.zeros(40, dtype=torch.bool))
    coefficients = {"relu": {"l1": 0.1}, "gated": {"l1": 0.1}, "jumprelu": {"l0": 1.0}}.get(architecture, {})
    output = twin.training_forward_pass(
        TrainStepInput(
            sae_in=x,
            coefficients=coefficients,
            dead_neuron_mask=None,
            n_training_steps=0,
            is_logging_step=False,
        )
    )
    assert float(step.loss) == pytest.approx(output.loss.item(), rel=1e-5)
    if architecture == "gated":
        return
    output.loss.backward()
    torch.testing.assert_close(sae.encoder.grad, twin.W_enc.grad.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(sae.b_dec.grad, twin.b_dec.grad, rtol=1e-4, atol=1e-5)
    if architecture == "jumprelu":
        torch.testing.assert_close(sae.threshold.grad, twin.threshold.grad, rtol=1e-4, atol=1e-5)
    if architecture != "relu":
        torch.testing.assert_close(sae.decoder.grad, twin.W_dec.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("d_sae", [40, 608])
def test_topk_keeps_k_and_batch_topk_k_on_average(d_sae: int) -> None:
    for architecture in ("topk", "batch_topk", "matryoshka_batch_topk"):
        sae: Any = build(architecture, d_sae)
        with torch.no_grad():
            pre = sae.pre_activations(vectors() - sae.b_dec)
            kept = sae.support(pre)
            z = kept.dense(sae.activate(kept, pre))
            assert int((z > 0).sum()) == 4 * BATCH
            if architecture == "topk":
                assert int((z > 0).sum(dim=1).max()) == 4
            step = sae.step(vectors(), torch.zeros(d_sae, dtype=torch.bool))
        assert float(step.l0) == 4
        assert torch.equal(step.fired, (z > 0).any(dim=0))


def test_the_largest_latents_are_found_in_groups() -> None:
    from engine.studies.sae_consistency.saes.topk import top_indices

    pre = torch.randn(50, 4096, generator=torch.Generator().manual_seed(0))
    expected = pre.topk(32, dim=1).indices.sort(dim=1).values
    assert torch.equal(top_indices(pre, 32).sort(dim=1).values, expected)


def test_batch_topk_threshold_gives_about_k_after_training() -> None:
    sae: Any = build("batch_topk", 608)
    x = vectors(2000)
    with torch.no_grad():
        sae.calibrate(x)
        for _ in range(300):
            sae.step(x[:500], torch.zeros(608, dtype=torch.bool))
        l0 = float((sae.encode(x[500:]) > 0).sum()) / 1500
    assert l0 == pytest.approx(4, rel=0.1)


def test_jumprelu_starts_at_its_target_l0() -> None:
    sae: Any = build("jumprelu", 608)
    with torch.no_grad():
        sae.calibrate(vectors(2000))
        assert float((sae.encode(vectors(2000)) > 0).sum()) / 2000 == pytest.approx(4, rel=0.01)


def trained(control: str, **changes: Any) -> tuple[Sae, Tensor]:
    sae = build("topk", control=control, **changes)
    start = sae.decoder.clone()
    optimiser = torch.optim.Adam(sae.trained.values(), lr=0.05)
    with torch.no_grad():
        for number in range(60):
            sae.step(vectors(), torch.zeros(40, dtype=torch.bool), number)
            optimiser.step()
            sae.constrain()
    return sae, (sae.decoder * start).sum(dim=1)


def test_controls_hold_the_decoder_where_they_promise() -> None:
    _, cosine = trained("none")
    assert float(cosine.min()) < 0.75
    frozen, cosine = trained("frozen_decoder")
    torch.testing.assert_close(cosine, torch.ones(40))
    assert not torch.equal(frozen.encoder, build("topk").encoder)
    _, cosine = trained("soft_frozen")
    assert float(cosine.min()) >= 0.8 - 1e-5
    assert float(cosine.min()) < 0.85
    assert Config(control="random").steps == 0


def test_aligned_training_keeps_encoder_and_decoder_at_one() -> None:
    sae, _ = trained("none", align_encoder=True)
    torch.testing.assert_close((sae.encoder * sae.decoder).sum(dim=1), torch.ones(40), rtol=1e-4, atol=1e-5)


def test_orthogonality_gradient_equals_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CHUNK", 16)
    decoder = torch.randn(40, D_IN, generator=torch.Generator().manual_seed(0), requires_grad=True)
    generator = torch.Generator().manual_seed(base.stream_seed("chunks", 3, 7))
    unit = decoder / decoder.norm(dim=1, keepdim=True)
    total = torch.zeros(())
    for ids in torch.randperm(40, generator=generator).split(16):
        cosine = (unit[ids] @ unit[ids].T) * (1 - torch.eye(len(ids)))
        total = total + cosine.square().max(dim=1).values.sum() / 40
    total.backward()
    with torch.no_grad():
        mine = base.orthogonality_gradient(decoder, 3, 7)
    torch.testing.assert_close(mine, decoder.grad, rtol=1e-4, atol=1e-6)
    plain, _ = trained("none")
    apart, _ = trained("none", orthogonality=5.0)
    overlap = [float(((s.decoder @ s.decoder.T) - torch.eye(40)).abs().max(dim=1).values.mean()) for s in (plain, apart)]  # fmt: skip
    assert overlap[1] < overlap[0] - 0.02


def test_weight_decay_is_the_gradient_of_half_the_squared_norm() -> None:
    plain, decayed = build("topk", decoder_norm="free"), build("topk", decoder_norm="free", weight_decay=0.3)
    none = torch.zeros(40, dtype=torch.bool)
    with torch.no_grad():
        plain.step(vectors(), none)
        decayed.step(vectors(), none)
    for name in ("encoder", "decoder"):
        added = decayed.parameters[name].grad - plain.parameters[name].grad
        torch.testing.assert_close(added, 0.3 * plain.parameters[name], rtol=1e-4, atol=1e-5)


def test_initialisation_is_the_seeds_alone() -> None:
    first, again = build("topk"), build("topk")
    assert torch.equal(first.decoder, again.decoder)
    assert not torch.equal(first.decoder, build("topk", seeds=(4,)).decoder)
    torch.testing.assert_close(first.decoder.norm(dim=1), torch.ones(40))


def test_geometric_median_resists_an_outlier() -> None:
    generator = np.random.default_rng(0)
    points = generator.standard_normal((500, 5)).astype(np.float32)
    points[0] = 1e4
    median = geometric_median(torch.from_numpy(points))
    assert float(median.norm()) < 0.2
    assert float(torch.from_numpy(points).mean(dim=0).norm()) > 10
