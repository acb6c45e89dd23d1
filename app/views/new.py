"""Run › New: a form made from the study's Config, its cost, and the exact command."""

from typing import Any

import streamlit as st

from app.connection import client, may_launch, studies
from app.study_form import form, from_link, parse_seeds
from app.widgets import PAGES, attempt, duration, literal, show_refusal, size
from engine.client import EngineError

SEEDS = [0, 1, 2]
NOTES = {
    "sae_consistency": "SAEs trained with sae-lens, dictionary_learning, sparsify or Gemma Scope join their peers here: "
    "the button on Home, or `concordance import-sae FOLDER-OR-HUGGING-FACE-ID …`.",
}


def launch(
    study: str, config: dict[str, Any], seeds: list[int], preset: str, data_seed: int, cards: bool
) -> None:
    run = attempt(lambda: client().submit(study, config, seeds, preset, data_seed, cards))
    if run:
        st.session_state["go"] = run["id"]


def cloned() -> dict[str, Any] | None:
    """The run whose settings are copied, named in the URL as ?clone=."""
    clone_id = st.query_params.get("clone")
    if not clone_id:
        return None
    try:
        run = client().run(clone_id)
    except EngineError as error:
        st.warning(error.message)
        return None
    if run["study"] not in studies():
        st.warning(f"Run {literal(clone_id)} is a tool's job; it is started from the page that uses it.")
        return None
    st.caption(
        f"Settings copied from run {clone_id}; choosing another preset puts its values in their place."
    )
    return run


def choose(name: str, options: list[str], wanted: str | None, place: Any, **more: Any) -> str:
    """A selectbox that starts at what the link or the clone names, and says so when there is no such thing."""
    asked = st.query_params.get(name)
    if asked and asked not in options:
        st.warning(f"There is no {name} called {literal(asked[:40])}; choose from the list.")
    first = next((one for one in (wanted, asked, "standard") if one in options), options[0])
    chosen = place.selectbox(name.capitalize(), options, index=options.index(first), **more)
    return str(chosen)


if run_id := st.session_state.pop("go", None):
    st.switch_page(PAGES["jobs"], query_params={"run": run_id})

st.title("New run")
known = studies()
clone = cloned()
first, second = st.columns(2)
study = choose(
    "study",
    list(known),
    clone["study"] if clone else None,
    first,
    format_func=lambda name: known[name]["title"],
)
copying = clone if clone and clone["study"] == study else None
presets = list(known[study]["presets"])
start = copying["preset"] if copying and copying["preset"] in presets else "standard"
preset = choose(
    "preset", presets, start if copying else None, second, help="Starting values for the fields below.",
    key=f"preset-{study}",
)  # fmt: skip
copied = copying["config"] if copying and preset == start else {}
linked = {}
if study == st.query_params.get("study") and copying is None:
    linked = from_link(known[study]["schema"], st.query_params)
values = {**known[study]["presets"][preset], **copied, **linked}
if study in NOTES:
    st.caption(NOTES[study])

of = "-".join([str(copying and copying["id"]), *map(str, linked.values())])
config = form(known[study]["schema"], values, f"cfg-{study}-{preset}-{of}")
left, right = st.columns(2)
given = left.text_input(
    "Seeds",
    value=",".join(map(str, copying["seeds"] if copying else SEEDS)),
    help="Seeds separated by commas, one model each. They differ in their random starts (and in what the fields above say); "
    "the agreement between them is what Concordance measures.",
)
data_seed = right.number_input(
    "Data seed",
    value=copying["data_seed"] if copying else 0,
    min_value=0,
    step=1,
    help="Seed of the data: the order in which they are read and, in a synthetic world, the draw itself.",
)
seeds = parse_seeds(given)

show_refusal()
try:
    cost = client().estimate(study, config, seeds, preset, int(data_seed))
except EngineError as error:
    st.error(error.message)
    st.stop()
st.markdown("**What it will take**")
cells = st.columns(3)
if "memory_bytes" in cost:
    time = duration(cost["seconds"]) if "seconds" in cost else "not measured"
    cells[0].metric("Time on this machine, about", time)
    cells[1].metric("Memory, about", size(cost["memory_bytes"]))
    cells[2].metric("Disk, about", size(cost["disk_bytes"]))
    if cost["available_bytes"]:
        cells[1].caption(f"of {size(cost['available_bytes'])} that {cost['memory_of']} has")
if cost["memory_problem"]:
    st.warning(cost["memory_problem"])
if "based_on" in cost:
    st.caption(cost["based_on"])
st.markdown("**The same from the command line**")
st.code(cost["command"], language="bash", wrap_lines=True)
reads_a_model = study == "sae_consistency" and config["source"] == "language_model"
cards = reads_a_model and st.toggle(
    "Make feature cards afterwards",
    value=True,
    help="Examples, logits and functional checks of every feature for Explore; a job of its own after this run.",
)
st.button(
    "Launch",
    type="primary",
    on_click=launch,
    args=(study, config, seeds, preset, int(data_seed), bool(cards)),
    icon=":material/rocket_launch:",
    **may_launch(),
)
