"""On a GPU: the runs of studies resume to identical bytes, and memory that runs out is told. Skipped where there is none."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.events import read_events
from engine.run import Run
from engine.studies import STUDIES
from engine.worker import prepare_torch
from tests.conftest import TINY_WORLD
from tests.counterfactual_text.conftest import TINY as MATTE
from tests.extrapolation.conftest import TINY as EXTRAPOLATION
from tests.label_shift.conftest import TINY as LABEL_SHIFT
from tests.multimodal_causal.conftest import TINY as MULTIMODAL
from tests.sapo.conftest import TINY as SAPO
from tests.smartclip.conftest import TINY as SMARTCLIP
from tests.sr2.test_training import TINY as SR2
from tests.srf.conftest import TINY as SRF
from tests.training import InProcess, results

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here"),
    pytest.mark.timeout(300),
]
CONFIGS: dict[str, dict[str, Any]] = {
    "sae_consistency": TINY_WORLD,
    "sae_consistency wide": {**TINY_WORLD, "d_in": 256, "d_sae": 16_384, "n_true_features": 300, "batch_size": 512},
    "multimodal_causal": MULTIMODAL,
    "sr2": SR2,
    "sr2 bfloat16": {**SR2, "precision": "bfloat16"},
    "sapo": SAPO,
    "label_shift": LABEL_SHIFT,
    "extrapolation": EXTRAPOLATION,
    "counterfactual_text": MATTE,
    "smartclip": SMARTCLIP,
    "srf": SRF,
}  # fmt: skip
TOO_LARGE = {
    **SR2, "side": 9, "clues": 40, "d_model": 512, "heads": 8, "d_inner": 1536, "recurrences": 16, "batch_size": 8192, "n_steps": 4,
    "evaluations": 1,
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def device() -> str:
    return prepare_torch()


def stop_after_saving(run: Run) -> None:
    save = run.checkpoint

    def checkpoint(*given: Any, **named: Any) -> None:
        save(*given, **named)
        run.should_stop = True

    run.checkpoint = checkpoint  # type: ignore[method-assign]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stopped_run_resumes_to_identical_bytes(name: str, tmp_path: Path) -> None:
    here, config = InProcess(STUDIES[name.split()[0]], device="cuda"), CONFIGS[name]
    here.train(tmp_path / "whole", config, [0, 1])
    assert here.train_held(tmp_path / "parts", config, [0, 1], stop_after_saving) > 0
    assert results(tmp_path / "whole") == results(tmp_path / "parts")


def worked(home: Path, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """The last event of a worker that was given this run."""
    directory = InProcess(STUDIES["sr2"]).open_run(home / "runs" / (name * 12), config, [0]).directory
    subprocess.run(
        [sys.executable, "-m", "engine.worker", str(directory)],
        env={**os.environ, "CONCORDANCE_HOME": str(home)},
        timeout=250,
    )
    return read_events(directory / "events.jsonl", 0)[0][-1]


def test_memory_that_runs_out_is_told_with_a_batch_that_then_fits(tmp_path: Path) -> None:
    failed = worked(tmp_path, "a", TOO_LARGE)
    assert failed["state"] == "failed"
    assert "batch_size: memory ran out at batch_size 8,192: the GPU gave it" in failed["error"]
    fits = int(
        failed["error"].partition("scaled to this, batch_size ")[2].partition(" fits")[0].replace(",", "")
    )
    assert worked(tmp_path, "b", {**TOO_LARGE, "batch_size": fits})["state"] == "done"
