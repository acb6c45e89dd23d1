"""Runs of a study trained inside the test process, to their end or with stops, and the bytes they leave."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data.files import write_json
from engine.run import Run, Stopped
from engine.studies.base import Study


def results(folder: Path) -> dict[str, str]:
    """Hashes of every result file."""
    files = [path for name in ("tables", "tensors") for path in (folder / name).glob("*")]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


class InProcess:
    """Trains `study`; stops fall into reports of progress of its `stages`."""

    def __init__(self, study: Study, stages: tuple[str, ...] = ("training",), device: str = "cpu") -> None:
        self.study, self.stages, self.device = study, stages, device

    def open_run(self, folder: Path, config: dict[str, Any], seeds: list[int]) -> Run:
        """A run whose directory may exist already."""
        folder.mkdir(exist_ok=True, parents=True)
        made = self.study.Config(**config)
        place = {"id": folder.name, "study": self.study.name, "seeds": seeds, "data_seed": 0}
        write_json(folder / "config.json", {**place, "config": made.model_dump(mode="json")})
        return Run(folder, made, self.device)

    def train(self, folder: Path, config: dict[str, Any], seeds: list[int]) -> Path:
        run = self.open_run(folder, config, seeds)
        self.study.train(run)
        run.finish()
        return folder

    def train_with_stops(self, folder: Path, config: dict[str, Any], seeds: list[int], every: int) -> int:
        """Train, asked to stop at every `every`-th report of progress; how often it stopped."""

        def hold(run: Run) -> None:
            run.progress = self._stopping(run, run.progress, every)  # type: ignore[method-assign]

        return self.train_held(folder, config, seeds, hold)

    def train_held(
        self, folder: Path, config: dict[str, Any], seeds: list[int], hold: Callable[[Run], None]
    ) -> int:
        """Train, the run opened anew whenever it stopped; `hold` makes each one stop. How often it stopped."""
        for stops in range(200):
            run = self.open_run(folder, config, seeds)
            hold(run)
            try:
                self.study.train(run)
            except Stopped:
                continue
            run.finish()
            return stops
        raise AssertionError("it never finished")

    def _stopping(self, run: Run, report: Callable[..., None], every: int) -> Callable[..., None]:
        left = every

        def progress(done: float, total: float, stage: str) -> None:
            nonlocal left
            report(done, total, stage)
            left -= stage in self.stages
            run.should_stop = left <= 0 and stage in self.stages

        return progress
