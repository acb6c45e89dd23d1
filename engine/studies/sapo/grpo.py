"""diffu-GRPO (d1, 2504.12216) and the step-aware advantage of SAPO (2510.01544)."""

import torch
from torch import Tensor

from engine.studies.sapo.config import Indicator


def group_advantages(rewards: Tensor) -> Tensor:
    """r − mean of its group (prompts × rollouts); no division by the standard deviation. Equal rewards give 0, not rounding."""
    advantages = rewards - rewards.mean(dim=1, keepdim=True)
    return torch.where(advantages.abs() > 1e-9, advantages, 0.0)


def informative_groups(advantages: Tensor) -> float:
    """Share of groups (rows) in which some advantage is not zero: the others give no gradient."""
    return float((advantages != 0).any(dim=1).double().mean())


def process_reward(after: Tensor, before: Tensor) -> Tensor:
    """Eq. 4: mean correctness of continuations from the cleaner state less that from the noisier one; in [−1, 1]."""
    return after - before


def step_aware_advantages(advantages: Tensor, process: Tensor, indicator: Indicator) -> Tensor:
    """Eq. 5: A + 1[A > 0] × R_process; without the indicator A + R_process; or R_process alone."""
    if indicator == "process_only":
        return process
    if indicator == "none":
        return advantages + process
    return advantages + torch.where(advantages > 0, process, 0.0)


def policy_loss(
    new: Tensor,
    old: Tensor,
    reference: Tensor,
    advantages: Tensor,
    clip: float,
    kl_weight: float,
    counted: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Clipped surrogate plus the k3 estimate of the KL, mean over the counted completion tokens; and what to log of it.

    Log-probabilities n × L; the advantage (n) of a rollout holds for all of its tokens. `counted` (n × L) is all by default.
    """
    ratio = (new - old).exp()
    clipped = ratio.clamp(1 - clip, 1 + clip)
    advantage = advantages.unsqueeze(1).to(new)
    surrogate = torch.minimum(ratio * advantage, clipped * advantage)
    gap = reference - new
    kl = gap.exp() - gap - 1
    chosen = torch.ones_like(new, dtype=torch.bool) if counted is None else counted.to(new.device)
    loss = (-surrogate + kl_weight * kl)[chosen].mean()
    with torch.no_grad():
        shown = {
            "kl": float(kl[chosen].mean()),
            "clipped": float((ratio != clipped)[chosen].double().mean()),
        }
    return loss, shown
