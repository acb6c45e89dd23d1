"""The flows, the loss and its penalties: inverses, log-determinants, what moves in training, what a counterfactual calls."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from data.counterfactual_text import make_world
from engine.errors import UserError
from engine.studies.counterfactual_text.config import ARMS, Config
from engine.studies.counterfactual_text.learner import Learner
from engine.studies.counterfactual_text.model import MASKED_BELOW, Model, influence
from engine.studies.counterfactual_text.prior import Prior
from engine.studies.counterfactual_text.source import open_source
from tests.counterfactual_text.conftest import TINY


def make_prior(flow: str, arm: str = "matte") -> Prior:
    torch.manual_seed(3)
    return Prior(Config(**{**TINY, "flow": flow, "d_content": 3, "d_style": 2}), arm, 3).double()


def some(n: int = 40) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(4)
    return torch.randn(n, 3).double(), 1.5 * torch.randn(n, 2).double(), torch.randint(0, 3, (n,))


@pytest.mark.parametrize("flow", ["affine", "spline"])
class TestFlows:
    def test_round_trip(self, flow: str) -> None:
        prior, (content, style, domain) = make_prior(flow), some()
        noise = prior.style_noise(style, content, domain)[0]
        assert (prior.style(noise, content, domain) - style).abs().max() < 1e-5
        back = prior.content_flow(prior.embedding(domain)).inv(prior.content_noise(content, domain)[0])
        assert (back - content).abs().max() < 1e-5
        assert (noise - style).abs().max() > 0.01, "an identity would pass this test too"

    def test_log_determinant_is_autograds(self, flow: str) -> None:
        prior, (content, style, domain) = make_prior(flow), some(6)
        for row in range(6):
            c, u = content[row : row + 1], domain[row : row + 1]
            style_j = torch.autograd.functional.jacobian(
                lambda s, c=c, u=u: prior.style_noise(s[None], c, u)[0][0], style[row]
            )
            content_j = torch.autograd.functional.jacobian(
                lambda z, u=u: prior.content_noise(z[None], u)[0][0], content[row]
            )
            for found, wanted in (
                (prior.style_noise(style[row : row + 1], c, u)[1], style_j),
                (prior.content_noise(c, u)[1], content_j),
            ):
                assert float(found.detach()) == pytest.approx(
                    float(torch.linalg.slogdet(wanted)[1]), abs=1e-8
                )

    def test_style_depends_on_content_and_domain_only_where_it_should(self, flow: str) -> None:
        content, style, domain = some()
        for arm, depends in (("matte", True), ("no_sparsity", True), ("independent", False)):
            prior = make_prior(flow, arm)
            noise = prior.style_noise(style, content, domain)[0]
            other = prior.style_noise(style, content + 1, domain)[0]
            elsewhere = prior.style_noise(style, content, (domain + 1) % 3)[0]
            assert torch.equal(noise, other) != depends and not torch.equal(noise, elsewhere)


def learner(arm: str = "matte", **changes: Any) -> Learner:
    config = Config(
        **{**TINY, "arms": arm, "n_steps": 20, "lambda_mask": 0.1, "lambda_partial": 0.01, **changes}
    )
    return Learner(config, open_source(config, 0, 0), arm, 0, 0, lambda *args, **values: None)


@pytest.mark.parametrize(
    ("arm", "flow"), [("matte", "affine"), ("matte", "spline"), ("independent", "affine")]
)
def test_every_parameter_moves_in_twenty_steps(arm: str, flow: str) -> None:
    one = learner(arm, flow=flow)
    model = one.model
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    while not one.finished:
        one.advance()
    names = set(before)
    wanted = {"prior.embedding.weight", "mask"} | (
        {"prior.gate.weight", "prior.gated.weight"} if arm == "matte" else set()
    )
    assert wanted <= names and {"prior.content_flow", "prior.style_flow"} <= {
        name.rsplit(".hyper", 1)[0] for name in names
    }
    still = [name for name, value in model.named_parameters() if torch.equal(value, before[name])]
    assert not still


def test_a_loss_that_is_not_finite_names_the_setting() -> None:
    one = learner()
    with torch.no_grad():
        one.model.decoder.layers[0].weight.fill_(1e38)
    with pytest.raises(UserError, match="no longer finite") as caught:
        one.advance()
    assert caught.value.field == "learning_rate"


def test_the_beta_vae_has_no_flow_and_no_mask() -> None:
    names = {name for name, _ in learner("beta_vae").model.named_parameters()}
    assert not any(name.startswith(("prior", "mask")) for name in names)


def test_divergence_with_a_standard_normal_is_the_closed_form() -> None:
    torch.manual_seed(0)
    one = learner("beta_vae", n_rows=4_000)
    model, part = one.model, one.source.parts["train"]
    parts = model.loss(part.seen, part.domain, torch.Generator().manual_seed(1))[1]
    mean, log, *_ = model.encoder(part.seen)
    exact = 0.5 * (mean**2 + log.exp() - 1 - log).sum(dim=1).mean()
    assert float(parts["kl_content"].detach()) == pytest.approx(float(exact.detach()), abs=0.1)


def test_a_counterfactual_abducts_and_calls_the_inverse(monkeypatch: pytest.MonkeyPatch) -> None:
    one = learner()
    model, part = one.model.eval(), one.source.parts["test"]
    calls: list[str] = []
    original = Prior.style

    def counted(self: Prior, *args: Tensor) -> Tensor:
        calls.append("inverse")
        return original(self, *args)

    monkeypatch.setattr(Prior, "style", counted)
    latents = model.latents(part.seen, part.domain)
    same = model.predict(latents, latents.noise, part.domain)
    assert calls and (same - torch.cat([latents.content, latents.style], dim=1)).abs().max() < 1e-5
    swapped = model.predict(latents, latents.noise.flip(0), part.domain)[:, model.config.d_content :]
    assert torch.equal(swapped, original(model.prior, latents.noise.flip(0), latents.content, part.domain))
    assert (swapped - latents.style.flip(0)).abs().max() > 1e-3, "acting on s̃ is not swapping s"


class TestInfluence:
    def test_it_is_the_jacobian_times_the_spread(self) -> None:
        model = learner().model.double()
        z = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).double()
        spread = torch.tensor([1.0, 2, 0.5, 1, 3, 0.1]).double()
        found = influence(model.decoder, z, spread, torch.zeros(5, 16).double())
        for row in range(5):
            exact = torch.autograd.functional.jacobian(lambda one: model.decoder(one[None])[0], z[row])
            assert torch.allclose(found[row], exact.abs() * spread, atol=2e-2)

    def test_a_larger_style_has_no_smaller_penalty(self) -> None:
        """The loophole: the decoder's weights shrink as the latent grows, and nothing is gained."""
        model = learner().model.double()
        z = torch.randn(50, 6).double()
        before = influence(model.decoder, z, z.std(dim=0), torch.zeros(50, 16).double())
        with torch.no_grad():
            model.decoder.layers[0].weight[:, 4:] /= 10
        z[:, 4:] *= 10
        after = influence(model.decoder, z, z.std(dim=0), torch.zeros(50, 16).double())
        assert torch.allclose(before, after, atol=1e-6)

    def test_sparsity_only_sees_style(self) -> None:
        one = learner(lambda_partial=0.0, lambda_mask=0.0)
        model, part = one.model.train(), one.source.parts["train"]
        names = [name for name, _, _ in model._penalties(torch.randn(30, 6), part.seen[:30])]
        assert names == ["sparse", "mask"]
        content, style = torch.randn(30, 6), torch.randn(30, 6)
        content[:, 4:] = style[:, 4:]
        weight = model.decoder.layers[0].weight
        with torch.no_grad():
            weight[:, 4:] = 0
        assert float(model._penalties(content, part.seen[:30])[0][2].detach()) == 0


def test_masked_content_reaches_neither_decoder_nor_style() -> None:
    one = learner()
    model, part = one.model.eval(), one.source.parts["test"]
    with torch.no_grad():
        model.mask[0] = MASKED_BELOW
    latents = model.latents(part.seen, part.domain)
    assert (latents.content[:, 0] == 0).all() and (latents.content[:, 1] != 0).any()


def test_arms_of_a_seed_start_alike_and_seeds_differ() -> None:
    config = Config(**TINY)
    models = [Model(config, arm, 3, 0, seed) for arm in ARMS for seed in (0, 1)]
    first = [next(iter(model.encoder.parameters())) for model in models]
    assert all(torch.equal(first[0], value) for value in first[::2]) and not torch.equal(first[0], first[1])


class TestWorld:
    def test_noise_of_its_own_gives_the_row_back(self) -> None:
        world = make_world(3, 4, 2, 16, 4, np.random.default_rng(0))
        rows = world.sample(500, np.random.default_rng(1))
        same = world.counterfactual(rows, np.arange(500))
        assert np.abs(same - rows.x).max() < 0.15 and np.abs(same - rows.x).std() < 0.03

    def test_style_touches_its_own_outputs_and_content_all(self) -> None:
        world = make_world(3, 4, 2, 16, 4, np.random.default_rng(0))
        rows = world.sample(50, np.random.default_rng(1))
        moved = world.seen(rows.content, rows.style + np.array([1, 0])) - world.seen(rows.content, rows.style)
        assert (np.abs(moved[:, :4]) > 0).all() and (moved[:, 4:] == 0).all()
        moved = world.seen(rows.content + np.array([1, 0, 0, 0]), rows.style) - world.seen(
            rows.content, rows.style
        )
        assert (np.abs(moved) > 0).all()

    def test_noise_is_independent_of_content_and_style_is_not(self) -> None:
        world = make_world(3, 4, 2, 16, 4, np.random.default_rng(0))
        rows = world.sample(20_000, np.random.default_rng(1))
        both = np.corrcoef(np.hstack([rows.content, rows.noise, rows.style]).T)
        assert np.abs(both[:4, 4:6]).max() < 0.03 and np.abs(both[:4, 6:]).max() > 0.1

    def test_too_few_outputs_are_refused(self) -> None:
        with pytest.raises(ValueError, match="need 20"):
            make_world(2, 4, 5, 16, 4, np.random.default_rng(0))
