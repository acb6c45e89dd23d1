"""Advantages, the process reward's signs (notes, section 1.3) and the clipped loss, by hand."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from data.sapo import Chain, Scores
from engine.studies.sapo.config import Config
from engine.studies.sapo.grpo import (
    group_advantages,
    informative_groups,
    policy_loss,
    step_aware_advantages,
)
from engine.studies.sapo.rollouts import Group, Sampler, draw_t1, generator_of, process_rewards
from engine.studies.sapo.sampler import Denoising

TASK = Chain(2)
RIGHT, WRONG, JUNK, BAR = 7, 4, TASK.vocabulary.index("we"), TASK.vocabulary.index("|")
PROMPT = torch.tensor([[5, 10, 1, 10, 1]])  # 5 + 1 + 1: trace 6 7, answer 7
CONFIG = Config(task="chain", chain_length=2, t1="middle", process_rollouts=400)


def guesser(tokens: Tensor) -> Tensor:
    """Answers 7 for sure after the trace 6 7, 4 after 6 4, and 7 or 4 evenly after anything else."""
    logits = torch.full((len(tokens), 4, len(TASK.vocabulary)), -1e9)
    logits[:, 2, BAR] = 0.0
    logits[:, 3, [RIGHT, WRONG]] = 0.0
    trace = tokens[:, 5:7]
    logits[(trace == torch.tensor([6, RIGHT])).all(dim=1), 3, WRONG] = -1e9
    logits[(trace == torch.tensor([6, WRONG])).all(dim=1), 3, RIGHT] = -1e9
    return logits


def group(completions: list[list[int]]) -> Group:
    """One prompt's rollouts, the trace committed in the first two steps."""
    ends = torch.tensor(completions)
    states = torch.full((len(ends), 5, 4), TASK.mask)
    for step in range(1, 5):
        states[:, step, :step] = ends[:, :step]
    prompts = PROMPT.repeat(len(ends), 1)
    scores = TASK.scores(prompts.numpy(), ends.numpy())
    rewards = torch.from_numpy(scores.reward).view(1, -1)
    return Group(prompts, Denoising(states, 0), scores, rewards, rewards, group_advantages(rewards))


def measured(rollouts: Group, needed: Tensor) -> Tensor:
    sampler = Sampler(CONFIG, TASK, guesser)
    found = process_rewards(sampler, rollouts, needed, generator_of("test", 0))
    assert found.t1.tolist() == [2]
    return found.rewards[0]


HELPFUL, FILLER = [6, RIGHT, BAR, RIGHT], [JUNK, JUNK, BAR, RIGHT]
HARMFUL, LOST = [6, WRONG, BAR, WRONG], [JUNK, JUNK, BAR, WRONG]


def test_signs_of_the_process_reward() -> None:
    rollouts = group([HELPFUL, FILLER, HARMFUL, LOST])
    helpful, filler, harmful, lost = measured(rollouts, torch.ones(1, 4, dtype=torch.bool)).tolist()
    assert helpful == pytest.approx(0.5)
    assert filler == pytest.approx(0, abs=0.08)
    assert harmful == pytest.approx(-0.5)
    assert lost == pytest.approx(0, abs=0.08)


def test_only_the_rollouts_asked_for_are_continued() -> None:
    rollouts = group([HELPFUL, FILLER, HARMFUL, LOST])
    needed = rollouts.advantages > 0
    sampler = Sampler(CONFIG, TASK, guesser)
    found = process_rewards(sampler, rollouts, needed, generator_of("test", 0))
    assert found.passes == 2 * 400 * 2
    assert found.rewards[0, 2:].tolist() == [0, 0]
    assert found.branches is not None and set(found.branches.rollout.tolist()) == {0, 1}


def test_an_earlier_t2_is_valued_by_continuations_of_its_own() -> None:
    sampler = Sampler(CONFIG.model_copy(update={"t2": "earlier"}), TASK, guesser)
    found = process_rewards(
        sampler, group([HELPFUL, LOST]), torch.tensor([[True, False]]), generator_of("test", 1)
    )
    assert float(found.rewards[0, 0]) == pytest.approx(0.5, abs=0.08)
    assert found.passes > 400 * 2


def test_no_gradient_where_a_whole_group_is_right() -> None:
    rollouts = group([HELPFUL, HELPFUL, FILLER, FILLER])
    process = torch.tensor([[0.3, 0.3, 0.0, 0.0]])
    total = step_aware_advantages(rollouts.advantages, process, "above_average")
    assert total.tolist() == [[0, 0, 0, 0]]
    assert informative_groups(total) == 0
    equal = group_advantages(torch.full((2, 6), 0.1, dtype=torch.float64))
    assert (equal == 0).all() and informative_groups(equal) == 0
    assert informative_groups(torch.tensor([[0.0, 0.0], [0.5, -0.5]])) == 0.5


def test_indicator_and_its_switches() -> None:
    advantages, process = torch.tensor([[0.5, -0.5]]), torch.tensor([[-0.7, 0.2]])
    assert step_aware_advantages(advantages, process, "above_average")[0].tolist() == pytest.approx(
        [-0.2, -0.5]
    )
    assert step_aware_advantages(advantages, process, "none")[0].tolist() == pytest.approx([-0.2, -0.3])
    assert step_aware_advantages(advantages, process, "process_only") is process


def test_advantages_are_not_divided_by_the_spread() -> None:
    assert group_advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0]])).tolist() == [[0.5, -0.5, -0.5, 0.5]]
    assert group_advantages(torch.tensor([[10.0, 0.0]])).tolist() == [[5.0, -5.0]]


def test_clipped_loss_and_k3() -> None:
    old, reference = torch.zeros(2, 1), torch.full((2, 1), 0.1)
    new = torch.tensor([[math.log(2.0)], [math.log(0.25)]], requires_grad=True)
    loss, shown = policy_loss(new, old, reference, torch.tensor([1.0, -1.0]), clip=0.5, kl_weight=0.04)
    surrogate = [min(2.0, 1.5), min(-0.25, -0.5)]
    gaps = [0.1 - math.log(2.0), 0.1 - math.log(0.25)]
    kl = [math.exp(gap) - gap - 1 for gap in gaps]
    assert float(loss.detach()) == pytest.approx(
        np.mean([-s + 0.04 * k for s, k in zip(surrogate, kl, strict=True)]), rel=1e-5
    )
    assert shown["clipped"] == 1.0 and shown["kl"] == pytest.approx(np.mean(kl), rel=1e-5)


@pytest.mark.parametrize(
    ("law", "allowed"),
    [("uniform", range(1, 8)), ("early", range(1, 4)), ("late", range(4, 8)), ("middle", (4,))],
)
def test_laws_of_t1(law: str, allowed: range) -> None:
    drawn = draw_t1(law, 500, 8, torch.Generator().manual_seed(0)).tolist()
    assert set(drawn) == set(allowed)


def test_scores_know_the_chain() -> None:
    scores: Scores = group([HELPFUL, FILLER, HARMFUL, LOST]).scores
    assert scores.exact.tolist() == [1, 1, 0, 0]
    assert scores.junk.tolist() == [0, 1, 0, 1]
    assert scores.trace_valid.tolist() == [1, 0, 0, 0]
