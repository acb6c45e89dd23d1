"""Runs of the study inside the test process, at the smallest size."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.files import write_json
from engine.run import Run, Stopped
from engine.studies.smartclip import SmartClip

ARMS = "long_clip,smartclip,naive_negatives,soft_mask,random_mask"
TINY: dict[str, Any] = {
    "n_train": 120, "n_validation": 50, "n_test": 60, "width": 16, "heads": 2, "caption_steps": 6, "clip_steps": 14,
    "arm_steps": 6, "batch_size": 8, "clip_batch_size": 8, "lambda_sweep": [2.0], "n_pairs": 12, "control_draws": 2, "kept": 4,
    "checkpoint_every": 10, "arms": ARMS,
}  # fmt: skip


def open_run(folder: Path, config: dict[str, Any], seeds: list[int]) -> Run:
    """A run whose directory may exist already."""
    folder.mkdir(exist_ok=True, parents=True)
    made = SmartClip.Config(**config)
    place = {"id": folder.name, "study": "smartclip", "seeds": seeds, "data_seed": 0}
    write_json(folder / "config.json", {**place, "config": made.model_dump(mode="json")})
    return Run(folder, made)


def train(folder: Path, config: dict[str, Any], seeds: list[int]) -> Path:
    run = open_run(folder, config, seeds)
    SmartClip().train(run)
    run.finish()
    return folder


def results(folder: Path) -> dict[str, str]:
    """Hashes of every result file."""
    files = [path for name in ("tables", "tensors") for path in (folder / name).glob("*")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def train_with_stops(folder: Path, config: dict[str, Any], seeds: list[int], every: int) -> int:
    """Train, asked to stop at every `every`-th report of progress in training; how often it stopped."""
    for stops in range(200):
        run = open_run(folder, config, seeds)
        report, left = run.progress, [every]

        def progress(
            done: float,
            total: float,
            stage: str,
            run: Run = run,
            report: Callable[..., None] = report,
            left: list[int] = left,
        ) -> None:
            report(done, total, stage)
            left[0] -= stage == "training"
            run.should_stop = left[0] <= 0 and stage == "training"

        run.progress = progress  # type: ignore[method-assign]
        try:
            SmartClip().train(run)
        except Stopped:
            continue
        run.finish()
        return stops
    raise AssertionError("it never finished")


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("smartclip") / "tiny", TINY, [0, 1])
