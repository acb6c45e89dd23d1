"""A run of the study inside the test process."""

from pathlib import Path
from typing import Any

import pytest

from engine.studies.sapo import Sapo
from tests.training import InProcess

ALL_ARMS = "diffu_grpo,sapo,grpo_longer,grpo_wider,sapo_no_indicator,process_only"
TINY: dict[str, Any] = {
    "task": "chain", "chain_length": 2, "width": 16, "layers": 1, "heads": 2, "base_steps": 100, "base_batch": 16,
    "iterations": 3, "prompts": 4, "group_size": 4, "inner_iterations": 2, "eval_prompts": 8, "value_prompts": 4,
    "value_rollouts": 2, "kept": 2, "eval_every": 2, "checkpoint_every": 1, "arms": ALL_ARMS,
}  # fmt: skip

_here = InProcess(Sapo())
open_run, train, train_with_stops = _here.open_run, _here.train, _here.train_with_stops


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("sapo") / "tiny", TINY, [0, 1])
