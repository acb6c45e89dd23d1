"""Every table's columns. A run's Parquet lacks `run_id`; the store adds it."""

from collections.abc import Iterable

import pyarrow as pa

from engine.tables import RUN_TABLES
from engine.tables.common import BOOL, BYTES, F64, I32, I64, STR

STORE_TABLES: dict[str, dict[str, pa.DataType]] = {
    "runs": {
        "id": STR,
        "study": STR,
        "preset": STR,
        "config": STR,
        "seeds": STR,
        "data_seed": I64,
        "fingerprint": STR,
        "code_version": STR,
        "state": STR,
        "created": F64,
        "started": F64,
        "finished": F64,
        "error": STR,
    },
    "activation_shards": {
        "fingerprint": STR,
        "model": STR,
        "hook_point": STR,
        "corpus": STR,
        "split": STR,
        "file": STR,
        "rows": I64,
        "d_in": I64,
        "sha256": STR,
    },
    "labels": {
        "run": STR,
        "seed": I64,
        "feature": I32,
        "label": STR,
        "source": STR,
        "note": STR,
        "updated": F64,
    },
    "lists": {"name": STR, "run": STR, "seed": I64, "feature": I32, "added": F64},
    "claims": {
        "study": STR,
        "claim": STR,
        "sentence": STR,
        "paper": STR,
        "rule": STR,
        "value": F64,
        "low": F64,
        "high": F64,
        "seeds": I64,
        "chance": F64,
        "baseline": F64,
        "baseline_name": STR,
        "verdict": STR,
        "preset": STR,
        "runs": STR,
        "created": F64,
    },
}


def run_columns(name: str) -> pa.Schema:
    """The Arrow schema of a run's table. Raises KeyError for an undeclared name."""
    return pa.schema(list(RUN_TABLES[name].items()))


def quoted(columns: Iterable[str]) -> str:
    """Declared column names as SQL names, which may be words of SQL such as "group"."""
    return ", ".join(f'"{column}"' for column in columns)


_SQL = {I32: "INTEGER", I64: "BIGINT", F64: "DOUBLE", STR: "VARCHAR", BOOL: "BOOLEAN", BYTES: "BLOB"}


def known_tables() -> dict[str, dict[str, pa.DataType]]:
    """Columns of every table as the store holds it."""
    return {name: {"run_id": STR, **columns} for name, columns in RUN_TABLES.items()} | STORE_TABLES


def create_statements() -> list[str]:
    """DDL of every table of the store."""
    return [create_statement(name) for name in known_tables()]


def create_statement(name: str) -> str:
    """DDL of one table."""
    columns = ", ".join(f"{quoted([c])} {_SQL[t]}" for c, t in known_tables()[name].items())
    return f"CREATE TABLE IF NOT EXISTS {name} ({columns})"


def sql_type(column: pa.DataType) -> str:
    """A column's type as SQL names it."""
    return _SQL[column]
