"""On a GPU: every study's runs resume to identical bytes, and memory that runs out is told. Skipped where there is none."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from data.files import write_json
from engine.events import read_events
from engine.run import Run, Stopped
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


def train(at: Path, study: str, config: dict[str, Any], stop_after_saving: bool) -> int:
    """Train two seeds to the end, stopped and opened again after every checkpoint where asked; how often it stopped."""
    here = InProcess(STUDIES[study])
    for stops in range(200):
        run = here.open_run(at, config, [0, 1])
        run.device = "cuda"
        if stop_after_saving:
            _stop_after_saving(run)
        try:
            STUDIES[study].train(run)
        except Stopped:
            continue
        run.finish()
        return stops
    raise AssertionError("it never finished")


def _stop_after_saving(run: Run) -> None:
    save = run.checkpoint

    def checkpoint(*given: Any, **named: Any) -> None:
        save(*given, **named)
        run.should_stop = True

    run.checkpoint = checkpoint  # type: ignore[method-assign]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_stopped_run_resumes_to_identical_bytes(name: str, tmp_path: Path) -> None:
    study, config = name.split()[0], CONFIGS[name]
    assert train(tmp_path / "whole", study, config, False) == 0
    assert train(tmp_path / "parts", study, config, True) > 0
    assert results(tmp_path / "whole") == results(tmp_path / "parts")


def worked(home: Path, name: str, config: dict[str, Any]) -> dict[str, Any]:
    """The last event of a worker that was given this run."""
    directory = home / "runs" / (name * 12)
    directory.mkdir(parents=True)
    made = STUDIES["sr2"].Config(**config).model_dump(mode="json")
    write_json(
        directory / "config.json",
        {"id": directory.name, "study": "sr2", "seeds": [0], "data_seed": 0, "config": made},
    )
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
    print(failed["error"])
    fits = int(
        failed["error"].partition("scaled to this, batch_size ")[2].partition(" fits")[0].replace(",", "")
    )
    assert worked(tmp_path, "b", {**TOO_LARGE, "batch_size": fits})["state"] == "done"
