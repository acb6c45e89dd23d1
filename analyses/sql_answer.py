"""Answers of SQL queries as CSV: columns of any type, the nested ones and those CSV lacks as JSON text."""

import json

import pyarrow as pa

from analyses.figures import to_csv


def plain(answer: pa.Table) -> pa.Table:
    """The table with numbers, booleans and text as they are and every other column as text."""
    return pa.table(list(map(_plain, answer.columns)), names=answer.column_names)


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    kind = column.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return column
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return column
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return column.cast(pa.string())
    return pa.array([None if value is None else _text(value) for value in column.to_pylist()], pa.string())


def _text(value: object) -> str:
    return json.dumps(value, default=str) if isinstance(value, dict | list) else str(value)


def csv_of(answer: pa.Table) -> bytes:
    """UTF-8 CSV, floats to full precision."""
    return to_csv(plain(answer))
