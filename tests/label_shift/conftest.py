"""Tiny runs of the study, in a folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.files import write_json
from engine.run import Run
from engine.studies.label_shift.config import Config

TINY: dict[str, Any] = {
    "rounds": 8, "swap_rounds": 3, "labels": 60, "test_rows": 80, "decisions": 2, "hidden": 8, "steps_per_round": 2,
    "source": "mixture", "n_classes": 4, "n_samples": 400, "checkpoint_every": 3,
}  # fmt: skip
MakeRun = Callable[..., Run]


@pytest.fixture
def make_run() -> MakeRun:
    """A tiny run in a folder."""

    def make(folder: Path, seeds: tuple[int, ...] = (0, 1), **changes: Any) -> Run:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(
            folder / "config.json", {"id": "x", "study": "label_shift", "seeds": list(seeds), "data_seed": 0}
        )
        return Run(folder, Config(**{**TINY, **changes}))

    return make
