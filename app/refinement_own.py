"""A puzzle of the reader's own, typed in or pasted, solved live by the run's chosen weights."""

from typing import Any

import numpy as np
import streamlit as st

from analyses.sr2_frames import Puzzle, live_frames, puzzle_text, with_changes
from app.causal_parts import seed_choice
from app.connection import client
from app.refinement_parts import Board, n_blocks, puzzle_of
from app.refinement_player import player
from app.refinement_words import arm
from app.study_runs import Run
from app.widgets import literal
from engine.client import EngineError

SOLVED = "own_answer"
NAMES = {"sudoku": "Sudoku", "maze": "maze"}
SIGNS = {
    "sudoku": "Digits row by row, with 0 . _ or * for an empty cell; spaces, bars and rules are passed over.",
    "maze": "A line a row: # for walls, a space or . for free cells, S and G.",
}


@st.fragment
def own_section(run: Run) -> None:
    """Type a puzzle, solve it, watch it being solved."""
    st.subheader("Your own puzzle")
    config = run["config"]
    start = puzzle_text(puzzle_of(run, 0))
    if st.session_state.get("own_of", run["id"]) != run["id"]:
        st.session_state["own"] = start
    st.session_state["own_of"] = run["id"]
    left, right = st.columns([2, 3], gap="medium")
    with left:
        text = st.text_area(
            f"{config['side']}×{config['side']} {NAMES[config['puzzle']]}", "" if "own" in st.session_state else start,
            key="own", bind="query-params", max_chars=10_000, height=40 + 26 * config["side"],
        )  # fmt: skip
    with right:
        seed = seed_choice(run, "Solved by seed", "own_seed")
        trained = n_blocks(run)
        blocks = None
        if config["model"] != "feed_forward":
            most = max(1, 512 // config["recurrences"])
            blocks = int(
                st.number_input(
                    f"Alignment blocks (trained: {trained})", 1, most, min(2 * trained, most),
                    key="own_blocks", bind="query-params",
                )
            )  # fmt: skip
        if st.button("Solve it", type="primary", icon=":material/bolt:", key="own_solve"):
            _solve(run, seed, text, blocks)
        st.caption(SIGNS[config["puzzle"]] + " An exact solver says first whether it has one solution.")
    _show(run)


def _solve(run: Run, seed: int, text: str, blocks: int | None) -> None:
    """Ask the engine, and keep its answer or its refusal."""
    asked = {"run": run["id"], "seed": seed}
    try:
        with st.spinner("Solving"):
            answer = client().solve_puzzle(run["id"], seed, text, blocks)
        st.session_state[SOLVED] = {**asked, "answer": answer}
    except EngineError as error:
        st.session_state[SOLVED] = {**asked, "refusal": error.message}
    st.session_state["own_playing"] = "answer" in st.session_state[SOLVED]
    st.session_state["own_from_start"] = True
    st.session_state.pop("own_cell_number", None)


def _show(run: Run) -> None:
    """What the exact solver says of the puzzle, and the boards of the live solution."""
    kept = st.session_state.get(SOLVED)
    if kept is None or kept["run"] != run["id"]:
        return
    if "refusal" in kept:
        st.error(literal(kept["refusal"]))
        return
    answer = kept["answer"]
    sentence, counted = (
        literal(answer["sentence"]),
        {"one solution": st.success, "several solutions": st.warning},
    )
    if answer["status"] in counted:
        counted[answer["status"]](sentence)
    else:
        st.error(f"{answer['status'].capitalize()}: {sentence}")
    player([_board(run, kept["seed"], answer)], "own_", _outcome(answer))


def _board(run: Run, seed: int, answer: dict[str, Any]) -> Board:
    solution = answer["solution"]
    puzzle = Puzzle(
        run["config"]["puzzle"], answer["side"], np.array(answer["given"]), None if solution is None else np.array(solution)
    )  # fmt: skip
    cells, boards = live_frames(answer)
    return Board(f"{arm(run['config'])} · seed {seed}", puzzle, with_changes(cells), boards, run, seed)


def _outcome(answer: dict[str, Any]) -> str:
    """When the solution was found first, and whether it stood at the end."""
    if answer["solution"] is None:
        return "It is run all the same; without one solution no cell can be called right or wrong."
    solved = [row["iteration"] for row in answer["iterations"] if row["solved"]]
    last = len(answer["iterations"])
    if not solved:
        return f"It was not solved within {last} iterations."
    kept = "and it stood at the end" if solved[-1] == last else "but it did not stand at the end"
    return f"Solved for the first time at iteration {solved[0]} of {last}, {kept}."
