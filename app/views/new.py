"""Run › New: a form made from the study's Config, its cost, and the exact command."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app.connection import client, studies
from app.widgets import PAGES, attempt, duration, show_refusal, size
from engine.client import EngineError


def launch(
    study: str, config: dict[str, Any], seeds: list[int], preset: str, data_seed: int, cards: bool
) -> None:
    run = attempt(lambda: client().submit(study, config, seeds, preset, data_seed, cards))
    if run:
        st.session_state["go"] = run["id"]


def shown(schema: dict[str, Any], values: dict[str, Any]) -> bool:
    """Whether the values of other fields let this one count; `only_if` names a value or a list of them."""
    return all(
        values.get(name) in (wanted if isinstance(wanted, list) else [wanted])
        for name, wanted in schema["only_if"].items()
    )


def label(name: str, schema: dict[str, Any]) -> str:
    return f"{name} ({schema['unit']})" if schema["unit"] else name


def widget(name: str, schema: dict[str, Any], value: Any, key: str) -> Any:
    """One input, with the field's description, unit and bounds."""
    common: dict[str, Any] = {"key": f"{key}-{name}", "help": schema["description"]}
    title = label(name, schema)
    if "enum" in schema:
        return st.selectbox(title, schema["enum"], index=schema["enum"].index(value), **common)
    if schema["type"] == "boolean":
        return st.toggle(title, value=bool(value), **common)
    low, high = schema.get("minimum"), schema.get("maximum", schema.get("exclusiveMaximum"))
    if schema["type"] == "integer":
        limits: dict[str, Any] = {"min_value": low, "max_value": high}
        return st.number_input(title, value=int(value), step=1, **limits, **common)
    if schema["type"] == "number":
        bounds: dict[str, Any] = {
            k: None if v is None else float(v) for k, v in (("min_value", low), ("max_value", high))
        }
        return st.number_input(title, value=float(value), format="%g", **bounds, **common)
    return st.text_input(title, value=value, **common)


def form(schema: dict[str, Any], values: dict[str, Any], key: str) -> dict[str, Any]:
    """The fields in their groups, advanced ones folded; hidden fields keep their value."""
    fields: dict[str, Any] = schema["properties"]
    current = {name: values.get(name, field["default"]) for name, field in fields.items()}
    for group in dict.fromkeys(field["group"] for field in fields.values()):
        mine = [name for name, field in fields.items() if field["group"] == group]
        if not any(shown(fields[name], current) for name in mine):
            continue
        with st.container(border=True):
            st.markdown(f"**{group}**")
            section(fields, [name for name in mine if not fields[name]["advanced"]], current, key)
            advanced = [name for name in mine if fields[name]["advanced"]]
            if any(shown(fields[name], current) for name in advanced):
                with st.expander("Advanced"):
                    section(fields, advanced, current, key)
    return current


def section(fields: dict[str, Any], names: list[str], current: dict[str, Any], key: str) -> None:
    columns: Sequence[Any] = ()
    used = 0
    for name in names:
        if shown(fields[name], current):
            columns = columns or st.columns(3)
            with columns[used % 3]:
                current[name] = widget(name, fields[name], current[name], key)
            used += 1


def parse_seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.replace(" ", "").split(",") if part]
    except ValueError:
        return []


if run_id := st.session_state.pop("go", None):
    st.switch_page(PAGES["jobs"], query_params={"run": run_id})

st.title("New run")
known = studies()
clone_id = st.query_params.get("clone")
clone: dict[str, Any] | None = None
if clone_id:
    try:
        clone = client().run(clone_id)
        st.caption(
            f"Settings copied from run {clone_id}; choosing another preset puts its values in their place."
        )
    except EngineError as error:
        st.warning(error.message)

st.caption(
    "SAEs trained with sae-lens, dictionary_learning, sparsify or Gemma Scope join their peers here: the button on Home, or "
    "`concordance import-sae FOLDER-OR-HUGGING-FACE-ID …`."
)
first, second = st.columns(2)
study = first.selectbox("Study", list(known), format_func=lambda name: known[name]["title"])
presets = list(known[study]["presets"])
start = clone["preset"] if clone and clone["preset"] in presets else "standard"
preset = second.selectbox(
    "Preset", presets, index=presets.index(start), help="Starting values for the fields below."
)
copied = clone["config"] if clone and preset == start else {}
values = {**known[study]["presets"][preset], **copied}

config = form(known[study]["schema"], values, f"cfg-{study}-{preset}-{clone_id}")
left, right = st.columns(2)
given = left.text_input(
    "Seeds",
    value=",".join(map(str, clone["seeds"] if clone else [0, 1, 2])),
    help="Initialisation seeds, separated by commas; all of them see identical batches.",
)
data_seed = right.number_input(
    "Data seed",
    value=clone["data_seed"] if clone else 0,
    min_value=0,
    step=1,
    help="Seed of the order in which training vectors are read.",
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
cells[0].metric("Time on this machine, about", duration(cost["seconds"]))
cells[1].metric("Memory, about", size(cost["memory_bytes"]))
cells[2].metric("Disk, about", size(cost["disk_bytes"]))
st.caption(cost["based_on"])
st.markdown("**The same from the command line**")
st.code(cost["command"], language="bash", wrap_lines=True)
cards = config.get("source") == "language_model" and st.toggle(
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
)
