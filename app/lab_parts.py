"""Pieces of the prompt lab's page: what is asked, the events as they come, and what is shown of them."""

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
import streamlit as st

from analyses import lab as pictures
from analyses.feature_text import one_line, visible
from app.connection import client
from app.explore_parts import feature_page
from app.widgets import PAGES, picture
from engine.client import EngineError

LONG = 600  # characters of a prompt beyond which the link does without it
BESIDE = 24  # tokens up to which the picture leaves room for a table beside it
TEXTS = {"baseline": "Baseline", "intervention": "Intervention", "control": "Random direction, same norm"}
Request = dict[str, Any]


@dataclass
class Outcome:
    """The events of one request, put together; `done` is false where it ended early."""

    request: Request
    tokens: list[str] = field(default_factory=list)
    read: list[bool] = field(default_factory=list)
    features: dict[str, list[Any]] = field(default_factory=dict)
    predictions: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    change: dict[str, Any] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    error: str = ""
    seconds: float | None = None

    @property
    def done(self) -> bool:
        return self.seconds is not None

    def add(self, event: dict[str, Any]) -> None:
        kind = event["kind"]
        if kind == "tokens":
            self.tokens, self.read = event["tokens"], event["read"]
        elif kind == "features":
            self.features = event
        elif kind == "next":
            self.predictions[event["column"]] = event["tokens"]
        elif kind == "change":
            self.change = event
        elif kind == "text":
            self.texts[event["column"]] = self.texts.get(event["column"], "") + event["token"]
        elif kind == "error":
            self.error = event["text"]
        elif kind == "done":
            self.seconds = event["seconds"]

    @property
    def active(self) -> pd.DataFrame:
        """The active features of every token."""
        return pictures.activation_frame(self.tokens, self.features)


def events(outcome: Outcome) -> Iterator[dict[str, Any]]:
    """Ask the engine; each event once it is part of the outcome, with how it is going said here meanwhile."""
    return _events(outcome, st.empty(), st.empty())


def _events(outcome: Outcome, line: Any, stop: Any) -> Iterator[dict[str, Any]]:
    _say(line, "Asking the engine")
    stop.button("Stop", icon=":material/stop_circle:", key=f"stop-{id(outcome)}", type="tertiary")
    answer: Any = client().lab(outcome.request)
    try:
        with closing(answer) as coming:
            for event in coming:
                outcome.add(event)
                if event["kind"] in ("queue", "status"):
                    _say(line, _progress(event))
                yield event
    except EngineError as error:
        outcome.error = error.message
    line.empty()
    stop.empty()


def _progress(event: dict[str, Any]) -> str:
    if event["kind"] == "queue":
        return f"The lab is busy with someone else's prompt: place {event['place']} in the queue"
    seconds = event.get("seconds", 0)
    return event["text"] + (f", {seconds:.0f} s" if seconds >= 1 else "")


def _say(line: Any, text: str) -> None:
    line.markdown(f":material/progress_activity: {text} …")


def reading(run: str, seed: int, prompt: str) -> Outcome:
    """The prompt as the model and the SAE read it, computed once for the session."""
    request = {"run": run, "seed": seed, "prompt": prompt}
    kept: Outcome | None = st.session_state.get("lab_reading")
    if kept is not None and kept.request == request and (kept.done or kept.error):
        return kept
    outcome = Outcome(request)
    for _ in events(outcome):
        pass
    st.session_state["lab_reading"] = outcome
    return outcome


def labels_of(run: str, seed: int, features: list[int]) -> dict[int, str]:
    """What the features are called, where they are."""
    if not features:
        return {}
    only = {"run": [run] * len(features), "seed": [seed] * len(features), "feature": features}
    try:
        found, _ = feature_page({"runs": [run], "seeds": [seed], "only": only}, len(features), 0)
    except EngineError:
        return {}
    return {
        int(feature): str(label)
        for feature, label in zip(found["feature"], found["label"], strict=True)
        if label
    }


def heat_map(outcome: Outcome, feature: int | None) -> None:
    """Tokens × features, with the features of the chosen token beside it."""
    run, seed = outcome.request["run"], outcome.request["seed"]
    window = _window(len(outcome.tokens))
    frame = outcome.active
    part = frame[frame["position"].between(window[0], window[1] - 1)]
    kept = [feature] if feature is not None else []
    labels = labels_of(run, seed, pictures.strongest(part, keep=kept))
    is_wide = window[1] - window[0] > BESIDE
    left, right = (st.container(), st.container()) if is_wide else st.columns([5, 3], gap="medium")
    with left:
        figure = pictures.activation_figure(frame, outcome.tokens, outcome.read, window, labels, kept)
        picture(figure, frame, "tokens-by-features", on_select=_on_cell, selection_mode="points")
        st.caption(_unread(outcome))
    with right:
        _token(outcome, frame, 240 if is_wide else 460)


def _window(n_tokens: int) -> tuple[int, int]:
    size = pictures.MOST_TOKENS
    pages = -(-n_tokens // size)
    if st.session_state.get("lab_window", 1) > pages:
        st.session_state["lab_window"] = 1
    page = st.pagination(pages, key="lab_window") if pages > 1 else 1
    return (page - 1) * size, min(page * size, n_tokens)


def _unread(outcome: Outcome) -> str:
    massive = [str(place) for place, read in enumerate(outcome.read) if place and not read]
    words = "Click a cell to choose its feature and token. The start token is not read: the SAE was never trained on position 0."
    if massive:
        many = f"s {', '.join(massive)} are" if len(massive) > 1 else f" {massive[0]} is"
        words += f" Token{many} not read either, for a massive activation, which training left out."
    return words


def _on_cell() -> None:
    points = st.session_state["chart-tokens-by-features"]["selection"]["points"]
    if points and points[0].get("customdata"):
        position, feature = points[0]["customdata"][:2]
        st.session_state["lab_token"], st.session_state["feature"] = int(position), int(feature)


def _token(outcome: Outcome, frame: pd.DataFrame, height: int) -> None:
    """The active features of one token, strongest first; choosing a row chooses the feature."""
    run, seed = outcome.request["run"], outcome.request["seed"]
    names = pictures.token_names(outcome.tokens)
    choices = [place for place, read in enumerate(outcome.read) if read]
    if not choices:
        st.info("The SAE reads none of these tokens.")
        return
    if st.session_state.get("lab_token") not in choices:
        st.session_state["lab_token"] = choices[-1]
    place = st.selectbox("Token", choices, key="lab_token", format_func=lambda p: f"{p}: {names[p]}")
    mine = frame[frame["position"] == place]
    labels = labels_of(run, seed, mine["feature"].tolist())
    shown = mine[["feature", "activation"]].assign(
        label=[labels.get(feature, "") for feature in mine["feature"]],
        card=[f"/features?runs={run}&seed={seed}&feature={feature}" for feature in mine["feature"]],
    )
    st.session_state["lab_listed"] = mine["feature"].tolist()
    st.dataframe(
        shown[["feature", "activation", *(["label"] if labels else []), "card"]],
        hide_index=True,
        key="lab_features",
        on_select=_on_row,
        selection_mode="single-row",
        height=height,
        alt=f"Features active on token {place}, strongest first",
        column_config={
            "feature": st.column_config.NumberColumn(width=65),
            "activation": st.column_config.NumberColumn(format="%.2f", width=75),
            "label": st.column_config.TextColumn(width=120),
            "card": st.column_config.LinkColumn(display_text="open", width=55),
        },
    )
    st.caption(f"{len(mine)} active features. Select a row to choose its feature below.")


def _on_row() -> None:
    rows = st.session_state["lab_features"]["selection"]["rows"]
    if rows:
        st.session_state["feature"] = st.session_state["lab_listed"][rows[0]]


def compare(outcome: Outcome) -> None:
    """Ask for an intervention, and show the answer while it comes."""
    st.session_state["lab_outcome"] = outcome
    coming = events(outcome)
    head, *places = _places(outcome)
    columns = dict(zip(TEXTS, places, strict=False))
    for event in coming:
        if event["kind"] == "change":
            with head.container():
                _head(outcome)
        elif event["kind"] == "text":
            columns[event["column"]].code(_text(outcome, event["column"]), language=None, wrap_lines=True)
    _end(outcome)


def show(outcome: Outcome) -> None:
    """An answer that has come before."""
    head, *places = _places(outcome)
    if outcome.change:
        with head.container():
            _head(outcome)
    for column, place in zip(TEXTS, places, strict=False):
        if column in outcome.texts:
            place.code(_text(outcome, column), language=None, wrap_lines=True)
    _end(outcome)


def _places(outcome: Outcome) -> list[Any]:
    """Room for numbers and pictures, and for three texts side by side."""
    found = [st.empty()]
    if outcome.request["n_generate"]:
        for column, title in zip(st.columns(3), TEXTS.values(), strict=True):
            column.markdown(f"**{title}**")
            found.append(column.empty())
    return found


def _text(outcome: Outcome, column: str) -> str:
    return "\n".join(visible(line) for line in outcome.texts[column].split("\n")) or " "


def _end(outcome: Outcome) -> None:
    if outcome.error:
        st.error(outcome.error)
    elif not outcome.done:
        st.warning("This was stopped before it was finished.")
    else:
        st.caption(f"Computed in {outcome.seconds:.1f} s.")


def _head(outcome: Outcome) -> None:
    """How far the prediction moved, beside how far random directions of the same norm move it."""
    change = outcome.change
    controls = change["kl_controls"]
    mean = sum(controls) / len(controls)
    cells = [
        ("KL of the intervention", f"{change['kl']:.4f}", "nats, baseline ‖ intervention, next token"),
        ("KL of random directions", f"{mean:.4f}", f"mean; {min(controls):.4f} to {max(controls):.4f} over {len(controls)} drawn"),
        ("Norm of the change", f"{change['change_norm']:.1f}", f"mean over {len(change['changed'])} changed tokens"),
    ]  # fmt: skip
    for column, (name, value, note) in zip(st.columns(3), cells, strict=True):
        column.metric(name, value)
        column.caption(note)
    st.markdown(pictures.verdict(change))
    frame = pictures.prediction_frame(outcome.predictions, change["rows"])
    left, right = st.columns(2, gap="medium")
    with left:
        picture(pictures.prediction_figure(frame), frame, "next-token")
    with right:
        _changes(change["rows"])


def _changes(rows: list[dict[str, Any]]) -> None:
    table = pictures.change_table(rows)
    percent = st.column_config.NumberColumn(format="percent", width=85)
    st.markdown("**Largest changes of probability**")
    st.dataframe(
        table[["token", "baseline", "intervention", "control", "change"]],
        hide_index=True,
        height=420,
        alt="Tokens by how much the intervention changes their probability",
        column_config={
            "token": st.column_config.TextColumn(width=110),
            **dict.fromkeys(("baseline", "intervention", "control", "change"), percent),
        },
    )


def feature_link(run: str, seed: int, feature: int) -> None:
    st.page_link(
        PAGES["features"],
        label=f"Card of feature {feature}",
        icon=":material/style:",
        query_params={"runs": run, "seed": str(seed), "feature": str(feature)},
    )


def notebook_cell(request: Request) -> None:
    """Python that asks the same, to be pasted into a notebook."""
    with st.expander("The same in a notebook"):
        body = json.dumps(request, indent=4, ensure_ascii=True)
        body = body.replace(": null", ": None").replace(": true", ": True").replace(": false", ": False")
        st.code(
            "from engine.client import connect\n\n"
            f"request = {body}\n\nfor event in connect().lab(request):\n    print(event)",
            language="python",
        )


def token_choice(outcome: Outcome) -> list[int]:
    """Positions of the prompt to change, chosen one by one."""
    names = [one_line(token, 14) for token in outcome.tokens]
    choices = [place for place, read in enumerate(outcome.read) if read]
    kept = [place for place in st.session_state.get("lab_positions", []) if place in choices]
    st.session_state["lab_positions"] = kept
    return st.multiselect(
        "Tokens", choices, key="lab_positions", format_func=lambda place: f"{place}: {names[place]}"
    )
