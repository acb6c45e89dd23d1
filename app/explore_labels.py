"""What people say of features: label, note and lists of one, and the whole library as a file."""

import json
from typing import Any

import streamlit as st

from analyses.feature_card import Card
from app.connection import client, may_launch
from app.explore_parts import Feature, forget, key_of, list_names
from app.widgets import attempt
from engine.client import EngineError

YOURS = "yours"
LONGEST_LABEL, LONGEST_NOTE, LONGEST_NAME = 200, 10_000, 80
LARGEST_FILE = 100  # MB
NOT_OURS = "This file is not a library: choose the JSON file that Concordance exported."


def label_editor(card: Card, slot: str) -> None:
    """Label, note and lists of a feature; what is saved shows at once."""
    key = f"{slot}-{card['run']}-{card['seed']}-{card['feature']}"
    own = card["label"] if card["label_source"] == YOURS else ""
    with st.form(f"label-{key}", border=False):
        label = st.text_input(
            "Label", own, LONGEST_LABEL, key=f"label-text-{key}", placeholder="a few words of your own",
            help="Yours stands before the automatic one; empty it to have that back.",
        )  # fmt: skip
        note = st.text_area("Note", card["note"], key=f"note-{key}", max_chars=LONGEST_NOTE, height=90)
        if st.form_submit_button("Save", type="primary", icon=":material/save:", **may_launch()):
            _save(card, label or "", note or "")
    if card["cards"]:
        st.button(
            "Label automatically",
            key=f"auto-{key}",
            icon=":material/auto_awesome:",
            on_click=_label_automatically,
            args=key_of(card),
            **may_launch(
                help="Asks the language model at the endpoint the engine was started with; your own labels stay."
            ),
        )
    st.multiselect(
        "Lists",
        list(dict.fromkeys([*list_names(), *card["lists"]])),
        default=card["lists"],
        key=f"lists-{key}",
        accept_new_options=True,
        placeholder="choose, or type a new name",
        on_change=_change_lists,
        args=(f"lists-{key}", key_of(card), tuple(card["lists"])),
    )


def _save(card: Card, label: str, note: str) -> None:
    """Save what is new: a note alone leaves an automatic label as it is."""
    kept = (
        card["label"] if not label and card["label_source"] not in (YOURS, "token statistics", "") else label
    )
    attempt(lambda: client().set_label(*key_of(card), kept, note))
    forget()
    st.rerun()


def _label_automatically(run: str, seed: int, feature: int) -> None:
    attempt(lambda: client().label_automatically(run, seed, [feature]))
    forget()


def _change_lists(key: str, feature: Feature, before: tuple[str, ...]) -> None:
    chosen = [name.strip()[:LONGEST_NAME] for name in st.session_state[key] if name.strip()]
    for name in chosen:
        if name not in before:
            attempt(lambda name=name: client().add_to_list(name, [list(feature)]))
    for name in before:
        if name not in chosen:
            attempt(lambda name=name: client().remove_from_list(name, [list(feature)]))
    forget()


def library_panel() -> None:
    """Everything people have said, as one JSON file out and in; lists can be deleted."""
    st.download_button(
        "Save labels, notes and lists", _document, file_name="concordance-library.json", mime="application/json",
        key="library-export", on_click="ignore", icon=":material/download:", width="stretch",
    )  # fmt: skip
    file = st.file_uploader(
        "Add those of a file", type="json", key="library-file", max_upload_size=LARGEST_FILE
    )
    if file is not None and st.session_state.get("library-read") != file.file_id:
        st.session_state["library-read"] = file.file_id
        _import(file.getvalue())
        st.rerun()
    if words := st.session_state.pop("library-added", None):
        st.success(words)
    names = list_names()
    if names:
        with st.container(horizontal=True, vertical_alignment="bottom"):
            name = st.selectbox("A list", names, key="library-list")
            st.button(
                "Delete",
                key="library-delete",
                icon=":material/delete:",
                on_click=_delete_list,
                args=(name,),
                **may_launch(help="The features stay; the list is gone."),
            )


def _document() -> str:
    return json.dumps(client().library(), ensure_ascii=False, indent=1)


def _import(content: bytes) -> None:
    try:
        found = parsed(content)
        added = client().import_library(found)
    except EngineError as error:
        st.session_state["refusal"] = error.message
        return
    except ValueError as error:
        st.session_state["refusal"] = str(error)
        return
    forget()
    st.session_state["library-added"] = (
        f"Added {added['labels']:,} labels and {added['lists']:,} places in lists; what is newer here stayed."
    )


def parsed(content: bytes) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError with one sentence where there is none."""
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise ValueError(NOT_OURS) from None
    if not isinstance(found, dict):
        raise ValueError(NOT_OURS)
    return found


def _delete_list(name: str) -> None:
    attempt(lambda: client().delete_list(name))
    forget()
