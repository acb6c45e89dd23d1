"""The database file: made of the run directories, loaded from their files, set aside where it is damaged."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from data.files import read_json
from engine import schema
from engine.errors import UserError
from engine.schema import quoted
from engine.tools import JOBS

DATABASE = "store.duckdb"
FRESH = f"{DATABASE}.rebuild"
LIBRARY = "library.json"
RECORD = ("study", "config", "seeds", "data_seed", "created")
STATE = ("created", "started", "finished", "error")
STATES = ("queued", "running", "done", "failed", "cancelled", "interrupted")
READ_AT_START = 200_000  # rows; a larger table is read whole by `Store.check` only
HELD = "Could not set lock on file"
CORRUPT = "Corrupt database file"
DISK = ("Could not write", "No space left", "Permission denied", "has been invalidated")
DAMAGED_FILE = (OSError, ValueError, LookupError, TypeError, AttributeError)
Connection = duckdb.DuckDBPyConnection


class UnreadableTables(duckdb.Error):
    """A run's Parquet files cannot be read, or lack what their tables need."""


def open_database(home: Path) -> Connection:
    """The database of a state folder; one that is missing or damaged is built anew. Raises UserError where another process has it."""
    path = home / DATABASE
    if path.exists():
        try:
            return _prepared(path, READ_AT_START)
        except duckdb.Error as error:
            if HELD in str(error):
                raise UserError(
                    "home", f"{path} is open in another process; stop that engine first."
                ) from error
            if any(words in str(error) for words in DISK):
                raise
    set_aside(home)
    build(home)
    swap_in(home)
    return _prepared(path)


def _prepared(path: Path, read: int = 0) -> Connection:
    """A database with every table, of which those of at most `read` rows are read. Raises duckdb.Error where it is damaged."""
    connection = duckdb.connect(str(path), config={"enable_external_access": "true"})
    try:
        for statement in schema.create_statements():
            connection.execute(statement)
        read_whole(connection, read)
    except BaseException:
        connection.close()
        raise
    return connection


def read_whole(connection: Connection, most: int) -> None:
    """Read every block of the tables of at most `most` rows. Raises duckdb.Error where one is damaged."""
    filled = "SELECT table_name FROM duckdb_tables() WHERE estimated_size BETWEEN 1 AND ?"
    for (name,) in connection.execute(filled, [most]).fetchall():
        connection.execute(f"SELECT sum(hash(t)) FROM {name} t").fetchall()


def set_aside(home: Path) -> None:
    """Put a damaged database away with its log, which would be replayed into the next."""
    for file in _files(home / DATABASE):
        file.rename(file.with_name(f"{file.name}.damaged-{time.time():.0f}"))


def _files(path: Path) -> list[Path]:
    """A database and its log, as far as they are there."""
    return [file for file in (path, path.with_name(f"{path.name}.wal")) if file.exists()]


def build(home: Path) -> int:
    """Make a database of the run directories in the file FRESH; the number of runs."""
    for file in _files(home / FRESH):
        file.unlink()
    connection = _prepared(home / FRESH)
    try:
        return _load_everything(connection, home)
    finally:
        connection.close()


def run_directories(home: Path) -> Iterator[Path]:
    yield from sorted(
        path.parent for path in (home / "runs").glob("*/state.json") if not path.parent.name.startswith(".")
    )


def readable_runs(home: Path) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Directory, record and state of every run; one whose records are damaged is put aside as `runs/.damaged-ID-TIME`.

    One of a study unknown here, which another version may know, is left where it is.
    """
    for directory in list(run_directories(home)):
        try:
            record, state = read_json(directory / "config.json"), read_json(directory / "state.json")
            _require_sound(directory.name, record, state)
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            directory.rename(directory.with_name(f".damaged-{directory.name}-{time.time():.0f}"))
        else:
            if record["study"] in JOBS:
                yield directory, record, state


def _require_sound(run_id: str, record: dict[str, Any], state: dict[str, Any]) -> None:
    """Raises ValueError, LookupError or TypeError where a run's records lack what the scheduler counts on."""
    _ = [record[name] for name in RECORD], [state[name] for name in STATE]
    _ = state["queued"] if state["state"] == "queued" else None
    _ = [state[name] for name in ("pid", "born")] if state["state"] == "running" else None
    if record["id"] != run_id or state["state"] not in STATES:
        raise ValueError(run_id)


def activation_folders(home: Path) -> Iterator[Path]:
    yield from sorted(
        path.parent
        for path in (home / "activations").glob("*/manifest.json")
        if not path.parent.name.startswith(".")
    )


def shards(folder: Path) -> list[dict[str, Any]] | None:
    """The rows of an activation folder's manifest; None where that is damaged."""
    try:
        manifest = read_json(folder / "manifest.json")
        rows = [{**manifest, **shard, "fingerprint": folder.name} for shard in manifest["shards"]]
        return rows if all(row["file"] for row in rows) else None
    except DAMAGED_FILE:
        return None


def swap_in(home: Path) -> None:
    """Put the database that `build` made into the place of a closed one."""
    (home / f"{DATABASE}.wal").unlink(missing_ok=True)
    os.replace(home / FRESH, home / DATABASE)


def _load_everything(connection: Connection, home: Path) -> int:
    """What cannot be read is left out, as `Store.check` then says."""
    count = 0
    for directory, record, state in readable_runs(home):
        put_run(connection, record, state)
        if state["state"] == "done":
            with suppress(UnreadableTables):
                load_tables(connection, directory, replace=False)
        count += 1
    for folder in activation_folders(home):
        register_activations(connection, folder)
    for path in sorted((home / "claims").glob("*.json")):
        load_claims(connection, path)
    load_library(connection, home / LIBRARY)
    connection.execute("CHECKPOINT")
    return count


def put_run(connection: Connection, record: dict[str, Any], state: dict[str, Any]) -> None:
    merged = {**record, **state}
    merged["config"] = json.dumps(record["config"], sort_keys=True)
    merged["seeds"] = json.dumps(record["seeds"])
    _replace(connection, "runs", "id", record["id"], [merged])


def _transaction(connection: Connection, statements: list[tuple[str, list[Any]]]) -> None:
    connection.execute("BEGIN")
    try:
        for sql, values in statements:
            connection.execute(sql, values)
        connection.execute("COMMIT")
    except BaseException:
        with suppress(duckdb.Error):
            connection.execute("ROLLBACK")
        raise


def load_tables(connection: Connection, directory: Path, replace: bool = True) -> None:
    """A finished run's rows; `replace` those the database may have of it, which costs half of the time.

    Raises UnreadableTables where that is due to the run's files.
    """
    statements: list[tuple[str, list[Any]]] = []
    for name, columns in schema.RUN_TABLES.items():
        if replace:
            statements.append((f"DELETE FROM {name} WHERE run_id = ?", [directory.name]))
        path = directory / "tables" / f"{name}.parquet"
        if path.exists():
            sql = f"INSERT INTO {name} SELECT ?, {quoted(columns)} FROM read_parquet(?)"
            statements.append((sql, [directory.name, str(path)]))
    try:
        _transaction(connection, statements)
    except duckdb.Error as error:
        _require_readable(directory)
        raise error


def _require_readable(directory: Path) -> None:
    """Read a run's tables without the database. Raises UnreadableTables."""
    with duckdb.connect() as apart:
        for name, columns in schema.RUN_TABLES.items():
            path = directory / "tables" / f"{name}.parquet"
            cells = ", ".join(f"{quoted([c])}::{schema.sql_type(t)}" for c, t in columns.items())
            try:
                if path.exists():
                    apart.execute(f"SELECT sum(hash({cells})) FROM read_parquet(?)", [str(path)]).fetchall()
            except duckdb.Error as error:
                raise UnreadableTables(str(error)) from error


def register_activations(connection: Connection, folder: Path) -> bool:
    """Insert or replace a manifest's rows; False where it is damaged."""
    rows = shards(folder)
    if rows is not None:
        _replace(connection, "activation_shards", "fingerprint", folder.name, rows)
    return rows is not None


def _replace(connection: Connection, table: str, key: str, value: str, rows: list[dict[str, Any]]) -> None:
    """Put `rows` in the place of those whose `key` is `value`."""
    columns = list(schema.STORE_TABLES[table])
    insert = f"INSERT INTO {table} VALUES ({', '.join('?' * len(columns))})"
    _transaction(
        connection,
        [
            (f"DELETE FROM {table} WHERE {key} = ?", [value]),
            *((insert, [row.get(column) for column in columns]) for row in rows),
        ],
    )


def load_library(connection: Connection, path: Path) -> None:
    try:
        library = read_json(path) if path.exists() else {}
    except ValueError:
        library = {}
    statements: list[tuple[str, list[Any]]] = []
    for name in ("labels", "lists"):
        columns = schema.STORE_TABLES[name]
        rows = pa.Table.from_pylist(library.get(name, []), schema=pa.schema(list(columns.items())))
        connection.register(f"new_{name}", rows)
        statements += [
            (f"DELETE FROM {name}", []),
            (f"INSERT INTO {name} SELECT {', '.join(columns)} FROM new_{name}", []),
        ]
    _transaction(connection, statements)


def load_claims(connection: Connection, path: Path) -> None:
    try:
        rows = [dict(row) for row in read_json(path)]
    except DAMAGED_FILE:
        rows = []
    _replace(connection, "claims", "study", path.stem, rows)
