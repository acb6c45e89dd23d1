"""Sampler and log-probabilities on a model of three tokens whose every value can be worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from engine.studies.sapo.policy import MASK_EPSILON, denoising_loss, log_probabilities
from engine.studies.sapo.sampler import denoise, gumbel_argmax
from engine.studies.sapo.schedule import blockwise, refill, transfer_counts

MASK = 3
ALONE = ((0.7, 0.2, 0.1), (0.5, 0.3, 0.2), (0.05, 0.05, 0.9))
AFTER_LAST = (0.05, 0.9, 0.05)  # position 1, once position 2 is committed
PROMPT = torch.tensor([[0, 1]])


def model(tokens: Tensor) -> Tensor:
    """Three positions, tokens 0 to 2 and the mask, which it always finds likeliest."""
    logits = torch.tensor(ALONE).log().repeat(len(tokens), 1, 1)
    seen = tokens[:, 4] != MASK
    logits[seen, 1] = torch.tensor(AFTER_LAST).log()
    return torch.cat([logits, torch.full((len(tokens), 3, 1), 5.0)], dim=2)


def run(schedule=None, n=1, **options):  # type: ignore[no-untyped-def]
    start = torch.full((n, 3), MASK)
    options = {"temperature": 0.0, **options}
    return denoise(
        model,
        PROMPT.repeat(n, 1),
        start,
        schedule or blockwise(3, 3, 3),
        MASK,
        torch.Generator().manual_seed(0),
        **options,
    )


def test_most_confident_first_and_the_mask_never() -> None:
    found = run(record=True)
    assert found.states[0].tolist() == [[3, 3, 3], [3, 3, 2], [3, 1, 2], [0, 1, 2]]
    assert found.argmax is not None and found.confidence is not None and found.entropy is not None
    assert found.argmax[0].tolist() == [[0, 0, 2], [0, 1, 2], [0, 1, 2]]
    assert found.confidence[0, 0].tolist() == pytest.approx([0.7, 0.5, 0.9], rel=1e-6)
    by_hand = -sum(p * math.log(p) for p in ALONE[0])
    assert float(found.entropy[0, 0, 0]) == pytest.approx(by_hand, rel=1e-6)
    assert found.passes == 3


def test_blocks_go_from_left_to_right() -> None:
    found = run(blockwise(3, 1, 3))
    assert found.states[0].tolist() == [[3, 3, 3], [0, 3, 3], [0, 0, 3], [0, 0, 2]]


def test_two_tokens_in_one_step() -> None:
    assert run(blockwise(3, 3, 2)).states[0].tolist() == [[3, 3, 3], [0, 3, 2], [0, 1, 2]]


def test_random_remasking_takes_any_position_first() -> None:
    first = run(n=600, remasking="random").states[:, 1]
    share = (first != MASK).double().mean(dim=0)
    assert share.tolist() == pytest.approx([1 / 3] * 3, abs=0.07)


@pytest.mark.parametrize(("temperature", "power"), [(1.0, 1.0), (0.5, 2.0)])
def test_gumbel_samples_have_the_tempered_law(temperature: float, power: float) -> None:
    logits = torch.tensor(ALONE[0]).double().log().repeat(20_000, 1)
    drawn = gumbel_argmax(logits, temperature, torch.Generator().manual_seed(1))
    law = torch.tensor(ALONE[0]).double() ** power
    shares = torch.bincount(drawn, minlength=3) / len(drawn)
    assert shares.tolist() == pytest.approx((law / law.sum()).tolist(), abs=0.012)


def test_a_continuation_restarts_at_its_own_step() -> None:
    whole = run(blockwise(3, 1, 3), n=2)
    begins = torch.tensor([2, 1])
    parts = whole.states[torch.arange(2), begins]
    again = denoise(
        model,
        PROMPT.repeat(2, 1),
        parts,
        blockwise(3, 1, 3),
        MASK,
        torch.Generator(),
        temperature=0.0,
        first_step=begins,
    )
    assert again.completions.tolist() == whole.completions.tolist()
    assert again.passes == 3


def test_refilling_a_span_leaves_the_rest() -> None:
    start = torch.tensor([[2, MASK, MASK]])
    found = denoise(model, PROMPT, start, refill(3, 2), MASK, torch.Generator(), temperature=0.0)
    assert found.states[0].tolist() == [[2, 3, 3], [2, 3, 2], [2, 1, 2]]


def test_transfer_counts() -> None:
    assert transfer_counts(7, 3) == (3, 2, 2)
    assert transfer_counts(6, 3) == (2, 2, 2)
    assert blockwise(8, 4, 4).counts == (2, 2, 2, 2)
    assert blockwise(8, 4, 4).ends == (4, 4, 8, 8)


@pytest.mark.parametrize(("length", "block", "steps"), [(10, 4, 10), (12, 4, 4), (12, 4, 15)])
def test_what_would_leave_masks_is_refused(length: int, block: int, steps: int) -> None:
    with pytest.raises(ValueError, match=r"do not share out|does not divide"):
        blockwise(length, block, steps)


def test_log_probabilities_mask_the_whole_completion() -> None:
    seen: list[Tensor] = []

    def spied(tokens: Tensor) -> Tensor:
        seen.append(tokens)
        return model(tokens)[..., :3]

    hidden = torch.tensor([[True, False]])
    found = log_probabilities(spied, PROMPT, torch.tensor([[0, 2, 2]]), hidden, MASK)
    assert found[0].tolist() == pytest.approx([math.log(0.7), math.log(0.2), math.log(0.9)], rel=1e-5)
    assert seen[0].tolist() == [[MASK, 1, MASK, MASK, MASK]]


def test_the_loss_weighs_masked_tokens_by_one_over_p() -> None:
    completions = torch.tensor([[0, 1, 2], [2, 2, 2]])
    replay = torch.Generator().manual_seed(4)
    p = (1 - MASK_EPSILON) * torch.rand(2, 1, generator=replay) + MASK_EPSILON
    masked = torch.rand(2, 3, generator=replay) < p
    assert masked.any() and not masked.all()
    by_hand = 0.0
    for row in range(2):
        last_seen = not bool(masked[row, 2])
        for place in range(3):
            law = AFTER_LAST if place == 1 and last_seen else ALONE[place]
            if masked[row, place]:
                by_hand -= math.log(law[int(completions[row, place])]) / float(p[row])
    loss = denoising_loss(
        lambda tokens: model(tokens)[..., :3],
        PROMPT.repeat(2, 1),
        completions,
        MASK,
        torch.Generator().manual_seed(4),
    )
    assert float(loss) == pytest.approx(by_hand / 6, rel=1e-5)
