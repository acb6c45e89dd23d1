"""The section "Active features" of a run's page: what SAEs trained on the run's states find at the chosen cell or token."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pandas as pd
import streamlit as st

from analyses.feature_text import visible
from analyses.sr2_frames import MAZE_SIGNS, cell_name
from app.causal_parts import forget_unless, seed_choice
from app.connection import client
from app.denoising_parts import why_no_policy
from app.denoising_player import Trajectory
from app.refinement_parts import n_blocks, puzzle_of
from app.study_runs import Run
from app.widgets import ACTIVE, PAGES, literal, recipe
from engine.client import EngineError

Tokens = list[int] | list[str]
Choose = Callable[[], tuple[Tokens, int]]  # the input that is looked at, and the position in it
MOST = 20
KEPT_FOR = 60  # seconds an answer is trusted; labels can change
MASKED = "masked"
MOVED = "active_moved"
START = {"n_tokens": "200000", "k": "8", "n_steps": "2000", "batch_size": "512", "learning_rate": "0.003"}
EMPTY = (
    "No SAE has been trained on this run's {states} yet. Set one up: `model` is `run:{run}` and `hook_point` names the block, here "
    "`{hook_point}`. Once it is trained, the features active at the chosen {place} are listed here."
)


def cell_features(run: Run) -> None:
    """Active features of the chosen cell of the test puzzle that the page shows."""
    number, cell = int(st.session_state.get("puzzle", 1)) - 1, int(st.session_state.get("cell_number", 0))
    if st.session_state.get("active_cell_of") != (number, cell):
        st.session_state["active_cell"], st.session_state["active_cell_of"] = cell, (number, cell)
    hook_point = f"blocks.{n_blocks(run) - 1}.hook_out"
    _section(run, "states", "cell", hook_point, int(run["config"]["d_model"]), partial(_cell, run, number))


def _cell(run: Run, number: int) -> tuple[Tokens, int]:
    """The chosen cell, which can be chosen here too; the board above follows."""
    puzzle = puzzle_of(run, number)
    signs = MAZE_SIGNS if puzzle.kind == "maze" else "·123456789"
    names = [f"{cell_name(i, puzzle.side)}: {signs[token]}" for i, token in enumerate(puzzle.given)]
    cells = list(range(len(names)))
    forget_unless("active_cell", cells)
    cell = st.selectbox(
        f"Cell of test puzzle {number + 1}", cells, key="active_cell", format_func=names.__getitem__, on_change=_move
    )  # fmt: skip
    return [int(token) for token in puzzle.given], int(cell)


def _move() -> None:
    st.session_state["cell_number"], st.session_state[MOVED] = st.session_state["active_cell"], True


def token_features(run: Run, shown: Trajectory) -> None:
    """Active features of a token of the rollout the page shows, at any of its denoising steps."""
    config = run["config"]
    if not shown.steps or why_no_policy(run):
        return
    hook_point = f"blocks.{int(config['layers']) - 1}.hook_out"
    _section(run, "residual stream", "token", hook_point, int(config["width"]), partial(_token, shown))


def _token(shown: Trajectory) -> tuple[Tokens, int]:
    """The state after a step, and a position of prompt or completion."""
    prompt = shown.prompt.split()
    steps = [0, *shown.steps]
    forget_unless("active_step", steps)
    if "active_step" not in st.session_state:
        st.session_state["active_step"] = steps[len(steps) // 2]
    step = int(str(st.select_slider("Denoising steps done", steps, key="active_step")))
    rows = shown.tokens[shown.tokens["step"] == max(step, 1)].sort_values("position")
    words = [*prompt, *(["" if step == 0 else str(token) for token in rows["token"]])]
    names = [
        f"{'prompt' if place < len(prompt) else 'completion'} {place + 1 - (place >= len(prompt)) * len(prompt)}: "
        f"{word or MASKED}"
        for place, word in enumerate(words)
    ]
    places = list(range(len(names)))
    forget_unless("active_token", places)
    place = st.selectbox(
        "Token", places, len(prompt) if "active_token" not in st.session_state else 0, key="active_token",
        format_func=names.__getitem__,
    )  # fmt: skip
    return words, int(place)


@st.fragment
def _section(run: Run, states: str, place: str, hook_point: str, width: int, choose: Choose) -> None:
    if st.session_state.pop(MOVED, False):
        st.rerun()
    st.subheader("Active features")
    known = client().saes_reading(run["id"], None)
    done = {one["id"]: one for one in known if one["state"] == "done"}
    if not done:
        _none_yet(run, known, states, place, hook_point, width)
        return
    left, right = st.columns([2, 3], gap="medium")
    with left:
        forget_unless("active_sae", list(done))
        sae = st.selectbox("SAEs", list(done), key="active_sae", format_func=lambda id: _words(done[id]))
        seed = seed_choice(done[sae], "Seed of the SAE", "active_seed")
        tokens, position = choose()
    with right:
        _found(run, sae, seed, tokens, position)


def _words(sae: Run) -> str:
    """What SAEs read, and their recipe."""
    config = sae["config"]
    of = config["model"].partition("/")[2]
    parts = (of, config["hook_point"], recipe(config), f"d_sae {config['d_sae']:,}", sae["id"][:6])
    return " · ".join(part for part in parts if part)


def _none_yet(run: Run, known: list[Run], states: str, place: str, hook_point: str, width: int) -> None:
    """What to do where no SAE reads the run yet."""
    under_way = next((one for one in known if one["state"] in ACTIVE), None)
    if under_way is not None:
        st.info("SAEs are being trained on this run; their features appear here when they are done.")
        st.page_link(PAGES["jobs"], label="Watch them", icon=":material/monitoring:", query_params={"run": under_way["id"]})  # fmt: skip
        return
    st.info(EMPTY.format(states=states, run=run["id"], hook_point=hook_point, place=place))
    st.page_link(
        PAGES["new"], label="Train SAEs on this run", icon=":material/add_circle:",
        query_params={
            "study": "sae_consistency", "model": f"run:{run['id']}", "hook_point": hook_point, "d_sae": str(4 * width), **START,
        },
    )  # fmt: skip


def _found(run: Run, sae: str, seed: int, tokens: Tokens, position: int) -> None:
    try:
        answer = _ask(run["id"], sae, seed, tokens, position)
    except EngineError as error:
        st.error(literal(error.message))
        return
    frame = pd.DataFrame(answer["features"], columns=["feature", "value", "label"])
    frame["label"] = [visible(label) for label in frame["label"]]
    frame["card"] = [f"features?runs={sae}&seed={seed}&feature={feature}" for feature in frame["feature"]]
    st.dataframe(
        frame,
        hide_index=True,
        alt="Features that are active there, strongest first",
        placeholder="–",
        column_config={
            "feature": st.column_config.NumberColumn("Feature", format="%d", width=70),
            "value": st.column_config.NumberColumn("Value", format="%.3f", width=80),
            "label": st.column_config.TextColumn("Label", width=260),
            "card": st.column_config.LinkColumn("Card", display_text="open", width=60),
        },
    )
    shown = f"the {MOST} strongest of " if answer["n_active"] > MOST else ""
    massive = (
        " The vector is longer than those the SAE was trained on; its values say little."
        if answer["is_massive"]
        else ""
    )
    st.caption(f"{shown}{answer['n_active']} active. Read from the {literal(answer['model'])}.{massive}")


@st.cache_data(max_entries=300, ttl=KEPT_FOR, show_spinner="Reading the state")
def _ask(run: str, sae: str, seed: int, tokens: Tokens, position: int) -> dict[str, Any]:
    return client().active_features(run, sae, seed, tokens, position, MOST)
