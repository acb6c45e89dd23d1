"""Read-only SQL over the store's tables: each query runs in a short-lived child of its own (`engine.sql_sandbox`)."""

import io
import json
import os
import subprocess
import sys
import threading
from typing import Any

import pyarrow as pa
from fastapi import FastAPI, HTTPException
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from engine.access import Access
from engine.errors import UserError
from engine.schema import STORE_TABLES, known_tables, sql_type
from engine.sql_sandbox import FIELD, MOST_ROWS
from engine.store import Store
from engine.tables import RUN_TABLES

ARROW = "application/vnd.apache.arrow.stream"
SECONDS, GRACE = 20.0, 10.0
AT_ONCE = 2
PASSED_ON = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")  # of the environment; keys and tokens stay here


class SqlRequest(BaseModel):
    """One SELECT, and how many rows of its answer are given at most; the schema's metadata says whether there are `more`."""

    model_config = ConfigDict(extra="forbid")

    sql: str = Field(max_length=20_000)
    rows: int = Field(default=10_000, ge=1, le=MOST_ROWS)


def add_sql(app: FastAPI, access: Access, store: Store) -> None:
    """Add the routes that answer a query and list what can be asked."""
    places = threading.Semaphore(AT_ONCE)

    @app.post("/sql", dependencies=access.live)
    def ask(request: SqlRequest) -> Response:
        if not places.acquire(timeout=SECONDS):
            raise HTTPException(429, "sql: other queries are still being answered; ask again in a moment.")
        try:
            return Response(_answer(store, request), media_type=ARROW)
        finally:
            places.release()

    @app.get("/sql/tables", dependencies=access.view)
    def tables() -> list[dict[str, Any]]:
        """Every table that can be asked, its rows and columns; those with rows first."""
        counts = store.counts()
        found = [
            {
                "table": name,
                "rows": counts[name],
                "columns": [{"name": column, "type": sql_type(kind)} for column, kind in columns.items()],
            }
            for name, columns in known_tables().items()
        ]
        return sorted(found, key=lambda one: (one["rows"] == 0, one["table"]))


def _answer(store: Store, request: SqlRequest, seconds: float = SECONDS) -> bytes:
    """The answer as an Arrow stream. Raises UserError where the child refuses, dies or takes too long."""
    asked = {
        **request.model_dump(),
        "seconds": seconds,
        "small": list(STORE_TABLES),
        "files": _parquet(store),
    }
    given = io.BytesIO()
    given.write(json.dumps(asked).encode() + b"\n")
    for name in STORE_TABLES:
        rows = store.sql(f"SELECT * FROM {name}", [])
        with pa.ipc.new_stream(given, rows.schema) as writer:
            writer.write_table(rows)
    child = subprocess.Popen(
        [sys.executable, "-m", "engine.sql_sandbox"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={name: os.environ[name] for name in PASSED_ON if name in os.environ},
    )
    try:
        answer, _ = child.communicate(given.getvalue(), timeout=seconds + GRACE)
    except subprocess.TimeoutExpired:
        raise UserError(FIELD, f"it took longer than {seconds:g} s; ask for less at once.") from None
    finally:
        child.kill()
        child.communicate()
    head, _, table = answer.partition(b"\n")
    if child.returncode or not head:
        raise UserError(FIELD, "it needs more memory than a query gets; ask for less at once.")
    if refusal := json.loads(head).get("refused"):
        raise UserError(FIELD, refusal)
    return table


def _parquet(store: Store) -> dict[str, dict[str, str]]:
    """The Parquet of every table of the finished runs, by table and run."""
    done = store.sql("SELECT id FROM runs WHERE state = 'done'", [])["id"].to_pylist()
    files: dict[str, dict[str, str]] = {}
    for run_id in done:
        folder = store.home / "runs" / run_id / "tables"
        for path in folder.glob("*.parquet"):
            if path.stem in RUN_TABLES:
                files.setdefault(path.stem, {})[run_id] = str(path)
    return files
