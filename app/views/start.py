"""Home: what this is, one button a study, and the runs so far."""

from typing import Any

import pandas as pd
import streamlit as st

from app.bring import bring_button
from app.connection import client, may_launch
from app.functional_checks import column_config, figures_of, finished_cards
from app.guide import FIRST, FIRST_LOOK, guide, measured, page_of
from app.launches import LISTED, Launch, describe_launch, launches, tally
from app.study_headlines import FORMAT, HELP, headline
from app.study_runs import TOUR_SEEDS
from app.widgets import (
    ACTIVE,
    PAGES,
    TOOLS,
    ago,
    attempt,
    result_link,
    result_url,
    show_refusal,
    unused_seeds,
)

SHOWN = 50


def trained(runs: list[dict[str, Any]], seeds: list[int]) -> dict[str, Any] | None:
    """The finished SAE tour of these seeds, if there is one."""
    tours = (run for run in runs if run["study"] == "sae_consistency" and run["preset"] == "tour")
    return next((run for run in tours if run["state"] == "done" and run["seeds"] == seeds), None)


def start_saes(seeds: list[int]) -> None:
    known = trained(client().runs(study="sae_consistency", state="done", limit=LISTED), seeds)
    run = known or attempt(lambda: client().submit("sae_consistency", {}, seeds, preset="tour", cards=True))
    if run:
        st.session_state["go"] = run


if run := st.session_state.pop("go", None):
    page, query = result_link(run)
    st.switch_page(PAGES[page], query_params=query)

st.title("Do the same variables come back?")
st.write(
    "Concordance trains models whose inner variables claim to mean something, and measures whether the same "
    "variables return across seeds, data orders and known truths. Everything runs on this machine."
)
show_refusal()

runs = [run for run in client().runs(limit=LISTED) if run["study"] not in TOOLS]
tours = [run for run in runs if run["study"] == "sae_consistency" and run["preset"] == "tour"]
seeds = list(TOUR_SEEDS)
first = trained(runs, seeds)

st.button(
    "Start the tour",
    type="primary",
    on_click=start_saes,
    args=(seeds,),
    icon=":material/play_arrow:",
    **may_launch(),
)
if first:
    used = {seed for run in tours for seed in run["seeds"]}
    following = unused_seeds(used, 3)
    st.caption(f"Trained on this machine {ago(first['finished'])}; the button opens it.")
    st.button(
        f"Train it again with seeds {', '.join(map(str, following))}",
        on_click=start_saes,
        args=(following,),
        **may_launch(),
    )
elif any(run["state"] in ACTIVE and run["seeds"] == seeds for run in tours):
    st.caption("The tour is being trained; the button takes you to it.")
else:
    st.caption(
        "About a minute on two processor cores: 45,000 tokens through the first six layers of SmolLM2-135M-Instruct "
        "(4-bit origin), three sparse autoencoders trained in front of you, and how far they agree."
    )
st.caption(f"{measured(FIRST)} {FIRST_LOOK}")
page_of(FIRST)
bring_button()

st.subheader("Ten studies, one question")
st.markdown(
    "Each study trains models whose inner variables claim to mean something, over three seeds, and asks whether the data or the seed "
    "decided them. The tour above is the first; a button below trains another in about a minute and opens its page. Every page begins with the same strip: agreement "
    "between seeds, recovery of a known truth, and chance."
)
guide(runs)


def rows_of(launch: Launch, cards: dict[str, str]) -> dict[str, Any]:
    """A launch as a row of the table of runs; `cards` are the finished feature cards by run."""
    run, done = launch.runs[0], [run for run in launch.runs if run["state"] == "done"]
    together = f"consistency?runs={','.join(run['id'] for run in done)}&view=Sweep"
    return {
        "result": result_link(run)[0].replace("_", " ").capitalize(),
        "run": describe_launch(launch),
        "state": launch.state if launch.alone else tally(launch),
        **(headline(run) if launch.alone else {}),
        **(figures_of(run["id"], cards) if launch.alone else {}),
        "age": ago(launch.created),
        "open": together
        if len(done) > 1 and run["study"] == "sae_consistency"
        else result_url((done or [run])[0]),
    }


st.subheader("Runs")
if not runs:
    st.info("No runs yet. Start the tour above, or set up your own under Run › New.")
    st.page_link(PAGES["new"], label="New run", icon=":material/add_circle:")
else:
    cards = finished_cards()
    board = pd.DataFrame([rows_of(launch, cards) for launch in launches(runs)[:SHOWN]])
    last = ["age", "open"]
    figures = {
        name: st.column_config.NumberColumn(format=FORMAT, help=HELP[name]) for name in HELP if name in board
    }
    st.dataframe(
        board[[name for name in board if name not in last] + last],
        hide_index=True,
        alt="Runs, newest first",
        placeholder="–",
        column_config={
            "run": st.column_config.TextColumn(width="large"),
            "open": st.column_config.LinkColumn(display_text="open"),
            **figures,
            **column_config(board.columns),
        },
    )
