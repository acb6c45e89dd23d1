"""Tiny runs of the study, in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.files import write_json
from engine.run import Run
from engine.studies.multimodal_causal import scoring, source
from engine.studies.multimodal_causal.config import Config

TINY: dict[str, Any] = {
    "n_latents": 2, "width": 5, "n_samples": 300, "n_modalities": 2, "hidden": 8, "batch_size": 64,
    "subspace_steps": 24, "component_steps": 20, "baseline_steps": 12, "lambda_grid": (0.1, 0.4), "restarts": 2,
    "n_bootstraps": 2, "checkpoint_every": 5,
}  # fmt: skip

MakeRun = Callable[..., Run]


@pytest.fixture
def make_run(monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """A tiny run in a folder; its block R² and its floor are measured on few rows."""
    monkeypatch.setattr(source, "HELDOUT_ROWS", 120)
    monkeypatch.setattr(scoring, "R2_ROWS", 20)
    monkeypatch.setattr(scoring, "NULL_DRAWS", 2)

    def make(folder: Path, seeds: tuple[int, ...] = (0, 1), **changes: Any) -> Run:
        folder.mkdir(exist_ok=True)
        record = {"id": "x", "study": "multimodal_causal", "seeds": list(seeds), "data_seed": 0}
        write_json(folder / "config.json", record)
        return Run(folder, Config(**{**TINY, **changes}))

    return make
