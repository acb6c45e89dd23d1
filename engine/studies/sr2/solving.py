"""A finished run's reasoner on somebody's own puzzle: every board it passes through.

`python -m engine.studies.sr2.solving IDLE_SECONDS` answers requests, a line of JSON each, until stdin closes or nothing
comes for IDLE_SECONDS.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.files import read_json
from data.sr2 import BOXES, PuzzleSet
from data.sr2.checking import check_puzzle, read_puzzle
from data.sr2.mazes import MazeSet
from data.sr2.sudoku import SudokuSet
from engine.errors import UserError
from engine.studies.sr2.config import Config
from engine.studies.sr2.reasoners import Reasoner, make_reasoner, trace
from engine.warm_child import serve

MOST_ITERATIONS = 512


@lru_cache(maxsize=8)
def load_reasoner(folder: Path, seed: int) -> tuple[Config, Reasoner]:
    """The weights a finished run chose for a seed (tensors/seed-S.safetensors). Raises UserError."""
    from safetensors.torch import load_file

    path = folder / "tensors" / f"seed-{seed}.safetensors"
    if not path.exists():
        raise UserError(
            "seed", f"seed {seed} has no weights in run {folder.name}; choose one of a finished run."
        )
    config = Config(**read_json(folder / "config.json")["config"])
    model = make_reasoner(config, seed)
    model.load_state_dict(load_file(path))
    return config, model.requires_grad_(False).eval()


def solve(folder: Path, seed: int, text: str, blocks: int | None = None) -> dict[str, Any]:
    """Every board a run's model passes through on a puzzle, from a fresh state.

    `folder` is the run's, `text` the puzzle as `read_puzzle` takes it, `blocks` how many to run (default: those trained;
    feed-forward models have one). Returns `status`, `sentence` and `solution` of the puzzle itself, `side`, `given`, and
    `iterations`: for each its number, block, tokens, confidence, entropy (nats) and residual of every cell,
    violations by kind, whether it is the solution, and the residual of the whole state. A puzzle that is invalid or has several solutions is
    named as such and run all the same. Raises UserError.
    """
    config, model = load_reasoner(folder, seed)
    try:
        board = read_puzzle(text, config.puzzle, config.side)
    except ValueError as error:
        raise UserError("puzzle", str(error)) from error
    n_blocks = config.n_blocks if blocks is None or config.model == "feed_forward" else blocks
    if not 1 <= n_blocks * config.recurrences <= MOST_ITERATIONS:
        raise UserError("blocks", f"give 1 to {MOST_ITERATIONS // config.recurrences} blocks.")
    checked = check_puzzle(board, config.puzzle, config.side)
    solution = None if checked.solution is None else checked.solution.tolist()
    rules: PuzzleSet = (
        MazeSet(config.side, config.n_tokens, {})
        if config.puzzle == "maze"
        else SudokuSet(config.side, config.n_tokens, {}, BOXES[config.side])
    )
    puzzle = torch.from_numpy(board)[None]
    last = model.start(model.embed(puzzle))[-1]
    iterations: list[dict[str, Any]] = []

    def record(block: int, z: Tensor) -> None:
        nonlocal last
        logs = torch.log_softmax(model.decode((z,))[0], dim=-1)
        tokens = logs.argmax(dim=-1)
        moved = (z - last)[0].norm(dim=-1)
        last = z
        broken = rules.violations(board, tokens.numpy())
        iterations.append(
            {
                "iteration": len(iterations) + 1,
                "block": block,
                "tokens": tokens.tolist(),
                "confidence": logs.max(dim=-1).values.exp().tolist(),
                "entropy": (-(logs.exp() * logs).sum(dim=-1)).tolist(),
                "cell_residual": moved.tolist(),
                "residual": float(moved.norm()),
                "violations": {kind: int(count) for kind, count in broken.items()},
                "solved": None if solution is None else tokens.tolist() == solution,
            }
        )

    with torch.no_grad():
        trace(model, puzzle, n_blocks, record)
    return {
        "status": checked.status,
        "sentence": checked.sentence,
        "solution": solution,
        "side": config.side,
        "given": board.tolist(),
        "trained_blocks": config.n_blocks,
        "iterations": iterations,
    }


def main() -> None:
    torch.set_num_threads(1)
    serve(_answer, "puzzle")


def _answer(asked: dict[str, Any]) -> dict[str, Any]:
    if "sae" in asked:
        from engine.state_features import active_features

        return active_features(asked)
    return solve(Path(asked["folder"]), asked["seed"], asked["puzzle"], asked["blocks"])


if __name__ == "__main__":
    main()
