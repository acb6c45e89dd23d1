"""What a finished run leaves: every table of the study, each seed's chosen weights, and states of kept puzzles."""

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analyses.sr2 import likeness, linear_cka, paths
from analyses.streams import stream_seed
from data.sr2 import PuzzleSet
from engine import schema
from engine.run import Stopped
from engine.studies.sr2.config import Config
from engine.studies.sr2.cost import flops_per_step
from engine.studies.sr2.evaluation import ATTENTION_ROWS, Solved, solve_test
from engine.studies.sr2.reasoners import n_parameters

if TYPE_CHECKING:
    from engine.studies.sr2.training import Training

MOST_STORED_ITERATIONS = 96
KINDS = ("row", "column", "box", "path", "given")


class Scores:
    """A seed's boards (t × n × cells) against the solutions: per iteration and puzzle, exact, cells and violations."""

    def __init__(self, puzzles: PuzzleSet, solved: Solved) -> None:
        test = puzzles.splits["test"]
        right = solved.boards == test.targets
        open_cells = puzzles.open_cells(test.inputs)
        self.right = right
        self.exact = right.all(axis=2)
        self.cell = (right & open_cells).sum(axis=2) / np.maximum(1, open_cells.sum(axis=1))
        self.broken = [puzzles.violations(test.inputs, boards) for boards in solved.boards]
        self.violations = np.stack([sum(kinds.values()) for kinds in self.broken])


def write_results(training: "Training") -> None:
    """Solve the test puzzles with every seed's chosen weights and write all tables. Raises Stopped when asked to stop."""
    run, config, puzzles = training.run, training.config, training.puzzles
    run.progress(0, 1, "solving the test puzzles")
    solved = training.each(lambda trainer: solve_test(config, trainer.best, puzzles, run.device))
    if run.should_stop:
        raise Stopped
    scores = {seed: Scores(puzzles, mine) for seed, mine in solved.items()}
    last = _trained(config, next(iter(solved.values())))
    models = [_model_row(training, seed, solved[seed], scores[seed]) for seed in solved]
    tables: dict[str, list[pa.Table]] = {
        "sr2_models": [pa.Table.from_pylist(models)],
        "sr2_validation": [_rows("sr2_validation", training.validations)],
        "sr2_data": [_rows("sr2_data", _data(puzzles))],
        "sr2_puzzles": [_puzzles(config, puzzles)],
        "sr2_consistency": [_rows("sr2_consistency", _consistency(puzzles, solved))],
    }
    for seed, mine in solved.items():
        made = {
            "sr2_iterations": _iterations(config, mine, scores[seed]),
            "sr2_grades": _grades(puzzles, scores[seed], last),
            "sr2_cells": _cells(config, puzzles, mine),
            "sr2_boards": _boards(config, mine, scores[seed]),
            "sr2_attention": _attention(mine),
            "sr2_paths": _paths(config, mine),
        }
        for name, columns in made.items():
            table = pa.table({"seed": np.full(len(next(iter(columns.values()))), seed), **columns})
            tables.setdefault(name, []).append(table)
        run.write_tensors(f"seed-{seed}", dict(training.trainers[seed].best.state_dict()))
        run.write_tensors(f"states-{seed}", {"states": mine.states.half().contiguous()})
    for name, parts in tables.items():
        run.write_table(name, pa.concat_tables(parts))


def _rows(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=schema.run_columns(name))


def _trained(config: Config, solved: Solved) -> int:
    """Index of the last iteration of the trained blocks."""
    return int(np.flatnonzero(solved.block < config.n_blocks)[-1])


def _model_row(training: "Training", seed: int, solved: Solved, scores: Scores) -> dict[str, Any]:
    config, trainer = training.config, training.trainers[seed]
    last, first = _trained(config, solved), int(np.flatnonzero(solved.block == 0)[-1])
    assert trainer.chosen is not None
    return {
        "seed": seed,
        "parameters": n_parameters(trainer.best),
        "steps": config.steps,
        "teraflops": config.steps * flops_per_step(config) / 1e12,
        "selected_step": trainer.chosen.step,
        "validation_exact": trainer.chosen.exact,
        "exact": float(scores.exact[last].mean()),
        "cell": float(scores.cell[last].mean()),
        "valid": float((scores.violations[last] == 0).mean()),
        "first_block_exact": float(scores.exact[first].mean()),
        "longest_exact": float(scores.exact[-1].mean()),
        "trained_iterations": last + 1,
    }


def _data(puzzles: PuzzleSet) -> list[dict[str, Any]]:
    rows = []
    for name, split in puzzles.splits.items():
        grades = np.array(split.grades)
        for grade in sorted(set(split.grades)):
            mine = grades == grade
            rows.append(
                {
                    "split": name,
                    "grade": grade,
                    "puzzles": int(mine.sum()),
                    "classes": len({split.classes[i] for i in np.flatnonzero(mine)}),
                    "clues": float(split.clues[mine].mean()),
                    "rounds": float(split.rounds[mine].mean()),
                }
            )
    return rows


def _puzzles(config: Config, puzzles: PuzzleSet) -> pa.Table:
    test = puzzles.splits["test"]
    kept = range(min(config.kept_puzzles, len(test)))
    return pa.table(
        {
            "puzzle": list(kept),
            "given": ["".join(map(str, test.inputs[i])) for i in kept],
            "solution": ["".join(map(str, test.targets[i])) for i in kept],
            "clues": test.clues[: len(kept)],
            "rounds": test.rounds[: len(kept)],
            "grade": test.grades[: len(kept)],
        }
    )


def _iterations(config: Config, solved: Solved, scores: Scores) -> dict[str, Any]:
    return {
        "iteration": np.arange(1, len(solved.block) + 1),
        "block": solved.block,
        "block_end": solved.block_end,
        "trained": solved.block < config.n_blocks,
        "exact": scores.exact.mean(axis=1),
        "cell": scores.cell.mean(axis=1),
        "valid": (scores.violations == 0).mean(axis=1),
        "violations": scores.violations.mean(axis=1),
        "residual": solved.residual,
        "entropy": solved.entropy,
        "changed": solved.changed,
    }


def _grades(puzzles: PuzzleSet, scores: Scores, last: int) -> dict[str, Any]:
    grades = np.array(puzzles.splits["test"].grades)
    names = sorted(set(grades))
    return {
        "grade": names,
        "puzzles": [int((grades == name).sum()) for name in names],
        "exact": [float(scores.exact[last][grades == name].mean()) for name in names],
        "cell": [float(scores.cell[last][grades == name].mean()) for name in names],
    }


def _stored(solved: Solved) -> NDArray[np.int64]:
    """Indices of the iterations whose boards are stored: all, or block ends where they are many."""
    if len(solved.block) <= MOST_STORED_ITERATIONS:
        return np.arange(len(solved.block))
    return np.flatnonzero(solved.block_end)


def _cells(config: Config, puzzles: PuzzleSet, solved: Solved) -> dict[str, Any]:
    stored = _stored(solved)
    kept, n_cells = solved.confidence.shape[1:]
    iteration, puzzle, cell = np.meshgrid(stored + 1, np.arange(kept), np.arange(n_cells), indexing="ij")
    tokens = solved.boards[stored, :kept]
    return {
        "puzzle": puzzle.ravel(),
        "iteration": iteration.ravel(),
        "cell": cell.ravel(),
        "token": tokens.ravel(),
        "confidence": solved.confidence[stored].ravel(),
        "entropy": solved.cell_entropy[stored].ravel(),
        "correct": (tokens == puzzles.splits["test"].targets[:kept]).ravel(),
        "residual": solved.cell_residual[stored].ravel(),
    }


def _boards(config: Config, solved: Solved, scores: Scores) -> dict[str, Any]:
    stored = _stored(solved)
    kept = solved.confidence.shape[1]
    shape = (len(stored), kept)

    def each(values: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(values[stored][:, None], shape).ravel()

    broken = {
        kind: pa.array(np.stack([scores.broken[t][kind][:kept] for t in stored]).ravel())
        if kind in scores.broken[0]
        else pa.nulls(len(stored) * kept, pa.int64())
        for kind in KINDS
    }
    return {
        "puzzle": np.tile(np.arange(kept), len(stored)),
        "iteration": np.repeat(stored + 1, kept),
        "block": each(solved.block),
        "block_end": each(solved.block_end),
        "trained": each(solved.block < config.n_blocks),
        "exact": scores.exact[stored, :kept].ravel(),
        **broken,
        "residual": solved.board_residual[stored].ravel(),
    }


def _attention(solved: Solved) -> dict[str, Any]:
    """The strongest weights of every cell and head."""
    columns: dict[str, list[NDArray[Any]]] = {}
    for block, weights in solved.attention:
        most = min(ATTENTION_ROWS, weights.shape[-1])
        order = np.argsort(-weights, axis=-1, kind="stable")[..., :most]
        places = np.indices(order.shape)
        found = {
            "puzzle": places[0],
            "block": np.full(order.shape, block),
            "head": places[1],
            "cell": places[2],
            "attended": order,
            "weight": np.take_along_axis(weights, order, axis=-1).astype(np.float64),
        }
        for name, values in found.items():
            columns.setdefault(name, []).append(values.ravel())
    return {name: np.concatenate(parts) for name, parts in columns.items()}


def _paths(config: Config, solved: Solved) -> dict[str, Any]:
    stored = _stored(solved)
    places, explained = paths(solved.path[stored])
    iteration, puzzle, component = np.meshgrid(
        stored + 1, np.arange(places.shape[1]), np.arange(places.shape[2]), indexing="ij"
    )
    return {
        "puzzle": puzzle.ravel(),
        "iteration": iteration.ravel(),
        "component": component.ravel(),
        "value": places.ravel(),
        "explained": explained[component].ravel(),
    }


def _consistency(puzzles: PuzzleSet, solved: dict[int, Solved]) -> list[dict[str, Any]]:
    """Every pair of seeds at every block end: their states on the test puzzles, and their answers."""
    test = puzzles.splits["test"]
    open_cells = puzzles.open_cells(test.inputs)
    rows = []
    for (a, first), (b, second) in combinations(solved.items(), 2):
        for block, end in enumerate(np.flatnonzero(first.block_end)):
            rng = np.random.default_rng(stream_seed("sr2 likeness", a, b, block))
            alike = likeness(first.pooled[block], second.pooled[block], rng)
            same = first.boards[end] == second.boards[end]
            wrong = (first.boards[end] != test.targets) | (second.boards[end] != test.targets)
            rows.append(
                {
                    "seed_a": a,
                    "seed_b": b,
                    "block": block,
                    "mcc_pearson": alike.mcc,
                    "mcc_null": alike.mcc_null,
                    "cka": alike.cka,
                    "cka_null": alike.cka_null,
                    "cell_cka": linear_cka(first.cells[block], second.cells[block]),
                    "agreement": float(same[open_cells].mean()),
                    "agreement_on_errors": float(same[wrong].mean()) if wrong.any() else None,
                }
            )
    return rows
