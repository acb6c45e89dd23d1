"""Solving the test puzzles with a seed's chosen weights, over more blocks than it was trained for, from a fresh state."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analyses.streams import stream_seed
from data.sr2 import PuzzleSet
from engine.studies.sr2.config import Config
from engine.studies.sr2.reasoners import Reasoner, State, trace

Floats = NDArray[np.float64]
CHUNK = 256
CELL_ROWS = 2000
ATTENTION_PUZZLES, ATTENTION_ROWS = 2, 16


@dataclass
class Solved:
    """What a seed did on the test puzzles (n), iteration by iteration (t) and block by block (b).

    `boards` (t × n × cells) tokens; `entropy`, `residual`, `changed` (t) means over puzzles, in nats, in the norm of a
    puzzle's whole state and as share of cells; `block` (t) and `block_end` (t). `pooled` (b × n × width) states at block
    ends, mean over cells; `cells` (b × rows × width) those of a fixed sample of cells. Of the first `kept` puzzles also
    `confidence`, `cell_entropy`, `cell_residual` (t × kept × cells), `path` (t × kept × width, pooled) and `states`
    (b × kept × cells × width).
    """

    boards: NDArray[np.int8]
    entropy: Floats
    residual: Floats
    board_residual: Floats
    changed: Floats
    block: NDArray[np.int64]
    block_end: NDArray[np.bool_]
    pooled: NDArray[np.float32]
    cells: NDArray[np.float32]
    confidence: Floats
    cell_entropy: Floats
    cell_residual: Floats
    path: NDArray[np.float32]
    states: Tensor
    attention: list[tuple[int, NDArray[np.float32]]] = field(default_factory=list)


class _Chunk:
    """Collects what `trace` shows of some puzzles; the first `kept` of them in full."""

    def __init__(self, model: Reasoner, puzzles: Tensor, blocks: int, kept: int) -> None:
        self.model, self.kept = model, kept
        self.block: list[int] = []
        self.boards: list[Tensor] = []
        self.entropy: list[Tensor] = []
        self.residual: list[Tensor] = []
        self.cell_residual: list[Tensor] = []
        self.confidence: list[Tensor] = []
        self.cell_entropy: list[Tensor] = []
        self.path: list[Tensor] = []
        self.ends: list[Tensor] = []
        with torch.no_grad():
            self._last = model.start(model.embed(puzzles))[-1]
        trace(model, puzzles, blocks, self._iteration, self._block)

    def _iteration(self, block: int, z: Tensor) -> None:
        logs = torch.log_softmax(self.model.decode((z,)), dim=-1)
        entropy = -(logs.exp() * logs).sum(dim=-1)
        self.block.append(block)
        self.boards.append(logs.argmax(dim=-1).to(torch.int8))
        self.entropy.append(entropy.mean(dim=1))
        moved = (z - self._last).norm(dim=-1)
        self.residual.append(moved.norm(dim=1))
        self.cell_residual.append(moved[: self.kept])
        self.confidence.append(logs[: self.kept].max(dim=-1).values.exp())
        self.cell_entropy.append(entropy[: self.kept])
        self.path.append(z[: self.kept].mean(dim=1))
        self._last = z

    def _block(self, block: int, state: State, e: Tensor) -> None:
        if block >= 0:
            self.ends.append(state[-1])


def solve_test(config: Config, model: Reasoner, puzzles: PuzzleSet, device: str) -> Solved:
    """Solve every test puzzle over test_factor · N blocks."""
    inputs = torch.from_numpy(puzzles.splits["test"].inputs).to(device)
    blocks = config.n_blocks * (1 if config.model == "feed_forward" else config.test_factor)
    chunks = [
        _Chunk(model, part, blocks, config.kept_puzzles if index == 0 else 0)
        for index, part in enumerate(inputs.split(max(CHUNK, config.kept_puzzles)))
    ]
    first = chunks[0]
    block = np.array(first.block)
    boards = _joined([c.boards for c in chunks])
    residual = _joined([c.residual for c in chunks])
    pooled, cells = _block_states(chunks, len(inputs), inputs.shape[1])
    before = np.concatenate([np.full_like(boards[:1], -1), boards[:-1]])
    return Solved(
        boards=boards,
        entropy=_joined([c.entropy for c in chunks]).mean(axis=1, dtype=np.float64),
        residual=residual.mean(axis=1, dtype=np.float64),
        board_residual=residual[:, : config.kept_puzzles],
        changed=(boards != before).mean(axis=(1, 2)),
        block=block,
        block_end=np.append(block[1:] != block[:-1], True),
        pooled=pooled,
        cells=cells,
        confidence=_stacked(first.confidence),
        cell_entropy=_stacked(first.cell_entropy),
        cell_residual=_stacked(first.cell_residual),
        path=_stacked(first.path).astype(np.float32),
        states=torch.stack([z[: config.kept_puzzles] for z in first.ends]).cpu(),
        attention=_attention(model, inputs[:ATTENTION_PUZZLES], config.n_blocks),
    )


def _stacked(parts: list[Tensor]) -> Floats:
    return torch.stack(parts).double().cpu().numpy()


def _joined(parts: list[list[Tensor]]) -> NDArray[Any]:
    """Iterations × puzzles × … from the chunks' lists over iterations."""
    joined: NDArray[Any] = torch.cat([torch.stack(mine) for mine in parts], dim=1).cpu().numpy()
    return joined


def _block_states(
    chunks: list[_Chunk], n: int, n_cells: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pooled states at block ends, and those of cells drawn alike for every seed."""
    generator = np.random.default_rng(stream_seed("sr2 cells", n, n_cells))
    rows = generator.choice(n * n_cells, size=min(CELL_ROWS, n * n_cells), replace=False)
    pooled, cells = [], []
    for block in range(len(chunks[0].ends)):
        states = torch.cat([chunk.ends[block] for chunk in chunks])
        pooled.append(states.mean(dim=1).cpu().numpy())
        cells.append(states.flatten(0, 1)[torch.from_numpy(rows).to(states.device)].cpu().numpy())
    return np.stack(pooled), np.stack(cells)


def _attention(model: Reasoner, puzzles: Tensor, blocks: int) -> list[tuple[int, NDArray[np.float32]]]:
    """Attention (puzzles × heads × cells × cells) with which the first, second, middle and last trained block begin."""
    wanted = sorted({0, min(1, blocks - 1), blocks // 2, blocks - 1})
    found: list[tuple[int, NDArray[np.float32]]] = []

    def look(block: int, state: State, e: Tensor) -> None:
        if block + 1 in wanted:
            layer, read = model.attending(state, e, block + 1)
            found.append((block + 1, layer.attention(read).cpu().numpy()))

    trace(model, puzzles, blocks, on_block=look)
    return found
