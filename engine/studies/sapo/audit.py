"""Training rollouts and their continuations as rows, so that a process reward can be traced to what it was made of."""

from typing import Any

from torch import Tensor

from data.sapo import Task
from engine.studies.sapo.evaluation import rollout_row
from engine.studies.sapo.rollouts import Group, Process

KEPT_GROUPS = 2
FIRST = 1_000_000  # number of the first training rollout: after all that evaluation keeps


def training_rows(
    task: Task, group: Group, advantages: Tensor, process: Process | None, iteration: int
) -> dict[str, list[dict[str, Any]]]:
    """Rows of `sapo_rollouts` and `sapo_branches` of the first groups of an iteration; `advantages` Q × G as used."""
    size = group.rewards.shape[1]
    n = min(KEPT_GROUPS * size, len(group.prompts))
    rollouts = []
    for row in range(n):
        place = divmod(row, size)
        shown = rollout_row(
            task, group.prompts[row].numpy(), group.completions[row].numpy(), group.scores, row
        )
        rollouts.append(
            {
                **shown,
                "rollout": FIRST + row,
                "kind": "training",
                "iteration": iteration,
                "truth": None,
                "answer_lead": None,
                "advantage": float(advantages[place]),
                "process": None if process is None else float(process.rewards[place]),
                "t1": None if process is None else int(process.t1[place[0]]),
            }
        )
    return {"sapo_rollouts": rollouts, "sapo_branches": _branch_rows(task, process, n)}


def _branch_rows(task: Task, process: Process | None, n: int) -> list[dict[str, Any]]:
    if process is None or process.branches is None:
        return []
    branches, rows = process.branches, []
    seen: dict[int, int] = {}
    for index, rollout in enumerate(branches.rollout.tolist()):
        if rollout >= n:
            continue
        seen[rollout] = seen.get(rollout, -1) + 1
        rows.append(
            {
                "rollout": FIRST + rollout,
                "purpose": "process",
                "parent_step": int(branches.step[index]),
                "continuation": seen[rollout],
                "completion": task.text(branches.completions[index].numpy()),
                "reward": float(branches.scores.reward[index]),
                "correct": float(branches.scores.correctness[index]),
            }
        )
    return rows
