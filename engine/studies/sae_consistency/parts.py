"""One dictionary over several processes: the run's own, which reads batches and writes everything, and one per further GPU.

The run's process says through a pipe what is next, and tensors go through torch's distributed package: NCCL between GPUs,
gloo between processors. A checkpoint holds whole tensors under the names they have without parts. Parts learn what a
whole dictionary learns, but for the order of sums.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch
import torch.distributed as dist
from torch import Tensor

from engine.errors import UserError
from engine.run import Run
from engine.studies.sae_consistency import part
from engine.studies.sae_consistency.config import Config
from engine.studies.sae_consistency.part import Named, device_of, is_cut, make_part
from engine.studies.sae_consistency.saes import Sae
from engine.studies.sae_consistency.trainer import Trainer

PATIENCE = 5.0  # seconds in which the end of another process is noticed


@contextmanager
def parts_of(runs: Sequence[Run]) -> "Iterator[Parts | None]":
    """The processes that the runs of a launch are cut over, ended afterwards; None where one holds all. Raises UserError."""
    n, device = runs[0].config.n_gpus, runs[0].device
    if n == 1:
        yield None
        return
    if device == "cuda" and torch.cuda.device_count() < n:
        raise UserError("n_gpus", f"{n} are set and this worker has {torch.cuda.device_count()}; lower it.")

    def lost(why: str) -> None:
        for run in runs:
            run.end("failed", why)

    with tempfile.TemporaryDirectory() as folder:
        parts = Parts(n, device, Path(folder), lost)
        try:
            yield parts
        finally:
            parts.close()


class Parts:
    """The run's hold on the other processes; `lost` is called with a sentence when one of them fails."""

    def __init__(self, n: int, device: str, folder: Path, lost: Callable[[str], None]) -> None:
        self.n, self.device, self.n_made, self._lost, self._closing = n, device, 0, lost, False
        threads = max(1, torch.get_num_threads() // n)
        torch.set_num_threads(threads)
        self._others = [
            subprocess.Popen(
                [sys.executable, "-m", part.__name__, str(rank), str(n), device, str(folder), str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for rank in range(1, n)
        ]
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        with self.all_there():
            part.join(0, n, device, folder)

    def tell(self, rank: int, **message: Any) -> None:
        pipe = _pipe(self._others[rank - 1].stdin)
        with self.all_there():
            pipe.write(json.dumps(message).encode() + b"\n")
            pipe.flush()

    def tell_all(self, **message: Any) -> None:
        for rank in range(1, self.n):
            self.tell(rank, **message)

    @contextmanager
    def all_there(self) -> Iterator[None]:
        """Around what is done together: where it fails because another process is gone, the watcher says so first."""
        try:
            yield
        except (RuntimeError, OSError):
            self._watcher.join(PATIENCE)
            raise

    def _watch(self) -> None:
        """End the run when another process does: this one may be waiting for it inside a collective."""
        outputs = [_pipe(process.stdout) for process in self._others]
        ready = select.select(outputs, [], [])[0][0]
        if self._closing:
            return
        rank = outputs.index(ready) + 1
        if said := ready.readline():
            self._lost(said.decode().strip())
        else:
            status = self._others[rank - 1].wait()
            if status == -signal.SIGKILL:
                os.kill(os.getpid(), signal.SIGKILL)
            self._lost(f"Part {rank + 1} of the dictionary ended ({status}).")
        os._exit(1)

    def close(self) -> None:
        self._closing = True
        with suppress(OSError):
            self.tell_all(do="end")
        for process in self._others:
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._watcher.join(PATIENCE)
        for process in self._others:
            with suppress(OSError):
                _pipe(process.stdin).close()
            _pipe(process.stdout).close()
        dist.destroy_process_group()


def _pipe(end: IO[bytes] | None) -> IO[bytes]:
    assert end is not None
    return end


class CutTrainer(Trainer):
    """A trainer of one seed whose SAE `whole`, on the processor, is cut over `parts`; this process trains the first."""

    def __init__(self, config: Config, seeds: Sequence[int], whole: Sae, parts: Parts) -> None:
        self.parts, self.whole, self.key = parts, whole, parts.n_made
        parts.n_made += 1
        d_in = len(whole.b_dec)
        made = {"config": config.model_dump(mode="json"), "seed": seeds[0], "d_in": d_in}
        mine = self._share_out(whole.tensors, do="make", **made)
        super().__init__(config, seeds, make_part(config, seeds[0], d_in, device_of(parts.device, 0), mine))
        self._whole_dead: Tensor | None = None
        self._is_current = True

    def step(self, x: Tensor, number: int, learning_rate: float) -> dict[int, dict[str, float]]:
        self._is_current = False
        self.parts.tell_all(do="step", key=self.key, rows=len(x), number=number, rate=learning_rate)
        with self.parts.all_there():
            dist.broadcast(x, 0)
            return super().step(x, number, learning_rate)

    def saes(self) -> dict[int, Sae]:
        """The whole SAE as it is now."""
        if not self._is_current:
            self.whole.load(self._gather(list(self.sae.tensors)))
            self._is_current = True
        return {self.seeds[0]: self.whole}

    def dead_of(self, seed: int) -> Tensor:
        if self._whole_dead is None:
            return self._gather(["silent"])["silent"] >= self.config.dead_after
        return self._whole_dead

    def finish(self) -> None:
        """Free what training needed and bring the whole SAE to the run's device."""
        self._whole_dead = self.dead_of(self.seeds[0])
        self.whole = self.saes()[self.seeds[0]].to(self.parts.device)
        self.parts.tell_all(do="drop", key=self.key)
        del self.sae, self.optimiser, self.silent

    def tensors(self) -> Named:
        found = self._gather(list(self.named()))
        return {f"seed-{self.seeds[0]}.{name}": value for name, value in found.items()}

    def load(self, tensors: Named) -> None:
        self._is_current = False
        prefix = f"seed-{self.seeds[0]}."
        mine = {name: value for name, value in tensors.items() if name.startswith(prefix)}
        super().load(self._share_out(mine, do="load"))

    def _share_out(self, tensors: Named, **message: Any) -> Named:
        """Send every process its part of whole tensors; this one's own."""
        here = device_of(self.parts.device, 0)
        shares = [
            {name: _rows(name, value, rank, self.parts.n).contiguous() for name, value in tensors.items()}
            for rank in range(self.parts.n)
        ]
        with self.parts.all_there():
            for rank in range(1, self.parts.n):
                shapes = {
                    name: (tuple(value.shape), str(value.dtype)) for name, value in shares[rank].items()
                }
                self.parts.tell(rank, key=self.key, tensors=shapes, **message)
                for value in shares[rank].values():
                    dist.send(value.to(here), rank)
        return {name: value.to(here) for name, value in shares[0].items()}

    def _gather(self, names: Sequence[str]) -> Named:
        """Whole tensors, on the processor, from the parts of every process."""
        mine = self.named()
        self.parts.tell_all(do="send", key=self.key, names=names)
        found = {}
        with self.parts.all_there():
            for name in names:
                value = mine[name]
                if not is_cut(name, value):
                    found[name] = value.cpu().clone()
                    continue
                d_sae = self.config.d_sae
                whole = torch.empty((d_sae, *value.shape[1:]), dtype=value.dtype)
                whole[:: self.parts.n] = value.cpu()
                for rank in range(1, self.parts.n):
                    rows = len(range(rank, d_sae, self.parts.n))
                    piece = torch.empty((rows, *value.shape[1:]), dtype=value.dtype, device=value.device)
                    dist.recv(piece, rank)
                    whole[rank :: self.parts.n] = piece.cpu()
                found[name] = whole
        return found


def _rows(name: str, value: Tensor, rank: int, n: int) -> Tensor:
    return value[rank::n] if is_cut(name, value) else value
