"""What puzzles and reasoners cost: puzzles a second, seconds and operations of a training step, and a puzzle solved live.

    python benchmarks/sr2.py --json out.json      # about two minutes on two idle cores

Seconds are processor time of one thread, the best of several repetitions, so that other work on the machine counts little.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch

from data.files import write_json
from data.sr2 import maze_set, sudoku_set
from engine.run import Run
from engine.studies.sr2.config import Config
from engine.studies.sr2.cost import estimate, flops_per_step
from engine.studies.sr2.presets import ARMS, PRESETS
from engine.studies.sr2.solving import solve
from engine.studies.sr2.trainer import Trainer
from engine.studies.sr2.training import train

REPEATS, STEPS = 5, 3
PUZZLES = {
    "4×4, 6 clues": (4, 6),
    "6×6, 14 clues": (6, 14),
    "6×6, 10 clues": (6, 10),
    "9×9, 40 clues": (9, 40),
    "9×9, 24 clues": (9, 24),
}


def seconds(action: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The least processor time of an action."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def generators(n: int = 60) -> dict[str, float]:
    """Puzzles a second, uniqueness proved for every clue that was taken away."""
    sizes = n // 2, n // 4, n - n // 2 - n // 4
    rates = {
        name: n / seconds(lambda size=size: sudoku_set(*size, sizes, np.random.default_rng(0)), 2)  # type: ignore[misc]
        for name, size in PUZZLES.items()
    }
    mazes = seconds(lambda: maze_set(11, sizes, np.random.default_rng(0)), 2)
    return {name: round(rate, 1) for name, rate in {**rates, "maze 11×11": n / mazes}.items()}


def steps() -> dict[str, dict[str, float]]:
    """Every arm at 6×6 and the larger presets: a step's cost, and the time the preset's compute takes a core."""
    arms = {name: Config(**change) for name, change in ARMS.items()}
    arms |= {preset: Config(**PRESETS[preset]) for preset in ("tour", "nine", "maze")}
    return {name: step_cost(config) for name, config in arms.items()}


def step_cost(config: Config) -> dict[str, float]:
    trainer = Trainer(config, 0, "cpu")
    boards = torch.randint(0, config.n_tokens, (config.batch_size, config.side**2))

    def some() -> None:
        for _ in range(STEPS):
            trainer.step(boards, boards)

    some()
    each = seconds(some) / STEPS
    return {
        "seconds": round(each, 4),
        "gflops": round(flops_per_step(config) / 1e9, 2),
        "gflops_per_second": round(flops_per_step(config) / each / 1e9, 1),
        "steps": config.steps,
        "minutes_per_seed": round(config.steps * each / 60, 1),
        "estimated_minutes_three_seeds": round(estimate(config, 3)["seconds"] / 60, 1),
    }


def live() -> float:
    """Seconds of a 6×6 puzzle over 12 blocks, libraries and weights loaded."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = Config(budget="steps", n_steps=1, n_train=20, n_validation=8, n_test=12, evaluations=1)
        record = {"id": "x", "study": "sr2", "seeds": [0], "data_seed": 0}
        write_json(folder / "config.json", {**record, "config": config.model_dump(mode="json")})
        train([Run(folder, config)])
        puzzle = "1" + "0" * 35
        solve(folder, 0, puzzle, 12)
        return round(seconds(lambda: solve(folder, 0, puzzle, 12)), 4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {"puzzles_per_second": generators(), "steps": steps(), "live_seconds": live()}
    text = json.dumps(found, indent=2, ensure_ascii=False)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
