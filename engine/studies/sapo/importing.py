"""Generations and trajectories made elsewhere, as a finished run: nothing is trained, each evaluation takes a seed's place."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analyses.sapo import answer_lead, given, longest_run, rep3, wilson
from data.files import sha256_file
from engine.errors import UserError
from engine.run import Run
from engine.studies.sapo.config import Config
from engine.studies.sapo.foreign import ForeignFile, Generation, evaluations, read_evaluation

MAX_STEP_CELLS = 2_000_000
Row = dict[str, Any]


def summary(found: ForeignFile) -> Row:
    """The figures of an evaluation: how many generations, exact match, cells, junk; None where the task has no such notion."""
    rows = found.generations
    exact = [row.exact for row in rows if row.exact is not None]
    correct = [1.0 if row.exact else 0.0 for row in rows]
    junk = [float(row.junk) for row in rows]
    valid = [float(row.trace_valid) for row in rows if row.trace_valid is not None]
    cells = [row.cell for row in rows if row.cell is not None]
    return {
        "file": found.name,
        "format": found.format,
        "task": found.task,
        "n": len(rows),
        "exact": float(np.mean(exact)) if exact else None,
        "cell": float(np.mean(cells)) if cells else None,
        "junk": float(np.mean(junk)),
        "junk_given_correct": _none(given(junk, correct)),
        "trace_valid": float(np.mean(valid)) if valid else None,
    }


def import_run(run: Run) -> None:
    """Write the tables of a run whose config names files. Raises UserError that names file and line."""
    from engine.studies.sapo.results import TABLES, write_rows

    config: Config = run.config
    rows: dict[str, list[Row]] = {name: [] for name in TABLES}
    for seed, one in zip(run.seeds, evaluations([Path(path) for path in config.paths]), strict=True):
        found = read_evaluation(one, config.import_task or None)
        rows["sapo_arms"].append(_arm_row(found, seed))
        for number, generation in enumerate(found.generations):
            rows["sapo_rollouts"].append(_rollout_row(generation, seed, number))
            rows["sapo_tokens"] += _token_rows(generation, seed, number)
        if len(rows["sapo_tokens"]) > MAX_STEP_CELLS:
            raise UserError(
                "imported", f"{found.name} holds more than {MAX_STEP_CELLS:,} steps × tokens; split it."
            )
        run.progress(len(rows["sapo_arms"]), len(run.seeds), "reading files")
    write_rows(run, rows)


def import_identity(config: Config, seeds: Sequence[int]) -> str:
    """The hash of the files, part of the run's identity. Raises UserError."""
    paths = [Path(path) for path in config.paths]
    n = len(evaluations(paths))
    if len(seeds) != n:
        raise UserError("seeds", f"{n} evaluations need as many seeds, 0, 1 …; {len(seeds)} were given.")
    digest = hashlib.sha256()
    for path in paths:
        if not path.is_file():
            raise UserError("imported", f"{path} is no file on this machine; name one that exists.")
        digest.update(sha256_file(path).encode())
    return digest.hexdigest()[:16]


def _arm_row(found: ForeignFile, seed: int) -> Row:
    figures = summary(found)
    n_scored = sum(row.exact is not None for row in found.generations)
    interval = wilson(figures["exact"] * n_scored, n_scored) if figures["exact"] is not None else (None, None)
    leads = [lead for row in found.generations if (lead := _lead(row)) is not None]
    shown = {
        name: figures[name]
        for name in ("task", "n", "exact", "cell", "junk", "junk_given_correct", "trace_valid")
    }
    return {
        "seed": seed,
        "arm": "imported",
        **shown,
        "exact_low": interval[0],
        "exact_high": interval[1],
        "rep3": float(np.mean([rep3(row.words) for row in found.generations])),
        "longest_run": float(np.mean([longest_run(row.words) for row in found.generations])),
        "answer_lead": float(np.mean(leads)) if leads else None,
        "source": f"{found.name} ({found.format})",
    }


def _rollout_row(generation: Generation, seed: int, number: int) -> Row:
    exact = generation.exact
    return {
        "seed": seed,
        "arm": "imported",
        "rollout": number,
        "kind": "imported",
        "prompt": generation.prompt,
        "completion": generation.text,
        "truth": generation.truth,
        "reward": generation.cell,
        "correct": None if exact is None else float(exact),
        "exact": exact,
        "cell": generation.cell,
        "junk": generation.junk,
        "trace_valid": generation.trace_valid,
        "rep3": rep3(generation.words),
        "longest_run": longest_run(generation.words),
        "answer_lead": _lead(generation),
    }


def _token_rows(generation: Generation, seed: int, number: int) -> list[Row]:
    """Every step of a trajectory; nothing where a file holds final texts only."""
    order = generation.committed_at
    return [
        {
            "seed": seed,
            "arm": "imported",
            "rollout": number,
            "step": step,
            "position": position,
            "block": None,
            "token": token,
            "argmax": None,
            "confidence": None,
            "entropy": None,
            "committed_at": order[position],
            **(generation.details.get((step, position), {})),
        }
        for step, tokens in generation.steps
        for position, token in enumerate(tokens)
    ]


def _lead(generation: Generation) -> float | None:
    if not generation.steps or not generation.answer_positions:
        return None
    order = np.array(generation.committed_at, dtype=np.float64)
    trace = range(min(generation.answer_positions))
    return _none(answer_lead(order, trace, generation.answer_positions))


def _none(value: float) -> float | None:
    return None if value != value else value
