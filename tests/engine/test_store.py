"""The store where its file, a run's results or the disk fail."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.files import write_json
from engine import database, schema
from engine.run import write_manifest
from engine.schema import run_columns
from engine.store import Store

BLOCK = 262_144
RECORD = {
    "study": "sae_consistency",
    "preset": None,
    "config": {},
    "seeds": [0],
    "data_seed": 0,
    "created": 1.0,
}


DONE = {"state": "done", "created": 1.0, "started": 1.0, "finished": 2.0, "error": None}


def add_run(home: Path, run_id: str, rows: int = 300) -> Path:
    """A finished run with one table."""
    directory = home / "runs" / run_id
    (directory / "tables").mkdir(parents=True)
    write_json(directory / "config.json", {**RECORD, "id": run_id})
    write_json(directory / "state.json", DONE)
    values = {"step": range(rows), "seed": [0] * rows, "gt_mcc_abs": np.random.default_rng(0).random(rows)}
    table = pa.table(values).cast(run_columns("gt_trajectory"))
    pq.write_table(table, directory / "tables" / "gt_trajectory.parquet")
    write_manifest(directory)
    return directory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder with four runs; the store makes three of its tables, which is twenty times as quick as all."""
    few = ("gt_trajectory", "metrics", "saes")
    monkeypatch.setattr(schema, "RUN_TABLES", {name: schema.RUN_TABLES[name] for name in few})
    for i in range(4):
        add_run(tmp_path, f"run{i}")
    return tmp_path


def rows(store: Store) -> int:
    return store.counts()["gt_trajectory"]


def problems(store: Store) -> list[str]:
    return store.check(nullcontext())


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :]


def broken_files(content: bytes) -> Iterator[tuple[str, bytes]]:
    """A bit turned in every header and every block; cut short in three places."""
    for place in [*range(100, 3 * 4096, 4096)]:
        yield f"bit {place}", flipped(content, place)
    for start in range(3 * 4096, len(content), BLOCK):
        place = start + 9 + start // BLOCK * 1000
        yield f"bit {place}", flipped(content, place)
    for i in range(3):
        yield f"cut {i}", content[: i * len(content) // 3]


def test_a_damaged_database_is_set_aside_and_built_anew(home: Path) -> None:
    Store(home).close()
    path = home / database.DATABASE
    sound = path.read_bytes()
    for what, content in broken_files(sound):
        path.write_bytes(content)
        path.with_name(f"{path.name}.wal").write_bytes(b"of the damaged one")
        store = Store(home)
        assert (len(store.states()), rows(store), problems(store)) == (4, 1200, []), what
        store.close()
    aside = [file.name for file in home.glob("*damaged*")]
    assert any(".wal.damaged-" in name for name in aside) and any(
        ".duckdb.damaged-" in name for name in aside
    )


def test_a_damaged_log_is_set_aside_with_its_database(
    home: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store = Store(home)
    add_run(home, "run4")
    store.save_run({**RECORD, "id": "run4"}, {"state": "done"})
    path, log = home / database.DATABASE, home / f"{database.DATABASE}.wal"
    sound, logged = path.read_bytes(), log.read_bytes()
    store.close()
    damaged = [flipped(logged, place) for place in range(30, len(logged), len(logged) // 5)]
    for content in [*damaged, *(logged[: len(logged) * i // 3] for i in range(3))]:
        path.write_bytes(sound)
        log.write_bytes(content)
        again = Store(home)
        assert set(again.states()) - {"run4"} == {f"run{i}" for i in range(4)} and rows(again) >= 1200
        again.close()
    assert list(home.glob("*.wal.damaged-*"))


def test_damage_beyond_what_is_read_at_the_start_is_named_and_mended(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "READ_AT_START", 100)
    add_run(home, "large", rows=30_000)
    Store(home).close()
    path = home / database.DATABASE
    sound = path.read_bytes()
    for start in range(3 * 4096, len(sound), BLOCK):
        path.write_bytes(flipped(sound, start + 3000))
        store = Store(home)
        if named := problems(store):
            assert len(named) == 1 and named[0].startswith("store.duckdb cannot be read (")
            break
        store.close()
    else:
        raise AssertionError("no block of the large table was hit")
    store.load_tables(home / "runs" / "large")
    assert problems(store) == [] and rows(store) == 31_200
    store.close()


def test_a_database_that_another_process_holds_is_not_set_aside(home: Path) -> None:
    Store(home).close()
    code = f"import sys; from engine.store import Store; from pathlib import Path; s = Store(Path({str(home)!r})); print(1, flush=True); sys.stdin.read()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout and other.stdout.readline()
    with pytest.raises(Exception, match="is open in another process"):
        Store(home)
    other.communicate()
    assert not list(home.glob("*damaged*"))


def test_a_truncated_result_is_named_and_left_out(home: Path) -> None:
    store = Store(home)
    parquet = home / "runs" / "run1" / "tables" / "gt_trajectory.parquet"
    parquet.write_bytes(parquet.read_bytes()[:50])
    (home / "runs" / "run2" / "manifest.json").write_text('{"tables/gt')
    found = ["run run1: tables/gt_trajectory.parquet is damaged", "run run2: manifest.json is damaged"]
    assert problems(store) == found
    assert store.rebuild() == 4
    assert rows(store) == 900 and problems(store) == found
    with pytest.raises(database.UnreadableTables):
        store.load_tables(parquet.parent.parent)
    store.close()
    (home / database.DATABASE).unlink()
    again = Store(home)
    assert rows(again) == 900 and problems(again) == found
    again.close()


def test_damaged_manifests_of_activations_and_claims_are_left_out(home: Path) -> None:
    manifest = home / "activations" / "abc" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    (home / "claims").mkdir()
    (home / "claims" / "sr2.json").write_text('[{"study": "sr')
    store = Store(home)
    for content in ('{"shards": [{"fi', '{"shards": [{"fike": "a"}]}', '{"shardt": []}', "[]"):
        manifest.write_text(content)
        assert store.register_activations(manifest.parent) is False
        assert problems(store) == ["activations abc: manifest.json is damaged"]
    assert store.rebuild() == 4
    store.close()


FULL = """
import resource, sys
from pathlib import Path
import duckdb
from engine import database
from engine.store import Store

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def load_and_fill_the_disk(connection, directory):
    load(connection, directory)
    limit(size)

home = Path(sys.argv[1])
store = Store(home)
reader = store._cursor()
size = (home / "store.duckdb").stat().st_size
load, database.load_tables = database.load_tables, load_and_fill_the_disk
for error in (duckdb.FatalException, duckdb.TransactionException):  # at the checkpoint, then at the commit before it
    try:
        store.load_tables(home / "runs" / "big")
    except error as raised:
        assert "Could not write" in str(raised) and "invalidated" not in str(raised), raised
    else:
        raise AssertionError("there was room")
    assert len(store.states()) == 5
database.load_tables = load
limit(resource.RLIM_INFINITY)
store.load_tables(home / "runs" / "big")
assert store.counts()["gt_trajectory"] == 1200 + 60_000, store.counts()
assert not list(home.glob("*damaged*"))
print("recovered")
"""


def test_a_disk_full_at_a_checkpoint_is_survived_by_the_same_store(home: Path) -> None:
    big = add_run(home, "big", rows=60_000)
    write_json(big / "state.json", {**DONE, "state": "failed"})
    done = subprocess.run([sys.executable, "-c", FULL, str(home)], capture_output=True, text=True)
    assert done.stdout == "recovered\n", done.stderr
