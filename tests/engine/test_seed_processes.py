"""Seeds in processes of their own: what they report arrives, and what befalls one befalls the run."""

import os
import signal
import time
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from data.files import write_json
from engine.errors import UserError
from engine.events import read_events
from engine.run import Run, Stopped
from engine.studies import STUDIES
from engine.studies.base import parse_config
from engine.studies.seeds import SeedSession, Threads
from tests.conftest import eventually

SEEDS = [0, 1, 2]


class Counter:
    """Counts to `end`, a float at a time."""

    def __init__(self, seed: int, end: int) -> None:
        self.seed, self.key, self.end = seed, str(seed), end
        self.sum, self.step, self.fails = torch.zeros(1), 0, ""

    @property
    def finished(self) -> bool:
        return self.step == self.end

    def work(self) -> tuple[int, int]:
        return self.step, self.end

    def advance(self) -> None:
        if self.fails == "setting" and self.step == 100:
            raise UserError("learning_rate", "lower it.")
        if self.fails == "code" and self.step == 100:
            raise ZeroDivisionError("by nought")
        if self.fails == "killed" and self.step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        self.step += 1
        self.sum += 0.1 * self.seed
        if self.end > 100:
            time.sleep(0.01)

    def tensors(self) -> dict[str, Tensor]:
        return {f"{self.key}/sum": self.sum.clone()}

    def state(self) -> dict[str, Any]:
        return {"step": self.step}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        self.sum, self.step = tensors[f"{self.key}/sum"].clone(), state["step"]


class Counting(SeedSession[Counter]):
    def __init__(self, run: Run, pool: Threads, end: int) -> None:
        super().__init__(run, pool)
        self.learners = [Counter(seed, end) for seed in run.seeds]
        self.resume()
        self.keep_all()

    def to_its_end(self, learner: Counter) -> None:
        self.log(0, learner.seed, process=os.getpid())
        super().to_its_end(learner)


def make_session(folder: Path, end: int = 20) -> Counting:
    folder.mkdir(exist_ok=True, parents=True)
    write_json(folder / "config.json", {"id": "x", "study": "s", "seeds": SEEDS, "data_seed": 0})
    config = parse_config(STUDIES["counterfactual_text"], "tour", {"checkpoint_every": 5})
    return Counting(Run(folder, config), Threads(2), end)


def pids(folder: Path) -> set[int]:
    rows = read_events(folder / "events.jsonl", 0)[0]
    return {int(row["process"]) for row in rows if "process" in row}


def test_every_seed_has_a_process_and_ends_where_it_would_have(tmp_path: Path) -> None:
    session = make_session(tmp_path)
    session.train()
    assert len(pids(tmp_path)) == 3 and os.getpid() not in pids(tmp_path)
    alone = Counter(2, 20)
    while not alone.finished:
        alone.advance()
    assert torch.equal(session.learners[2].sum, alone.sum) and session.learners[0].finished
    rows = read_events(tmp_path / "events.jsonl", 0)[0]
    assert [row["done"] for row in rows if row["kind"] == "progress"][-1] == 60
    again = make_session(tmp_path)
    assert all(learner.finished for learner in again.learners)


def test_a_wish_to_stop_reaches_them_and_what_they_did_is_kept(tmp_path: Path) -> None:
    session = make_session(tmp_path, 10_000)
    report = session.run.progress

    def progress(done: float, total: float, stage: str) -> None:
        report(done, total, stage)
        session.run.should_stop = done > 200

    session.run.progress = progress  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        session.train()
    steps = [learner.step for learner in make_session(tmp_path, 10_000).learners]
    assert steps == [learner.step for learner in session.learners]
    assert min(steps[:2]) > 0 and steps[2] == 0, "the third had not begun"


@pytest.mark.parametrize(
    ("fails", "error", "words"),
    [
        ("setting", UserError, "learning_rate: lower it."),
        ("code", RuntimeError, "ZeroDivisionError: by nought"),
    ],
)
def test_an_error_of_one_ends_the_run_with_its_words(
    tmp_path: Path, fails: str, error: type[Exception], words: str
) -> None:
    session = make_session(tmp_path, 10_000)
    session.learners[1].fails = fails
    with pytest.raises(error, match=words):
        session.train()
    assert make_session(tmp_path, 10_000).learners[0].step > 0, "the others checkpointed"


def test_one_that_is_killed_takes_the_run_with_it(tmp_path: Path) -> None:
    session = make_session(tmp_path, 10_000)
    session.learners[0].fails = "killed"
    run = get_context("fork").Process(target=session.train)
    run.start()
    run.join(120)
    assert run.exitcode == -signal.SIGKILL
    eventually(lambda: not any(map(psutil.pid_exists, pids(tmp_path))), "the other ended")


def test_they_end_when_the_run_is_killed(tmp_path: Path) -> None:
    run = get_context("fork").Process(target=make_session(tmp_path, 10_000).train)
    run.start()
    eventually(lambda: len(pids(tmp_path)) == 2, "two seeds began")
    run.kill()
    run.join()
    eventually(lambda: not any(map(psutil.pid_exists, pids(tmp_path))), "they ended")
