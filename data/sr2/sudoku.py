"""Sudoku of 4, 6 and 9 a side: puzzles whose one solution is proved, graded, and split by the class of the solved grid.

A class is what the symmetries of Sudoku make of one solved grid; the training augmentation draws from the same group,
so no augmented training puzzle can share a class with a held-out one. At 4×4 the symmetries know two classes only; there a
class is one of the 288 solved grids and nothing is augmented, so renamed copies of a held-out grid may be trained on.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.sr2.puzzles import SPLITS, Boards, PuzzleSet, Split, cut_classes
from data.sr2.solver import SudokuSolver, units

BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}
STALE_DRAWS, TRIES = 300, 200
GRADES = ("naked singles", "hidden singles", "search")


@dataclass(frozen=True)
class SudokuSet(PuzzleSet):
    """`box` is (rows, columns) of a box; tokens are 0 for an empty cell and the digits."""

    box: tuple[int, int] = (3, 3)

    def augment(
        self, inputs: Boards, targets: Boards, generator: np.random.Generator
    ) -> tuple[Boards, Boards]:
        cells, digits = symmetries(self.box, len(inputs), generator)
        moved = [np.take_along_axis(boards, cells, axis=1) for boards in (inputs, targets)]
        return np.take_along_axis(digits, moved[0], 1), np.take_along_axis(digits, moved[1], 1)

    def violations(self, inputs: Boards, boards: Boards) -> dict[str, NDArray[np.int64]]:
        """Digits missing from rows, columns and boxes, summed over each kind, and given digits that were changed."""
        held = boards[..., units(self.box)]
        present = (held[..., None] == np.arange(1, self.side + 1)).any(axis=-2)
        missing = self.side - present.sum(axis=-1)
        kinds = missing.reshape(*missing.shape[:-1], 3, self.side).sum(axis=-1)
        changed = ((inputs != 0) & (boards != inputs)).sum(axis=-1)
        return {"row": kinds[..., 0], "column": kinds[..., 1], "box": kinds[..., 2], "given": changed}

    def open_cells(self, inputs: Boards) -> NDArray[np.bool_]:
        return np.asarray(inputs == 0)


def sudoku_set(
    side: int,
    n_clues: int,
    sizes: tuple[int, int, int],
    generator: np.random.Generator,
    search_only: bool = False,
) -> SudokuSet:
    """Puzzles with `n_clues` given cells and one solution; `sizes` for training, validation and test.

    `search_only` keeps those that single candidates alone do not solve. Raises ValueError where too few can be found.
    """
    box = BOXES[side]
    solver = SudokuSolver(box)
    grids = _classes(solver, sum(sizes), generator)
    cut = cut_classes(list(grids), "sudoku")
    representatives, splits = list(grids.values()), {}
    for name, size in zip(SPLITS, sizes, strict=True):
        mine = [representatives[i] for i in cut[name]]
        splits[name] = _split(solver, mine, n_clues, size, generator, search_only)
    return SudokuSet(side, side + 1, splits, box)


def _classes(solver: SudokuSolver, most: int, generator: np.random.Generator) -> dict[bytes, Boards]:
    """One solved grid for each class met, until `most` classes or many draws without a new one."""
    found: dict[bytes, Boards] = {}
    stale = 0
    while len(found) < max(most, 3) and stale < STALE_DRAWS:
        grid = solver.random_grid(generator)
        key = grid_class(grid, solver.box)
        stale = stale + 1 if key in found else 0
        found.setdefault(key, grid)
    return found


def _split(
    solver: SudokuSolver,
    grids: list[Boards],
    n_clues: int,
    size: int,
    generator: np.random.Generator,
    search_only: bool,
) -> Split:
    """`size` different puzzles, the classes taking turns, each on a random grid of its class."""
    puzzles: dict[bytes, tuple[Boards, Boards]] = {}
    turn = missed = 0
    while len(puzzles) < size:
        grid, turn = _random_symmetric(grids[turn % len(grids)], solver.box, generator), turn + 1
        puzzle = solver.dig(grid, n_clues, generator)
        if puzzle is None or puzzle.tobytes() in puzzles or (
            search_only and grade(puzzle[None], solver.box)[1][0] != GRADES[2]
        ):  # fmt: skip
            missed += 1
            if missed > TRIES * (len(puzzles) + 1):
                raise ValueError(
                    f"only {len(puzzles)} of {size} puzzles with {n_clues} clues were found; ask for more clues."
                )
            continue
        puzzles[puzzle.tobytes()] = puzzle, grid
    inputs, targets = (np.stack(boards) for boards in zip(*puzzles.values(), strict=True))
    rounds, grades = grade(inputs, solver.box)
    classes = [grid_class(grid, solver.box) for grid in targets]
    return Split(inputs, targets, (inputs != 0).sum(axis=1), rounds, grades, classes)


def _random_symmetric(grid: Boards, box: tuple[int, int], generator: np.random.Generator) -> Boards:
    cells, digits = symmetries(box, 1, generator)
    return digits[0, grid[cells[0]]]


def symmetries(
    box: tuple[int, int], n: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """`n` random symmetries: `cells` (n × cells), which cell each one reads, and `digits` (n × side + 1), what it becomes.

    Digits are relabelled; bands, rows of a band, stacks, columns of a stack, and, where boxes are square, rows and columns
    change places. At 4×4 nothing is: every grid is a class of its own.
    """
    side = box[0] * box[1]
    if side == 4:
        return np.tile(np.arange(side**2), (n, 1)), np.tile(np.arange(side + 1), (n, 1))
    digits = np.zeros((n, side + 1), dtype=np.int64)
    digits[:, 1:] = generator.random((n, side)).argsort(axis=1) + 1
    rows, columns = (_lines(side // thick, thick, n, generator) for thick in box)
    cells = rows[:, :, None] * side + columns[:, None, :]
    if box[0] == box[1]:
        turned = generator.random(n) < 0.5
        cells[turned] = cells[turned].transpose(0, 2, 1)
    return cells.reshape(n, -1), digits


def _lines(groups: int, thick: int, n: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """`n` random orders of groups · thick lines that keep groups of `thick` together."""
    outer = generator.random((n, groups)).argsort(axis=1)
    inner = generator.random((n, groups, thick)).argsort(axis=2)
    return (outer[:, :, None] * thick + inner).reshape(n, -1)


def grid_class(grid: Boards, box: tuple[int, int]) -> bytes:
    """A key that all grids of a class share.

    4×4: the grid itself. Larger: cycle types of the permutations that lead from
    one line to another (and from one digit's places to another's), which no symmetry changes; two classes may share a
    key, then they go to the same split.
    """
    side = box[0] * box[1]
    square = grid.reshape(side, side) - 1
    if side == 4:
        return bytes(square.astype(np.uint8))
    places = square.argsort(axis=1)
    columns = square.T.argsort(axis=1)
    by_digit = np.empty_like(square)
    by_digit[square.ravel(), np.repeat(np.arange(side), side)] = np.tile(np.arange(side), side)
    rows_key = _line_key(square, places, box[0])
    columns_key = _line_key(square.T, columns, box[1])
    lines = sorted((rows_key, columns_key)) if box[0] == box[1] else [rows_key, columns_key]
    return repr((lines, _line_key(by_digit, by_digit.argsort(axis=1), side))).encode()


def _line_key(lines: NDArray[np.int64], inverse: NDArray[np.int64], thick: int) -> list[object]:
    """Sorted cycle types of line j after the inverse of line i: pairs within each group of `thick`, and across groups."""
    side = len(lines)
    types = np.empty((side, side), dtype=object)
    for i in range(side):
        for j in range(i + 1, side):
            types[i, j] = types[j, i] = _cycle_type(lines[j][inverse[i]])
    groups = [range(start, start + thick) for start in range(0, side, thick)]
    within = sorted(sorted(types[i, j] for i in group for j in group if i < j) for group in groups)
    across = sorted(
        sorted(types[i, j] for i in a for j in b)
        for number, a in enumerate(groups)
        for b in groups[number + 1 :]
    )
    each = sorted(sorted(types[i, j] for j in range(side) if j != i) for i in range(side))
    return [within, across, each]


def _cycle_type(permutation: NDArray[np.int64]) -> tuple[int, ...]:
    lengths, seen = [], set()
    steps = permutation.tolist()
    for start in range(len(steps)):
        length, place = 0, start
        while place not in seen:
            seen.add(place)
            place, length = steps[place], length + 1
        if length:
            lengths.append(length)
    return tuple(sorted(lengths))


def grade(puzzles: Boards, box: tuple[int, int]) -> tuple[NDArray[np.int64], list[str]]:
    """Rounds of single candidates (n) that each puzzle (n × cells) takes or allows, and its grade.

    A round fills every cell with one candidate left (naked single), and, where there is none, every digit with one place
    left in a unit (hidden single). "search": rounds end before the puzzle is solved.
    """
    groups = units(box)
    side = groups.shape[1]
    seen_by = (groups[:, :, None] == np.arange(side**2)).any(axis=1).astype(np.int64)
    sees = (seen_by.T @ seen_by > 0) & ~np.eye(side**2, dtype=bool)
    boards = puzzles.copy()
    rounds = np.zeros(len(boards), dtype=np.int64)
    hidden_used = np.zeros(len(boards), dtype=bool)
    while True:
        placed = (boards[..., None] == np.arange(1, side + 1)).astype(np.int64)
        open_cells = boards == 0
        candidates = (np.einsum("ij,njd->nid", sees, placed) == 0) & open_cells[..., None]
        naked = candidates & (candidates.sum(axis=-1, keepdims=True) == 1)
        once = np.einsum("ui,nid->nud", seen_by, candidates) == 1
        hidden = candidates & (np.einsum("ui,nud->nid", seen_by, once) > 0)
        needs_hidden = ~naked.any(axis=(1, 2))
        fill = np.where(needs_hidden[:, None, None], hidden, naked)
        going = fill.any(axis=(1, 2))
        if not going.any():
            break
        hidden_used |= going & needs_hidden
        rounds += going
        boards = np.where(fill.any(axis=-1), fill.argmax(axis=-1) + 1, boards)
    solved = (boards != 0).all(axis=1)
    names = np.where(~solved, GRADES[2], np.where(hidden_used, GRADES[1], GRADES[0]))
    return rounds, names.tolist()
