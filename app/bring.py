"""The dialog that brings SAEs of other tools in: name them, see what they are, queue the run that evaluates them."""

import re
from typing import Any

import streamlit as st

from app.connection import client, may_launch
from app.widgets import PAGES, literal
from engine.client import EngineDown, EngineError

OPEN, KEPT = "bring-open", "bring-found"
EXAMPLES = "/data/saes/my-sae\ngoogle/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71"
TOKENS = 200_000


def bring_button(key: str = "bring") -> None:
    """A button that opens the dialog; it stays open until it is dismissed, whatever else makes the page run again."""
    st.button(
        "Bring your own SAE", key=key, icon=":material/upload:", on_click=_open, args=(key,), **may_launch()
    )
    if st.session_state.get(OPEN) == key:
        _dialog()


def _open(key: str) -> None:
    st.session_state.pop(KEPT, None)
    st.session_state[OPEN] = key


def _close() -> None:
    for name in (OPEN, KEPT):
        st.session_state.pop(name, None)


@st.dialog("Bring your own SAE", width="large", on_dismiss=_close)
def _dialog() -> None:
    st.caption(
        "One or more SAEs of sae-lens, dictionary_learning, sparsify or Gemma Scope, all of one architecture and size; each "
        "counts as a seed. They are evaluated on a language model and then matched, browsed and steered like your own. "
        "No code in the files is run."
    )
    with st.form("bring-look", border=False):
        text = st.text_area(
            "Folders on the engine's machine, or Hugging Face ids; one a line",
            placeholder=EXAMPLES,
            height=88,
        )
        looked = st.form_submit_button("Look", icon=":material/search:")
    place = st.empty()
    if looked:
        with place:
            _look(parse_sources(text))
    with place.container():
        _result()


def _result() -> None:
    kept = st.session_state.get(KEPT)
    if kept is None:
        return
    if kept["refusal"]:
        st.error(literal(kept["refusal"]), icon=":material/block:")
        return
    _show(kept["found"])
    _import_form(kept["found"])


def parse_sources(text: str) -> list[str]:
    """Folders and ids, separated by lines or commas."""
    return [part.strip() for part in re.split(r"[\n,]", text) if part.strip()]


def _look(sources: list[str]) -> None:
    if not sources:
        st.session_state[KEPT] = {"refusal": "Name at least one folder or Hugging Face id.", "found": []}
        return
    try:
        with st.spinner("Reading the files; those on Hugging Face are downloaded first …"):
            found = client().inspect_sae(*sources)
        st.session_state[KEPT] = {"refusal": "", "found": found}
    except EngineDown:
        raise
    except EngineError as error:
        st.session_state[KEPT] = {"refusal": error.message, "found": []}


def _show(found: list[dict[str, Any]]) -> None:
    for one in found:
        with st.container(border=True, gap="small"):
            st.markdown(f":green[:material/check_circle:] {literal(one['sentence'])}")
            st.caption(literal(one["source"]))
            for note in one["notes"]:
                st.caption(f":orange[:material/info:] {literal(note)}")


def _agreed(found: list[dict[str, Any]], name: str) -> str:
    """What all files that tell it tell; empty where none does or they differ."""
    told = {one[name] for one in found if one[name]}
    return told.pop() if len(told) == 1 else ""


def _import_form(found: list[dict[str, Any]]) -> None:
    """Where and on what they are evaluated; what the files tell is filled in."""
    key = "|".join(one["folder"] for one in found)
    with st.form("bring-import", border=False):
        left, right = st.columns(2)
        hook_point = left.text_input(
            "Hook point",
            value=_agreed(found, "hook_point"),
            placeholder="blocks.5.hook_out",
            help="Where the SAE reads, as a TransformerBridge hook name; blocks.5.hook_out is the residual stream after 6 layers.",
            key=f"bring-hook-{key}",
        )
        model = right.text_input(
            "Language model",
            value=_agreed(found, "model"),
            placeholder="the bundled SmolLM2-135M-Instruct",
            help="A Hugging Face id or a folder on the engine's machine; empty takes the bundled one.",
            key=f"bring-model-{key}",
        )
        corpus = left.text_input(
            "Corpus",
            placeholder="the bundled English mix",
            help="Text on which they are evaluated: a file, a folder, or a Hugging Face dataset id.",
            key=f"bring-corpus-{key}",
        )
        n_tokens = right.number_input(
            "Tokens", min_value=1_000, value=TOKENS, step=50_000, key=f"bring-tokens-{key}"
        )
        wanted = st.form_submit_button("Import", type="primary", icon=":material/download_done:")
    if wanted:
        settings = {"hook_point": hook_point, "model": model, "corpus": corpus}
        given = {name: value.strip() for name, value in settings.items() if value.strip()}
        _import([one["source"] for one in found], n_tokens=int(n_tokens), **given)


def _import(sources: list[str], **settings: Any) -> None:
    """Queue the run and go to it; a refusal stays in the dialog."""
    try:
        run = client().import_sae(sources, **settings)
    except EngineDown:
        raise
    except EngineError as error:
        st.error(literal(error.message), icon=":material/block:")
        return
    _close()
    if run["state"] == "done":
        st.switch_page(PAGES["consistency"], query_params={"runs": run["id"]})
    st.switch_page(PAGES["jobs"], query_params={"run": run["id"]})
