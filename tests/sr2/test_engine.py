"""Under a real engine: a killed run resumes to the bytes of an undisturbed one, and a page's puzzle is solved live."""

import os
import signal
import time
from pathlib import Path

import pytest

from data.files import read_json
from engine.client import Client
from engine.transport import EngineError
from tests.sr2.test_training import TINY, finished, results

LONG = {**TINY, "n_steps": 300, "checkpoint_every": 10}


def test_killed_it_resumes_to_identical_bytes_and_solves_puzzles(engine: Client, tmp_path: Path) -> None:
    home = Path(os.environ["CONCORDANCE_HOME"])
    run_id = engine.submit("sr2", LONG, [0, 1])["id"]
    with pytest.raises(EngineError, match="wait until it is done"):
        engine.solve_puzzle(run_id, 0, "0" * 16)
    while not any(row["kind"] == "log" and row["step"] >= 20 for row in engine.events(run_id)["rows"]):
        assert engine.run(run_id)["state"] in ("queued", "running")
        time.sleep(0.05)
    os.kill(read_json(home / "runs" / run_id / "state.json")["pid"], signal.SIGKILL)
    assert engine.wait(run_id)["state"] == "interrupted"
    engine.resume(run_id)
    assert engine.wait(run_id)["state"] == "done"
    assert results(home / "runs" / run_id) == results(finished(tmp_path / "fresh", [0, 1], **LONG))

    given = engine.table(run_id, "sr2_puzzles")["given"][0].as_py()
    found = engine.solve_puzzle(run_id, 1, given, blocks=4)
    assert found["status"] == "one solution" and len(found["iterations"]) == 8
    assert engine.solve_puzzle(run_id, 1, "1" + "0" * 15)["status"] == "several solutions"
    with pytest.raises(EngineError, match="cells were read"):
        engine.solve_puzzle(run_id, 1, "12")
    assert engine.store_check()["sound"]
