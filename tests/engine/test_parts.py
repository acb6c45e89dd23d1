"""A run whose dictionaries are cut over processes, under a real engine."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from data.files import read_json
from engine.client import Client
from engine.studies import STUDIES
from tests.conftest import TINY_WORLD, eventually
from tests.engine.test_lifecycle import results, wait_for
from tests.training import InProcess

CUT = {**TINY_WORLD, "n_gpus": 2, "n_steps": 400, "checkpoint_every": 50}


def others(pid: int) -> list[psutil.Process]:
    """The processes that hold parts of a worker's dictionaries."""
    found = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.Error):  # it ended meanwhile
            if "sae_consistency.part" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_a_killed_part_interrupts_the_run_which_resumes_to_identical_bytes(
    engine: Client, tmp_path: Path
) -> None:
    home = Path(os.environ["CONCORDANCE_HOME"])
    config = {**CUT, "n_steps": 1500}
    run_id = engine.submit("sae_consistency", config, [0])["id"]
    wait_for(engine, run_id, 60)
    worker = read_json(home / "runs" / run_id / "state.json")["pid"]
    (part,) = others(worker)
    part.send_signal(signal.SIGKILL)
    ended = engine.wait(run_id)
    assert ended["state"] == "interrupted" and "resume" in ended["error"], ended
    assert not psutil.pid_exists(worker)
    engine.resume(run_id)
    assert engine.wait(run_id)["state"] == "done"
    InProcess(STUDIES["sae_consistency"]).train(tmp_path / "runs" / run_id, config, [0])
    expected = results(tmp_path, run_id)
    found = results(home, run_id)
    same = [name for name in expected if name.startswith("saes/") and name.endswith(".safetensors")]
    assert len(same) == 1
    for name in same:
        assert found[name] == expected[name], name


def test_parts_end_when_the_worker_is_killed_and_when_it_is_stopped(engine: Client) -> None:
    run_id = engine.submit("sae_consistency", {**CUT, "n_steps": 200_000}, [2])["id"]
    state = Path(os.environ["CONCORDANCE_HOME"]) / "runs" / run_id / "state.json"
    wait_for(engine, run_id, 100)
    worker = read_json(state)["pid"]
    parts = others(worker)
    assert len(parts) == 1
    os.kill(worker, signal.SIGKILL)
    assert engine.wait(run_id)["state"] == "interrupted"
    assert psutil.wait_procs(parts, timeout=60)[1] == []
    engine.resume(run_id)
    eventually(lambda: read_json(state)["pid"] != worker and others(read_json(state)["pid"]), "it resumed")
    parts = others(read_json(state)["pid"])
    engine.cancel(run_id)
    assert engine.wait(run_id)["state"] == "cancelled"
    assert psutil.wait_procs(parts, timeout=60)[1] == []
