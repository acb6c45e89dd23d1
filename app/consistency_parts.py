"""The head of the consistency page: the run set, the settings in focus, the first strip, the next steps."""

from typing import Any

import streamlit as st

from analyses.sae_frames import summary as summarise
from app.connection import client, may_launch
from app.launches import LISTED, launches
from app.run_set import Group, all_pairs, comparable, rows_of
from app.widgets import attempt, describe, unused_seeds
from engine.client import EngineError

STUDY = "sae_consistency"
FOLD_ABOVE = 6  # chosen runs
STRIPS = 3
Run = dict[str, Any]


def known_runs() -> dict[str, Run]:
    """Every run of the study, newest first, by id."""
    return {run["id"]: run for run in client().runs(study=STUDY, limit=LISTED)}


def find(run_id: str, known: dict[str, Run]) -> bool:
    """Whether the run is known; one older than those listed is asked for and added."""
    if run_id not in known:
        try:
            run = client().run(run_id)
        except EngineError:
            return False
        if run["study"] == STUDY:
            known[run_id] = run
    return run_id in known


def choose_runs(known: dict[str, Run]) -> list[Run]:
    """The run set, kept in the URL as ?runs=id,id and for the rest of the session."""
    link = st.query_params.get("runs", "")
    wanted = link or st.session_state.get("run_set_url", "")
    asked = [run for run in dict.fromkeys(wanted.split(",")) if run]
    if missing := [run for run in asked if not find(run, known)]:
        st.warning(f"No run of this study is called {', '.join(missing)}; choose from those below.")
    if "run_set" not in st.session_state or st.session_state.get("run_set_url") != link:
        fallback = next((run["id"] for run in known.values() if run["state"] == "done"), next(iter(known)))
        st.session_state["run_set"] = [run for run in asked if run in known] or [fallback]
    many = len(st.session_state["run_set"])
    place = (
        st.expander(f"{many} runs are compared", key="run_set_fold") if many > FOLD_ABOVE else st.container()
    )
    with place:
        chosen = st.multiselect(
            "Runs", list(known), key="run_set", format_func=lambda run: describe(known[run])
        )
    st.query_params["runs"] = st.session_state["run_set_url"] = ",".join(chosen)
    _launch_buttons([known[run] for run in chosen], known)
    return [known[run] for run in chosen]


def _launch_buttons(chosen: list[Run], known: dict[str, Run]) -> None:
    """Add what else a chosen run was launched with."""
    groups = {run["group"] for run in chosen if run["group"]}
    ids = {run["id"] for run in chosen}
    for launch in launches([run for run in known.values() if run["group"] in groups]):
        missing = [run["id"] for run in launch.runs if run["id"] not in ids]
        if missing:
            st.button(
                f"Add all {len(launch.runs)} runs of this launch to the set",
                on_click=add_runs,
                args=(missing,),
                icon=":material/library_add:",
                key=f"add-{launch.id}",
            )


def add_runs(ids: list[str]) -> None:
    """Put runs into the page's run set; for callbacks."""
    st.session_state["run_set"] = list(dict.fromkeys([*st.session_state["run_set"], *ids]))


def choose_focus(groups: list[Group]) -> Group:
    """The settings that the buttons and the views of one recipe are about, kept in the URL as ?focus=run."""
    if len(groups) == 1:
        return groups[0]
    by_id = {group.id: group for group in groups}
    link, kept = st.query_params.get("focus", ""), st.session_state.get("focus")
    if link in by_id and link != st.session_state.get("focus_url"):
        kept = link
    st.session_state["focus"] = kept if kept in by_id else groups[0].id
    chosen = st.selectbox(
        "Settings in focus",
        list(by_id),
        key="focus",
        format_func=lambda run: by_id[run].words,
        help="The buttons below, and the views of one recipe, are about these settings.",
    )
    st.query_params["focus"] = st.session_state["focus_url"] = chosen
    return by_id[chosen]


def first_strips(groups: list[Group], focus: Group, subset: str) -> None:
    """The strip of every settings, or of those in focus when there are many."""
    few = len(groups) <= STRIPS
    for group in groups if few else [focus]:
        if few and group.words:
            st.text(group.words)
        pairs = all_pairs(comparable(group), subset)
        if pairs.empty:
            why = "One SAE" if len(group.saes) < 2 else "No latent is alive in one of these SAEs"
            st.caption(f"{why}: no pair to compare within these settings.")
            continue
        _strip(summarise(pairs, rows_of(group, "saes"), subset), group.config["d_sae"])


def _strip(summary: dict[str, Any], d_sae: int) -> None:
    """Consistency across seeds · recovery of the truth · null, and how good the SAEs are."""
    interval = "no interval below three SAEs"
    if summary["pw_low"] is not None:
        interval = f"95 % interval {summary['pw_low']:.3f} to {summary['pw_high']:.3f} over runs"
    cells = [
        ("PW-MCC", f"{summary['pw_mcc_abs']:.3f}", interval),
        ("Null", f"{summary['null']:.3f}", "random directions, same sizes"),
        ("Calibrated", f"{summary['calibrated']:.3f}", "(PW-MCC − null) / (1 − null)"),
        ("FVU", f"{summary['fvu']:.3f}", "variance unexplained, held-out"),
        ("Alive", f"{summary['alive_share']:.1%}", f"of {d_sae:,} latents; L0 {summary['l0']:.1f}"),
    ]
    if summary["gt_mcc_abs"] is not None:
        cells.insert(1, ("GT-MCC", f"{summary['gt_mcc_abs']:.3f}", "with the world's true features"))
    for column, (name, value, note) in zip(st.columns(len(cells)), cells, strict=True):
        column.metric(name, value)
        column.caption(note)
    signed = f"Signed cosine (the authors' released code): {summary['pw_mcc_signed']:.3f}."
    st.markdown(f"{summary['verdict_text']} {signed}")


@st.cache_data(max_entries=400, show_spinner=False)
def _data_event(run_id: str) -> dict[str, Any]:
    rows = client().events(run_id)["rows"]
    return next((row for row in reversed(rows) if row["kind"] == "data"), {})


def data_note(runs: list[Run], known: dict[str, Run]) -> None:
    """Where the vectors came from, with tier and licences; of the runs of a launch one has read them for all."""
    notes = {}
    for run in runs:
        key = run["fingerprint"] or _note(run, {})
        if key not in notes:
            same = [other for other in known.values() if other["fingerprint"] == run["fingerprint"]]
            notes[key] = _note(run, _first_data([run, *reversed(same)]) if run["fingerprint"] else {})
    for note in dict.fromkeys(notes.values()):
        st.caption(note)


def _first_data(runs: list[Run]) -> dict[str, Any]:
    events = (_data_event(run["id"]) for run in runs if run["state"] == "done")
    return next((event for event in events if event), {})


def _note(run: Run, data: dict[str, Any]) -> str:
    config = run["config"]
    if config["source"] == "synthetic":
        return (
            f"Data: a synthetic world of {config['n_true_features']:,} known features in {config['d_in']} dimensions, "
            f"{config['true_sparsity']} active at a time (tier: synthetic)."
        )
    if not data:
        return f"Data: {config['model']}, {config['hook_point']}, corpus {config['corpus']}."
    counts = data["counts"]
    sources = "; ".join(f"{s['source']} ({s['tier']}, {s['licence']})" for s in data["sources"])
    return (
        f"Data: {data['model_label']}, {data['hook_point']}; {counts['read']:,} tokens read, {counts['kept']:,} kept, "
        f"{counts['position_0']:,} at position 0 and {counts['massive']:,} massive-activation tokens masked. Text: {sources}."
    )


def next_steps(run: Run, known: list[Run]) -> None:
    """Retrain from here: more seeds, or another k or L1 weight, added to this page's run set."""
    config = run["config"]
    if config.get("start_from"):
        st.caption("These SAEs start from saved ones; clone the run under New to go on from them.")
        return
    count, more, value, other = st.columns([1, 2, 1, 2], vertical_alignment="bottom")
    used = {seed for sibling in known if sibling["config"] == config for seed in sibling["seeds"]}
    how_many = int(count.number_input("Seeds to add", min_value=1, max_value=20, value=3, step=1))
    seeds = unused_seeds(used, how_many)
    more.button(
        f"Train {how_many} more seed{'s' if how_many > 1 else ''}",
        on_click=train,
        args=(run, [{}], seeds),
        icon=":material/add:",
        key="more-seeds",
        width="stretch",
        **may_launch(help=f"Same settings, seeds {', '.join(map(str, seeds))}; they join this page."),
    )
    with value:
        change, knob = _other_sparsity(config)
    other.button(
        f"Change {knob} and retrain",
        on_click=train,
        args=(run, [change], run["seeds"]),
        icon=":material/tune:",
        key="other-k",
        width="stretch",
        **may_launch(help="Same data and seeds; the activations are reused."),
    )


def _other_sparsity(config: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """An input for another value of the setting that governs sparsity: the change, and the setting's name."""
    if config["architecture"] in ("relu", "gated"):
        weight = st.number_input(
            "Another L1 weight", min_value=0.0, value=2 * config["l1_coefficient"], format="%g"
        )
        return {"l1_coefficient": float(weight)}, "L1"
    start = max(1, config["k"] // 2)
    k = st.number_input("Another k", min_value=1, max_value=config["d_sae"], value=start, step=1)
    return {"k": int(k)}, "k"


def train(run: Run, changes: list[dict[str, Any]], seeds: list[int]) -> None:
    """Queue the run's settings with each of `changes`, and add the runs to the set; for callbacks."""
    settings = [{"preset": run["preset"], **run["config"], **change} for change in changes]
    queued = attempt(lambda: client().launch(run["study"], settings, seeds, run["data_seed"]))
    add_runs([one["id"] for one in queued or []])
