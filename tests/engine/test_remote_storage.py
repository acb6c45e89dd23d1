"""A run's directory on storage: what is written anew reaches it and the engine, what is not is left alone."""

import os
from pathlib import Path

import pytest

from engine.remote_storage import RemoteStorage
from engine.run import damaged_files, write_manifest

RUN = "runs/abc"
TABLE = "tables/metrics.parquet"
ENDED = '{"t": 1, "kind": "state", "state": "done"}\n'


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"file://{tmp_path / 'storage'}"


def write(home: Path, name: str, content: str) -> None:
    path = home / RUN / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(content)
    os.replace(path.with_suffix(".tmp"), path)


def finish(home: Path, content: str) -> None:
    write(home, TABLE, content)
    write_manifest(home / RUN)


def read(home: Path) -> tuple[str, list[str]]:
    return (home / RUN / TABLE).read_text(), damaged_files(home / RUN)


@pytest.mark.parametrize("same_process", [True, False])
def test_a_table_and_manifest_written_anew_with_equal_lengths_reach_storage_and_engine(
    tmp_path: Path, url: str, same_process: bool
) -> None:
    node, engine, storage = tmp_path / "node", tmp_path / "engine", RemoteStorage(url)
    write(node, "events.jsonl", ENDED)
    for content in ("first", "later"):
        finish(node, content)
        storage.push(node, RUN)
        assert read(tmp_path / "storage") == (content, [])
        storage.pull(engine, RUN)
        assert read(engine) == (content, [])
        storage = storage if same_process else RemoteStorage(url)


def test_a_table_written_anew_before_there_was_a_manifest_reaches_storage(tmp_path: Path, url: str) -> None:
    home, storage = tmp_path / "node", RemoteStorage(url)
    write(home, TABLE, "first")
    storage.push(home, RUN)
    finish(home, "later on")
    storage.push(home, RUN)
    assert read(tmp_path / "storage") == ("later on", [])


def test_a_table_that_did_not_change_is_sent_once(tmp_path: Path, url: str) -> None:
    home, storage = tmp_path / "node", RemoteStorage(url)
    sent = tmp_path / "storage" / RUN / TABLE
    write(home, TABLE, "first")
    storage.push(home, RUN)
    os.utime(sent, (1, 1))
    write_manifest(home / RUN)
    for again in (storage, storage, RemoteStorage(url)):
        again.push(home, RUN)
        assert sent.stat().st_mtime == 1


def test_bytes_damaged_on_their_way_are_fetched_again(tmp_path: Path, url: str) -> None:
    node, engine, storage = tmp_path / "node", tmp_path / "engine", RemoteStorage(url)
    finish(node, "right")
    storage.push(node, RUN)
    storage.pull(engine, RUN)
    write(engine, TABLE, "wrong")
    storage.pull(engine, RUN)
    assert read(engine) == ("right", [])
