"""Which features of SAEs that were trained on the run's image embedding a caption's mask keeps."""

from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from analyses.smartclip_figures import features_figure
from app.active_features import START
from app.causal_parts import forget_unless, seed_choice
from app.connection import client
from app.masks_parts import Chosen
from app.study_runs import Run
from app.widgets import ACTIVE, PAGES, literal, picture, recipe
from engine.client import EngineError

MOST = 10
EMPTY = (
    "No SAE has been trained on this run's image embedding yet. Set one up: `model` is `run:{run}/seed-{seed}/{arm}`. Once it is "
    "trained, the features that the first caption's mask keeps are listed here."
)


@st.fragment
def features_section(chosen: Chosen) -> None:
    """How much of every SAE feature lies in the mask of the first caption, and the features that lie in it most."""
    if not chosen.masked or chosen.run["config"]["model"] != "small":
        return
    st.subheader("SAE features a mask keeps")
    known = client().saes_reading(chosen.run["id"], None)
    done = {one["id"]: one for one in known if one["state"] == "done"}
    if not done:
        _none_yet(chosen, known)
        return
    caption = str(st.session_state.get("first", ""))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        forget_unless("mask_sae", list(done))
        sae = st.selectbox("SAEs", list(done), key="mask_sae", format_func=lambda id: _words(done[id]))
        seed = seed_choice(done[sae], "Seed of the SAE", "mask_sae_seed")
    if not caption.strip():
        st.caption("Write a caption above.")
        return
    try:
        answer = _ask(chosen.run["id"], chosen.seed, chosen.arm, caption, sae, seed)
    except EngineError as error:
        st.error(literal(error.message))
        return
    _show(answer, sae, seed, chosen.d)


def _words(sae: Run) -> str:
    config = sae["config"]
    of = config["model"].partition("/")[2]
    return " · ".join(
        part for part in (of, recipe(config), f"d_sae {config['d_sae']:,}", sae["id"][:6]) if part
    )


def _none_yet(chosen: Chosen, known: list[Run]) -> None:
    under_way = next((one for one in known if one["state"] in ACTIVE), None)
    if under_way is not None:
        st.info(
            "SAEs are being trained on this run; what a mask keeps of them appears here when they are done."
        )
        st.page_link(PAGES["jobs"], label="Watch them", icon=":material/monitoring:", query_params={"run": under_way["id"]})  # fmt: skip
        return
    run = chosen.run["id"]
    st.info(EMPTY.format(run=run, seed=chosen.seed, arm=chosen.arm))
    st.page_link(
        PAGES["new"], label="Train SAEs on this embedding", icon=":material/add_circle:",
        query_params={
            "study": "sae_consistency", "model": f"run:{run}/seed-{chosen.seed}/{chosen.arm}", "hook_point": "blocks.0.hook_out",
            "d_sae": str(4 * chosen.d), **START,
        },
    )  # fmt: skip


@st.cache_data(max_entries=100, show_spinner="Asking the model")
def _ask(run: str, seed: int, arm: str, caption: str, sae: str, sae_seed: int) -> dict[str, Any]:
    found = client().caption_mask(run, [caption], seed, arm, sae_run=sae, sae_seed=sae_seed)
    one: dict[str, Any] = found["captions"][0]
    return one


def _show(answer: dict[str, Any], sae: str, seed: int, d: int) -> None:
    shares = np.array(answer["features"])
    frame = pd.DataFrame({"feature": range(len(shares)), "kept": shares}).sort_values("kept", ascending=False)
    left, right = st.columns([3, 2])
    said = ", ".join(answer["sentences"])
    with left:
        picture(features_figure(frame, sum(answer["mask"]) / d, said), frame, "mask-features")
    with right:
        top = frame.head(MOST)
        st.dataframe(
            top.assign(
                card=[f"features?runs={sae}&seed={seed}&feature={feature}" for feature in top["feature"]]
            ),
            hide_index=True,
            alt="Features that lie in the mask most",
            column_config={
                "feature": st.column_config.NumberColumn("Feature", format="%d"),
                "kept": st.column_config.NumberColumn(
                    "Kept", format="percent", help="Share of its decoder direction's squared length."
                ),
                "card": st.column_config.LinkColumn("Card", display_text="open"),
            },
        )
