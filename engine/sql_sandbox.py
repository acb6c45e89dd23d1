"""The child process that answers one SQL query of a user: `python -m engine.sql_sandbox`, a request on stdin, Arrow on stdout.

Two walls stand one behind the other. The query is parsed, and only one SELECT over the declared tables, without functions
that read files or settings, goes on (`checked`). It then runs in a DuckDB of its own, in memory, that may open no file but
the Parquet of the tables it names, can write none, and whose settings are locked (`sandbox`). The store is never opened here.
"""

import json
import re
import resource
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import duckdb
import pyarrow as pa

from engine.errors import UserError
from engine.plain_text import one_line
from engine.schema import create_statement, known_tables, quoted
from engine.tables import RUN_TABLES

FIELD = "sql"
MOST_ROWS, MOST_BYTES = 100_000, 64 << 20
DUCKDB_MEMORY, ALL_MEMORY = "1GB", 3 << 30
BATCH = 2_048
TABLE_FUNCTIONS = frozenset({"range", "generate_series", "unnest", "json_each", "json_tree"})
REFUSED_FUNCTIONS = frozenset(
    {
        "current_query", "current_query_id", "current_setting", "currval", "getenv", "getvariable", "nextval",
        "setseed", "setval", "sleep_ms", "stats", "write_log",
    }
)  # fmt: skip
QUERY_NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
CTE_NAME = re.compile(r"[A-Za-z_]\w*")
INTERNAL = "SELECT view_name FROM duckdb_views() WHERE internal AND schema_name <> 'information_schema'"
ONLY = "only one SELECT over the tables listed can be asked"
Files = Mapping[str, Mapping[str, str]]  # table → run id → Parquet


def checked(text: str) -> set[str]:
    """The declared tables that a query names. Raises UserError for all but one SELECT without forbidden parts."""
    with _refusing(0), duckdb.connect(config={"threads": "1"}) as parser:
        row = parser.execute("SELECT json_serialize_sql(?)", [text]).fetchone()
        internal = {name for (name,) in parser.execute(INTERNAL).fetchall()}
    try:
        tree = json.loads(row[0]) if row else {}
        nodes = list(_nodes(tree))
    except RecursionError:
        raise UserError(FIELD, "the query is nested too deeply; write it flatter.") from None
    if tree.get("error", True):
        syntax = tree.get("error_type") == "parser"
        why = _told(tree.get("error_message", "")) if syntax else ONLY
        raise UserError(FIELD, f"{why}.")
    if len(tree["statements"]) != 1:
        raise UserError(FIELD, f"{len(tree['statements'])} statements were given; {ONLY}.")
    named = _cte_names(nodes, internal)
    return {table for node in nodes if (table := _table(node, named))}


def _cte_names(nodes: list[dict[str, Any]], internal: set[str]) -> set[str]:
    """What the query's WITHs name, in small letters. Raises UserError for a name that could reach something else."""
    named = {entry["key"].lower() for node in nodes for entry in (node.get("cte_map") or {}).get("map", [])}
    if unusual := sorted(name for name in named if not CTE_NAME.fullmatch(name)):
        raise UserError(FIELD, f"{unusual[0][:60]!r} cannot name a WITH; use letters, digits and _.")
    if taken := sorted(named & internal):
        raise UserError(FIELD, f"{taken[0]!r} cannot name a WITH; a view of DuckDB's own has that name.")
    return named


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document."""
    waiting = [tree]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _table(node: dict[str, Any], named: set[str]) -> str | None:
    """The declared table that a node of the parsed query reads, if it reads one. Raises UserError for what is forbidden."""
    kind = node.get("type")
    if isinstance(kind, str) and kind.endswith("_NODE") and kind not in QUERY_NODES:
        raise UserError(FIELD, f"{ONLY}.")
    if kind == "TABLE_FUNCTION":
        name = str(node["function"].get("function_name", "")).lower()
        if name not in TABLE_FUNCTIONS:
            raise UserError(
                FIELD, f"{name[:60]}() is not allowed in FROM; {', '.join(sorted(TABLE_FUNCTIONS))} are."
            )
    if str(node.get("function_name", "")).lower() in REFUSED_FUNCTIONS:
        raise UserError(FIELD, f"{node['function_name'][:60]}() is not allowed.")
    if kind == "SHOW_REF" and not node.get("query"):
        raise UserError(FIELD, f"{ONLY}; DESCRIBE and SUMMARIZE take one of these too.")
    if kind != "BASE_TABLE":
        return None
    name = node["table_name"]
    if node["catalog_name"] or node["schema_name"] not in ("", "main"):
        raise UserError(
            FIELD, f"{name[:60]!r} is not one of the tables listed; leave catalog and schema out."
        )
    if name.lower() in known_tables():
        return str(name.lower())
    if name.lower() in named and not node["schema_name"]:
        return None
    raise UserError(FIELD, f"there is no table {name[:60]!r}; the list of tables names all.")


def sandbox(tables: set[str], files: Files, small: Mapping[str, pa.Table]) -> duckdb.DuckDBPyConnection:
    """A locked DuckDB in memory with these tables: those of runs read their Parquet in place, `small` ones are copied."""
    paths = sorted(path for name in tables for path in files.get(name, {}).values())
    connection = duckdb.connect(
        config={
            "threads": "2",
            "memory_limit": DUCKDB_MEMORY,
            "temp_directory": "",
            "autoload_known_extensions": "false",
            "autoinstall_known_extensions": "false",
        }
    )
    connection.execute("SET allowed_paths = $paths", {"paths": paths})
    connection.execute("SET enable_external_access = false")
    for name in sorted(tables):
        if name in small:
            connection.register("given", small[name])
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM given")
            connection.unregister("given")
        elif found := sorted(files.get(name, {}).values()):
            listed = ", ".join("'" + path.replace("'", "''") + "'" for path in found)
            connection.execute(
                f"CREATE VIEW {name} AS SELECT parse_path(filename)[-3] AS run_id, {quoted(RUN_TABLES[name])} "
                f"FROM read_parquet([{listed}], filename = true)"
            )
        else:
            connection.execute(create_statement(name))
    connection.execute("SET lock_configuration = true")
    return connection


def answer(
    text: str, seconds: float, rows: int, files: Files, small: Mapping[str, pa.Table]
) -> tuple[pa.Schema, list[pa.RecordBatch], bool]:
    """Columns, rows, and whether there were more rows than `rows`. Raises UserError for a query that cannot be answered."""
    tables = checked(text)
    with _refusing(seconds), sandbox(tables, files, small) as connection:
        timer = threading.Timer(seconds, connection.interrupt)
        timer.start()
        try:
            reader = connection.sql(text).to_arrow_reader(BATCH)
            batches, more = _limited(reader, rows)
        finally:
            timer.cancel()
    return _renamed(reader.schema), batches, more


@contextmanager
def _refusing(seconds: float) -> Iterator[None]:
    """What can go wrong with a query, as one sentence; once rows come, DuckDB's errors arrive as Arrow's."""
    try:
        yield
    except MemoryError:
        raise _too_much() from None
    except (duckdb.Error, pa.ArrowException, OSError, UnicodeError) as error:
        said = str(error)
        if isinstance(error, duckdb.InterruptException) or said.startswith("INTERRUPT"):
            raise UserError(FIELD, f"it took longer than {seconds:g} s; ask for less at once.") from None
        if isinstance(error, duckdb.OutOfMemoryException) or said.startswith("Out of Memory"):
            raise _too_much() from None
        raise UserError(FIELD, f"{_told(said)}.") from None


def _too_much() -> UserError:
    return UserError(FIELD, f"it needs more than {DUCKDB_MEMORY} of memory; ask for less at once.")


def _limited(reader: pa.RecordBatchReader, rows: int) -> tuple[list[pa.RecordBatch], bool]:
    batches, size = [], 0
    for batch in reader:
        batch, more = batch.slice(0, rows), batch.num_rows > rows
        batches.append(batch)
        rows -= batch.num_rows
        size += batch.nbytes
        if size > MOST_BYTES:
            raise UserError(
                FIELD, f"the answer is larger than {MOST_BYTES >> 20} MB; ask for fewer rows or columns."
            )
        if more:
            return batches, True
    return batches, False


def _renamed(schema: pa.Schema) -> pa.Schema:
    """The columns, those of one name told apart by a number, as data frames need it."""
    names: list[str] = []
    for name in schema.names:
        number, wanted = 1, name
        while wanted in names:
            number, wanted = number + 1, f"{name}_{number}"
        names.append(wanted)
    return pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])


def _told(message: str) -> str:
    """DuckDB's first sentence of an error, on one line."""
    first = message.split("\n")[0].split(' Use "SET')[0]
    return one_line(first, 300).rstrip(".! ") or "the query cannot be read"


def confine() -> None:
    """From here on: bounded memory, no file written, no core dumped."""
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    limit = in_use * resource.getpagesize() + ALL_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Read a request (a line of JSON, then Arrow streams of the small tables it names), write a line of JSON and Arrow."""
    request = json.loads(source.readline())
    small = {name: pa.ipc.open_stream(source).read_all() for name in request["small"]}
    confine()
    try:
        schema, batches, more = answer(
            request["sql"], request["seconds"], request["rows"], request["files"], small
        )
    except UserError as error:
        target.write(json.dumps({"refused": error.message}).encode() + b"\n")
        return
    target.write(b"{}\n")
    schema = schema.with_metadata({"more": json.dumps(more)})
    with pa.ipc.new_stream(target, schema) as writer:
        for batch in batches:
            writer.write_batch(pa.record_batch(batch.columns, schema=schema))


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
