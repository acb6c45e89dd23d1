"""Runs of the study inside the test process, at the smallest size."""

from pathlib import Path
from typing import Any

import pytest

from engine.studies.smartclip import SmartClip
from tests.training import InProcess

ARMS = "long_clip,smartclip,naive_negatives,soft_mask,random_mask"
TINY: dict[str, Any] = {
    "n_train": 120, "n_validation": 50, "n_test": 60, "width": 16, "heads": 2, "caption_steps": 6, "clip_steps": 14,
    "arm_steps": 6, "batch_size": 8, "clip_batch_size": 8, "lambda_sweep": [2.0], "n_pairs": 12, "control_draws": 2, "kept": 4,
    "checkpoint_every": 10, "arms": ARMS,
}  # fmt: skip

_here = InProcess(SmartClip())
train, train_with_stops = _here.train, _here.train_with_stops


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("smartclip") / "tiny", TINY, [0, 1])
