"""Sudoku as a satisfiability problem: exact answers to "which solutions" and "is there only one" (python-sat)."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pysat.solvers import Solver

Board = NDArray[np.int64]
ENGINE = "minisat22"


class SudokuSolver:
    """The rules of one size, held by an incremental SAT solver; `box` is (rows, columns) of a box.

    Variable cell · n + digit (digits from 1) says that a cell holds a digit. Boards are flat, 0 for an empty cell.
    """

    def __init__(self, box: tuple[int, int]) -> None:
        self.box, self.side = box, box[0] * box[1]
        self._next = self.side**3 + 1
        self._solver = Solver(name=ENGINE, bootstrap_with=self._rules())

    def _variable(self, cell: int, digit: int) -> int:
        return cell * self.side + digit

    def _rules(self) -> list[list[int]]:
        digits = range(1, self.side + 1)
        cells = [[self._variable(cell, digit) for digit in digits] for cell in range(self.side**2)]
        placed = [
            [self._variable(int(cell), digit) for cell in unit]
            for unit in units(self.box)
            for digit in digits
        ]
        exactly_one = cells + placed
        return exactly_one + [[-a, -b] for group in exactly_one for a, b in combinations(group, 2)]

    def _assumed(self, board: Sequence[int] | Board) -> list[int]:
        return [self._variable(cell, int(digit)) for cell, digit in enumerate(board) if digit]

    def _switch(self) -> int:
        self._next += 1
        return self._next - 1

    def _model(self) -> Board:
        model = np.array(self._solver.get_model()[: self.side**3]) > 0
        return model.reshape(-1, self.side).argmax(axis=1) + 1

    def _forbid(self, board: Board, switch: int) -> None:
        """While `switch` is assumed, solutions must differ from `board`."""
        self._solver.add_clause([-switch, *(-literal for literal in self._assumed(board))])

    def solutions(self, board: Sequence[int] | Board, most: int = 2) -> list[Board]:
        """Up to `most` different solutions of a board; none when it has none."""
        switch = self._switch()
        found: list[Board] = []
        assumed = [switch, *self._assumed(board)]
        while len(found) < most and self._solver.solve(assumptions=assumed):
            found.append(self._model())
            self._forbid(found[-1], switch)
        self._solver.add_clause([-switch])
        return found

    def random_grid(self, generator: np.random.Generator) -> Board:
        """Some solved grid; where it is free, the solver prefers a digit drawn for each cell."""
        wanted = generator.integers(1, self.side + 1, size=self.side**2)
        self._solver.set_phases([-variable for variable in range(1, self.side**3 + 1)])
        self._solver.set_phases(self._assumed(wanted))
        self._solver.solve()
        return self._model()

    def dig(self, solution: Board, n_clues: int, generator: np.random.Generator) -> Board | None:
        """Empty cells in random order while the solution stays the only one, until `n_clues` remain; None if they never do."""
        switch = self._switch()
        self._forbid(solution, switch)
        literals = self._assumed(solution)
        kept = np.ones(len(solution), dtype=bool)
        for cell in generator.permutation(len(solution)):
            if kept.sum() == n_clues:
                break
            kept[cell] = False
            if self._solver.solve(assumptions=[switch, *(literals[i] for i in np.flatnonzero(kept))]):
                kept[cell] = True
        self._solver.add_clause([-switch])
        return np.where(kept, solution, 0) if kept.sum() == n_clues else None


def units(box: tuple[int, int]) -> NDArray[np.int64]:
    """Cells (3n × n) of every row, column and box, in this order."""
    side = box[0] * box[1]
    cells = np.arange(side**2).reshape(side, side)
    boxes = cells.reshape(side // box[0], box[0], side // box[1], box[1]).transpose(0, 2, 1, 3)
    return np.concatenate([cells, cells.T, boxes.reshape(side, side)])
