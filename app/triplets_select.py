"""Selections: saved views of triplets, their files, and retraining on one with matched controls."""

from functools import partial
from pathlib import PurePath
from typing import Any

import pandas as pd
import streamlit as st

from analyses.srf_figures import deltas_figure
from analyses.srf_frames import deltas, type_deltas
from app.causal_parts import choice
from app.connection import client, may_launch, stay_connected, table
from app.launches import LISTED
from app.study_runs import Run
from app.triplets_parts import STUDY
from app.triplets_state import QUEUES, View
from app.widgets import (
    ACTIVE,
    PAGES,
    ago,
    attempt,
    describe,
    duration,
    literal,
    picture,
    show_progress,
    state_badge,
)
from engine.client import EngineError

FILES = {
    "llava": ("LLaVA JSON", "zip", "A list of conversations and the images it names"),
    "parquet": ("Parquet", "parquet", "Images inside; opens with datasets"),
    "csv": ("CSV", "csv", None),
    "html": ("HTML sheet", "html", "One file with the images, at most 1,000 triplets"),
}
MOST_ACTS = 5_000
CONTROLS = ("no_selection", "base", "random")


def selection_bar(view: View, total: dict[str, Any]) -> None:
    """Save what is kept, take it as files, judge everything listed; a new selection redraws the whole page."""
    if st.session_state.pop("selections_changed", False):
        st.rerun()
    kept = {**view.query, "shown": "kept", "queue": "all"}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input(
            "Name of the selection", key="selection_name", placeholder="e.g. best-20", max_chars=60, width=240
        )
        st.button(
            f"Save the {total['kept']:,} kept",
            icon=":material/bookmark_add:",
            on_click=_save,
            args=(view, (name or "").strip(), kept),
            key="save-selection",
            **may_launch(disabled=not (name or "").strip() or not total["kept"]),
        )
        with st.popover("Files of what is kept", icon=":material/download:"):
            _files(view.id, f"kept-{view.id[:6]}", None, kept)
        with st.popover("Judge all listed", icon=":material/done_all:"):
            _judge_all(view)
    if said := st.session_state.pop("selection_said", None):
        st.success(literal(said))


def _save(view: View, name: str, query: dict[str, Any]) -> None:
    saved = attempt(lambda: client().save_selection(view.id, name, **query))
    if saved:
        st.session_state["selection_said"] = f"Saved {saved['count']:,} triplets as {name}."
        st.session_state["selection"] = name
        st.session_state["selections_changed"] = True


def _files(run_id: str, stem: str, selection: str | None, query: dict[str, Any]) -> None:
    for format, (words, ending, help) in FILES.items():
        st.download_button(
            words, partial(client().triplet_file, run_id, format, selection, **query), file_name=f"{stem}-{format}.{ending}",
            key=f"file-{stem}-{format}", on_click="ignore", icon=":material/download:", type="tertiary", help=help,
        )  # fmt: skip


def _judge_all(view: View) -> None:
    """The same verdict on everything the list shows, as one act that one undo takes back."""
    queue = QUEUES[view.query["queue"]].lower()
    st.caption(
        f"Everything that the filters, the queue ({literal(queue)}) and the side shown let pass, at most {MOST_ACTS:,}; one undo takes it back."
    )
    for verdict in ("keep", "reject"):
        st.button(
            f"{verdict.capitalize()} all",
            key=f"all-{verdict}",
            on_click=_judge,
            args=(view, verdict),
            **may_launch(),
        )


def _judge(view: View, verdict: str) -> None:
    done = attempt(lambda: client().review_all(view.id, view.who, verdict, **view.query))
    if done:
        st.session_state["selection_said"] = f"{done:,} triplets: {verdict}. Undo takes all of it back."


def selections_section(run: Run) -> None:
    """Saved selections of the run, retraining on one, and what came of it."""
    st.subheader("Selections, and training on them")
    saved = client().selections(run["id"])
    if not saved:
        st.caption(
            "Save what is kept above; a selection can then be exported and trained on beside matched controls."
        )
    else:
        _saved(run, saved)
    _retrained(run)


def _saved(run: Run, saved: list[dict[str, Any]]) -> None:
    names = [one["name"] for one in saved]
    if st.session_state.get("selection") not in names:
        st.session_state.pop("selection", None)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = str(st.selectbox("Selection", names, key="selection", bind="query-params", width=300))
        with st.popover("Files", icon=":material/download:"):
            _files(run["id"], name, name, {})
        st.button(
            "Delete",
            icon=":material/delete:",
            key="delete-selection",
            on_click=_delete,
            args=(run["id"], name),
            **may_launch(),
        )
    one = next(one for one in saved if one["name"] == name)
    st.caption(
        literal(
            f"{one['count']:,} triplets, saved {ago(one['created'])}; {_query_words(one['query'] or {})}."
        )
    )
    _retrain(run, one)


def _query_words(query: dict[str, Any]) -> str:
    cut = query.get("cut", {})
    by = (
        f"from {cut['least']:g} on"
        if cut.get("least") is not None
        else f"best {cut.get('keep', 0):.0%} of every type"
    )
    parts = [f"ranked by {cut.get('score', 'run')}, {by}"]
    parts += [
        f"{name} {', '.join(map(str, query[name]))}"
        for name in ("types", "seeds", "rounds")
        if query.get(name)
    ]
    return ", ".join([*parts, *([f"with “{query['text']}”"] if query.get("text") else [])])


def _delete(run_id: str, name: str) -> None:
    attempt(lambda: client().delete_selection(run_id, name))


def _retrain(run: Run, selection: dict[str, Any]) -> None:
    """A button that queues the run with matched controls, and what it costs."""
    config = {**run["config"], "selection": selection["path"], "selection_run": run["id"]}
    try:
        cost = _cost(config, tuple(run["seeds"]), run["preset"], run["data_seed"], selection["created"])
    except EngineError as error:
        st.error(literal(error.message))
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Retrain on this selection", type="primary", icon=":material/model_training:", key="retrain",
            on_click=_start, args=(run, config), **may_launch(),
        )  # fmt: skip
        about = f"About {duration(cost['seconds'])}; " if "seconds" in cost else ""
        st.caption(
            f"{about}queued beside it: as many triplets drawn at random, and none added; all from the same weights, in the same order of "
            f"data, with as many steps, {len(run['seeds'])} seed{'s' if len(run['seeds']) > 1 else ''}."
        )


@st.cache_data(max_entries=100, show_spinner=False)
def _cost(
    config: dict[str, Any], seeds: tuple[int, ...], preset: str | None, data_seed: int, saved: float
) -> dict[str, Any]:
    """The estimate of a run on a selection that was last saved at `saved`."""
    return client().estimate(STUDY, config, list(seeds), preset, data_seed)


def _start(run: Run, config: dict[str, Any]) -> None:
    attempt(lambda: client().submit(STUDY, config, run["seeds"], run["preset"], run["data_seed"]))


def is_retrained(run: Run) -> bool:
    """Whether the run only trained on a saved selection of another."""
    return bool(run["config"]["selection"])


def retrained_note(run: Run) -> None:
    """Whose triplets a run on a selection was trained on."""
    name = PurePath(run["config"]["selection"]).stem
    st.info(
        f"This run trained models on the selection {literal(name)} of run {run['config']['selection_run'][:6]}; its triplets stand there."
    )
    st.page_link(
        PAGES["triplets"],
        label="Open the triplets",
        icon=":material/change_history:",
        query_params={"run": run["config"]["selection_run"]},
    )


def retrained_runs(run_id: str) -> list[Run]:
    """Runs that train on a selection of this run, newest first."""
    runs: list[Run] = client().runs(study=STUDY, limit=LISTED)
    return [one for one in runs if one["config"].get("selection_run") == run_id]


def _retrained(run: Run) -> None:
    """Progress of the runs on selections, and accuracy deltas of the finished ones."""
    runs = retrained_runs(run["id"])
    if any(one["state"] in ACTIVE for one in runs):
        _watch(run["id"])
    ended = [one for one in runs if one["state"] not in (*ACTIVE, "done")]
    for one in ended:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"{state_badge(one['state'])} {literal(describe(one))} {literal(one['error'] or '')}")
            st.page_link(PAGES["jobs"], label="Open the job", query_params={"run": one["id"]})
    for one in (one for one in runs if one["state"] == "done"):
        outcome(one)


@st.fragment(run_every=1)
def _watch(run_id: str) -> None:
    stay_connected()
    active = [one for one in retrained_runs(run_id) if one["state"] in ACTIVE]
    if not active:
        st.rerun()
    for one in active:
        st.markdown(f"{state_badge(one['state'])} {literal(describe(one))}")
        show_progress(client().run(one["id"]))


def outcome(run: Run) -> None:
    """Accuracy of the selection's model less each control's, with intervals over seeds, and by type."""
    arms, types = table(run["id"], "srf_arms"), table(run["id"], "srf_arm_types")
    last = arms["round"].max()
    arms, types = arms[arms["round"] == last], types[types["round"] == last]
    controls = [arm for arm in CONTROLS if arm in set(arms["arm"])]
    added = arms.loc[arms["arm"] == "selection", "added"]
    if added.empty or not controls:
        st.caption(f"Run {run['id'][:6]} holds no arm of the selection beside a control.")
        return
    name = str(run["config"]["selection"]).rsplit("/", 1)[-1].removesuffix(".json")
    st.markdown(f"**{literal(name)}**: {int(added.mean()):,} triplets added · run {run['id'][:6]}")
    frames = [deltas(arms, control, ["selection"]).assign(arm=control) for control in controls]
    frame = pd.concat(frames, ignore_index=True)
    shown = frame.assign(arm=[f"less {arm}" for arm in frame["arm"].str.replace("_", " ")])
    left, right = st.columns(2, gap="medium")
    with left:
        picture(
            deltas_figure(shown, f"Trained on {name}", "its control"),
            _csv(shown),
            f"selection-{run['id'][:6]}",
        )
        st.caption(
            " ".join(verdict(row) for row in frame[frame["test"] == frame["test"].iloc[0]].to_dict("records"))
        )
    with right:
        against = choice(
            "By type, less",
            controls,
            f"against-{run['id'][:6]}",
            "random" if "random" in controls else controls[0],
            format_func=lambda arm: arm.replace("_", " "),
        )
        by_type = type_deltas(types, "selection", against)
        picture(
            deltas_figure(by_type, "By type", against.replace("_", " ")),
            _csv(by_type),
            f"selection-types-{run['id'][:6]}",
        )


def verdict(row: dict[str, Any]) -> str:
    """Whether the interval of a difference leaves out 0, in a sentence."""
    against = row["arm"].replace("_", " ")
    if pd.isna(row["low"]):
        return f"One seed cannot tell a gain over {against} from chance."
    if row["low"] > 0:
        return f"Better than {against}: {row['mean']:+.3f}, 95 % {row['low']:+.3f} to {row['high']:+.3f}."
    if row["high"] < 0:
        return f"Worse than {against}: {row['mean']:+.3f}, 95 % {row['low']:+.3f} to {row['high']:+.3f}."
    return f"No difference from {against} shown: {row['mean']:+.3f}, 95 % {row['low']:+.3f} to {row['high']:+.3f}."


def _csv(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="each")
