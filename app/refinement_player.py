"""Boards over the iterations, with a slider and a play button, and what is broken and still moving meanwhile."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from analyses.figures import plain
from analyses.sr2_board import BOARD_HEIGHT, COLOURS, GLYPHS, board_figure
from analyses.sr2_figures import cell_timeline, residual_curves, rules_curves
from analyses.sr2_frames import (
    GOAL,
    MAZE,
    PATH,
    RULES,
    SPACE,
    START,
    WALL,
    broken_rules,
    cell_name,
    total_broken,
)
from app.causal_parts import choice, forget_unless
from app.refinement_parts import Board
from app.widgets import picture

TICK = 0.6  # seconds an iteration stands while playing
ABREAST = 3
MOST_LINES = 40
LARGE = 500  # pixels, of a board by itself
CLICKED = "cell_clicked"


def player(boards: Sequence[Board], key: str = "", words: str = "") -> None:
    """The boards side by side at one iteration. `key` sets a second player on the page apart from the first."""
    steps = sorted({step for board in boards for step in board.steps})
    playing = st.session_state.get(f"{key}playing", False) and len(steps) > 1
    st.fragment(_player, run_every=TICK if playing else None)(boards, steps, key, words)


def _player(boards: Sequence[Board], steps: list[int], key: str, words: str) -> None:
    if st.session_state.pop(CLICKED, False):
        st.rerun()
    step = _controls(boards, steps, key)
    if len(boards) == 1:
        left, right = st.columns(2, gap="medium")
        with left:
            _draw(boards, 0, step, key)
        with right:
            _rules(boards, step, key)
            _residual(boards, step, key)
    else:
        for first in range(0, len(boards), ABREAST):
            places = range(first, min(first + ABREAST, len(boards)))
            for column, place in zip(st.columns(min(ABREAST, len(boards))), places, strict=False):
                with column:
                    _draw(boards, place, step, key)
        left, right = st.columns(2)
        with left:
            _rules(boards, step, key)
        with right:
            _residual(boards, step, key)
    _timeline(boards[0], step, key)
    if words:
        st.caption(words)
    if step == steps[-1] and st.session_state.get(f"{key}playing"):
        st.session_state[f"{key}playing"] = False
        st.rerun()


def _draw(boards: Sequence[Board], place: int, step: int, key: str) -> None:
    """One board, whose cells can be clicked."""
    board, name = boards[place], f"{key}board-{place}"
    shown = board.at(step)
    cells = board.cells[board.cells["iteration"] == shown]
    figure = board_figure(
        board.puzzle, cells, COLOURS[st.session_state[f"{key}colour"]], title=plain(board.label),
        subtitle=_state(board, shown), high=float(max(one.cells["residual"].max() for one in boards)),
        chosen=st.session_state.get(f"{key}cell_number"), height=BOARD_HEIGHT if len(boards) > 1 else LARGE,
    )  # fmt: skip
    picture(figure, cells, name, on_select=partial(_on_cell, name, key), selection_mode="points")


def _controls(boards: Sequence[Board], steps: list[int], key: str) -> int:
    """Play, the slider (?t=) and what colours the cells (?colour=); the iteration that is shown."""
    name, playing = f"{key}t", st.session_state.get(f"{key}playing", False)
    forget_unless(name, steps)
    if playing:
        _advance(steps, key)
    last = max(board.trained for board in boards)
    start = max(one for one in steps if one <= last)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label, icon = ("Pause", ":material/pause:") if playing else ("Play", ":material/play_arrow:")
        pressed = st.button(label, icon=icon, key=f"{key}play", disabled=len(steps) < 2, type="primary")
        step = steps[0]
        if len(steps) > 1:
            words = f"Iteration (trained: {last}, shown up to {steps[-1]})"
            step = int(
                st.select_slider(
                    words, steps, None if name in st.session_state else start, key=name, bind="query-params"
                )
            )
        choice("Cells coloured by", list(COLOURS), f"{key}colour")
    if pressed:
        st.session_state[f"{key}playing"] = not playing
        st.session_state[f"{key}from_start"] = not playing and (step in (steps[-1], start))
        st.rerun()
    return step


def _advance(steps: list[int], key: str) -> None:
    """One iteration on; from the first where the last was reached before."""
    name = f"{key}t"
    if st.session_state.pop(f"{key}from_start", False) or name not in st.session_state:
        st.session_state[name] = steps[0]
        return
    place = steps.index(int(st.session_state[name]))
    st.session_state[name] = steps[min(place + 1, len(steps) - 1)]


def _state(board: Board, step: int) -> str:
    """Iteration, wrong cells (where the solution is known) and broken rules of a board."""
    row = board.boards[board.boards["iteration"] == step]
    wrong = board.cells.loc[board.cells["iteration"] == step, "correct"].eq(False).sum()
    known = f"{wrong} wrong, " if board.puzzle.solution is not None else ""
    return f"iteration {step}: {known}{total_broken(row).iloc[0]} rules broken"


def _on_cell(name: str, key: str) -> None:
    """A click on a cell chooses it."""
    points = st.session_state[f"chart-{name}"]["selection"]["points"]
    cells = [point["customdata"][0] for point in points if point.get("customdata")]
    if cells:
        st.session_state[f"{key}cell_number"] = int(cells[0])
        st.session_state[CLICKED] = True


def _trained(boards: Sequence[Board]) -> int | None:
    """The number of trained iterations, where it is the same for all."""
    numbers = {board.trained for board in boards}
    return numbers.pop() if len(numbers) == 1 else None


def _rules(boards: Sequence[Board], step: int, key: str) -> None:
    """Each kind of rule for a single board, or the sum for each of several boards."""
    if len(boards) == 1:
        frame = broken_rules(boards[0].boards)
        frame = frame.assign(name=frame["kind"].map(RULES))
    else:
        parts = [
            board.boards[["iteration"]].assign(name=board.label, broken=total_broken(board.boards))
            for board in boards
        ]
        frame = pd.concat(parts, ignore_index=True)
    figure = rules_curves(frame, step, _trained(boards), stacked=len(boards) == 1)
    picture(figure, frame, f"{key}rules")


def _residual(boards: Sequence[Board], step: int, key: str) -> None:
    parts = [board.boards[["iteration", "residual"]].assign(name=board.label) for board in boards]
    frame = pd.concat(parts, ignore_index=True)
    picture(residual_curves(frame, step, _trained(boards)), frame, f"{key}residual")


def _timeline(board: Board, step: int, key: str) -> None:
    """Every open cell of the first board over the iterations."""
    cells, names = _open_cells(board)
    if not names:
        return
    with st.expander(f"What it changes its mind about ({board.label})", key=f"{key}timeline_fold"):
        picture(cell_timeline(cells, names, _signs(board), step), cells, f"{key}timeline")


def _signs(board: Board) -> dict[int, str]:
    if board.puzzle.kind == MAZE:
        return {WALL: "■", SPACE: "·", **{token: GLYPHS[token] for token in (START, GOAL, PATH)}}
    return {0: "·", **{token: str(token) for token in range(1, 10)}}


def _open_cells(board: Board) -> tuple[pd.DataFrame, list[str]]:
    """The cells that are to be found, those that change most first where they are many; and their names."""
    fixed = board.puzzle.is_given | board.puzzle.is_wall
    cells = board.cells[~fixed[board.cells["cell"].to_numpy(dtype=int)]]
    changes = cells.groupby("cell")["changed"].sum()
    kept = sorted(changes.sort_values(ascending=False, kind="stable").index[:MOST_LINES])
    shown = cells[cells["cell"].isin(kept)].sort_values(["cell", "iteration"])
    return shown, [cell_name(cell, board.puzzle.side) for cell in kept]
