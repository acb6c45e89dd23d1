"""Finished runs of sr2 in a state folder, tiny but really trained by the study's own code, before an engine opens it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.files import write_json
from engine.run import Run
from engine.studies.sr2.config import Config
from engine.studies.sr2.training import train

TINY: dict[str, Any] = {
    "side": 4, "clues": 8, "blocks": 3, "recurrences": 2, "d_model": 16, "heads": 2, "d_inner": 32, "batch_size": 8,
    "n_train": 40, "n_validation": 16, "n_test": 16, "budget": "steps", "n_steps": 12, "evaluations": 2,
    "checkpoint_every": 100, "kept_puzzles": 3, "warmup_steps": 2, "learning_rate": 5e-3,
}  # fmt: skip
MAZE = {"puzzle": "maze", "side": 7, "n_train": 16, "n_validation": 8, "n_test": 8}


def write_run(
    home: Path, run_id: str, changes: dict[str, Any] | None = None, seeds: Sequence[int] = (0, 1), error: str | None = None
) -> None:  # fmt: skip
    """A finished run in `home`/runs/`run_id`; with an `error` one that failed before it trained."""
    config = Config(**{**TINY, **(changes or {})})
    folder = home / "runs" / run_id
    folder.mkdir(parents=True)
    record = {
        "id": run_id, "study": "sr2", "config": config.model_dump(mode="json"), "seeds": list(seeds), "data_seed": 0,
        "fingerprint": "", "code_version": "test", "preset": "tour", "created": time.time(),
    }  # fmt: skip
    write_json(folder / "config.json", record)
    if error is None:
        train([Run(folder, config)], lambda run: run.finish())
    state = {
        "group": None,
        "created": record["created"],
        "queued": 0.0,
        "started": 0.0,
        "finished": time.time(),
    }
    write_json(folder / "state.json", {**state, "state": "failed" if error else "done", "error": error})
