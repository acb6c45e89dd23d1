"""Home: what this is, one button, and the runs so far."""

from typing import Any

import pandas as pd
import streamlit as st

from app.bring import bring_button
from app.connection import client, table
from app.functional_checks import column_config, figures_of, finished_cards
from app.launches import LISTED, Launch, describe_launch, launches, tally
from app.widgets import ACTIVE, PAGES, ago, attempt, show_refusal, unused_seeds

SEEDS = [0, 1, 2]
SHOWN = 50


def trained(seeds: list[int]) -> dict[str, Any] | None:
    """The finished tour of these seeds, if there is one."""
    done = client().runs(study="sae_consistency", state="done", limit=100)
    return next((run for run in done if run["preset"] == "tour" and run["seeds"] == seeds), None)


def start_tour(seeds: list[int]) -> None:
    run = trained(seeds) or attempt(
        lambda: client().submit("sae_consistency", {}, seeds, preset="tour", cards=True)
    )
    if run:
        st.session_state["go"] = run["id"]


if run_id := st.session_state.pop("go", None):
    st.switch_page(PAGES["consistency"], query_params={"runs": run_id})

st.title("Do the same variables come back?")
st.write(
    "Concordance trains models whose inner variables claim to mean something, and measures whether the same "
    "variables return across seeds, data orders and known truths. Everything runs on this machine."
)
show_refusal()

runs = client().runs(study="sae_consistency", limit=LISTED)
tours = [run for run in runs if run["preset"] == "tour"]
first = trained(SEEDS)

st.button("Start the tour", type="primary", on_click=start_tour, args=(SEEDS,), icon=":material/play_arrow:")
if first:
    used = {seed for run in tours for seed in run["seeds"]}
    following = unused_seeds(used, 3)
    st.caption(f"Trained on this machine {ago(first['finished'])}; the button opens it.")
    st.button(
        f"Train it again with seeds {', '.join(map(str, following))}", on_click=start_tour, args=(following,)
    )
elif any(run["state"] in ACTIVE and run["seeds"] == SEEDS for run in tours):
    st.caption("The tour is being trained; the button takes you to it.")
else:
    st.caption(
        "About one and a half minutes on two processor cores: 60,000 tokens through the first six layers of SmolLM2-135M-Instruct "
        "(4-bit origin), three sparse autoencoders trained in front of you, and how far they agree."
    )
bring_button()


def pw_mcc(run: dict[str, Any]) -> float | None:
    if run["state"] != "done":
        return None
    pairs = table(run["id"], "pairs")
    alive = pairs[pairs["subset"] == "alive"]
    return float(alive["pw_mcc_abs"].mean()) if len(alive) else None


def rows_of(launch: Launch, cards: dict[str, str]) -> dict[str, Any]:
    """A launch as a row of the table of runs; `cards` are the finished feature cards by run."""
    done = ",".join(run["id"] for run in launch.runs if run["state"] == "done")
    view = "" if launch.alone else "&view=Sweep"
    return {
        "run": describe_launch(launch),
        "state": launch.state if launch.alone else tally(launch),
        "PW-MCC (alive)": pw_mcc(launch.runs[0]) if launch.alone else None,
        **(figures_of(launch.runs[0]["id"], cards) if launch.alone else {}),
        "age": ago(launch.created),
        "open": f"consistency?runs={done}{view}" if done else f"jobs?run={launch.runs[0]['id']}",
    }


st.subheader("Runs")
if not runs:
    st.info("No runs yet. Start the tour above, or set up your own under Run › New.")
    st.page_link(PAGES["new"], label="New run", icon=":material/add_circle:")
else:
    cards = finished_cards()
    board = pd.DataFrame([rows_of(launch, cards) for launch in launches(runs)[:SHOWN]])
    last = ["age", "open"]
    st.dataframe(
        board[[name for name in board if name not in last] + last],
        hide_index=True,
        alt="Runs, newest first",
        placeholder="–",
        column_config={
            "run": st.column_config.TextColumn(width="large"),
            "PW-MCC (alive)": st.column_config.NumberColumn(format="%.3f"),
            "open": st.column_config.LinkColumn(display_text="open"),
            **column_config(board.columns),
        },
    )
