"""Explore › Prompt lab: which features a prompt activates, and what changing one does to the model's answer."""

import json
from contextlib import suppress
from typing import Any

import streamlit as st

from app.explore_parts import find, finished_runs
from app.lab_parts import (
    LONG,
    Outcome,
    compare,
    feature_link,
    heat_map,
    notebook_cell,
    reading,
    show,
    token_choice,
)
from app.widgets import PAGES, describe, show_refusal

Run = dict[str, Any]
KINDS = {
    "steer": "Adds the direction at every chosen token. Strength 1 is as long as a typical activation.",
    "ablate": "Takes the feature's own contribution away; where it is not active nothing changes.",
    "patch": "Sets the feature to a value, in the units of the activations above, whatever it was.",
}


def choose_run(known: dict[str, Run]) -> Run:
    """The run, kept in the URL as ?run=."""
    link = st.query_params.get("run", "")
    if link and not (find(link, known) and is_readable(known[link])):
        known.pop(link, None)
    if link and link not in known and link != st.session_state.get("lab_run_url"):
        st.warning("No finished run on a language model is called so; choose one below.")
    if link in known and link != st.session_state.get("lab_run_url"):
        st.session_state["lab_run"] = link
    if st.session_state.get("lab_run") not in known:
        asked = st.session_state.get("run_set_url", "").split(",")
        st.session_state["lab_run"] = next((run for run in asked if run in known), next(iter(known)))
    run = st.selectbox("Run", list(known), key="lab_run", format_func=lambda run: describe(known[run]))
    st.query_params["run"] = st.session_state["lab_run_url"] = run
    return known[run]


def is_readable(run: Run) -> bool:
    """Whether the run's SAEs read a language model."""
    config = run["config"]
    return config["source"] == "language_model" and not config["model"].startswith("run:")


def choose_prompt() -> str:
    """The prompt, kept in the URL as ?prompt= while it is short."""
    link = st.query_params.get("prompt", "")
    if "lab_prompt" not in st.session_state or (link and link != st.session_state.get("lab_prompt_url")):
        st.session_state["lab_prompt"] = link or st.session_state.get("lab_prompt_kept", "")
    with st.form("prompt-form", border=False, enter_to_submit=True):
        prompt = st.text_area(
            "Prompt",
            key="lab_prompt",
            max_chars=4000,
            height=100,
            placeholder="Type a text for the model to read",
        )
        st.form_submit_button(
            "Read", icon=":material/visibility:", help="Ctrl+Enter in the text does the same."
        )
    st.session_state["lab_prompt_kept"] = prompt
    if 0 < len(prompt) <= LONG:
        st.query_params["prompt"] = st.session_state["lab_prompt_url"] = prompt
    else:
        st.query_params.pop("prompt", None)
        st.session_state.pop("lab_prompt_url", None)
    return prompt


def choose_intervention(read: Outcome, d_sae: int) -> dict[str, Any] | None:
    """The form of the intervention; None where it does not name a direction yet."""
    left, middle, right = st.columns([2, 2, 3], gap="medium")
    with left:
        kind = str(
            st.segmented_control(
                "Intervention", list(KINDS), default="steer", required=True, key="kind", bind="query-params"
            )
        )
        st.caption(KINDS[kind])
    with middle:
        feature = st.number_input(
            "Feature", 0, d_sae - 1, value=None, step=1, key="feature", bind="query-params",
            help="Click a cell or a row above, or type its number.",
        )  # fmt: skip
        if feature is not None:
            feature_link(read.request["run"], read.request["seed"], int(feature))
    with right:
        strength = choose_strength(kind)
    with left:
        positions: Any = st.segmented_control(
            "Changed tokens", ["all", "last", "chosen"], default="all", required=True, key="positions", bind="query-params",
            help="All tokens of the prompt that the SAE reads, the last one, or those you choose.",
        )  # fmt: skip
        if positions == "chosen":
            positions = token_choice(read)
    with middle:
        generated = st.toggle("Change generated tokens too", value=True, key="generated", bind="query-params")
    with right:
        minus, vector = own_direction(d_sae)
    if vector is None and feature is None:
        return None
    named: dict[str, Any] = {"feature": feature, "minus": minus} if vector is None else {"vector": vector}
    return {"kind": kind, **named, "strength": strength, "positions": positions, "generated": generated}


def choose_strength(kind: str) -> float:
    if kind == "steer":
        return float(
            st.slider(
                "Strength", -4.0, 4.0, 0.3, 0.05, key="strength", bind="query-params",
                help="In mean norms of the activations at the hook point, so the same for every feature.",
            )
        )  # fmt: skip
    if kind == "patch":
        _take_strength_of_link()
        return float(
            st.number_input("Activation to set", -1000.0, 1000.0, 20.0, 1.0, key="value", bind="query-params")
        )
    return 0.0


def _take_strength_of_link() -> None:
    """A link made elsewhere says ?strength= for every kind."""
    given = st.query_params.get("strength", "")
    if given and "value" not in st.session_state and "value" not in st.query_params:
        with suppress(ValueError):
            st.session_state["value"] = min(max(float(given), -1000.0), 1000.0)


def own_direction(d_sae: int) -> tuple[int | None, list[float] | None]:
    """A second feature to subtract, or the numbers of an own direction."""
    with st.expander("A direction"):
        minus = st.number_input(
            "Minus feature", 0, d_sae - 1, value=None, step=1, key="minus", bind="query-params",
            help="The direction is then the first feature's decoder row minus this one's.",
        )  # fmt: skip
        text = st.text_area(
            "Own vector", key="lab_vector", height=80, placeholder="0.12, -0.4, …",
            help="As many numbers as the hook point's vectors have; takes the feature's place.",
        )  # fmt: skip
    return (None if minus is None else int(minus)), numbers(text)


def numbers(text: str) -> list[float] | None:
    """The numbers of a text, separated by commas or white space; None for an empty text, and a sentence for another."""
    parts = text.replace("[", " ").replace("]", " ").replace(",", " ").split()
    try:
        return [float(part) for part in parts] or None
    except ValueError:
        st.error("Own vector: write numbers only, separated by commas or spaces.")
        return None


def choose_generation() -> dict[str, Any]:
    """How many tokens each column writes, how, and the random streams."""
    length, heat, draws, more = st.columns(4)
    temperature = heat.number_input(
        "Temperature", 0.0, 5.0, 0.0, 0.1, key="temperature", bind="query-params",
        help="0 writes the most probable token; above it all three columns are sampled with the same noise.",
    )  # fmt: skip
    return {
        "n_generate": int(
            length.number_input("Tokens to write", 0, 128, 24, 8, key="tokens", bind="query-params")
        ),
        "temperature": float(temperature),
        "sample_seed": int(
            draws.number_input("Sampling seed", 0, 2**31 - 1, 0, key="sample_seed", bind="query-params")
        ),
        "control_seed": int(
            more.number_input("Control seed", 0, 2**31 - 1, 0, key="control_seed", bind="query-params")
        ),
    }


st.title("Prompt lab")
st.caption(
    "Type a text, see which features it activates, then steer, ablate or patch one and compare with a random direction of "
    "the same size. Every number is a real forward pass."
)
show_refusal()
known = {id: run for id, run in finished_runs().items() if is_readable(run)}
if not known:
    st.info("The lab needs a finished run on a language model, and there is none yet.")
    with st.container(horizontal=True):
        st.page_link(PAGES["home"], label="Start the tour on Home", icon=":material/play_arrow:")
        st.page_link(PAGES["new"], label="Set up a run", icon=":material/add_circle:")
    st.stop()
wide, narrow = st.columns([6, 1])
with wide:
    run = choose_run(known)
with narrow:
    seed = int(st.selectbox("Seed", run["seeds"], key="seed", bind="query-params") or 0)
prompt = choose_prompt()
if not prompt.strip():
    st.info(
        "Type a text and press Read: the model reads it, and the SAE names the features active on each token."
    )
    st.stop()
read = reading(run["id"], seed, prompt)
if read.error:
    st.error(read.error)
    if st.button("Try again", icon=":material/refresh:"):
        st.session_state.pop("lab_reading", None)
        st.rerun()
    st.stop()
if not read.done:
    st.stop()
heat_map(read, st.session_state.get("feature"))
st.subheader("Intervention")
intervention = choose_intervention(read, run["config"]["d_sae"])
generation = choose_generation()
request = {**read.request, "intervention": intervention, **generation}
pressed = st.button(
    "Compare",
    type="primary",
    icon=":material/science:",
    disabled=intervention is None,
    help="Baseline, intervention and a random direction of the same norm, side by side.",
)
kept: Outcome | None = st.session_state.get("lab_outcome")
if pressed:
    compare(Outcome(request))
elif kept is not None and kept.request["prompt"] == prompt:
    if kept.request != request:
        st.caption(
            "The settings above have changed since this was computed; press Compare to compute it anew."
        )
    show(kept)
elif intervention is None:
    st.info("Choose a feature: click a cell or a row above, or type its number.")
notebook_cell(json.loads(json.dumps(request)))
