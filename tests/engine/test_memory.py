"""A run that does not fit: said before it is launched, and when memory runs out under it."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from data.files import write_json
from engine import cli, memory, worker
from engine.client import Client
from engine.events import read_events
from engine.executors import KILLED, OUT_OF_MEMORY, LocalExecutor, why_ended
from engine.memory import BATCHES, batch_that_fits, outlook
from engine.run import Run
from engine.studies import STUDIES
from engine.studies.base import Study
from tests.conftest import TINY_WORLD
from tests.sr2.test_training import TINY

pytestmark = pytest.mark.timeout(900)
SR2 = STUDIES["sr2"]
LARGE = {**TINY, "d_model": 128, "d_inner": 256, "recurrences": 4, "batch_size": 8192}
ROOM = 600e6  # bytes beyond what the libraries alone take; a pass takes some 70 MB an array


def library_bytes() -> int:
    """Address space of a process that has what a worker loads."""
    code = "import os, torch, engine.worker, engine.studies.sr2.training; print(open('/proc/self/statm').read().split()[0])"
    pages = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def test_memory_that_runs_out_is_told_with_the_batch_that_fits(tmp_path: Path) -> None:
    directory = tmp_path / "runs" / ("a" * 12)
    directory.mkdir(parents=True)
    config = SR2.Config(**LARGE)
    record = {"id": directory.name, "study": "sr2", "seeds": [0], "data_seed": 0}
    write_json(directory / "config.json", {**record, "config": config.model_dump(mode="json")})
    limit = int(library_bytes() + ROOM)
    ended = subprocess.run(
        [sys.executable, "-m", "engine.worker", str(directory)],
        env={**os.environ, "CONCORDANCE_HOME": str(tmp_path), "CONCORDANCE_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        capture_output=True,
        text=True,
        timeout=800,
    )
    last = read_events(directory / "events.jsonl", 0)[0][-1]
    assert last["state"] == "failed", ended.stderr
    error = last["error"]
    assert "batch_size: memory ran out at batch_size 8,192: this machine gave it" in error
    fits = int(error.partition("scaled to this, batch_size ")[2].partition(" fits")[0].replace(",", ""))
    assert 8192 > fits > 0 and fits & (fits - 1) == 0


def test_a_launch_that_does_not_fit_is_told_before(engine: Client) -> None:
    small = engine.estimate("sr2", TINY, [0])
    assert small["memory_problem"] is None
    assert small["memory_bytes"] < small["available_bytes"] <= psutil.virtual_memory().total
    enough = {
        **TINY,
        "side": 9,
        "clues": 30,
        "d_model": 1024,
        "d_inner": 4096,
        "batch_size": 8192,
        "recurrences": 8,
    }
    large = engine.estimate("sr2", enough, [0])
    assert large["memory_bytes"] > large["available_bytes"]
    assert (
        large["memory_problem"].startswith("batch_size: about ")
        and "this machine has" in large["memory_problem"]
    )


def test_the_batch_that_fits_is_the_largest_half_that_does() -> None:
    config = SR2.Config(**LARGE)
    found = batch_that_fits(SR2, config, 1, 2e9, 1.0)
    assert found is not None
    name, batch = found

    def needed(size: int) -> float:
        return SR2.estimate(config.model_copy(update={name: size}), 1)["memory_bytes"]

    assert needed(batch) <= 1.8e9 < needed(2 * batch)
    assert batch_that_fits(SR2, config, 1, 1e6, 1.0) is None
    assert outlook(SR2, SR2.Config(**TINY), 1)["memory_problem"] is None


def test_a_killed_worker_says_what_killed_it(tmp_path: Path) -> None:
    directory = tmp_path / "runs" / ("b" * 12)
    directory.mkdir(parents=True)
    local = LocalExecutor()
    worker = local.start([directory], [0])
    os.kill(worker["pid"], signal.SIGKILL)
    while local.alive(worker):
        time.sleep(0.01)
    assert local.why(worker) == KILLED
    assert why_ended(-signal.SIGKILL, -1) == OUT_OF_MEMORY
    assert why_ended(1, 0) is None


def batch_fields(study: Study, config: Any) -> list[str]:
    """The batch fields of a config that its other values leave in use."""
    found = {name: field for name, field in study.Config.model_fields.items() if name in BATCHES}
    return [name for name, field in found.items() if all(
        getattr(config, other) in (wanted if isinstance(wanted, list) else [wanted])
        for other, wanted in field.json_schema_extra["only_if"].items()
    )]  # fmt: skip


def holds_eight_rows(config: Any) -> bool:
    """SRF's published model takes a batch eight rows at a time."""
    return getattr(config, "model", None) == "large"


def test_every_estimate_grows_with_the_batch() -> None:
    grown = set()
    for study in STUDIES.values():
        for values in study.presets.values():
            config = study.Config.model_construct(**values)
            for name in batch_fields(study, config):
                larger = config.model_copy(update={name: 16 * getattr(config, name)})
                smaller_bytes, larger_bytes = (
                    study.estimate(one, 1)["memory_bytes"] for one in (config, larger)
                )
                assert larger_bytes > smaller_bytes or holds_eight_rows(config), (study.name, values, name)
                grown.add((study.name, name))
    with_batches = {
        (s.name, name) for s in STUDIES.values() for name in BATCHES if name in s.Config.model_fields
    }
    assert grown == with_batches


def test_the_batch_that_is_named_is_the_one_that_decides_and_one_that_the_form_admits() -> None:
    study = STUDIES["smartclip"]
    config = study.Config(clip_batch_size=4_096)
    found = batch_that_fits(study, config, 1, 2e9, 1.0)
    assert found is not None and found[0] == "clip_batch_size"
    message = memory.ran_out(study, config, [0], 2e9, "this machine")
    assert "clip_batch_size: memory ran out at clip_batch_size 4,096: this machine gave it 2.0 GB" in message
    at_least_4 = STUDIES["extrapolation"].Config(batch_size=4)
    assert batch_that_fits(STUDIES["extrapolation"], at_least_4, 1, 1e12, 1.0) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), True),
        (torch.AcceleratorError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to"), True),
        (MemoryError(), True),
        (torch.AcceleratorError("CUDA error: device-side assert triggered"), False),
        (ValueError("no"), False),
    ],
)
def test_every_kind_of_refused_memory_is_known(error: Exception, expected: bool) -> None:
    assert worker._is_out_of_memory(error) is expected


def test_a_gpu_that_others_fill_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> None:
        raise torch.AcceleratorError("CUDA error: out of memory")

    monkeypatch.setattr(torch.cuda, "mem_get_info", refused)
    record = {"id": "a" * 12, "study": "sr2", "seeds": [0], "data_seed": 0}
    write_json(tmp_path / "config.json", record)
    run = Run(tmp_path, SR2.Config(**TINY))
    run.device = "cuda"
    assert "the GPU gave it 0.0 GB; launch it again with a smaller batch_size" in worker._out_of_memory(run)


def test_what_does_not_fit_of_a_grid_or_a_sweep_is_told_once(
    engine: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = cli._grid(TINY_WORLD, ["k=1,2", "batch_size=128,4000000000"])
    cli._warn_of_memory(engine, "sae_consistency", grid, [0], 0)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1 and told[0].startswith("Warning: batch_size: about ")
    assert told[0].endswith("(k=1 batch_size=4000000000; k=2 batch_size=4000000000)")
    swept = cli._swept(engine, "sae_consistency", "k", {**TINY_WORLD, "batch_size": 4_000_000_000})
    cli._warn_of_memory(engine, "sae_consistency", swept, [0], 0)
    told = capsys.readouterr().err.splitlines()
    assert len(swept) == 5 and len(told) == 1 and told[0].endswith("fits, by the same estimate.")
    assert cli._swept(engine, "sae_consistency", "nonsense", {}) == []
