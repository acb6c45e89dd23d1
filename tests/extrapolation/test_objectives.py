"""What the objectives and arms are, held to their definitions: the world's own truth, one sample at a time, the paper's ordering."""

import numpy as np
import pytest
import torch

from analyses.extrapolation import FEW, NEAR, SOURCE, TENT
from data.extrapolation import RADIUS, World
from engine.studies.extrapolation.adapting import adapt_alone, entropy, run_alone
from engine.studies.extrapolation.config import Config
from engine.studies.extrapolation.models import Support, norm_parameters
from engine.studies.extrapolation.patches import PatchNetwork, folds, to_images, to_patches
from engine.studies.extrapolation.picture_arms import PictureArms
from engine.studies.extrapolation.worlds import WorldLearner


def world(regime: str, **changes: object) -> World:
    given = {
        "n_classes": 3,
        "n_coordinates": 10,
        "n_affected": 3,
        "continuous": False,
        "slope": 0.3,
        "noise": 0.0,
        "seed": 5,
    }
    return World(regime, **{**given, **changes})  # type: ignore[arg-type]


class TestWorld:
    @pytest.mark.parametrize(("regime", "moved"), [("dense", 10), ("sparse", 3)])
    def test_s_acts_where_it_is_said_to(self, regime: str, moved: int) -> None:
        one = world(regime)
        c = one.invariant(np.array([1]), np.random.default_rng(0))
        x = [one.mix(c, np.array([s]))[0] for s in ([0.0, 0.0], [1.5, -1.0])]
        assert ((x[0] != x[1]) == one.affected).all() and one.affected.sum() == moved

    def test_targets_lie_at_their_distance_and_the_source_within(self) -> None:
        rng = np.random.default_rng(0)
        far, near = world("dense").targets(200, 4.0, rng), world("dense").source(2_000, rng)
        assert np.allclose(np.linalg.norm(far.s, axis=1), RADIUS + 4)
        norms = np.linalg.norm(near.s, axis=1)
        assert norms.max() <= RADIUS and (norms < RADIUS / 2).mean() == pytest.approx(0.25, abs=0.04)
        assert np.allclose(near.x.std(axis=0), 1, atol=0.05)

    def test_the_class_has_one_c_or_many(self) -> None:
        labels = np.zeros(50, dtype=int)
        assert np.unique(world("sparse").invariant(labels, np.random.default_rng(0)), axis=0).shape[0] == 1
        many = world("sparse", continuous=True).invariant(labels, np.random.default_rng(0))
        assert np.unique(many, axis=0).shape[0] == 50


@pytest.fixture(scope="module")
def learners() -> dict[str, WorldLearner]:
    """A dense and a sparse world of the default design, learnt in a quarter of the default steps."""
    config = Config(
        steps=400, n_source=2_000, n_targets=100, fit_steps=60, world_seed=2, distances=[3.0, 8.0]
    )
    found = {}
    for regime in ("dense", "sparse"):
        learner = WorldLearner(config, regime, 0, 0)
        while learner.done < learner.training:
            learner.advance()
        learner.freeze()
        found[regime] = learner
    return found


def accuracy(learner: WorldLearner, arm: str) -> float:
    """On targets near the support in the dense world, far off in the sparse one."""
    rows = learner.targets(0 if learner.regime == "dense" else 1)
    return float((learner.answer(arm, torch.from_numpy(rows.x).float()).numpy() == rows.y).mean())


class TestObjectives:
    def test_each_objective_is_right_in_its_own_regime(self, learners: dict[str, WorldLearner]) -> None:
        dense, sparse = learners["dense"], learners["sparse"]
        assert accuracy(sparse, FEW) > 0.95 and accuracy(sparse, FEW) > accuracy(sparse, NEAR)
        assert accuracy(dense, NEAR) > accuracy(dense, FEW) + 0.1
        assert accuracy(dense, NEAR) > accuracy(dense, SOURCE) - 0.05

    @pytest.mark.parametrize("arm", [NEAR, FEW, TENT])
    def test_a_target_is_met_alone(self, learners: dict[str, WorldLearner], arm: str) -> None:
        learner = learners["dense"]
        x = torch.from_numpy(learner.targets(1).x[:5]).float()

        def figures(part: torch.Tensor) -> torch.Tensor:
            return learner.tent(part) if arm == TENT else learner.explain(arm, part).scores

        assert torch.allclose(figures(x)[2:3], figures(x[2:3]), rtol=0.05, atol=1e-3)

    def test_minimal_change_stays_on_the_support_and_leaves_out_q(
        self, learners: dict[str, WorldLearner]
    ) -> None:
        learner = learners["sparse"]
        x = torch.from_numpy(learner.targets(1).x[:10]).float()
        fit = learner.explain(FEW, x, changed=3)
        assert (learner.support.beyond(fit.latents) < 1e-4).all() and (fit.left_out.sum(dim=-1) == 3).all()
        squared = (x[:, None] - fit.rebuilt) ** 2
        kept = squared.sort(dim=-1).values[..., :-3].sum(dim=-1)
        assert torch.allclose(kept, fit.scores, atol=1e-4)
        assert learner.explain(NEAR, x).left_out.sum() == 0

    def test_minimal_distance_pays_for_leaving_the_support(self, learners: dict[str, WorldLearner]) -> None:
        learner = learners["dense"]
        x = torch.from_numpy(learner.targets(1).x[:10]).float()
        beyond = [
            float(learner.support.beyond(learner.explain(NEAR, x, pull=pull).latents).mean())
            for pull in (0.0, 100.0)
        ]
        assert beyond[1] < beyond[0] / 2

    def test_what_truly_changed_is_left_out(self, learners: dict[str, WorldLearner]) -> None:
        learner = learners["sparse"]
        x = torch.from_numpy(learner.targets(1).x).float()
        fit = learner.explain(FEW, x, changed=3)
        out = fit.left_out[torch.arange(len(x)), fit.prediction].double().mean(dim=0).numpy()
        assert out[learner.world.affected].mean() > 0.75


def test_support_holds_what_it_says() -> None:
    torch.manual_seed(0)
    rows = torch.randn(5_000, 2) @ torch.tensor([[2.0, 0.5], [0.0, 0.3]]) + 3
    support = Support.of(rows)
    assert float((support.beyond(rows) == 0).double().mean()) == pytest.approx(0.99, abs=0.002)
    assert (support.beyond(support.project(rows * 9)) < 1e-4).all()


def test_tent_lowers_entropy_by_the_norms_alone() -> None:
    net = PatchNetwork(8, 1, 4, seed=0).eval()
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    shown = torch.zeros(1, 16, dtype=torch.bool)
    names = list(norm_parameters(net))
    assert names and all("norm" in name for name in names)
    adapted = adapt_alone(
        net, names, (images,), lambda call, one: entropy(call(one[None], shown)[0][0]), 5, 0.02
    )
    after = run_alone(net, adapted, (images,), lambda call, one: call(one[None], shown)[0][0])
    before = net(images, shown.expand(3, -1))[0]
    assert (entropy(after) < entropy(before)).all() and set(adapted) == set(names)
    assert torch.equal(net(images, shown.expand(3, -1))[0], before), "the network itself is untouched"


class TestPatches:
    def test_there_and_back(self) -> None:
        images = torch.rand(2, 3, 16, 16)
        patches = to_patches(images, 2)
        assert patches.shape == (2, 64, 12) and torch.equal(to_images(patches, 3, 2), images)
        assert torch.equal(patches[1, 9].reshape(3, 2, 2), images[1, :, 2:4, 2:4])

    def test_every_patch_is_hidden_once_a_round(self) -> None:
        masks = folds(16, 3, np.random.default_rng(0))
        assert masks.shape == (12, 16) and (masks.sum(axis=0) == 3).all()

    def test_hidden_patches_say_nothing(self) -> None:
        net = PatchNetwork(8, 1, 4, seed=0).eval()
        hidden = torch.zeros(1, 16, dtype=torch.bool)
        hidden[0, 5] = True
        image = torch.rand(1, 1, 8, 8)
        other = to_images(torch.where(hidden[..., None], 9.0, to_patches(image, 2)), 1, 2)
        assert torch.equal(net(image, hidden)[0], net(other, hidden)[0])
        assert not torch.equal(net(image, ~hidden)[0], net(other, ~hidden)[0])

    def test_an_implausible_patch_is_judged_changed(self) -> None:
        net = PatchNetwork(8, 1, 4, seed=0).eval()
        clean = 0.5 + 0.05 * torch.rand(60, 1, 8, 8)
        arms = PictureArms(net, 1, (clean, torch.zeros(60, dtype=torch.long)))
        arms.learn_expected(clean)
        met = clean[:1].clone()
        met[0, 0, 2:4, 2:4] = 40.0
        judged = arms.judge(met, 0.995)
        assert judged.hidden[0, 5] and judged.error[0].argmax() == 5 and judged.hidden.sum() <= 12
