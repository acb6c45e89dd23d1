"""The study through the engine: a run that is killed and resumed, and files that become a finished run."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import psutil
from typer.testing import CliRunner

from data.paths import state_dir
from engine.cli import app
from engine.client import Client
from tests.conftest import eventually
from tests.sapo.conftest import TINY, train
from tests.sapo.test_foreign import CLEAN, DATA, FILLER, REAL_D1, WRONG, d1, written
from tests.training import results

SMALL: dict[str, Any] = {**TINY, "arms": "diffu_grpo,sapo", "base_steps": 600}


def test_a_killed_run_resumes_to_the_same_bytes(engine: Client, tmp_path: Path) -> None:
    run = engine.submit("sapo", SMALL, [0, 1])["id"]
    folder = state_dir() / "runs" / run
    eventually(lambda: list((folder / "checkpoints").glob("step-*")), "it checkpoints")
    os.kill(json.loads((folder / "state.json").read_text())["pid"], signal.SIGKILL)
    eventually(lambda: engine.run(run)["state"] == "interrupted", "its end is noticed")
    engine.resume(run)
    assert engine.wait(run)["state"] == "done"
    assert any("Resuming" in row.get("text", "") for row in engine.events(run)["rows"])
    assert results(folder) == results(train(tmp_path / "whole", SMALL, [0, 1]))
    assert engine.store_check()["sound"]
    assert engine.table(run, "sapo_arms").num_rows == 6
    assert engine.table(run, "sapo_tokens", ["position", "token"], {"arm": "sapo", "seed": 1}).num_rows == 64


def test_files_become_a_run(engine: Client, tmp_path: Path) -> None:
    files = [
        str(written(tmp_path, "countdown_a_generations.json", d1([CLEAN, FILLER, WRONG, WRONG]))),
        str(written(tmp_path, "countdown_b_generations.json", d1([WRONG]))),
    ]
    told = CliRunner().invoke(app, ["import-generations", *files, "--wait"])
    assert told.exit_code == 0, told.output
    assert (
        "4 generations, countdown (d1 JSON); exact 50.0 %, junk (as the file says, else rep-3 above 0.3) 25.0 %"
        in told.output
    )
    (run,) = [run for run in engine.runs("sapo") if run["config"]["imported"]]
    assert run["state"] == "done" and run["seeds"] == [0, 1]
    assert engine.table(run["id"], "sapo_arms")["exact"].to_pylist() == [0.5, 0.0]
    assert engine.table(run["id"], "sapo_rollouts").num_rows == 5


def test_real_generations_of_an_8b_model_become_a_run(engine: Client) -> None:
    files = [*map(str, REAL_D1), str(DATA / "llada_sample_process.txt")]
    told = CliRunner().invoke(app, ["import-generations", *files, "--wait"])
    assert told.exit_code == 0, told.output
    assert (
        "256 generations, countdown (d1 JSON); exact 21.1 %, junk (as the file says, else rep-3 above 0.3) 0.0 %"
        in told.output
    )
    run = next(run["id"] for run in engine.runs("sapo") if "d1_countdown_128" in run["config"]["imported"])
    arms = engine.table(run, "sapo_arms").sort_by("seed").to_pylist()
    assert [(row["n"], row["exact"], row["junk"]) for row in arms] == [(256, 54 / 256, 0.0), (1, None, 0.0)]
    assert engine.table(run, "sapo_rollouts").num_rows == 257
    tokens = engine.table(run, "sapo_tokens", where={"step": 64}).sort_by("position")
    assert sorted(tokens["committed_at"].to_pylist()) == list(range(1, 65))
    assert tokens["token"][0].as_py() == "Artificial"


def test_a_broken_file_is_refused_by_its_line(engine: Client, tmp_path: Path) -> None:
    path = written(tmp_path, "a.json", '{"generations": [\n{"generations": }]}')
    told = CliRunner().invoke(app, ["import-generations", str(path)])
    assert told.exit_code == 2 and "a.json, line 2" in told.output
    assert psutil.pid_exists(engine.health()["pid"])
