"""The section with the boards of a test puzzle, and the attention of a cell on it."""

import pandas as pd
import streamlit as st

from analyses.figures import plain
from analyses.sr2_board import attention_figure
from analyses.sr2_figures import paths_figure
from analyses.sr2_frames import ALL_HEADS, attended, cell_name
from app.causal_parts import choice, forget_unless
from app.connection import table
from app.refinement_parts import Board, stored_board
from app.refinement_player import player
from app.study_runs import Run
from app.widgets import picture

MOST_BOARDS = 6
FIRST_BOARDS = 3
ALL = "all heads"


def boards_section(runs: dict[str, Run]) -> None:
    """A test puzzle under the solvers that are chosen, iteration by iteration."""
    st.subheader("Boards")
    number, boards = _choose(runs)
    _first_cell(boards[0])
    player(boards)
    _inside(boards, number)


def _choose(runs: dict[str, Run]) -> tuple[int, list[Board]]:
    """The puzzle's number (?puzzle= counts from 1) and the run and seed of every board (?boards=)."""
    kept = {name: table(run["id"], "sr2_puzzles") for name, run in runs.items()}
    first = next(iter(kept.values()))
    most = min(len(rows) for rows in kept.values())
    seeds = {f"{run['id'][:6]}-{seed}": (name, seed) for name, run in runs.items() for seed in run["seeds"]}
    alone = len(runs) == 1
    words = {
        id: f"seed {seed}" if alone else name if len(runs[name]["seeds"]) == 1 else f"{name} · seed {seed}"
        for id, (name, seed) in seeds.items()
    }
    starts = [f"{run['id'][:6]}-{run['seeds'][0]}" for run in runs.values()][:FIRST_BOARDS]
    left, right = st.columns([1, 2], vertical_alignment="bottom")
    numbers = list(range(1, most + 1))
    forget_unless("puzzle", numbers)
    with left:
        number = int(str(st.selectbox("Test puzzle", numbers, key="puzzle", bind="query-params")))
    if "boards" in st.session_state:
        known = [id for id in st.session_state["boards"] if id in seeds]
        moved = st.session_state.get("boards_of", list(runs)) != list(runs)
        st.session_state["boards"] = starts if moved or not known else known
    st.session_state["boards_of"] = list(runs)
    with right:
        chosen = st.multiselect(
            "Solved by", list(seeds), None if "boards" in st.session_state else starts, key="boards", bind="query-params", format_func=words.__getitem__,
            max_selections=MOST_BOARDS,
        )  # fmt: skip
    number -= 1
    st.caption(f"Test puzzle {number + 1}: {_grade(first.iloc[number])}.")
    return number, [stored_board(runs[seeds[id][0]], seeds[id][1], number, words[id]) for id in chosen]


def _grade(row: pd.Series) -> str:
    """How hard a puzzle is, in words."""
    if row["grade"] in ("short", "middle", "long"):
        return f"a {row['grade']} path of {row['rounds']} steps"
    return (
        f"solved by {row['grade']} in {row['rounds']} rounds" if row["grade"] != "search" else "needs search"
    )


@st.fragment
def _inside(boards: list[Board], number: int) -> None:
    """What a cell attends to, and where the state moves, on one of the boards."""
    if st.session_state.pop("attention_clicked", False):
        st.rerun()
    st.subheader("Inside")
    names = [board.label for board in boards]
    forget_unless("inside", names)
    board = boards[0]
    if len(boards) > 1:
        picked = st.selectbox("Look inside", names, key="inside", bind="query-params")
        board = boards[names.index(str(picked))]
    rows = table(board.run["id"], "sr2_attention", {"seed": board.seed, "puzzle": number})
    blocks = [str(int(block) + 1) for block in sorted(rows["block"].unique())]
    heads = [ALL, *(str(int(head) + 1) for head in sorted(rows["head"].unique()))]
    block, head = 1, ALL
    if blocks:
        with st.container(horizontal=True):
            block = int(choice("Attention at the start of block", blocks, "block"))
            head = choice("Head", heads, "head")
    left, right = st.columns(2, gap="medium")
    with left:
        if rows.empty:
            st.info("Attention is stored of the first two test puzzles; choose one of them above.")
        else:
            _attention(board, rows[rows["block"] == block - 1], block, head)
    with right:
        frame = _paths(board)
        if len(frame):
            picture(paths_figure(frame, number), frame, "path")


def _attention(board: Board, rows: pd.DataFrame, block: int, head: str) -> None:
    """Attention of the chosen cell (?cell=) in one block and head, as heat over the board."""
    cell, n_cells = int(st.session_state["cell_number"]), len(board.puzzle.given)
    if st.query_params.get("cell") != str(cell + 1):
        st.query_params["cell"] = str(cell + 1)
    weights = attended(rows, cell, ALL_HEADS if head == ALL else int(head) - 1, n_cells)
    before = board.boards[board.boards["block"] < block - 1]["iteration"]
    tokens = [0] * n_cells
    if len(before):
        last = board.cells[board.cells["iteration"] == before.max()].sort_values("cell")
        tokens = [int(token) for token in last["token"]]
    else:
        tokens = [int(token) for token in board.puzzle.given]
    whose = "mean of all heads" if head == ALL else f"head {head}"
    figure = attention_figure(
        board.puzzle, weights, tokens, cell, title=f"What {cell_name(cell, board.puzzle.side)} attends to",
        subtitle=f"{plain(board.label)}, block {block}, {whose}",
    )  # fmt: skip
    picture(figure, weights, "attention", on_select=_on_cell, selection_mode="points")
    few = int(rows.groupby(["head", "cell"]).size().max())
    more = (
        ""
        if few >= n_cells
        else f" Only the {few} strongest weights of a cell and head are stored; others are grey."
    )
    signs = "those read before this block" if len(before) else "the puzzle itself"
    st.caption(f"Click a cell here or above. The signs are {signs}.{more}")


def _first_cell(board: Board) -> None:
    """Choose the cell that the link names (?cell=, from 1), or the first open one, until one is clicked."""
    n_cells = len(board.puzzle.given)
    if st.session_state.get("cell_number", n_cells) < n_cells:
        return
    asked = st.query_params.get("cell", "")
    open_cells = (~board.puzzle.is_given & ~board.puzzle.is_wall).nonzero()[0]
    named = int(asked) - 1 if asked.isdecimal() else -1
    st.session_state["cell_number"] = named if 0 <= named < n_cells else int(open_cells[0])


def _on_cell() -> None:
    points = st.session_state["chart-attention"]["selection"]["points"]
    cells = [point["customdata"][0] for point in points if point.get("customdata")]
    if cells:
        st.session_state["cell_number"] = int(cells[0])
        st.session_state["attention_clicked"] = True


def _paths(board: Board) -> pd.DataFrame:
    """Where the states of the board's seed were on its principal plane, for every stored puzzle."""
    rows = table(board.run["id"], "sr2_paths", {"seed": board.seed})
    if rows.empty:
        return pd.DataFrame()
    places = rows.pivot(index=["puzzle", "iteration"], columns="component", values="value").reset_index()
    explained = rows.drop_duplicates("component").set_index("component")["explained"]
    return places.rename(columns={0: "x", 1: "y"}).assign(explained_x=explained[0], explained_y=explained[1])
