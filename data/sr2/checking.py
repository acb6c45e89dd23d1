"""A puzzle that somebody typed: read it, and say whether it has no solution, one, or several."""

from dataclasses import dataclass
from itertools import islice
from typing import Literal

import networkx as nx
import numpy as np

from data.sr2.mazes import GOAL, PATH, SPACE, START, WALL, open_graph
from data.sr2.puzzles import Boards
from data.sr2.solver import SudokuSolver, units
from data.sr2.sudoku import BOXES

Status = Literal["one solution", "several solutions", "invalid"]
EMPTY = "0._*"
MAZE_SIGNS = {
    "#": WALL,
    " ": SPACE,
    ".": SPACE,
    "s": START,
    "g": GOAL,
    **{str(i): i for i in range(GOAL + 1)},
}


@dataclass(frozen=True)
class Checked:
    """What a puzzle is, in a word and a sentence; `solution` (cells) where there is exactly one."""

    status: Status
    sentence: str
    solution: Boards | None = None


def read_puzzle(text: str, kind: str, side: int) -> Boards:
    """Tokens (cells) of a puzzle written row by row. Raises ValueError with a sentence.

    Sudoku: digits, with 0 . _ or * for an empty cell; other signs (spaces, bars, rules, commas) are passed over. Maze: # for
    walls, space or . for free cells, S and G, one line a row.
    """
    if kind == "maze":
        lines = [line for line in text.splitlines() if line.strip()]
        if len(lines) == 1 and len(lines[0]) == side**2:
            lines = [text[i : i + side] for i in range(0, side**2, side)]
        if len(lines) != side or any(len(line) > side for line in lines):
            raise ValueError(f"a maze of this model has {side} lines of {side} signs.")
        signs = [sign for line in lines for sign in line.ljust(side).lower()]
        unknown = next((sign for sign in signs if sign not in MAZE_SIGNS), None)
        if unknown is not None:
            raise ValueError(f"{unknown!r} is no sign of a maze; use # for walls, spaces, S and G.")
        return np.array([MAZE_SIGNS[sign] for sign in signs])
    cells = [0 if sign in EMPTY else int(sign) for sign in text if sign in EMPTY or sign in "123456789"]
    if len(cells) != side**2:
        raise ValueError(
            f"{len(cells)} cells were read; this model's puzzles have {side**2}, empty ones as 0."
        )
    if max(cells) > side:
        raise ValueError(f"the digit {max(cells)} is too large; this model's puzzles have 1 to {side}.")
    return np.array(cells)


def check_puzzle(board: Boards, kind: str, side: int) -> Checked:
    """Whether a board (cells) is a puzzle with one solution."""
    return _check_maze(board.reshape(side, side)) if kind == "maze" else _check_sudoku(board, side)


def _check_sudoku(board: Boards, side: int) -> Checked:
    for number, unit in enumerate(units(BOXES[side])):
        counts = np.bincount(board[unit], minlength=side + 1)
        counts[0] = 0
        if counts.max() > 1:
            where = f"{('row', 'column', 'box')[number // side]} {number % side + 1}"
            return Checked("invalid", f"{where} holds the digit {counts.argmax()} twice.")
    solutions = SudokuSolver(BOXES[side]).solutions(board)
    if not solutions:
        return Checked("invalid", "No digit is twice in a row, column or box, but there is no solution.")
    if len(solutions) > 1:
        open_cells = int((solutions[0] != solutions[1]).sum())
        return Checked(
            "several solutions", f"It has more than one solution; two of them differ in {open_cells} cells."
        )
    return Checked("one solution", "It has exactly one solution.", solutions[0])


def _check_maze(square: Boards) -> Checked:
    ends = []
    for token, name in ((START, "start S"), (GOAL, "goal G")):
        places = np.argwhere(square == token)
        if len(places) != 1:
            return Checked("invalid", f"It has {len(places)} cells for the {name}; a maze has one.")
        ends.append(tuple(map(int, places[0])))
    graph = open_graph(square)
    if not nx.has_path(graph, *ends):
        return Checked("invalid", "No path leads from S to G.")
    paths = list(islice(nx.all_shortest_paths(graph, *ends), 2))
    if len(paths) > 1:
        return Checked("several solutions", "More than one path from S to G is shortest.")
    solved = square.copy()
    for cell in paths[0][1:-1]:
        solved[cell] = PATH
    return Checked("one solution", "It has exactly one shortest path.", solved.ravel())
