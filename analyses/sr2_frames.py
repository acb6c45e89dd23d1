"""Tidy frames of what a recurrent reasoner does with a puzzle, iteration by iteration.

Input frames have the columns of the tables `sr2_…` (engine/tables/sr2.py). An iteration is a renewal of the state that is
read; of long runs only the ends of alignment blocks are stored. A live solution (`Client.solve_puzzle`) is brought into
the same frames, so that one picture serves both.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analyses.matching import mean_interval

Frame = Any
Cells = NDArray[np.int64]
SUDOKU, MAZE = "sudoku", "maze"
BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}
WALL, SPACE, START, GOAL, PATH = range(5)
MAZE_SIGNS = "#.SG."
RULES = {
    "row": "digit twice in a row",
    "column": "digit twice in a column",
    "box": "digit twice in a box",
    "path": "break in the path",
    "given": "given cell changed",
}
MEASURES = {"exact": "Puzzles solved exactly", "cell": "Open cells right"}
LIKENESS = {
    "mcc_pearson": ("MCC of pooled states", "mcc_null"),
    "cka": ("CKA of pooled states", "cka_null"),
    "cell_cka": ("CKA of single cells", None),
}
ALL_HEADS = -1


@dataclass(frozen=True)
class Puzzle:
    """A puzzle (cells, row by row; 0 open in a Sudoku) and its solution, None where it has not exactly one."""

    kind: str
    side: int
    given: Cells
    solution: Cells | None

    @property
    def is_given(self) -> NDArray[np.bool_]:
        """Cells that the puzzle fixes: clues, or start and goal; a maze's walls are not among them."""
        return np.asarray(self.given > 0 if self.kind == SUDOKU else self.given >= START)

    @property
    def is_wall(self) -> NDArray[np.bool_]:
        return np.asarray((self.given == WALL) & (self.kind == MAZE))


def stored_puzzle(kind: str, side: int, row: Mapping[str, Any]) -> Puzzle:
    """The puzzle of a row of `sr2_puzzles`."""
    return Puzzle(kind, side, _tokens(row["given"]), _tokens(row["solution"]))


def _tokens(text: str) -> Cells:
    return np.array([int(sign) for sign in text])


def puzzle_text(puzzle: Puzzle) -> str:
    """The puzzle as one would type it: a line a row, open cells as dots."""
    signs = [
        MAZE_SIGNS[token] if puzzle.kind == MAZE else str(token) if token else "." for token in puzzle.given
    ]
    return "\n".join("".join(signs[i : i + puzzle.side]) for i in range(0, len(signs), puzzle.side))


def cell_name(cell: int, side: int) -> str:
    """Row and column of a cell, from 1."""
    return f"row {cell // side + 1}, column {cell % side + 1}"


def with_changes(cells: Frame) -> pd.DataFrame:
    """Cells of one board over its iterations, with `since`: stored iterations since the token last changed (0: just now).

    The first stored iteration counts as a change of every cell.
    """
    table = cells.sort_values(["cell", "iteration"])
    step = table.groupby("cell").cumcount()
    changed = table.groupby("cell")["token"].diff().ne(0)
    last = step.where(changed).groupby(table["cell"]).ffill()
    return table.assign(changed=changed, since=(step - last).astype(int))


def live_frames(answer: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Cells and boards of `Client.solve_puzzle`'s answer, with the columns of `sr2_cells` and `sr2_boards`.

    `correct` and `exact` are null where the puzzle has not exactly one solution.
    """
    solution, trained = answer["solution"], answer["trained_blocks"]
    cells, boards = [], []
    rows = answer["iterations"]
    for place, row in enumerate(rows):
        many = zip(row["tokens"], row["confidence"], row["entropy"], row["cell_residual"], strict=True)
        for cell, (token, confidence, entropy, residual) in enumerate(many):
            correct = None if solution is None else token == solution[cell]
            cells.append((row["iteration"], cell, token, confidence, entropy, correct, residual))
        end = place + 1 == len(rows) or rows[place + 1]["block"] != row["block"]
        board = {name: row[name] for name in ("iteration", "block", "residual")}
        state = {"block_end": end, "trained": row["block"] < trained, "exact": row["solved"]}
        boards.append({**board, **state, **{kind: row["violations"].get(kind) for kind in RULES}})
    names = ["iteration", "cell", "token", "confidence", "entropy", "correct", "residual"]
    return pd.DataFrame(cells, columns=names), pd.DataFrame(boards)


def broken_rules(boards: Frame) -> pd.DataFrame:
    """Long form of a board's violations: iteration, kind, broken; kinds that this sort of puzzle has not are left out."""
    kinds = [kind for kind in RULES if kind in boards and boards[kind].notna().any()]
    return boards.melt(["iteration"], kinds, "kind", "broken").assign(
        broken=lambda t: t["broken"].astype(int)
    )


def total_broken(boards: Frame) -> pd.Series:
    """Violations of all kinds, by row of `boards`."""
    return boards[[kind for kind in RULES if kind in boards]].apply(pd.to_numeric).sum(axis=1).astype(int)


def over_seeds(rows: Frame, by: Sequence[str], measure: str) -> pd.DataFrame:
    """Mean of a measure over seeds with its 95 % t-interval: the columns `by`, mean, low, high, seeds.

    The interval of a share is cut at 0 and 1; with one seed it is null.
    """
    found = []
    for key, part in rows.groupby(list(by), sort=False):
        values = part[measure].dropna().to_numpy(dtype=float)
        if not len(values):
            continue
        low, high = mean_interval(values)
        known = len(values) > 1
        found.append(
            (
                *key,
                float(values.mean()),
                max(0.0, low) if known else None,
                min(1.0, high) if known else None,
                len(values),
            )
        )
    return pd.DataFrame(found, columns=[*by, "mean", "low", "high", "seeds"])


def accuracy(arms: Mapping[str, Frame], measure: str) -> pd.DataFrame:
    """A measure of `sr2_iterations` of every arm: arm, iteration, trained, mean, low, high, seeds."""
    by = ["iteration", "trained"]
    parts = [over_seeds(rows, by, measure).assign(arm=name) for name, rows in arms.items()]
    found = pd.concat(parts, ignore_index=True)
    return found[["arm", *by, "mean", "low", "high", "seeds"]]


def arm_scores(arms: Mapping[str, Frame]) -> pd.DataFrame:
    """`sr2_models` of every arm as one table, a row an arm, best exact first.

    exact, low, high, cell, valid, first_block, longest: means over seeds of shares of the test puzzles; seeds, parameters,
    teraflops, steps, iterations.
    """
    rows = []
    for name, models in arms.items():
        score = over_seeds(models.assign(arm=name), ["arm"], "exact").iloc[0]
        rows.append(
            {
                "arm": name,
                "exact": score["mean"],
                "low": score["low"],
                "high": score["high"],
                "cell": models["cell"].mean(),
                "valid": models["valid"].mean(),
                "first_block": models["first_block_exact"].mean(),
                "longest": models["longest_exact"].mean(),
                "seeds": len(models),
                "parameters": int(models["parameters"].iloc[0]),
                "teraflops": models["teraflops"].mean(),
                "steps": int(models["steps"].iloc[0]),
                "iterations": int(models["trained_iterations"].iloc[0]),
            }
        )
    return pd.DataFrame(rows).sort_values("exact", ascending=False, kind="stable", ignore_index=True)


def likeness_by_block(consistency: Frame) -> pd.DataFrame:
    """How alike the states of every two seeds are, block by block: block (from 1), measure, mean, low, high (smallest and
    largest pair), chance (mean; null for cells), pairs."""
    rows = []
    for measure, (name, chance) in LIKENESS.items():
        for block, part in consistency.groupby("block"):
            values = part[measure]
            null = part[chance].mean() if chance else None
            ends = (values.mean(), values.min(), values.max())
            rows.append((int(block) + 1, name, *ends, null, len(part)))
    return pd.DataFrame(rows, columns=["block", "measure", "mean", "low", "high", "chance", "pairs"])


def attended(attention: Frame, cell: int, head: int, n_cells: int) -> pd.DataFrame:
    """What a cell attends to: columns cell, weight (null where it is not among the stored strongest).

    `attention` holds one puzzle and block. With ALL_HEADS the mean over heads, in which a weight that one head did not
    store counts as 0, so that it is a lower bound where not all weights are stored.
    """
    mine = attention[attention["cell"] == cell]
    if head == ALL_HEADS:
        weights = mine.groupby("attended")["weight"].sum() / max(1, attention["head"].nunique())
    else:
        weights = mine[mine["head"] == head].set_index("attended")["weight"]
    weights = weights.reindex(range(n_cells))
    return pd.DataFrame({"cell": range(n_cells), "weight": weights.to_numpy(dtype=float)})
