"""Finished runs of sae_consistency on a run's states, tiny but really trained, before an engine opens their state folder."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from data.files import write_json
from engine.activations import fingerprint
from engine.run import Run
from engine.studies.sae_consistency import SaeConsistency
from engine.studies.sae_consistency.config import Config

TINY: dict[str, Any] = {
    "n_tokens": 2_000, "d_sae": 24, "k": 4, "n_steps": 30, "batch_size": 128, "n_match_points": 0,
}  # fmt: skip


@contextmanager
def state_folder(home: Path) -> Iterator[None]:
    """CONCORDANCE_HOME while runs are written."""
    before = os.environ.get("CONCORDANCE_HOME")
    os.environ["CONCORDANCE_HOME"] = str(home)
    try:
        yield
    finally:
        del os.environ["CONCORDANCE_HOME"]
        if before is not None:
            os.environ["CONCORDANCE_HOME"] = before


def write_saes(home: Path, run_id: str, model: str, hook_point: str, **changes: Any) -> Path:
    """SAEs of seeds 0 and 1 on `model`, "run:ID", in `home`/runs/`run_id`."""
    with state_folder(home):
        config = Config(model=model, hook_point=hook_point, **{**TINY, **changes})
        folder, created = home / "runs" / run_id, time.time()
        folder.mkdir(parents=True)
        record = {
            "id": run_id, "study": "sae_consistency", "config": config.model_dump(mode="json"), "seeds": [0, 1],
            "data_seed": 0, "fingerprint": fingerprint(config), "code_version": "test", "preset": None, "created": created,
        }  # fmt: skip
        write_json(folder / "config.json", record)
        run = Run(folder, config)
        SaeConsistency().train(run)
        run.finish()
    state = {"state": "done", "group": None, "created": created, "queued": 0.0, "started": 0.0}
    write_json(folder / "state.json", {**state, "finished": time.time(), "error": None})
    return folder
