"""Runs of the study inside the test process, at the smallest size."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.files import write_json
from engine.run import Run, Stopped
from engine.studies.srf import Srf

TINY: dict[str, Any] = {
    "n_labelled": 40, "n_pool": 40, "n_test": 20, "generator": "bundled", "arm_steps": 4, "batch_size": 8, "keep": 0.25, "noise": False,
    "checkpoint_every": 25, "arms": "base,random,triangle_tied,oracle,recap,bottom", "sweep": [0.5], "tie_break": "log_probability",
}  # fmt: skip


def open_run(folder: Path, config: dict[str, Any], seeds: list[int]) -> Run:
    """A run whose directory may exist already."""
    folder.mkdir(exist_ok=True, parents=True)
    made = Srf.Config(**config)
    place = {"id": folder.name, "study": "srf", "seeds": seeds, "data_seed": 0}
    write_json(folder / "config.json", {**place, "config": made.model_dump(mode="json")})
    return Run(folder, made)


def train(folder: Path, config: dict[str, Any], seeds: list[int]) -> Path:
    run = open_run(folder, config, seeds)
    Srf().train(run)
    run.finish()
    return folder


def results(folder: Path) -> dict[str, str]:
    """Hashes of every result file."""
    files = [path for name in ("tables", "tensors") for path in (folder / name).glob("*")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def train_with_stops(folder: Path, config: dict[str, Any], seeds: list[int], every: int) -> int:
    """Train, asked to stop at every `every`-th report of progress; how often it stopped."""
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
            left[0] -= stage in ("training", "the image tower learns captions")
            run.should_stop = left[0] <= 0

        run.progress = progress  # type: ignore[method-assign]
        try:
            Srf().train(run)
        except Stopped:
            continue
        run.finish()
        return stops
    raise AssertionError("it never finished")


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("srf") / "tiny", TINY, [0, 1])
