"""A run of the study inside the test process."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.files import write_json
from engine.run import Run, Stopped
from engine.studies.sapo import Sapo

ALL_ARMS = "diffu_grpo,sapo,grpo_longer,grpo_wider,sapo_no_indicator,process_only"
TINY: dict[str, Any] = {
    "task": "chain", "chain_length": 2, "width": 16, "layers": 1, "heads": 2, "base_steps": 100, "base_batch": 16,
    "iterations": 3, "prompts": 4, "group_size": 4, "inner_iterations": 2, "eval_prompts": 8, "value_prompts": 4,
    "value_rollouts": 2, "kept": 2, "eval_every": 2, "checkpoint_every": 1, "arms": ALL_ARMS,
}  # fmt: skip


def open_run(folder: Path, config: dict[str, Any], seeds: list[int]) -> Run:
    """A run whose directory may exist already."""
    folder.mkdir(exist_ok=True)
    made = Sapo.Config(**config)
    place = {"id": folder.name, "study": "sapo", "seeds": seeds, "data_seed": 0}
    write_json(folder / "config.json", {**place, "config": made.model_dump(mode="json")})
    return Run(folder, made)


def results(folder: Path) -> dict[str, str]:
    """Hashes of every result file."""
    files = [path for name in ("tables", "tensors") for path in (folder / name).glob("*")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def train(folder: Path, config: dict[str, Any], seeds: list[int]) -> Path:
    run = open_run(folder, config, seeds)
    Sapo().train(run)
    run.finish()
    return folder


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
            left[0] -= 1
            run.should_stop = left[0] <= 0 and stage == "training"

        run.progress = progress  # type: ignore[method-assign]
        try:
            Sapo().train(run)
        except Stopped:
            continue
        run.finish()
        return stops
    raise AssertionError("it never finished")


@pytest.fixture(scope="module")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("sapo") / "tiny", TINY, [0, 1])
