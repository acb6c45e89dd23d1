"""Inputs made from a study's Config: the whole form of Run › New, and single fields on the pages of a study."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

Schema = dict[str, Any]


def shown(schema: Schema, values: dict[str, Any]) -> bool:
    """Whether the values of other fields let this one count; `only_if` names a value or a list of them."""
    return all(
        values.get(name) in (wanted if isinstance(wanted, list) else [wanted])
        for name, wanted in schema["only_if"].items()
    )


def label(name: str, schema: Schema) -> str:
    return f"{name} ({schema['unit']})" if schema["unit"] else name


def resolved(schema: Schema, definitions: Schema) -> tuple[Schema, bool]:
    """A field's schema with its type at the top, and whether the field may be left empty (null)."""
    options = schema.get("anyOf", [schema])
    merged = [definitions[o["$ref"].rsplit("/", 1)[1]] if "$ref" in o else o for o in options]
    filled = [option for option in merged if option.get("type") != "null"]
    return {**schema, **filled[0]}, len(filled) < len(merged)


def widget(name: str, schema: Schema, value: Any, key: str, definitions: Schema | None = None) -> Any:
    """One input, with the field's description, unit and bounds; an empty text is null where the field allows it."""
    field, optional = resolved(schema, definitions or {})
    title, common = label(name, schema), {"key": f"{key}-{name}", "help": schema["description"]}
    if "enum" in field:
        return _choice(title, [*field["enum"], *([None] if optional else [])], value, common)
    if field["type"] == "boolean" and not optional:
        return st.toggle(title, value=bool(value), **common)
    if field["type"] in ("integer", "number"):
        return _number(title, field, value, optional, common)
    if field["type"] in ("array", "object"):
        return _listed(title, field, value, optional, common)
    given = st.text_input(title, value=value or "", **common)
    return None if optional and not given.strip() else given


def _choice(title: str, options: list[Any], value: Any, common: dict[str, Any]) -> Any:
    words = {None: "none"}
    return st.selectbox(
        title, options, index=options.index(value), format_func=lambda one: words.get(one, str(one)), **common
    )


def _number(title: str, field: Schema, value: Any, optional: bool, common: dict[str, Any]) -> Any:
    kind = int if field["type"] == "integer" else float
    bounds = {
        "min_value": field.get("minimum", field.get("exclusiveMinimum")),
        "max_value": field.get("maximum", field.get("exclusiveMaximum")),
    }
    limits: dict[str, Any] = {name: None if v is None else kind(v) for name, v in bounds.items()}
    start = None if value is None else kind(value)
    if kind is int:
        return st.number_input(title, value=start, step=1, placeholder="none", **limits, **common)
    return st.number_input(title, value=start, format="%g", placeholder="none", **limits, **common)


def _listed(title: str, field: Schema, value: Any, optional: bool, common: dict[str, Any]) -> Any:
    """A list written with commas, or JSON where its items are not plain; what cannot be read is left to the engine."""
    kind = field.get("items", {}).get("type")
    plain = kind in ("integer", "number", "string")
    written = ", ".join(map(str, value or ())) if plain else json.dumps(value)
    given = st.text_input(title, value="" if value is None else written, **common).strip()
    if optional and not given:
        return None
    try:
        if not plain:
            return json.loads(given)
        parts = [part.strip() for part in given.split(",") if part.strip()]
        return [part if kind == "string" else {"integer": int, "number": float}[kind](part) for part in parts]
    except ValueError:
        return given


def form(schema: Schema, values: dict[str, Any], key: str) -> dict[str, Any]:
    """The fields in their groups, advanced ones folded; hidden fields keep their value."""
    fields: Schema = schema["properties"]
    current = {name: values.get(name, field["default"]) for name, field in fields.items()}
    for group in dict.fromkeys(field["group"] for field in fields.values()):
        mine = [name for name, field in fields.items() if field["group"] == group]
        if not any(shown(fields[name], current) for name in mine):
            continue
        with st.container(border=True):
            st.markdown(f"**{group}**")
            section(schema, [name for name in mine if not fields[name]["advanced"]], current, key)
            advanced = [name for name in mine if fields[name]["advanced"]]
            if any(shown(fields[name], current) for name in advanced):
                with st.expander("Advanced"):
                    section(schema, advanced, current, key)
    return current


def section(schema: Schema, names: Sequence[str], current: dict[str, Any], key: str) -> None:
    """Inputs of the named fields three abreast, their values written into `current`."""
    fields, definitions = schema["properties"], schema.get("$defs", {})
    columns: Sequence[Any] = ()
    used = 0
    for name in names:
        if shown(fields[name], current):
            columns = columns or st.columns(3)
            with columns[used % 3]:
                current[name] = widget(name, fields[name], current[name], key, definitions)
            used += 1


def from_link(schema: Schema, query: Mapping[str, str]) -> dict[str, Any]:
    """Values of the fields that a link names, such as ?model=run:ID; those that cannot be a field's value are left out."""
    definitions = schema.get("$defs", {})
    found = {}
    for name, field in schema["properties"].items():
        if name in query:
            value = _read(query[name], resolved(field, definitions)[0])
            if value is not None:
                found[name] = value
    return found


def _read(text: str, field: Schema) -> Any:
    """A text as a field's value; None where it is none. Lists and switches are not read."""
    if "enum" in field:
        return text if text in field["enum"] else None
    if field["type"] == "string":
        return text
    kind = {"integer": int, "number": float}.get(field["type"])
    try:
        value = kind(text) if kind else None
    except ValueError:
        return None
    low, high = (
        field.get("minimum", field.get("exclusiveMinimum")),
        field.get("maximum", field.get("exclusiveMaximum")),
    )
    within = value is not None and (low is None or value >= low) and (high is None or value <= high)
    return value if within else None


def parse_seeds(text: str) -> list[int]:
    """Seeds separated by commas; none when that is not what is written."""
    try:
        return [int(part) for part in text.replace(" ", "").split(",") if part]
    except ValueError:
        return []
