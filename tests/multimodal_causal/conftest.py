"""Tiny runs of the study, in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LinearRegression

from data.files import write_json
from engine.run import Run
from engine.studies.multimodal_causal import confidence, scoring, source
from engine.studies.multimodal_causal.config import Config

TINY: dict[str, Any] = {
    "n_latents": 2, "width": 5, "n_samples": 300, "n_modalities": 2, "hidden": 8, "batch_size": 64,
    "subspace_steps": 24, "component_steps": 20, "baseline_steps": 12, "lambda_grid": (0.1, 0.4), "restarts": 2,
    "n_bootstraps": 2, "checkpoint_every": 5,
}  # fmt: skip

MakeRun = Callable[..., Run]


def _linear_r2(target: Any, given: Any, rng: Any, max_rows: int = 0) -> float:
    return float(LinearRegression().fit(given, target).score(given, target))


@pytest.fixture
def make_run(monkeypatch: pytest.MonkeyPatch) -> MakeRun:
    """A tiny run in a folder; block R² is that of a straight line, and chance is drawn a few times."""
    monkeypatch.setattr(source, "HELDOUT_ROWS", 120)
    monkeypatch.setattr(scoring, "block_r2", _linear_r2)
    monkeypatch.setattr(scoring, "FLOOR_DRAWS", 20)
    monkeypatch.setattr(confidence, "STEPS", 12)
    monkeypatch.setattr(scoring, "NULL_DRAWS", 2)

    def make(folder: Path, seeds: tuple[int, ...] = (0, 1), **changes: Any) -> Run:
        folder.mkdir(exist_ok=True)
        record = {"id": "x", "study": "multimodal_causal", "seeds": list(seeds), "data_seed": 0}
        write_json(folder / "config.json", record)
        return Run(folder, Config(**{**TINY, **changes}))

    return make
