"""The feature table of Explore: features of finished runs with their cards, labels and lists, filtered in DuckDB."""

import json
from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from engine.errors import UserError
from engine.store import Store

MAX_PAGE = 1000
Range = tuple[float, float]
Only = dict[Literal["run", "seed", "feature"], list[Any]]
COLUMNS = {
    "run_id": "f.run_id",
    "seed": "f.seed",
    "feature": "f.feature",
    "label": "coalesce(nullif(l.label, ''), c.label, '')",
    "label_source": "CASE WHEN l.label <> '' THEN l.source WHEN c.label IS NOT NULL THEN 'token statistics' ELSE '' END",
    "tokens": "c.tokens",
    "density": "c.density",
    "frequency": "f.frequency",
    "stability": "f.stability",
    "max_cosine": "f.max_cosine",
    "max_activation": "c.max_activation",
    "mean_activation": "coalesce(c.mean_activation, f.mean_activation)",
    "alive": "f.alive",
    "near_duplicate": "f.near_duplicate",
    "lists": "coalesce(s.names, '')",
    "note": "coalesce(l.note, '')",
}
ORDERS = tuple(name for name in COLUMNS if name not in ("run_id", "tokens", "note"))


class FeatureQuery(BaseModel):
    """Which features, in which order, which page. `only` restricts to parallel lists of run, seed and feature."""

    model_config = ConfigDict(extra="forbid")

    runs: list[str] = Field(min_length=1, max_length=100)
    seeds: list[int] | None = None
    text: str = ""
    tokens: str = ""
    label: str = ""
    list: str = ""
    dead: Literal["all", "alive", "dead"] = "all"
    density: Range | None = None
    stability: Range | None = None
    only: Only | None = None
    order: str = "density"
    descending: bool = True
    limit: int = Field(default=100, ge=1, le=MAX_PAGE)
    offset: int = Field(default=0, ge=0)
    place_of: tuple[str, int, int] | None = None


def query_features(store: Store, query: FeatureQuery, cards: Mapping[str, str]) -> pa.Table:
    """A page of features; its metadata holds `total`, the number that pass the filters, and `place`.

    `place` is the position of the feature `place_of` among them, from 0; null when it is not asked for or not there.

    `cards` names the feature_cards run of those runs that have one. Raises UserError for an unknown order.
    """
    if query.order not in ORDERS:
        raise UserError("order", f"{query.order!r} is not a column; choose from {', '.join(ORDERS)}.")
    sources, values = _sources(query, cards)
    conditions, more = _conditions(query)
    only = _only(query)
    where = f"FROM {sources} WHERE {' AND '.join(conditions)}"
    parameters = [*values, *more]
    direction = "DESC" if query.descending else "ASC"
    shown = ", ".join(f"{expression} AS {name}" for name, expression in COLUMNS.items())
    order = f"ORDER BY {COLUMNS[query.order]} {direction} NULLS LAST, f.run_id, f.seed, f.feature"
    total = store.sql(f"SELECT count(*) AS n {where}", parameters, only)["n"][0].as_py()
    page = store.sql(
        f"SELECT {shown} {where} {order} LIMIT {query.limit} OFFSET {query.offset}", parameters, only
    )
    place = None
    if query.place_of is not None:
        numbered = f"SELECT f.run_id AS r, f.seed AS s, f.feature AS i, row_number() OVER ({order}) - 1 AS place {where}"
        sought = f"SELECT place FROM ({numbered}) WHERE r = ? AND s = ? AND i = ?"
        found = store.sql(sought, [*parameters, *query.place_of], only)["place"].to_pylist()
        place = found[0] if found else None
    return page.replace_schema_metadata({"total": json.dumps(total), "place": json.dumps(place)})


def _sources(query: FeatureQuery, cards: Mapping[str, str]) -> tuple[str, list[Any]]:
    pairs = [(run, cards.get(run)) for run in dict.fromkeys(query.runs)]
    chosen = ", ".join("(?, ?)" for _ in pairs)
    same = "seed = f.seed AND {0}.feature = f.feature"
    text = (
        f"features f JOIN (VALUES {chosen}) AS chosen(run, cards) ON f.run_id = chosen.run"
        f" LEFT JOIN cards c ON c.run_id = chosen.cards AND c.{same.format('c')}"
        f" LEFT JOIN labels l ON l.run = f.run_id AND l.{same.format('l')}"
        " LEFT JOIN (SELECT run, seed, feature, string_agg(name, ', ' ORDER BY name) AS names FROM lists"
        f" GROUP BY run, seed, feature) s ON s.run = f.run_id AND s.{same.format('s')}"
    )
    if query.only is not None:
        text += " JOIN wanted o ON o.run = f.run_id AND o.seed = f.seed AND o.feature = f.feature"
    return text, [value for pair in pairs for value in pair]


def _conditions(query: FeatureQuery) -> tuple[list[str], list[Any]]:
    found: list[tuple[str, list[Any]]] = [("true", [])]
    if query.seeds is not None:
        found.append((f"f.seed IN ({', '.join('?' * len(query.seeds)) or 'NULL'})", list(query.seeds)))
    for text, column in ((query.text, "c.text"), (query.tokens, "c.tokens"), (query.label, COLUMNS["label"])):
        if text:
            wanted = json.dumps(text, ensure_ascii=False)[1:-1] if column == "c.tokens" else text
            found.append((f"contains(lower({column}), lower(?))", [wanted]))
    if query.list:
        found.append(
            (
                "EXISTS (SELECT 1 FROM lists x WHERE x.name = ? AND x.run = f.run_id AND x.seed = f.seed"
                " AND x.feature = f.feature)",
                [query.list],
            )
        )
    if query.dead != "all":
        found.append(("f.alive" if query.dead == "alive" else "NOT f.alive", []))
    if query.density is not None:
        found.append(("coalesce(c.density, f.frequency) BETWEEN ? AND ?", list(query.density)))
    if query.stability is not None:
        found.append(("f.stability BETWEEN ? AND ?", list(query.stability)))
    return [sql for sql, _ in found], [value for _, values in found for value in values]


def _only(query: FeatureQuery) -> dict[str, pa.Table]:
    if query.only is None:
        return {}
    lists = [query.only.get(name, []) for name in ("run", "seed", "feature")]
    if len({len(values) for values in lists}) != 1:
        raise UserError("only", "give run, seed and feature as lists of one length.")
    try:
        columns = [
            pa.array(values, kind)
            for values, kind in zip(lists, (pa.string(), pa.int64(), pa.int32()), strict=True)
        ]
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        raise UserError("only", "run holds text, seed and feature whole numbers.") from None
    return {"wanted": pa.table(columns, names=["run", "seed", "feature"])}
