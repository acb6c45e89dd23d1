import json
from pathlib import Path

import pyarrow as pa
import pytest
import torch

from data.files import atomic_folder, write_json
from engine.events import read_events, thin
from engine.run import LOG_DAMAGED, Run, damaged_files, metrics_table, write_manifest


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_json(tmp_path / "config.json", {"id": "x", "study": "s", "seeds": [0], "data_seed": 0})
    return Run(tmp_path, None)


def test_restore_returns_the_newest_checkpoint_exactly(run: Run) -> None:
    for step in (10, 20, 30):
        run.checkpoint(step, {"w": torch.full((3,), float(step))}, {"position": step * 2})
    step, tensors, state = run.restore()
    assert (step, state) == (30, {"position": 60})
    assert torch.equal(tensors["w"], torch.full((3,), 30.0))
    assert len(list((run.directory / "checkpoints").iterdir())) == 2


@pytest.mark.parametrize("damage", ["truncate", "flip", "missing"])
def test_damaged_checkpoint_falls_back_to_the_previous(run: Run, damage: str) -> None:
    for step in (10, 20):
        run.checkpoint(step, {"w": torch.full((3,), float(step))}, {})
    file = run.directory / "checkpoints" / "step-0000000020" / "tensors.safetensors"
    content = file.read_bytes()
    if damage == "truncate":
        file.write_bytes(content[:-4])
    elif damage == "flip":
        file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        file.unlink()
    restored = run.restore()
    assert restored is not None and restored[0] == 10
    messages = [
        row["text"] for row in read_events(run.directory / "events.jsonl", 0)[0] if row["kind"] == "message"
    ]
    assert any("damaged" in text for text in messages)


def test_a_study_that_trains_on_the_processor_resumes_there_beside_a_gpu(run: Run) -> None:
    run.device = "cuda"
    run.checkpoint(10, {"w": torch.ones(3)}, {})
    restored = run.restore()
    assert restored is not None and restored[1]["w"].device.type == "cpu"


@pytest.mark.parametrize("damage", ["none", "truncate", "flip"])
def test_a_log_damaged_before_the_checkpoint_is_told_of(run: Run, damage: str) -> None:
    run.log(1, seed=0, loss=2.0)
    run.checkpoint(10, {"w": torch.ones(1)}, {"position": 3})
    path = run.directory / "events.jsonl"
    content = path.read_text()
    if damage != "none":
        path.write_text(content[:-150] if damage == "truncate" else content.replace("2.0", "6.0"))
    restored = Run(run.directory, None).restore()
    assert restored is not None and restored[2] == {"position": 3}
    texts = [row.get("text") for row in read_events(path, 0)[0]]
    assert (LOG_DAMAGED in texts) == (damage != "none")


def test_no_checkpoint_is_none(run: Run) -> None:
    assert run.restore() is None


def test_tables_are_checked_and_atomic(run: Run) -> None:
    with pytest.raises(KeyError, match="gt_mcc_abs"):
        run.write_table("gt_trajectory", pa.table({"step": [0], "seed": [0]}))
    run.write_table("gt_trajectory", pa.table({"step": [0], "seed": [0], "gt_mcc_abs": [0.5]}))
    write_manifest(run.directory)
    assert damaged_files(run.directory) == []
    (run.directory / "tables" / "gt_trajectory.parquet").write_bytes(b"x")
    assert damaged_files(run.directory) == ["tables/gt_trajectory.parquet"]


def test_failed_folder_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "new") as folder:
        (folder / "half").write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_events_are_read_by_cursor_and_a_torn_line_waits(run: Run) -> None:
    run.log(1, seed=0, loss=2.0)
    path = run.directory / "events.jsonl"
    rows, cursor = read_events(path, 0)
    assert [row["loss"] for row in rows] == [2.0]
    with path.open("a") as file:
        file.write('{"t": 1, "kind": "message", "te')
    assert read_events(path, cursor) == ([], cursor)
    with path.open("a") as file:
        file.write('xt": "a"}\n')
    assert read_events(path, cursor)[0] == [{"t": 1, "kind": "message", "text": "a"}]


def test_lines_with_a_bit_turned_in_a_key_are_left_out(run: Run) -> None:
    run.log(1, seed=0, loss=2.0)
    run.progress(1, 2, "training")
    run.end("done")
    path = run.directory / "events.jsonl"
    whole = path.read_text()
    for key in ("t", "kind", "step", "seed", "eta_s", "state"):
        path.write_text(whole.replace(f'"{key}":', f'"{key[:-1]}~":') + "[]\n3\n")
        rows = read_events(path, 0)[0]
        assert len(rows) < 3
        assert thin(rows, 10) == rows
        metrics_table(run.directory)


def test_thinning_keeps_the_last_point_of_each_seed() -> None:
    rows = [
        {"kind": "log", "t": step + seed / 10, "step": step, "seed": seed, "loss": 1.0}
        for step in range(500)
        for seed in range(2)
    ]
    kept = thin(rows, 100)
    assert 90 <= len(kept) <= 110
    for seed in range(2):
        assert max(row["step"] for row in kept if row["seed"] == seed) == 499


def test_metrics_table_keeps_the_last_value_and_no_timings(run: Run) -> None:
    run.log(1, seed=0, loss=2.0, activations_per_second=5)
    run.log(1, seed=0, loss=1.0, activations_per_second=7)
    assert metrics_table(run.directory).to_pylist() == [{"step": 1, "seed": 0, "name": "loss", "value": 1.0}]


def test_progress_extrapolates_the_remaining_time(run: Run) -> None:
    run.progress(0, 10, "training")
    run.progress(10, 10, "training")
    last = json.loads((run.directory / "events.jsonl").read_text().splitlines()[-1])
    assert last["eta_s"] == 0


def test_events_beyond_the_end_are_none_and_the_cursor_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "log"}\n')
    assert read_events(path, 10**30) == ([], path.stat().st_size)
