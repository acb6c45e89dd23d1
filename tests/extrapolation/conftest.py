"""Tiny runs of the study, in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.files import write_json
from engine.run import Run
from engine.studies.extrapolation.config import Config

TINY: dict[str, Any] = {
    "n_targets": 8, "n_source": 200, "n_classes": 2, "n_coordinates": 8, "changed": 3, "steps": 100, "fit_steps": 8,
    "distances": [0.0, 2.0, 8.0], "batch_size": 32, "adapt_steps": 2, "checkpoint_every": 1,
}  # fmt: skip
DIGITS: dict[str, Any] = {
    "source": "digits", "steps": 50, "n_pictures": 6, "scopes": [0.25, 1.0], "severities": [0.5, 2.0], "batch_size": 16,
    "adapt_steps": 1, "checkpoint_every": 1,
}  # fmt: skip
MakeRun = Callable[..., Run]


def tiny_run(folder: Path, seeds: tuple[int, ...], changes: dict[str, Any]) -> Run:
    """A run in a folder that an earlier one may have left a checkpoint in."""
    folder.mkdir(parents=True, exist_ok=True)
    base = DIGITS if changes.get("source", "world") != "world" else TINY
    config = Config(**{**base, **changes})
    record = {"id": "x", "study": "extrapolation", "seeds": list(seeds), "data_seed": 0}
    write_json(folder / "config.json", {**record, "config": config.model_dump(mode="json")})
    return Run(folder, config)


@pytest.fixture
def make_run() -> MakeRun:
    """A tiny run in a folder."""

    def make(at: Path, seeds: tuple[int, ...] = (0, 1), **changes: Any) -> Run:
        return tiny_run(at, seeds, changes)

    return make
