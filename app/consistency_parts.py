"""Sections of the consistency page: the first strip, the data note, the next steps, the claims."""

from typing import Any

import streamlit as st

from analyses.sae_frames import claims_table
from app.connection import client, stay_connected
from app.widgets import ACTIVE, attempt, unused_seeds
from engine.client import EngineError

CLAIM_SEEDS = 5
CLAIM_COLUMNS = {
    "Claim": 245, "Verdict": 90, "Here (mean)": 90, "95 % interval": 115, "Seeds": 55, "Chance": 65,
    "Simple baseline": 115, "Paper": 160,
}  # fmt: skip


def strip(summary: dict[str, Any], d_sae: int) -> None:
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


@st.cache_data(max_entries=100, show_spinner=False)
def _data_event(run_id: str) -> dict[str, Any]:
    rows = client().events(run_id)["rows"]
    return next((row for row in reversed(rows) if row["kind"] == "data"), {})


def data_note(runs: list[dict[str, Any]]) -> None:
    """Where the vectors came from, with tier and licences."""
    for note in dict.fromkeys(_note(run, _data_event(run["id"])) for run in runs):
        st.caption(note)


def _note(run: dict[str, Any], data: dict[str, Any]) -> str:
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


def next_steps(run: dict[str, Any], known: list[dict[str, Any]]) -> None:
    """Retrain from here: more seeds, or another k, added to this page's run set."""
    st.subheader("Change something and watch")
    config = run["config"]
    left, right = st.columns(2)
    with left.container(border=True):
        used = {seed for other in known if other["config"] == config for seed in other["seeds"]}
        how_many = int(st.number_input("Seeds to add", min_value=1, max_value=20, value=3, step=1))
        seeds = unused_seeds(used, how_many)
        st.button(
            f"Train {how_many} more seed{'s' if how_many > 1 else ''}",
            on_click=_launch,
            args=(run, {}, seeds),
            icon=":material/add:",
            key="more-seeds",
        )
        st.caption(f"Same settings, seeds {', '.join(map(str, seeds))}; they join this page.")
    if config["architecture"] != "topk":
        return
    with right.container(border=True):
        k = int(
            st.number_input(
                "Another k (active latents)",
                min_value=1,
                max_value=config["d_sae"],
                value=max(1, config["k"] // 2),
                step=1,
            )
        )
        st.button(
            "Change k and retrain",
            on_click=_launch,
            args=(run, {"k": k}, run["seeds"]),
            icon=":material/tune:",
            key="other-k",
        )
        st.caption("Same data and seeds; the activations are reused.")


def _launch(run: dict[str, Any], change: dict[str, Any], seeds: list[int]) -> None:
    config = {**run["config"], **change}
    queued = attempt(
        lambda: client().submit(run["study"], config, seeds, preset=run["preset"], data_seed=run["data_seed"])
    )
    if queued:
        chosen = [*st.session_state["run_set"], queued["id"]]
        st.session_state["run_set"] = list(dict.fromkeys(chosen))


def claims_section(study: str) -> None:
    """The paper's claims, tested on this machine."""
    st.subheader("The paper's claims, tested here")
    _claims_under_way(study)
    try:
        found = client().claims(study).to_pandas()
    except EngineError as error:
        st.error(error.message)
        return
    if found.empty:
        st.caption("Not tested on this machine yet.")
    else:
        st.dataframe(
            claims_table(found),
            hide_index=True,
            alt="Claims of the paper with their verdict",
            row_height=96,
            height="content",
            column_order=list(CLAIM_COLUMNS),
            column_config={
                name: st.column_config.Column(width=width) for name, width in CLAIM_COLUMNS.items()
            },
        )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Test the claims at tour size", on_click=_test_claims, args=(study,), icon=":material/science:"
        )
        st.caption(f"Or `concordance verify {study} --preset standard`.")


def _test_claims(study: str) -> None:
    """Queue the runs that are missing; `_claims_under_way` measures when all are there."""
    st.session_state["claim_runs"] = attempt(lambda: client().claim_runs(study, "tour", CLAIM_SEEDS)) or []


def _claims_under_way(study: str) -> None:
    """Progress of the runs the claims wait for; measures once when they are done."""
    runs = [client().run(run) for run in st.session_state.get("claim_runs", [])]
    if any(run["state"] in ACTIVE for run in runs):
        _watch_claim_runs()
        return
    st.session_state["claim_runs"] = []
    lost = sum(run["state"] != "done" for run in runs)
    if lost:
        st.warning(
            f"{lost} of the runs the claims need did not finish; resume them under Jobs, then test again."
        )
    elif runs:
        with st.spinner("Measuring the claims"):
            client().measure_claims(study, "tour", CLAIM_SEEDS)


@st.fragment(run_every=2)
def _watch_claim_runs() -> None:
    stay_connected()
    runs = [client().run(run) for run in st.session_state["claim_runs"]]
    left = sum(run["state"] in ACTIVE for run in runs)
    if not left:
        st.rerun()
    text = f"{left} of the {len(runs)} runs the claims need are under way; the figures appear here when all are done."
    st.progress(1 - left / len(runs), text=text)
