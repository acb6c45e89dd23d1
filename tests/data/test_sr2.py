"""Puzzles: one solution each, splits without a common class, symmetries, grades, and what somebody types."""

from itertools import permutations, product

import networkx as nx
import numpy as np
import pytest

from data.sr2 import BOXES, PuzzleSet, maze_set, sudoku_set
from data.sr2.checking import check_puzzle, read_puzzle
from data.sr2.mazes import GOAL, PATH, START, WALL, MazeSet, maze_class, open_graph
from data.sr2.puzzles import cut_classes
from data.sr2.solver import SudokuSolver
from data.sr2.sudoku import grade, grid_class, symmetries

SIZES = (40, 12, 20)


@pytest.fixture(scope="module", params=[(4, 6), (6, 14), (9, 36), "maze"], ids=str)
def puzzles(request: pytest.FixtureRequest) -> PuzzleSet:
    generator = np.random.default_rng(0)
    if request.param == "maze":
        return maze_set(9, SIZES, generator)
    side, clues = request.param
    return sudoku_set(side, clues, SIZES, generator)


def test_every_puzzle_has_its_target_as_only_solution(puzzles: PuzzleSet) -> None:
    kind = "maze" if puzzles.n_tokens == 5 and puzzles.side != 4 else "sudoku"
    for split in puzzles.splits.values():
        assert puzzles.valid(split.inputs, split.targets).all()
        for board, target in zip(split.inputs[:5], split.targets[:5], strict=True):
            checked = check_puzzle(board, kind, puzzles.side)
            assert checked.status == "one solution"
            assert np.array_equal(checked.solution, target)


def test_no_class_is_in_two_splits_and_sizes_are_as_asked(puzzles: PuzzleSet) -> None:
    train, validation, test = (set(split.classes) for split in puzzles.splits.values())
    assert not train & validation and not train & test and not validation & test
    assert tuple(len(split) for split in puzzles.splits.values()) == SIZES


def test_augmented_training_puzzles_stay_puzzles_of_their_class(puzzles: PuzzleSet) -> None:
    split = puzzles.splits["train"]
    inputs, targets = puzzles.augment(split.inputs, split.targets, np.random.default_rng(1))
    assert puzzles.valid(inputs, targets).all()
    side = puzzles.side
    assert np.array_equal(inputs, split.inputs) == (side == 4), "at 4×4 nothing is augmented"
    for i in range(10):
        if hasattr(puzzles, "box"):
            assert grid_class(targets[i], puzzles.box) == split.classes[i]
        else:
            assert maze_class(inputs[i], side) == split.classes[i]


def test_a_wrong_cell_breaks_something(puzzles: PuzzleSet) -> None:
    split = puzzles.splits["test"]
    boards = split.targets.copy()
    cell = int(np.flatnonzero(puzzles.open_cells(split.inputs)[0] & (split.targets[0] != 1))[0])
    boards[0, cell] = 1
    assert not puzzles.valid(split.inputs, boards)[0]
    assert puzzles.valid(split.inputs, boards)[1:].all()


def test_same_generator_same_puzzles() -> None:
    first, again = (sudoku_set(4, 6, SIZES, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first.splits["test"].inputs, again.splits["test"].inputs)


def test_the_solver_counts_as_brute_force_does() -> None:
    """All 288 grids of side 4, found by enumeration, and by the solver on an empty board."""
    bands = [
        (top, bottom)
        for top, bottom in product(permutations(range(1, 5)), repeat=2)
        if len({*top[:2], *bottom[:2]}) == 4 and len({*top[2:], *bottom[2:]}) == 4
    ]
    grids = {
        bytes(np.array(upper + lower).ravel())
        for upper, lower in product(bands, repeat=2)
        if all(len(set(column)) == 4 for column in zip(*upper, *lower, strict=True))
    }
    found = SudokuSolver((2, 2)).solutions(np.zeros(16, dtype=int), most=1000)
    assert {bytes(grid) for grid in found} == grids and len(grids) == 288


def test_every_solved_four_by_four_is_a_class() -> None:
    found = SudokuSolver((2, 2)).solutions(np.zeros(16, dtype=int), most=1000)
    assert len({grid_class(grid, (2, 2)) for grid in found}) == 288


@pytest.mark.parametrize("side", [4, 6, 9])
def test_a_class_survives_every_symmetry_and_classes_differ(side: int) -> None:
    box, generator = BOXES[side], np.random.default_rng(0)
    solver = SudokuSolver(box)
    grids = [solver.random_grid(generator) for _ in range(6)]
    for grid in grids:
        cells, digits = symmetries(box, 5, generator)
        turned = [digits[i, grid[cells[i]]] for i in range(5)]
        assert {grid_class(other, box) for other in turned} == {grid_class(grid, box)}
    assert len({grid_class(grid, box) for grid in grids}) > 1


def test_cut_keeps_classes_together_and_refuses_two() -> None:
    cut = cut_classes([bytes([i]) for i in range(12)], "x")
    assert sorted(i for part in cut.values() for i in part) == list(range(12))
    assert [len(part) for part in cut.values()] == [8, 2, 2]
    with pytest.raises(ValueError, match="three or more"):
        cut_classes([b"a", b"b"], "x")


def test_impossible_clue_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="ask for more clues"):
        sudoku_set(4, 3, (3, 3, 3), np.random.default_rng(0))


def test_grades_of_hand_made_puzzles() -> None:
    solved = np.array([1, 2, 3, 4, 3, 4, 1, 2, 2, 1, 4, 3, 4, 3, 2, 1])
    one_open = solved.copy()
    one_open[0] = 0
    rounds, names = grade(np.stack([one_open, np.zeros(16, dtype=int)]), (2, 2))
    assert rounds.tolist() == [1, 0] and names == ["naked singles", "search"]
    hidden = np.zeros(16, dtype=int)
    hidden[[5, 10, 12]] = 1, 1, 2
    assert grade(hidden[None], (2, 2))[0][0] >= 1, "the 1s leave one place for a 1 in the first box's row"


def test_mazes_have_one_shortest_path_and_it_is_the_target() -> None:
    mazes = maze_set(7, (30, 5, 5), np.random.default_rng(2))
    split = mazes.splits["train"]
    for maze, target, steps in zip(split.inputs, split.targets, split.rounds, strict=True):
        graph = open_graph(maze.reshape(7, 7))
        ends = [divmod(int(np.flatnonzero(maze == token)[0]), 7) for token in (START, GOAL)]
        paths = list(nx.all_shortest_paths(graph, *ends))
        assert len(paths) == 1 and len(paths[0]) - 1 == steps
        marked = {divmod(int(cell), 7) for cell in np.flatnonzero(target == PATH)}
        assert marked == set(paths[0][1:-1])


def test_a_detour_that_keeps_the_maze_is_valid_and_a_broken_path_is_not() -> None:
    rows = ["#####", "#S  #", "# # #", "# G##", "#####"]
    maze = read_puzzle("\n".join(rows), "maze", 5)
    mazes = MazeSet(5, 5, {})
    good = maze.copy()
    good[[11, 16]] = PATH
    assert mazes.valid(maze, good)
    broken = good.copy()
    broken[11] = 1
    assert mazes.violations(maze, broken)["path"] > 0
    changed = good.copy()
    changed[0] = PATH
    assert mazes.violations(maze, changed)["given"] == 1 and maze[0] == WALL


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("1.1. .... .... ....", "invalid", "row 1 holds the digit 1 twice"),
        ("1... 1... .... ....", "invalid", "column 1 holds the digit 1 twice"),
        ("1... .1.. .... ....", "invalid", "box 1 holds the digit 1 twice"),
        ("123. ...4 .... ....", "invalid", "no solution"),
        ("1... .... .... ....", "several solutions", "more than one"),
        (
            "12|34\n34|12\n--+--\n21|43\n43|21",
            "one solution",
            "exactly one",
        ),
    ],
)
def test_typed_sudokus_are_named_for_what_they_are(text: str, status: str, words: str) -> None:
    checked = check_puzzle(read_puzzle(text, "sudoku", 4), "sudoku", 4)
    assert checked.status == status and words in checked.sentence


def test_typed_mazes_are_named_for_what_they_are() -> None:
    def check(*rows: str) -> str:
        return check_puzzle(read_puzzle("\n".join(rows), "maze", 5), "maze", 5).status

    assert check("#####", "#S  #", "### #", "#G  #", "#####") == "one solution"
    assert check("#####", "#S  #", "# # #", "#  G#", "#####") == "several solutions"
    assert check("#####", "#S###", "#####", "###G#", "#####") == "invalid"
    assert check("#####", "#S###", "#####", "#####", "#####") == "invalid"


@pytest.mark.parametrize(
    ("text", "kind", "side", "words"),
    [
        ("123", "sudoku", 4, "3 cells were read"),
        ("9" + "0" * 15, "sudoku", 4, "too large"),
        ("###\n###", "maze", 5, "5 lines of 5"),
        ("#####\n#S?G#\n#####\n#####\n#####", "maze", 5, "no sign of a maze"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, kind: str, side: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_puzzle(text, kind, side)
