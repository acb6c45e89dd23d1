"""The DuckDB store. The engine is the only process that opens it; run directories can rebuild it."""

import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from data.files import read_json, write_json
from engine import database, schema
from engine.database import LIBRARY, Connection
from engine.errors import UserError
from engine.run import damaged_files
from engine.schema import quoted

MAX_ROWS = 5_000_000
T = TypeVar("T")


class Store:
    """One writing connection on `home/store.duckdb`, a cursor per call."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._lock = threading.RLock()
        self._connection: Connection | None = database.open_database(home)

    def close(self) -> None:
        with self._lock:
            if self._connection:
                self._connection.close()

    def _alone(self, action: Callable[[Connection], T]) -> T:
        """Do something with the connection, under the lock.

        After a disk that was full at a checkpoint DuckDB refuses everything: such a connection is closed, and the next action
        opens another. Damage that comes to light here is mended as at the start.
        """
        with self._lock:
            if self._connection is None:
                self._connection = database.open_database(self.home)
            try:
                return action(self._connection)
            except duckdb.Error as error:
                is_corrupt = database.CORRUPT in str(error)
                if is_corrupt or isinstance(error, duckdb.FatalException):
                    self._drop()
                if not is_corrupt:
                    raise
            database.set_aside(self.home)
            self._connection = database.open_database(self.home)
            return action(self._connection)

    def _drop(self) -> None:
        if self._connection:
            with suppress(duckdb.Error):
                self._connection.close()
        self._connection = None

    def _cursor(self) -> Connection:
        return self._alone(lambda connection: connection.cursor())

    def save_run(self, record: dict[str, Any], state: dict[str, Any]) -> None:
        """Insert or replace a run's row."""
        self._alone(lambda connection: database.put_run(connection, record, state))

    def load_tables(self, directory: Path) -> None:
        """Replace every table row of a finished run by its Parquet, in one transaction. Raises UnreadableTables."""

        def load(connection: Connection) -> None:
            database.load_tables(connection, directory)
            connection.execute("CHECKPOINT")

        self._alone(load)

    def register_activations(self, folder: Path) -> bool:
        """Insert or replace the shard rows of an activation folder's manifest; False where that is damaged."""
        return self._alone(lambda connection: database.register_activations(connection, folder))

    def save_claims(self, study: str, rows: list[dict[str, Any]]) -> None:
        """Replace a study's claims, on disk first."""
        folder = self.home / "claims"
        folder.mkdir(exist_ok=True)
        write_json(folder / f"{study}.json", rows)
        self._alone(lambda connection: database.load_claims(connection, folder / f"{study}.json"))

    def load_library(self) -> None:
        """Replace labels and lists by those of `library.json`."""
        self._alone(lambda connection: database.load_library(connection, self.home / LIBRARY))

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
        try:
            database.read_whole(self._cursor(), sys.maxsize)
            return self._differences(still)
        except duckdb.Error as error:
            told = str(error).splitlines()[0].rstrip(".")
            return [f"{database.DATABASE} cannot be read ({told}); `concordance store rebuild` makes it anew"]

    def _differences(self, still: AbstractContextManager[object]) -> list[str]:
        problems: list[str] = []
        cursor = self._cursor()
        known = self.states()
        for directory in database.run_directories(self.home):
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
        for folder in database.activation_folders(self.home):
            shards = database.shards(folder)
            if shards is None:
                problems.append(f"activations {folder.name}: manifest.json is damaged")
            problems += [
                f"activations {folder.name}: {shard['file']} is gone"
                for shard in shards or []
                if not (folder / shard["file"]).exists()
            ]
        return problems

    def rebuild(self) -> int:
        """Build the database anew from the run directories and swap it in; the number of runs."""
        with self._lock:
            count = database.build(self.home)
            self._drop()
            database.swap_in(self.home)
        return count


def _state(directory: Path) -> str | None:
    """None where state.json is damaged."""
    try:
        return str(read_json(directory / "state.json")["state"])
    except database.DAMAGED_FILE:
        return None


def _count_differences(cursor: Connection, directory: Path) -> list[str]:
    """Tables of which the store has other rows than a Parquet file; one that cannot be read is named by its hash."""
    problems = []
    for name in schema.RUN_TABLES:
        try:
            rows = pq.read_metadata(directory / "tables" / f"{name}.parquet").num_rows
        except (OSError, pa.ArrowException):
            continue
        count = cursor.execute(f"SELECT count(*) FROM {name} WHERE run_id = ?", [directory.name]).fetchone()
        stored = count[0] if count else 0
        if stored != rows:
            problems.append(
                f"run {directory.name}: {name} has {stored} rows in the store and {rows} in its Parquet"
            )
    return problems
