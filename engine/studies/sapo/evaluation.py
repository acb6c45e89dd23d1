"""What a trained policy is worth on test prompts: solved or not, step by step, and which spans matter."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyses.sapo import answer_lead, evenness, given, last_share, longest_run, rep3, step_gains, wilson
from data.sapo import Examples, Scores, Task
from engine.studies.sapo.rollouts import Sampler, generator_of, rng_of
from engine.studies.sapo.sampler import Denoising
from engine.studies.sapo.schedule import refill

Row = dict[str, Any]


@dataclass
class Evaluation:
    """Rows of one policy, by table, and its greedy commit orders (prompts × L) with the tokens."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    order: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    tokens: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.int64))

    def add(self, table: str, rows: list[Row]) -> None:
        self.rows.setdefault(table, []).extend(rows)


def committed_at(states: Tensor, mask: int) -> NDArray[np.float64]:
    """The step (1 … S) at which each position of n rollouts lost its mask, from states n × (S + 1) × L."""
    masked: NDArray[np.float64] = (states == mask).sum(dim=1).numpy().astype(np.float64)
    return masked


class Evaluator:
    """Evaluates one policy, named by seed and arm. The prompts are those of every seed and arm of the data seed."""

    def __init__(self, sampler: Sampler, seed: int, arm: str, data_seed: int) -> None:
        self.sampler, self.seed, self.arm = sampler, seed, arm
        self.config, self.task = sampler.config, sampler.task
        self.streams = (data_seed, seed)
        self.found: Examples = self.task.examples(rng_of("test", data_seed), self.config.eval_prompts, "test")
        self.prompts = torch.from_numpy(self.found.prompts)
        self.result = Evaluation()

    @torch.no_grad()
    def run(self) -> Evaluation:
        greedy = self.sampler.sample(
            self.prompts, generator_of("greedy", *self.streams), greedy=True, record=True
        )
        sampled = self.sampler.sample(self.prompts, generator_of("sampled", *self.streams), record=True)
        kept = self.config.kept
        for kind, denoised, first in (("sampled", sampled, 0), ("greedy", greedy, kept)):
            self._keep(kind, denoised, first)
        self.result.order = committed_at(greedy.states, self.task.mask)
        self.result.tokens = greedy.completions.numpy()
        values = self._values(sampled)
        self._spans(sampled)
        self._summary(sampled, greedy, values)
        return self.result

    def _place(self, **more: Any) -> Row:
        return {"seed": self.seed, "arm": self.arm, **more}

    def _scores(self, completions: Tensor, rows: Any = slice(None)) -> Scores:
        return self.sampler.scores(self.prompts[rows], completions)

    # Rollouts kept step by step

    def _keep(self, kind: str, denoised: Denoising, first: int) -> None:
        n = min(self.config.kept, len(self.prompts))
        scores = self._scores(denoised.completions[:n], slice(0, n))
        orders = committed_at(denoised.states[:n], self.task.mask)
        truths = self.found.completions
        for row in range(n):
            completion = denoised.completions[row].numpy()
            shown = rollout_row(self.task, self.found.prompts[row], completion, scores, row)
            lead = answer_lead(orders[row], self.task.trace, self.task.answer)
            self.result.add(
                "sapo_rollouts",
                [
                    self._place(
                        rollout=first + row,
                        kind=kind,
                        iteration=None,
                        truth=self.task.text(truths[row]),
                        answer_lead=_none(lead),
                        advantage=None,
                        process=None,
                        t1=None,
                        **shown,
                    )
                ],
            )
            place = self._place(rollout=first + row)
            self.result.add(
                "sapo_tokens", [{**place, **cell} for cell in step_rows(self.sampler, denoised, row)]
            )

    # V(t)

    def _values(self, sampled: Denoising) -> NDArray[np.float64]:
        """V(s) for s = 0 … S: mean success of fresh continuations from the states of sampled rollouts that end right.

        Over all rollouts the mean of V is the success rate at every s, whatever the policy (the law of total expectation).
        NaN where no rollout ends right.
        """
        config, steps = self.config, self.sampler.schedule.steps
        exact = torch.from_numpy(self._scores(sampled.completions).exact == 1)
        right, repeats = torch.nonzero(exact).squeeze(1)[: config.value_prompts], config.value_rollouts
        if not len(right):
            return self._curve(sampled, np.full(steps + 1, np.nan), [0] * (steps + 1))
        rows = right.repeat_interleave(repeats)
        rollout = rows.repeat(steps)
        step = torch.arange(steps).repeat_interleave(len(rows))
        ended = self.sampler.go_on(
            self.prompts[rollout],
            sampled.states[rollout, step],
            step,
            generator_of("value", *self.streams),
        )
        scores = self._scores(ended.completions, rollout)
        values = np.array([*scores.exact.reshape(steps, -1).mean(axis=1), 1.0])
        self._branches(rollout, step, ended.completions, scores, repeats)
        return self._curve(sampled, values, [*[len(rows)] * steps, len(right)])

    def _curve(
        self, sampled: Denoising, values: NDArray[np.float64], counts: list[int]
    ) -> NDArray[np.float64]:
        self.result.add("sapo_steps", self._step_rows(sampled, values, counts))
        return values

    def _step_rows(self, sampled: Denoising, values: NDArray[np.float64], counts: list[int]) -> list[Row]:
        gains = [None, *step_gains(values).tolist()]
        already = self._already(sampled)
        assert sampled.confidence is not None and sampled.entropy is not None
        rows = []
        for step, (value, n, gain) in enumerate(zip(values.tolist(), counts, gains, strict=True)):
            low, high = wilson(value * n, n) if n else (None, None)
            before = min(step, self.sampler.schedule.steps - 1)
            masked = sampled.states[:, before] == self.task.mask
            rows.append(
                self._place(
                    step=step,
                    n=n,
                    value=_none(value),
                    low=low,
                    high=high,
                    gain=None if gain is None else _none(gain),
                    already_right=already[step][0],
                    already_cell=already[step][1],
                    confidence=float(sampled.confidence[:, before][masked].mean()),
                    entropy=float(sampled.entropy[:, before][masked].mean()),
                )
            )
        return rows

    def _already(self, sampled: Denoising) -> list[tuple[float, float]]:
        """Exact and cell accuracy when the masks left after each step are filled with the argmax at once."""
        assert sampled.argmax is not None
        found = []
        for step in range(self.sampler.schedule.steps):
            state = sampled.states[:, step]
            filled = torch.where(state == self.task.mask, sampled.argmax[:, step], state)
            scores = self._scores(filled)
            found.append((float(scores.exact.mean()), float(scores.cell.mean())))
        final = self._scores(sampled.completions)
        return [*found, (float(final.exact.mean()), float(final.cell.mean()))]

    def _branches(
        self, rollout: Tensor, step: Tensor, completions: Tensor, scores: Scores, repeats: int
    ) -> None:
        """The continuations of the kept rollouts, so that V(t) can be audited."""
        kept = torch.nonzero(rollout < self.config.kept).squeeze(1).tolist()
        self.result.add(
            "sapo_branches",
            [
                self._place(
                    rollout=int(rollout[index]),
                    purpose="value",
                    parent_step=int(step[index]),
                    continuation=index % repeats,
                    completion=self.task.text(completions[index].numpy()),
                    reward=float(scores.reward[index]),
                    correct=float(scores.correctness[index]),
                )
                for index in kept
            ],
        )

    # Spans

    def _spans(self, sampled: Denoising) -> None:
        """Success after masking a span of finished rollouts again, the rest left as it is; `drop` against the answer alone.

        Tasks with a trace: the answer alone, trace and answer, and the answer with the trace replaced by filler. Sudoku:
        each row of the grid, text: each quarter, which have no `drop`.
        """
        finished = sampled.completions[: self.config.value_prompts]
        scores = self._scores(finished, slice(0, len(finished)))
        good = torch.nonzero(torch.from_numpy(scores.exact == 1)).squeeze(1)
        baseline = None
        for name, (start, positions) in self._named_spans(finished[good]).items():
            success, n = self.success_after(good, start, positions)
            baseline = success if baseline is None and self.task.trace else baseline
            low, high = wilson((success or 0.0) * n, n)
            self.result.add(
                "sapo_spans",
                [
                    self._place(
                        span=name,
                        first_position=positions[0],
                        last_position=positions[-1],
                        n=n,
                        success=success,
                        low=low if n else None,
                        high=high if n else None,
                        drop=baseline - success if baseline is not None and success is not None else None,
                    )
                ],
            )

    def _named_spans(self, finished: Tensor) -> dict[str, tuple[Tensor, list[int]]]:
        if not self.task.trace:
            return {name: (finished, list(part)) for name, part in self.task.parts.items()}
        trace, answer = list(self.task.trace), list(self.task.answer)
        ruined = torch.from_numpy(self.task.with_junk(rng_of("spans", *self.streams), finished.numpy(), 1.1))
        return {
            "answer": (finished, answer),
            "trace and answer": (finished, trace + answer),
            "answer, trace ruined": (ruined, answer),
        }

    def success_after(
        self, rows: Tensor, completions: Tensor, positions: list[int]
    ) -> tuple[float | None, int]:
        """Share of re-denoised completions that are solved, over `value_rollouts` tries each; and the number of tries."""
        if not len(rows):
            return None, 0
        repeats = self.config.value_rollouts
        prompts = self.prompts[rows].repeat_interleave(repeats, dim=0)
        ended = remask(
            self.sampler,
            prompts,
            completions.repeat_interleave(repeats, dim=0),
            positions,
            generator_of("spans", *self.streams, positions[0], len(positions)),
        )
        scores = self.sampler.scores(prompts, ended.completions)
        return float(scores.exact.mean()), len(prompts)

    # Summary

    def _summary(self, sampled: Denoising, greedy: Denoising, values: NDArray[np.float64]) -> None:
        scores, best = self._scores(sampled.completions), self._scores(greedy.completions)
        n = len(self.prompts)
        orders = committed_at(sampled.states, self.task.mask)
        leads = [answer_lead(order, self.task.trace, self.task.answer) for order in orders]
        traces = [self.task.units(row) for row in sampled.completions.numpy()]
        low, high = wilson(float(scores.exact.sum()), n)
        already = [row["already_right"] for row in self.result.rows["sapo_steps"]]
        self.result.add(
            "sapo_arms",
            [
                self._place(
                    task=self.task.name,
                    n=n,
                    reward=float(scores.reward.mean()),
                    exact=float(scores.exact.mean()),
                    exact_low=low,
                    exact_high=high,
                    cell=float(scores.cell.mean()),
                    exact_greedy=float(best.exact.mean()),
                    cell_greedy=float(best.cell.mean()),
                    junk=_none(float(scores.junk.mean())),
                    junk_given_correct=_none(given(scores.junk, scores.exact)),
                    trace_valid=_none(float(scores.trace_valid.mean())),
                    rep3=float(np.mean([rep3(trace) for trace in traces])),
                    longest_run=float(np.mean([longest_run(trace) for trace in traces])),
                    answer_lead=_none(float(np.mean(leads))),
                    gain=_none(float(values[-1] - values[0])),
                    last_tenth=_none(last_share(values)),
                    evenness=_none(evenness(values)),
                    already_right=float(np.mean(already[:-1])),
                    source=None,
                )
            ],
        )


def remask(
    sampler: Sampler,
    prompts: Tensor,
    completions: Tensor,
    positions: list[int],
    generator: torch.Generator,
    record: bool = False,
) -> Denoising:
    """Mask `positions` of finished completions (n × L) and denoise them again, one token a step."""
    start = completions.clone()
    start[:, positions] = sampler.task.mask
    once = refill(start.shape[1], len(positions))
    return sampler.go_on(prompts, start, None, generator, record=record, schedule=once)


def step_rows(sampler: Sampler, denoised: Denoising, row: int) -> list[Row]:
    """What `sapo_tokens` says of every step and position of one row of a recorded denoising."""
    word, mask, block = sampler.task.word, sampler.task.mask, sampler.config.block
    assert denoised.argmax is not None and denoised.confidence is not None and denoised.entropy is not None
    order = committed_at(denoised.states[row : row + 1], mask)[0]
    states = denoised.states[row].tolist()
    argmax, confidence, entropy = (
        each[row].tolist() for each in (denoised.argmax, denoised.confidence, denoised.entropy)
    )
    return [
        {
            "step": step + 1,
            "position": position,
            "block": position // block,
            "token": "" if states[step + 1][position] == mask else word(states[step + 1][position]),
            "argmax": word(argmax[step][position]),
            "confidence": confidence[step][position],
            "entropy": entropy[step][position],
            "committed_at": int(order[position]),
        }
        for step in range(len(argmax))
        for position in range(len(order))
    ]


def rollout_row(task: Task, prompt: Any, completion: Any, scores: Scores, row: int) -> Row:
    """The columns of `sapo_rollouts` that a completion (L) and its scores give."""
    units = task.units(completion)
    return {
        "prompt": task.text(prompt),
        "completion": task.text(completion),
        "reward": float(scores.reward[row]),
        "correct": float(scores.correctness[row]),
        "exact": bool(scores.exact[row]),
        "cell": float(scores.cell[row]),
        "junk": _flag(scores.junk[row]),
        "trace_valid": _flag(scores.trace_valid[row]),
        "rep3": rep3(units),
        "longest_run": longest_run(units),
    }


def _none(value: float) -> float | None:
    return None if value != value else value


def _flag(value: float) -> bool | None:
    return None if value != value else bool(value)
