"""`concordance sql`: one SELECT over the store's tables, as a table, JSON or CSV."""

import json
import sys
from typing import Annotated

import pyarrow as pa
import typer

from analyses.sql_answer import csv_of
from engine.client import connect

SHOWN, WIDTH = 50, 40


def sql_command(
    query: Annotated[str | None, typer.Argument(help="One SELECT; without it the tables are listed.")] = None,
    rows: Annotated[int, typer.Option(min=1, max=100_000, help="Rows at most.")] = 10_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of rows as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Ask the store's tables with SQL, read-only: runs, claims, labels and the tables of every study."""
    client = connect()
    if query is None:
        found = client.sql_tables()
        lines = [
            f"{one['table']} ({one['rows']:,} rows): {', '.join(column['name'] for column in one['columns'])}"
            for one in found
        ]
        print(json.dumps(found, indent=2) if as_json else "\n".join(lines))
        return
    table = client.sql(query, rows)
    if as_json:
        print(json.dumps(table.to_pylist(), indent=2, default=str))
    elif as_csv:
        print(csv_of(table).decode(), end="")
    else:
        print(_text(table))
    if (table.schema.metadata or {}).get(b"more") == b"true":
        print(f"Only the first {table.num_rows:,} rows; ask for more with --rows.", file=sys.stderr)


def _text(table: pa.Table) -> str:
    """The first rows under their names, in columns; long texts are cut."""
    rows = [
        table.column_names,
        *([_cell(v) for v in row.values()] for row in table.slice(0, SHOWN).to_pylist()),
    ]
    if len(rows) == 1:
        return "  ".join(table.column_names) + "\nno rows"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    if table.num_rows > SHOWN:
        lines.append(f"… {table.num_rows:,} rows; --csv or --json gives all")
    return "\n".join(lines)


def _cell(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else "" if value is None else str(value)
    text = "".join(c if c.isprintable() else "�" for c in text)
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
