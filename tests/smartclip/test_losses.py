"""The cheap closed form of the modular contrastive loss, masks, and what every arm's loss sees."""

import pytest
import torch
from torch.nn import functional as F

from engine.studies.smartclip.captions import CaptionDraw, Words
from engine.studies.smartclip.losses import contrastive, own_mask_similarities, principal_part, similarities
from engine.studies.smartclip.masking import Masks, masks_of, random_masks
from engine.studies.smartclip.network import MaskNetwork, Said, straight_through


def drawn(n: int = 7, d: int = 12) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    z, t, logits = (torch.randn(n, d, generator=generator, dtype=torch.float64) for _ in range(3))
    return z, t, logits


def by_loop(z: torch.Tensor, t: torch.Tensor, masks: torch.Tensor, scale: float) -> torch.Tensor:
    """The loss as the method defines it: every image under every caption's mask, one pair at a time."""
    n = len(z)
    rows, columns = [], []
    for i in range(n):
        same_image = torch.stack([F.cosine_similarity(z[i] * masks[j], t[j], dim=0) for j in range(n)])
        same_mask = torch.stack([F.cosine_similarity(z[j] * masks[i], t[i], dim=0) for j in range(n)])
        rows.append(F.cross_entropy(scale * same_image[None], torch.tensor([i])))
        columns.append(F.cross_entropy(scale * same_mask[None], torch.tensor([i])))
    return torch.stack(rows).mean() + torch.stack(columns).mean()


@pytest.mark.parametrize("soft", [False, True])
def test_the_closed_form_equals_the_loop_with_its_gradients(soft: bool) -> None:
    z, t, logits = drawn()
    values, gradients = [], []
    for loss_of in (
        lambda z, t, m: contrastive(similarities(z, t, m), 40),
        lambda z, t, m: by_loop(z, t, m, 40),
    ):
        parts = [part.clone().requires_grad_(True) for part in (z, t, logits)]
        loss = loss_of(parts[0], parts[1], straight_through(parts[2], soft))
        loss.backward()
        values.append(loss.item())
        gradients.append(torch.cat([part.grad.flatten() for part in parts if part.grad is not None]))
    assert values[0] == pytest.approx(values[1], abs=1e-6)
    assert len(gradients[0]) == 3 * z.numel()
    assert torch.allclose(*gradients, atol=1e-6)


def test_without_masks_it_is_clips_loss() -> None:
    z, t, _ = drawn()
    ones = torch.ones_like(z)
    assert torch.allclose(similarities(z, t), similarities(z, t, ones), atol=1e-6)
    target = torch.arange(len(z))
    scores = 40 * F.normalize(z, dim=1) @ F.normalize(t, dim=1).T
    wanted = F.cross_entropy(scores, target) + F.cross_entropy(scores.T, target)
    assert contrastive(similarities(z, t), 40).item() == pytest.approx(wanted.item())


def test_an_empty_mask_matches_nothing_and_stays_finite() -> None:
    z, t, logits = drawn()
    logits = (logits - 100).requires_grad_(True)
    scores = similarities(z, t, straight_through(logits))
    assert (scores == 0).all()
    contrastive(scores, 40).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_masks_are_binary_with_the_gradient_of_the_sigmoid() -> None:
    logits = torch.tensor([-3.0, -0.01, 0.0, 2.0], requires_grad=True)
    hard = straight_through(logits)
    assert hard.tolist() == [0, 0, 1, 1]
    hard.sum().backward()
    gates = torch.sigmoid(logits.detach())
    assert logits.grad is not None and torch.allclose(logits.grad, gates * (1 - gates))
    assert torch.allclose(straight_through(logits.detach(), soft=True), gates)


def test_a_soft_mask_keeps_what_is_large_beside_its_largest() -> None:
    def bits(logits: list[float], soft: bool) -> list[bool]:
        used = straight_through(torch.tensor([logits]), soft)
        found: list[bool] = Masks(used, torch.tensor([logits]).sigmoid()).bits[0].tolist()
        return found

    assert bits([-3.0, -6.0, -3.3], soft=True) == [True, False, True]
    assert bits([-3.0, -6.0, -3.3], soft=False) == [False] * 3
    assert bits([1.0, -0.1, 0.2], soft=False) == [True, False, True]


def test_naive_negatives_keep_each_images_own_mask() -> None:
    z, t, logits = drawn()
    masks = straight_through(logits)
    found = own_mask_similarities(z, t, masks)
    assert found[2, 4].item() == pytest.approx(F.cosine_similarity(z[2] * masks[2], t[4], dim=0).item())
    assert torch.allclose(found.diagonal(), similarities(z, t, masks).diagonal())


def test_principal_part_keeps_the_largest_directions() -> None:
    generator = torch.Generator().manual_seed(1)
    wide = torch.randn(60, 2, generator=generator) @ torch.randn(2, 12, generator=generator)
    assert torch.allclose(principal_part(wide, 2), wide, atol=1e-4)
    z = wide + 0.1 * torch.randn(60, 12, generator=generator)
    kept = principal_part(z, 2)
    assert torch.linalg.matrix_rank(kept - kept.mean(dim=0), atol=1e-3) == 2
    assert (kept - z).norm() < (z - z.mean(dim=0)).norm()


def test_no_gradient_reaches_the_text_tower_through_the_mask() -> None:
    tokens = torch.randn(3, 5, 8, requires_grad=True)
    network = MaskNetwork(8, 2)
    network(Said(torch.zeros(3, 8), tokens, torch.ones(3, 5, dtype=torch.bool))).sum().backward()
    assert tokens.grad is None and network.weight.weight.grad is not None


def test_padding_does_not_change_a_mask() -> None:
    torch.manual_seed(0)
    network, tokens = MaskNetwork(8, 2), torch.randn(1, 5, 8)
    short = network(Said(torch.zeros(1, 8), tokens[:, :3], torch.ones(1, 3, dtype=torch.bool)))
    present = torch.tensor([[True, True, True, False, False]])
    assert torch.allclose(short, network(Said(torch.zeros(1, 8), tokens, present)), atol=1e-6)


def test_fixed_random_masks_are_unions_of_their_sentences() -> None:
    fixed = random_masks(5, 40, 0.25, torch.Generator().manual_seed(0))
    assert (fixed.sum(dim=1) >= 1).all() and fixed.mean().item() == pytest.approx(0.25, abs=0.1)
    said = Said(torch.zeros(2, 40), torch.zeros(2, 1, 40), torch.ones(2, 1, dtype=torch.bool))
    found = masks_of("random_mask", MaskNetwork(40, 2), said, [(1, 3), (2,)], fixed)
    assert found is not None
    assert torch.equal(found.used[0], torch.maximum(fixed[1], fixed[3])) and torch.equal(
        found.used[1], fixed[2]
    )
    assert masks_of("clip_long", MaskNetwork(40, 2), said, [(1,), (2,)], None) is None


class TestCaptions:
    def draw(self, policy: str = "subset", tied: tuple[str, ...] = ()) -> CaptionDraw:
        import numpy as np

        from data.scenes import scene_pictures

        return CaptionDraw(scene_pictures((200, 50, 50), np.random.default_rng(0)), policy, tied, 0)

    def test_any_sentences_in_any_number(self) -> None:
        draw = self.draw()
        rows = draw.rows("arm", 3, 200)
        found = draw.draw("some", "arm", 3, rows)
        assert found == draw.draw("some", "arm", 3, rows) != draw.draw("some", "arm", 4, rows)
        assert {len(caption) for caption in found} == set(range(1, 8))
        assert all(set(c) <= set(draw.pictures.sentences[row]) for c, row in zip(found, rows, strict=True))
        assert {len(c) for c in draw.draw("short", "arm", 3, rows)} == {1}
        assert {len(c) for c in draw.draw("long", "arm", 3, rows)} == {7}

    def test_prefixes_keep_the_order(self) -> None:
        draw = self.draw("prefix")
        rows = draw.rows("arm", 0, 200)
        for caption, row in zip(draw.draw("some", "arm", 0, rows), rows, strict=True):
            assert caption == draw.pictures.sentences[row][: len(caption)]

    def test_tied_factors_are_named_together_or_not_at_all(self) -> None:
        draw = self.draw("tied", ("left colour", "right colour"))
        counts = []
        for kind in ("some", "short", "long"):
            for caption in draw.draw(kind, "arm", 0, draw.rows("arm", 0, 200)):
                counts.append(
                    sum(draw.pictures.attribute_of[n] in ("left colour", "right colour") for n in caption)
                )
        assert set(counts) == {0, 2}

    def test_words_and_unknown_words(self) -> None:
        from engine.errors import UserError

        words = Words(("left red", "right-facing fist"), 4)
        assert words(["left red, right-facing"]).tolist() == [[2, 3, 4, 1]]
        assert words(["left", "left red"]).tolist() == [[2, 1, 0], [2, 3, 1]]
        with pytest.raises(UserError, match="'blue' is no word"):
            words(["left blue"])
