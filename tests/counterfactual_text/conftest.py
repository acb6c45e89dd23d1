"""Runs of the study inside the test process, at the smallest size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.files import write_json
from engine.run import Run
from engine.studies.counterfactual_text.config import Config

TINY: dict[str, Any] = {
    "n_domains": 3, "n_rows": 300, "n_test": 120, "hidden": 12, "n_steps": 12, "batch_size": 32, "warm_up": 4, "jacobian_rows": 8,
    "checkpoint_every": 5, "probe_rows": 20, "arms": "matte,beta_vae", "embedding": 3,
}  # fmt: skip
TINY_TEXT: dict[str, Any] = {
    **TINY, "source": "file", "words": 6, "vocabulary": 60, "pairs": 4, "labelled": 5, "fluency": False, "d_content": 3, "d_style": 2,
}  # fmt: skip
MakeRun = Callable[..., Run]


@pytest.fixture
def make_run() -> MakeRun:
    """A tiny run in a folder."""

    def make(folder: Path, seeds: tuple[int, ...] = (0, 1), **changes: Any) -> Run:
        folder.mkdir(parents=True, exist_ok=True)
        record = {"id": "x", "study": "counterfactual_text", "seeds": list(seeds), "data_seed": 0}
        write_json(folder / "config.json", record)
        return Run(folder, Config(**{**TINY, **changes}))

    return make


def write_texts(path: Path, rows: int = 400, domains: int = 2, label: bool = True) -> Path:
    """A JSONL file of short opinions in several domains."""
    import json

    nouns, good, bad = ("film", "phone", "meal"), ("great", "fine", "lovely"), ("awful", "poor", "dull")
    with path.open("w") as lines:
        for i in range(rows):
            word = (good if i // domains % 2 else bad)[i % 3]
            row = {"text": f"this {nouns[i % domains]} was {word} number {i}", "domain": f"d{i % domains}"}
            lines.write(
                json.dumps({**row, "label": "good" if i // domains % 2 else "bad"} if label else row) + "\n"
            )
    return path
