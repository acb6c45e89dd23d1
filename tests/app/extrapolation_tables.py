"""Runs of extrapolation in a state folder, tiny but really trained by the study's own code, before an engine opens it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.files import write_json
from engine.run import Run
from engine.studies.extrapolation.config import Config
from engine.studies.extrapolation.training import train
from tests.extrapolation.conftest import DIGITS, TINY


def write_run(
    home: Path, run_id: str, changes: dict[str, Any] | None = None, seeds: Sequence[int] = (0, 1), error: str | None = None
) -> None:  # fmt: skip
    """A finished run in `home`/runs/`run_id`; with an `error` one that failed before it trained."""
    changed = changes or {}
    base = DIGITS if changed.get("source", "world") != "world" else TINY
    config = Config(**{**base, **changed})
    folder = home / "runs" / run_id
    folder.mkdir(parents=True)
    created = time.time()
    record = {
        "id": run_id, "study": "extrapolation", "config": config.model_dump(mode="json"), "seeds": list(seeds), "data_seed": 0,
        "fingerprint": "", "code_version": "test", "preset": "tour", "created": created,
    }  # fmt: skip
    write_json(folder / "config.json", record)
    if error is None:
        run = Run(folder, config)
        train(run)
        run.finish()
    times = {"created": created, "queued": 0.0, "started": 0.0, "finished": time.time()}
    state = "failed" if error else "done"
    write_json(folder / "state.json", {"group": None, **times, "state": state, "error": error})
