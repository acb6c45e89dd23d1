"""Puzzles with one solution: Sudoku 4×4, 6×6 and 9×9, and mazes with a unique shortest path, split by class."""

from data.sr2.mazes import maze_set
from data.sr2.puzzles import PuzzleSet, Split
from data.sr2.sudoku import BOXES, sudoku_set

__all__ = ["BOXES", "PuzzleSet", "Split", "maze_set", "sudoku_set"]
