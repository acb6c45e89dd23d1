"""Runs of the study inside the test process, at the smallest size."""

from pathlib import Path
from typing import Any

import pytest

from engine.studies.srf import Srf
from tests.training import InProcess

TINY: dict[str, Any] = {
    "n_labelled": 40, "n_pool": 40, "n_test": 20, "generator": "bundled", "arm_steps": 4, "batch_size": 8, "keep": 0.25, "noise": False,
    "checkpoint_every": 25, "arms": "base,random,triangle_tied,oracle,recap,bottom", "sweep": [0.5], "tie_break": "log_probability",
}  # fmt: skip

_here = InProcess(Srf(), ("training", "the image tower learns captions"))
train, train_with_stops = _here.train, _here.train_with_stops


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("srf") / "tiny", TINY, [0, 1])
