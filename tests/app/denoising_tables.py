"""Runs of study sapo written by the run's own code into a state folder, before an engine opens it: trained and imported."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data.files import write_json
from engine.run import Run
from engine.studies.sapo import Sapo

TINY: dict[str, Any] = {
    "task": "chain", "chain_length": 2, "width": 16, "layers": 1, "heads": 2, "base_steps": 100, "base_batch": 32,
    "iterations": 4, "prompts": 4, "group_size": 4, "inner_iterations": 2, "eval_prompts": 20, "value_prompts": 4,
    "value_rollouts": 2, "kept": 5, "eval_every": 2, "arms": "diffu_grpo,sapo", "temperature": 1.0,
}  # fmt: skip


def write_run(
    home: Path, run_id: str, config: dict[str, Any], seeds: Sequence[int] = (0, 1), error: str | None = None
) -> Path:
    """A finished run in `home`/runs/`run_id`; with an `error` one that failed after some iterations."""
    settings = Sapo.Config(**config)
    directory = home / "runs" / run_id
    directory.mkdir(parents=True)
    created = time.time()
    record = {
        "id": run_id, "study": "sapo", "config": settings.model_dump(mode="json"), "seeds": list(seeds), "data_seed": 0,
        "fingerprint": "", "code_version": "test", "preset": "tour", "created": created,
    }  # fmt: skip
    write_json(directory / "config.json", record)
    state = {
        "state": "failed" if error else "done",
        "group": None,
        "created": created,
        "queued": 0.0,
        "started": 0.0,
    }
    write_json(directory / "state.json", {**state, "finished": created, "error": error})
    run = Run(directory, settings)
    if error:
        for step in (1, 2, 3):
            run.log(step, 0, **{"sapo.reward": step / 10, "sapo.exact": step / 20, "sapo.junk": 0.5})
        return directory
    Sapo().train(run)
    run.finish()
    return directory
