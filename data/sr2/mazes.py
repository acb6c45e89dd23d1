"""Mazes on odd square grids with exactly one shortest path; split by class under the eight symmetries of the square.

A depth-first tree gives every maze one path; some walls are opened afterwards, and only mazes whose shortest path
stays unique are kept, else "the path" would not be a defined answer.
"""

from dataclasses import dataclass

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from data.sr2.puzzles import SPLITS, Boards, PuzzleSet, Split, hashed_order

WALL, SPACE, START, GOAL, PATH = range(5)
OPENED = 0.05
TRIES = 50
GRADES = ("short", "middle", "long")


@dataclass(frozen=True)
class MazeSet(PuzzleSet):
    """Tokens: wall, space, start, goal and, in targets, path."""

    def augment(
        self, inputs: Boards, targets: Boards, generator: np.random.Generator
    ) -> tuple[Boards, Boards]:
        cells = square_symmetries(self.side)[generator.integers(8, size=len(inputs))]
        return np.take_along_axis(inputs, cells, 1), np.take_along_axis(targets, cells, 1)

    def violations(self, inputs: Boards, boards: Boards) -> dict[str, NDArray[np.int64]]:
        """`path`: start, goal and path cells without one, one and two neighbours on the path; `given`: walls, start or
        goal that were changed."""
        walked = ((boards >= START) & (inputs != WALL)) | (inputs >= START)
        square = walked.reshape(*walked.shape[:-1], self.side, self.side).astype(np.int64)
        around = [(0, 0)] * (square.ndim - 2) + [(1, 1), (1, 1)]
        wide = np.pad(square, around)
        neighbours = wide[..., :-2, 1:-1] + wide[..., 2:, 1:-1] + wide[..., 1:-1, :-2] + wide[..., 1:-1, 2:]
        wanted = np.where(inputs >= START, 1, 2)
        broken = walked & (neighbours.reshape(walked.shape) != wanted)
        free = inputs == SPACE
        changed = np.where(free, (boards != SPACE) & (boards != PATH), boards != inputs)
        return {"path": broken.sum(axis=-1), "given": changed.sum(axis=-1)}

    def open_cells(self, inputs: Boards) -> NDArray[np.bool_]:
        return np.asarray(inputs == SPACE)


def maze_set(side: int, sizes: tuple[int, int, int], generator: np.random.Generator) -> MazeSet:
    """Mazes of an odd `side`, no two alike under a symmetry. Raises ValueError where too few can be found."""
    found: dict[bytes, tuple[Boards, Boards, int]] = {}
    most, tries = sum(sizes), 0
    while len(found) < most:
        tries += 1
        if tries > TRIES * most:
            raise ValueError(
                f"only {len(found)} different mazes of side {side} were found; ask for fewer or larger ones."
            )
        made = make_maze(side, generator)
        if made is not None:
            found.setdefault(maze_class(made[0], side), made)
    classes, mazes = list(found), list(found.values())
    order, edges = hashed_order(classes, "maze"), np.cumsum([0, *sizes])
    grade_edges = np.quantile([steps for _, _, steps in mazes], [1 / 3, 2 / 3])
    splits = {
        name: _split([(classes[i], *mazes[i]) for i in order[edges[k] : edges[k + 1]]], grade_edges)
        for k, name in enumerate(SPLITS)
    }
    return MazeSet(side, PATH + 1, splits)


def _split(mazes: list[tuple[bytes, Boards, Boards, int]], grade_edges: NDArray[np.float64]) -> Split:
    """Mazes (class, board, solution, steps); three grades, each a third of all mazes, by the length of the path."""
    classes, inputs, targets, steps = zip(*mazes, strict=True)
    solved = np.stack(targets)
    grades = [GRADES[i] for i in np.searchsorted(grade_edges, steps)]
    return Split(
        np.stack(inputs), solved, (solved == PATH).sum(axis=1), np.array(steps), grades, list(classes)
    )


def make_maze(side: int, generator: np.random.Generator) -> tuple[Boards, Boards, int] | None:
    """A maze, its solution (both flat) and the steps of its path; None where two paths are shortest."""
    square = _carve(side, generator)
    inner = [(r, c) for r in range(1, side - 1) for c in range(1, side - 1)]
    walls = [(r, c) for r, c in inner if square[r, c] == WALL and (r + c) % 2]
    for r, c in walls:
        if generator.random() < OPENED:
            square[r, c] = SPACE
    rooms = np.argwhere(square == SPACE)
    rooms = rooms[(rooms % 2 == 1).all(axis=1)]
    start, goal = (tuple(map(int, rooms[i])) for i in generator.choice(len(rooms), 2, replace=False))
    paths = nx.all_shortest_paths(open_graph(square), start, goal)
    path = next(paths)
    if next(paths, None) is not None:
        return None
    square[start], square[goal] = START, GOAL
    solved = square.copy()
    for cell in path[1:-1]:
        solved[cell] = PATH
    return square.ravel(), solved.ravel(), len(path) - 1


def _carve(side: int, generator: np.random.Generator) -> Boards:
    """A random depth-first tree over the rooms (odd row, odd column)."""
    square = np.full((side, side), WALL, dtype=np.int64)
    first = tuple(map(int, 1 + 2 * generator.integers(side // 2, size=2)))
    square[first] = SPACE
    stack = [first]
    while stack:
        r, c = stack[-1]
        ways = [(r + dr, c + dc) for dr, dc in ((-2, 0), (2, 0), (0, -2), (0, 2))]
        ways = [(a, b) for a, b in ways if 0 < a < side and 0 < b < side and square[a, b] == WALL]
        if not ways:
            stack.pop()
            continue
        a, b = ways[int(generator.integers(len(ways)))]
        square[(r + a) // 2, (c + b) // 2] = square[a, b] = SPACE
        stack.append((a, b))
    return square


def open_graph(square: Boards) -> nx.Graph:
    """Cells (row, column) that are no wall, joined where they share an edge."""
    graph = nx.grid_2d_graph(*square.shape)
    graph.remove_nodes_from([tuple(map(int, cell)) for cell in np.argwhere(square == WALL)])
    return graph


def square_symmetries(side: int) -> NDArray[np.int64]:
    """Which cell (8 × cells) each symmetry of the square reads."""
    cells = np.arange(side**2).reshape(side, side)
    turned = [np.rot90(flipped, k) for flipped in (cells, cells.T) for k in range(4)]
    return np.stack([t.ravel() for t in turned])


def maze_class(maze: Boards, side: int) -> bytes:
    """The smallest of the maze's eight forms."""
    return min(bytes(maze[cells].astype(np.uint8)) for cells in square_symmetries(side))
