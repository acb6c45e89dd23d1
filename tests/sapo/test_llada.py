"""A large policy with its owner's code, in the environment llada; skipped where that environment was not made."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from data.paths import state_dir
from engine import environments
from engine.client import Client
from tests.conftest import eventually
from tests.sapo.tiny_models import LARGE, tiny_llada
from tests.training import results

STATE = environments.state("llada")
pytestmark = pytest.mark.skipif(
    STATE != "ready", reason=f"the environment llada is {STATE}; `concordance env llada` makes it"
)


def test_it_trains_in_its_environment_and_resumes_to_the_same_bytes(engine: Client, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        **LARGE, "policy": "llada", "policy_model": str(tiny_llada(tmp_path / "model")), "iterations": 12,
    }  # fmt: skip
    run = engine.submit("sapo", config, [0])["id"]
    folder = state_dir() / "runs" / run
    eventually(lambda: list((folder / "checkpoints").glob("step-*")), "it checkpoints")
    os.kill(json.loads((folder / "state.json").read_text())["pid"], signal.SIGKILL)
    eventually(lambda: engine.run(run)["state"] == "interrupted", "its end is noticed")
    engine.resume(run)
    assert engine.wait(run)["state"] == "done"
    rows = engine.events(run)["rows"]
    starts = [row for row in rows if row["kind"] == "environment"]
    assert len(starts) == 2 and all(row["packages"]["transformers"].startswith("4.") for row in starts)
    assert all(Path(row["python"]) == environments.interpreter("llada") for row in starts)
    said = [row["text"] for row in rows if row["kind"] == "message"]
    assert any("Resuming" in text for text in said) and any("code that comes with" in text for text in said)
    arms = engine.table(run, "sapo_arms").to_pandas().set_index("arm")
    assert (arms.loc[["diffu_grpo", "sapo"], "informative"] > 0).all()
    assert arms["source"].str.contains("transformers 4").all()
    halted = results(folder)
    other = engine.submit("sapo", {**config, "checkpoint_every": 100}, [0])["id"]
    assert engine.wait(other)["state"] == "done"
    whole = results(state_dir() / "runs" / other)
    assert halted == whole
