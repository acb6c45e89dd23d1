"""Finished runs of smartclip in a state folder, tiny but really trained by the study's own code, before an engine opens it."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.files import write_json
from engine.run import Run
from engine.studies.smartclip import SmartClip

TINY: dict[str, Any] = {
    "n_train": 120, "n_validation": 50, "n_test": 60, "width": 16, "heads": 2, "caption_steps": 6, "clip_steps": 14,
    "arm_steps": 6, "batch_size": 8, "clip_batch_size": 8, "lambda_sweep": [2.0], "n_pairs": 12, "control_draws": 2, "kept": 4,
    "arms": "clip_long,smartclip,no_sparsity",
}  # fmt: skip


def write_run(
    home: Path, run_id: str, config: dict[str, Any], seeds: Sequence[int] = (0, 1), error: str | None = None
) -> Path:
    """A finished run in `home`/runs/`run_id`; with an `error` one that failed after some steps."""
    settings = SmartClip.Config(**config)
    directory = home / "runs" / run_id
    directory.mkdir(parents=True)
    created = time.time()
    record = {
        "id": run_id, "study": "smartclip", "config": settings.model_dump(mode="json"), "seeds": list(seeds), "data_seed": 0,
        "fingerprint": "", "code_version": "test", "preset": "tour", "created": created,
    }  # fmt: skip
    write_json(directory / "config.json", record)
    state = {"group": None, "created": created, "queued": 0.0, "started": 0.0, "finished": created}
    write_json(directory / "state.json", {**state, "state": "failed" if error else "done", "error": error})
    run = Run(directory, settings)
    if error:
        for step in (20, 40, 60):
            run.log(step, 0, **{"base.captioning": 3 - step / 50})
        return directory
    SmartClip().train(run)
    run.finish()
    return directory
