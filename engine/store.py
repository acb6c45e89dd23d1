"""The DuckDB store. The engine is the only process that opens it; run directories can rebuild it."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data.files import read_json, write_json
from engine import schema
from engine.errors import UserError
from engine.run import damaged_files
from engine.schema import quoted

DATABASE = "store.duckdb"
LIBRARY = "library.json"
RECORD = ("id", "study", "config", "seeds", "created")
MAX_ROWS = 5_000_000


class Store:
    """One writing connection on `home/store.duckdb`, a cursor per call."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = threading.RLock()
        self._connection = self._open()

    def _open(self) -> duckdb.DuckDBPyConnection:
        path = self.home / DATABASE
        new = not path.exists()
        try:
            connection = _prepared(path)
        except duckdb.IOException as error:
            if "lock" in str(error).lower():
                raise UserError(
                    "home", f"{path} is open in another process; stop that engine first."
                ) from error
            path.rename(path.with_name(f"{DATABASE}.damaged-{int(time.time())}"))
            connection, new = _prepared(path), True
        if new:
            _load_everything(connection, self.home)
        return connection

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        with self._lock:
            return self._connection.cursor()

    def save_run(self, record: dict[str, Any], state: dict[str, Any]) -> None:
        """Insert or replace a run's row."""
        with self._lock:
            _put_run(self._connection, record, state)

    def load_tables(self, directory: Path) -> None:
        """Replace every table row of a finished run by its Parquet, in one transaction."""
        with self._lock:
            _load_tables(self._connection, directory)
            self._connection.execute("CHECKPOINT")

    def register_activations(self, folder: Path) -> None:
        """Insert or replace the shard rows of an activation folder's manifest."""
        with self._lock:
            _register_activations(self._connection, folder)

    def save_claims(self, study: str, rows: list[dict[str, Any]]) -> None:
        """Replace a study's claims, on disk first."""
        folder = self.home / "claims"
        folder.mkdir(exist_ok=True)
        write_json(folder / f"{study}.json", rows)
        with self._lock:
            _load_claims(self._connection, folder / f"{study}.json")

    def load_library(self) -> None:
        """Replace labels and lists by those of `library.json`."""
        with self._lock:
            _load_library(self._connection, self.home / LIBRARY)

    def sql(self, text: str, values: list[Any], views: dict[str, pa.Table] | None = None) -> pa.Table:
        """Rows of a query of ours; `views` are Arrow tables it may name. Never for text of a user."""
        cursor = self._cursor()
        for name, table in (views or {}).items():
            cursor.register(name, table)
        return cursor.sql(text, params=values).to_arrow_table()

    def counts(self) -> dict[str, int]:
        """Rows of every table."""
        names = list(schema.known_tables())
        each = " UNION ALL ".join(f"SELECT '{name}' AS name, count(*) AS rows FROM {name}" for name in names)
        return dict(self._cursor().execute(each).fetchall())

    def claims(self, study: str) -> pa.Table:
        return self._cursor().sql("SELECT * FROM claims WHERE study = ?", params=[study]).to_arrow_table()

    def rows(
        self,
        run_id: str,
        name: str,
        columns: list[str] | None,
        where: dict[str, Any],
        order: str | None,
        limit: int | None,
        offset: int,
    ) -> pa.RecordBatchReader:
        """Stream a run's table rows. Raises UserError for an unknown table or column."""
        if name not in schema.RUN_TABLES:
            raise UserError(
                "table", f"{name!r} does not exist; choose one of {', '.join(schema.RUN_TABLES)}."
            )
        known = ["run_id", *schema.RUN_TABLES[name]]
        for column in [*(columns or []), *where, *([order.lstrip("-")] if order else [])]:
            if column not in known:
                raise UserError("column", f"{column!r} is not in {name}; choose from {', '.join(known)}.")
        sql = f"SELECT {quoted(columns or known)} FROM {name} WHERE run_id = ?"
        sql += "".join(f" AND {quoted([column])} = ?" for column in where)
        if order:
            sql += f" ORDER BY {quoted([order.lstrip('-')])} {'DESC' if order.startswith('-') else 'ASC'}"
        sql += f" LIMIT {min(limit or MAX_ROWS, MAX_ROWS)} OFFSET {max(offset, 0)}"
        return self._cursor().sql(sql, params=[run_id, *where.values()]).to_arrow_reader(65_536)

    def states(self) -> dict[str, str]:
        """The state of every run, as the database has it."""
        return dict(self._cursor().execute("SELECT id, state FROM runs").fetchall())

    def check(self, still: AbstractContextManager[object]) -> list[str]:
        """Every disagreement between database, run directories and manifests; empty when sound.

        Within `still` no run changes its state: what disagrees at first sight is looked at again there.
        """
        problems: list[str] = []
        cursor = self._cursor()
        known = self.states()
        for directory in _run_directories(self.home):
            state = _state(directory)
            if known.pop(directory.name, None) != state:
                with still:
                    state = _state(directory)
                    if self.states().get(directory.name) != state:
                        problems.append(f"run {directory.name}: the store disagrees with state.json")
            if state == "done":
                problems += [f"run {directory.name}: {name} is damaged" for name in damaged_files(directory)]
                problems += _count_differences(cursor, directory)
        problems += [f"run {name}: its directory is gone" for name in known]
        problems += [
            f"run {path.name.split('-')[1]}: its config.json or state.json was damaged; what is left of it is in {path}"
            for path in sorted((self.home / "runs").glob(".damaged-*"))
        ]
        for folder in _activation_folders(self.home):
            for shard in read_json(folder / "manifest.json")["shards"]:
                if not (folder / shard["file"]).exists():
                    problems.append(f"activations {folder.name}: {shard['file']} is gone")
        return problems

    def rebuild(self) -> int:
        """Build the database anew from the run directories and swap it in; the number of runs."""
        fresh = self.home / f"{DATABASE}.rebuild"
        fresh.unlink(missing_ok=True)
        with self._lock:
            connection = _prepared(fresh)
            count = _load_everything(connection, self.home)
            connection.close()
            self._connection.close()
            (self.home / f"{DATABASE}.wal").unlink(missing_ok=True)
            os.replace(fresh, self.home / DATABASE)
            self._connection = self._open()
        return count


def _prepared(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path), config={"enable_external_access": "true"})
    for statement in schema.create_statements():
        connection.execute(statement)
    return connection


def _run_directories(home: Path) -> Iterator[Path]:
    yield from sorted(
        path.parent for path in (home / "runs").glob("*/state.json") if not path.parent.name.startswith(".")
    )


def _state(directory: Path) -> str | None:
    """None where state.json is damaged."""
    try:
        return str(read_json(directory / "state.json")["state"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def readable_runs(home: Path) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Directory, record and state of every run; one whose records are damaged is put aside as `runs/.damaged-ID-TIME`."""
    for directory in list(_run_directories(home)):
        try:
            record, state = read_json(directory / "config.json"), read_json(directory / "state.json")
            _ = [record[name] for name in RECORD], state["state"]
        except (FileNotFoundError, ValueError, LookupError, TypeError):
            directory.rename(directory.with_name(f".damaged-{directory.name}-{time.time():.0f}"))
        else:
            yield directory, record, state


def _activation_folders(home: Path) -> Iterator[Path]:
    yield from sorted(
        path.parent
        for path in (home / "activations").glob("*/manifest.json")
        if not path.parent.name.startswith(".")
    )


def _load_everything(connection: duckdb.DuckDBPyConnection, home: Path) -> int:
    count = 0
    for directory, record, state in readable_runs(home):
        _put_run(connection, record, state)
        if state["state"] == "done":
            _load_tables(connection, directory, replace=False)
        count += 1
    for folder in _activation_folders(home):
        _register_activations(connection, folder)
    for path in sorted((home / "claims").glob("*.json")):
        _load_claims(connection, path)
    _load_library(connection, home / LIBRARY)
    connection.execute("CHECKPOINT")
    return count


def _put_run(connection: duckdb.DuckDBPyConnection, record: dict[str, Any], state: dict[str, Any]) -> None:
    merged = {**record, **state}
    merged["config"] = json.dumps(record["config"], sort_keys=True)
    merged["seeds"] = json.dumps(record["seeds"])
    columns = list(schema.STORE_TABLES["runs"])
    _transaction(
        connection,
        [
            ("DELETE FROM runs WHERE id = ?", [record["id"]]),
            (f"INSERT INTO runs VALUES ({', '.join('?' * len(columns))})", [merged.get(c) for c in columns]),
        ],
    )


def _transaction(connection: duckdb.DuckDBPyConnection, statements: list[tuple[str, list[Any]]]) -> None:
    connection.execute("BEGIN")
    try:
        for sql, values in statements:
            connection.execute(sql, values)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def _load_tables(connection: duckdb.DuckDBPyConnection, directory: Path, replace: bool = True) -> None:
    """A finished run's rows; `replace` those the database may have of it, which costs half of the time."""
    statements: list[tuple[str, list[Any]]] = []
    for name, columns in schema.RUN_TABLES.items():
        if replace:
            statements.append((f"DELETE FROM {name} WHERE run_id = ?", [directory.name]))
        path = directory / "tables" / f"{name}.parquet"
        if path.exists():
            sql = f"INSERT INTO {name} SELECT ?, {quoted(columns)} FROM read_parquet(?)"
            statements.append((sql, [directory.name, str(path)]))
    _transaction(connection, statements)


def _register_activations(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    manifest = read_json(folder / "manifest.json")
    columns = list(schema.STORE_TABLES["activation_shards"])
    insert = f"INSERT INTO activation_shards VALUES ({', '.join('?' * len(columns))})"
    rows = [{**manifest, **shard, "fingerprint": folder.name} for shard in manifest["shards"]]
    _transaction(
        connection,
        [
            ("DELETE FROM activation_shards WHERE fingerprint = ?", [folder.name]),
            *((insert, [row.get(column) for column in columns]) for row in rows),
        ],
    )


def _load_library(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
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


def _load_claims(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    columns = list(schema.STORE_TABLES["claims"])
    insert = f"INSERT INTO claims VALUES ({', '.join('?' * len(columns))})"
    _transaction(
        connection,
        [
            ("DELETE FROM claims WHERE study = ?", [path.stem]),
            *((insert, [row.get(column) for column in columns]) for row in read_json(path)),
        ],
    )


def _count_differences(cursor: duckdb.DuckDBPyConnection, directory: Path) -> list[str]:
    problems = []
    for name in schema.RUN_TABLES:
        path = directory / "tables" / f"{name}.parquet"
        if not path.exists():
            continue
        count = cursor.execute(f"SELECT count(*) FROM {name} WHERE run_id = ?", [directory.name]).fetchone()
        stored = count[0] if count else 0
        if stored != (rows := pq.read_metadata(path).num_rows):
            problems.append(
                f"run {directory.name}: {name} has {stored} rows in the store and {rows} in its Parquet"
            )
    return problems
