"""Read-only SQL: what it answers, and that neither the parser's wall nor the sandbox behind it lets anything else through."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.client import Client, EngineError
from engine.errors import UserError
from engine.sql_sandbox import answer, checked, sandbox
from engine.tables import RUN_TABLES
from tests.conftest import TINY_WORLD

RUN = "aaaaaaaaaaa1"
WRITES = [
    "INSERT INTO runs VALUES ('x')",
    "UPDATE runs SET id = 'x'",
    "DELETE FROM runs",
    "TRUNCATE runs",
    "MERGE INTO runs USING runs r ON true WHEN MATCHED THEN DELETE",
    "WITH t AS (INSERT INTO runs SELECT * FROM runs RETURNING id) SELECT * FROM t",
    "WITH t AS (DELETE FROM runs RETURNING id) SELECT * FROM t",
    "WITH t AS (UPDATE runs SET id = 'x' RETURNING id) SELECT * FROM t",
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW runs AS SELECT 1",
    "CREATE MACRO f() AS 1",
    "CREATE SECRET (TYPE s3)",
    "ALTER TABLE runs ADD COLUMN x INT",
    "DROP TABLE runs",
    "COMMENT ON TABLE runs IS 'x'",
    "COPY runs TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{folder}/out.parquet' (FORMAT parquet)",
    "EXPORT DATABASE '{folder}/out'",
    "ATTACH '{folder}/out.db'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '900GB'",
    "RESET memory_limit",
    "PRAGMA enable_profiling",
    "CALL force_checkpoint()",
    "CHECKPOINT",
    "VACUUM",
    "BEGIN",
    "USE main",
    "PREPARE p AS SELECT 1",
    "EXPLAIN ANALYZE SELECT 1",
]
FILES = [
    "SELECT * FROM '{folder}/secret.parquet'",
    'SELECT * FROM "{folder}/secret.csv"',
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM ReAd_BlOb /* so */ ('/etc/passwd')",
    "SELECT * FROM read_csv('{folder}/secret.csv')",
    "SELECT * FROM read_json('{folder}/secret.csv')",
    "SELECT * FROM read_parquet('{folder}/secret.parquet')",
    "SELECT * FROM parquet_metadata('{folder}/secret.parquet')",
    "SELECT * FROM read_duckdb('{folder}/store.duckdb')",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM sniff_csv('{folder}/secret.csv')",
    "SELECT * FROM read_json('http://127.0.0.1:1/x.json')",
    "SELECT (SELECT max(content) FROM read_text('/etc/passwd'))",
    "SELECT 1 WHERE EXISTS (FROM (SELECT * FROM glob('/etc/*')))",
    'WITH "{folder}/secret.csv" AS (SELECT 1) SELECT * FROM "{folder}/secret.csv"',
    "WITH t AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM t",
    "FROM runs UNION ALL BY NAME FROM read_text('/etc/passwd')",
    "SELECT * FROM query('SELECT * FROM read_text(''/etc/passwd'')')",
    "SELECT * FROM query_table('{folder}/secret.csv')",
    "SELECT * FROM duckdb_secrets()",
]
INSIDE = [
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE runs; --",
    "-- only a comment",
    "",
    "SELECT getenv('PATH')",
    "SELECT current_setting('allowed_paths')",
    "SELECT getvariable('x')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_logs()",
    "SELECT * FROM duckdb_tables",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM information_schema.tables",
    "SELECT b.sql FROM runs, (WITH duckdb_views AS (SELECT 1) SELECT 1) a, duckdb_views b",
    "SELECT * FROM (WITH DuckDB_Tables AS (SELECT 1) FROM DuckDB_Tables) a, duckdb_tables",
    "WITH sqlite_master AS (SELECT * FROM sqlite_master) SELECT * FROM sqlite_master",
    "SELECT (WITH pragma_database_list AS (SELECT 1) SELECT 1), path FROM pragma_database_list",
    "WITH RECURSIVE pg_class AS (SELECT 1 UNION ALL FROM pg_class) FROM pg_class",
    "SELECT * FROM system.information_schema.columns",
    "SELECT * FROM pg_catalog.pg_class",
    "SHOW ALL TABLES",
    "SELECT nextval('s')",
    "SELECT write_log('x')",
    "SELECT sleep_ms(60000)",
    "SELECT * FROM arrow_scan(1, 2, 3)",
    "SELECT * FROM python_arrow_scan(1, 2, 3)",
    "SELECT * FROM json_execute_serialized_sql('{{}}')",
    "SELECT " + "(" * 5_000 + "1" + ")" * 5_000,
    "SELECT * FROM " + "(SELECT * FROM " * 600 + "runs" + ")" * 600,
]


@pytest.fixture
def files(tmp_path: Path) -> dict[str, dict[str, str]]:
    """A run's table, and beside it files that no query may see."""
    pq.write_table(pa.table({"a": [1]}), tmp_path / "secret.parquet")
    (tmp_path / "secret.csv").write_text("a\n1\n")
    duckdb.connect(str(tmp_path / "store.duckdb")).close()
    table = tmp_path / "runs" / RUN / "tables" / "saes.parquet"
    table.parent.mkdir(parents=True)
    pq.write_table(pa.table({name: pa.nulls(2, kind) for name, kind in RUN_TABLES["saes"].items()}), table)
    return {"saes": {RUN: str(table)}}


@pytest.mark.parametrize("statement", [*WRITES, *FILES, *INSIDE])
def test_hostile_statements_are_refused_with_one_sentence(tmp_path: Path, statement: str) -> None:
    with pytest.raises(UserError) as caught:
        checked(statement.format(folder=tmp_path))
    assert str(caught.value).startswith("sql: ") and "\n" not in str(caught.value)
    assert str(caught.value).endswith(".") and len(str(caught.value)) < 400


@pytest.mark.parametrize(
    "statement", [*FILES, *(one for one in WRITES if "{folder}" in one or "LOAD" in one)]
)
def test_the_sandbox_alone_reaches_no_file(
    tmp_path: Path, files: dict[str, dict[str, str]], statement: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    with sandbox({"runs"}, files, {"runs": pa.table({"id": [RUN]})}) as connection:
        try:
            found = connection.execute(statement.format(folder=tmp_path)).fetchall()
        except duckdb.Error:
            found = []
    assert found in ([], [(1,)]) and ("WITH" in statement or not found)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_sandbox_cannot_be_unlocked(files: dict[str, dict[str, str]]) -> None:
    with sandbox(set(), files, {}) as connection:
        for setting in ("enable_external_access = true", "memory_limit = '900GB'", "allowed_paths = ['/']"):
            with pytest.raises(duckdb.Error, match=r"locked|Cannot"):
                connection.execute(f"SET {setting}")


def test_a_name_of_a_with_is_its_own_and_a_table_stays_a_table(files: dict[str, dict[str, str]]) -> None:
    inside = "SELECT count(*) AS n, max(x) AS x FROM saes, (WITH saes AS (SELECT 7 AS x) FROM saes)"
    _, (rows,), _ = answer(inside, 10, 10, files, {})
    assert rows.to_pylist() == [{"n": 2, "x": 7}]
    assert answer("WITH Mine AS (SELECT 1 AS x) FROM mine", 10, 10, {}, {})[1][0].to_pylist() == [{"x": 1}]
    assert answer("WITH tables AS (SELECT 1 AS x) FROM tables", 10, 10, {}, {})[1][0].num_rows == 1


ENDLESS = [
    ("SELECT count(*) FROM range(1000000000000)", 1.0, "longer than"),
    ("SELECT sum(a.range * b.range) FROM range(100000000) a, range(100000000) b", 1.0, "longer than"),
    (
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT max(x) FROM t",
        1.0,
        "longer than",
    ),
    ("SELECT repeat('x', 1000000) FROM range(100)", 200, "larger than 64 MB"),
    ("SELECT string_agg(repeat('x', 1000000), '') FROM range(100000)", 200, "more than 1GB"),
]


@pytest.mark.parametrize(("query", "seconds", "why"), ENDLESS)
def test_what_takes_too_much_is_refused(query: str, seconds: float, why: str) -> None:
    with pytest.raises(UserError, match=why):
        answer(query, seconds, 1_000, {}, {})


@pytest.fixture(scope="module")
def trained(engine: Client) -> str:
    run = engine.submit("sae_consistency", TINY_WORLD, [0, 1])["id"]
    assert engine.wait(run)["state"] == "done"
    return str(run)


def test_tables_of_the_schema_are_answered_as_the_store_holds_them(engine: Client, trained: str) -> None:
    wanted = engine.table(trained, "saes").to_pylist()
    assert engine.sql(f"SELECT * FROM saes WHERE run_id = '{trained}'").to_pylist() == wanted
    joined = engine.sql(
        "WITH mine AS (SELECT id, config->>'d_sae' AS width FROM runs) "
        "SELECT width, count(*) AS n FROM mine JOIN saes ON run_id = id GROUP BY ALL"
    )
    assert joined.to_pylist() == [{"width": str(TINY_WORLD["d_sae"]), "n": 2}]
    assert engine.sql("SELECT count(*) AS n FROM sapo_steps").to_pylist() == [{"n": 0}]
    assert engine.sql("SELECT 1 AS a, 2 AS a").column_names == ["a", "a_1"]
    assert engine.sql("SUMMARIZE runs").num_rows == len(engine.sql("FROM runs").column_names)


def test_every_declared_table_can_be_asked(engine: Client, trained: str) -> None:
    tables = {one["table"]: one for one in engine.sql_tables()}
    assert tables["saes"]["rows"] == 2 and tables["runs"]["rows"] == 1 and tables["claims"]["rows"] == 0
    counted = " UNION ALL ".join(f"SELECT '{name}' AS name, count(*) AS n FROM {name}" for name in tables)
    found = {row["name"]: row["n"] for row in engine.sql(counted).to_pylist()}
    assert found == {name: one["rows"] for name, one in tables.items()}


def test_row_limit_and_errors(engine: Client) -> None:
    some = engine.sql("FROM range(10)", rows=4)
    assert some.num_rows == 4 and some.schema.metadata[b"more"] == b"true"
    assert engine.sql("FROM range(4)", rows=4).schema.metadata[b"more"] == b"false"
    for query in ("SELECT nothing FROM runs", "SELEC 1", "SELECT 'x'::INT", "SELECT * FROM '/etc/passwd'"):
        with pytest.raises(EngineError) as caught:
            engine.sql(query)
        assert caught.value.status == 422 and caught.value.message.startswith("sql: ")


def test_command_line(engine: Client, trained: str) -> None:
    def ask(*options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "engine.cli", "sql", *options]
        return subprocess.run(command, capture_output=True, text=True, env=os.environ)

    query = "SELECT id, study, [1, 2] AS list FROM runs"
    assert json.loads(ask(query, "--json").stdout) == [
        {"id": trained, "study": "sae_consistency", "list": [1, 2]}
    ]
    assert list(csv.reader(io.StringIO(ask(query, "--csv").stdout))) == [
        ["id", "study", "list"],
        [trained, "sae_consistency", "[1, 2]"],
    ]
    shown = ask(query).stdout.splitlines()
    assert shown[0].split() == ["id", "study", "list"] and trained in shown[1]
    refused = ask("DROP TABLE runs")
    assert refused.returncode == 2 and refused.stderr.startswith("sql: ")
